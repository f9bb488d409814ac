"""The tokens of a text, and their numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqlra.errors import SeqlraError, unknown

Tokens = Literal["chars", "words"]
"""What a token is: one character, or one word, punctuation mark or newline."""

UNKNOWN = "<unk>"
"""The symbol number 0; it stands for every token that the vocabulary does not hold."""

WORD = re.compile(r"\n|(?:[^\W_]|')+|[^\w\s]|_")
"""A newline; or a run of letters, digits and apostrophes; or one other mark. All other white space only separates."""

NO_SPACE_BEFORE = frozenset(".,;:!?')]}\n-")
NO_SPACE_AFTER = frozenset("([{\n-")


@dataclass(frozen=True)
class Vocabulary:
    """A token's number is its place in ``symbols``, which begins with `UNKNOWN`; ``lowercase`` reads capitals as small
    letters.

    Raises:
        SeqlraError: a kind of tokens that is not in `Tokens`, or symbols that cannot be these tokens.
    """

    tokens: Tokens
    symbols: tuple[str, ...]
    lowercase: bool = False

    def __post_init__(self) -> None:
        kind_of_tokens(self.tokens)
        if self.symbols[:1] != (UNKNOWN,) or len(self._numbers) < len(self.symbols):
            raise SeqlraError(f"the symbols of a vocabulary are {UNKNOWN!r} and then others, each once")
        if odd := [symbol for symbol in self.symbols[1:] if split_tokens(symbol, self.tokens) != [symbol]]:
            raise SeqlraError(f"a vocabulary of {self.tokens} cannot hold {odd[0]!r}, which is not one of them")

    @classmethod
    def of(cls, text: str, tokens: Tokens, max_words: int = 10_000, lowercase: bool = False) -> Vocabulary:
        """The vocabulary of a text.

        Args:
            text: all its characters, sorted; or its most frequent words, among equals those that come first.
            tokens: one of `Tokens`.
            max_words: the most symbols that a vocabulary of words has, with `UNKNOWN`.
            lowercase: whether capitals are read as small letters.

        Raises:
            SeqlraError: another kind of tokens, or less than two symbols.
        """
        text = text.lower() if lowercase else text
        if kind_of_tokens(tokens) == "chars":
            return cls(tokens, (UNKNOWN, *sorted(set(text))), lowercase)
        if max_words < 2:
            raise SeqlraError(f"a vocabulary of {max_words} words holds nothing but {UNKNOWN!r}; at least 2 are needed")
        frequent = Counter(split_tokens(text, tokens)).most_common(max_words - 1)
        return cls(tokens, (UNKNOWN, *(word for word, _ in frequent)), lowercase)

    def encode(self, text: str) -> Tensor:
        """The numbers of the tokens of a text, ``(n,)`` in int64; 0 for each that is not in ``symbols``."""
        text = text.lower() if self.lowercase else text
        if self.tokens == "words":
            return torch.tensor([self._numbers.get(word, 0) for word in split_tokens(text, "words")], dtype=torch.int64)
        codes = _codes(text)
        return torch.from_numpy(self._by_code[np.minimum(codes, len(self._by_code) - 1)])

    def unknown(self, ids: Tensor) -> int:
        """How many of these numbers stand for a token that is not in ``symbols``."""
        return int((ids == 0).sum())

    def decode(self, ids: Tensor | Sequence[int]) -> str:
        """The text of some numbers ``(n,)``.

        Characters give back the text that was encoded. Words are joined by spaces, except around newlines and
        hyphens, before ``. , ; : ! ? '`` and inside brackets; how they were spaced before is not known.
        """
        numbers: list[int] = ids.tolist() if isinstance(ids, Tensor) else list(ids)
        symbols = [self.symbols[number] for number in numbers]
        return "".join(symbols) if self.tokens == "chars" else _spaced(symbols)

    def __len__(self) -> int:
        return len(self.symbols)

    def to_dict(self) -> dict[str, Any]:
        """Itself for JSON."""
        pattern = {"pattern": WORD.pattern} if self.tokens == "words" else {}
        return {"tokens": self.tokens, **pattern, "lowercase": self.lowercase, "symbols": list(self.symbols)}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Vocabulary:
        """The vocabulary that `to_dict` made this of.

        Raises:
            SeqlraError: it is not such a dictionary.
        """
        symbols = saved.get("symbols")
        if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
            raise SeqlraError("a saved vocabulary has 'tokens' and 'symbols', a list of strings")
        if saved.get("pattern", WORD.pattern) != WORD.pattern:
            raise SeqlraError(f"this vocabulary has words by another pattern than {WORD.pattern!r}")
        return cls(kind_of_tokens(saved.get("tokens")), tuple(symbols), saved.get("lowercase") is True)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {symbol: number for number, symbol in enumerate(self.symbols)}

    @cached_property
    def _by_code(self) -> NDArray[np.int64]:
        """The numbers of characters by their code point; the last entry, 0, is for every greater one."""
        codes = _codes("".join(self.symbols[1:]))
        table = np.zeros(int(codes.max(initial=0)) + 2, np.int64)
        table[codes] = np.arange(1, len(self))
        return table


def kind_of_tokens(name: object) -> Tokens:
    """The name as one of `Tokens`.

    Raises:
        SeqlraError: it is none.
    """
    for kind in get_args(Tokens):
        if name == kind:
            return kind
    raise unknown("kind of tokens", name, get_args(Tokens))


def split_tokens(text: str, tokens: Tokens) -> list[str]:
    """The tokens of a text, in order."""
    return list(text) if tokens == "chars" else WORD.findall(text)


def token_starts(text: str, tokens: Tokens) -> Sequence[int]:
    """Where each token of a text begins, as an index of its characters."""
    return range(len(text)) if tokens == "chars" else [word.start() for word in WORD.finditer(text)]


def _codes(text: str) -> NDArray[np.uint32]:
    """The code points of a text, half a surrogate pair (from a shell, say) included."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.dtype("<u4"))


def _spaced(words: list[str]) -> str:
    pieces: list[str] = []
    for before, word in zip(["\n", *words], words, strict=False):
        glued = before in NO_SPACE_AFTER or word in NO_SPACE_BEFORE
        pieces.append(word if glued else f" {word}")
    return "".join(pieces)
