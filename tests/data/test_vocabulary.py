"""Vocabularies. Oracles: texts whose tokens and numbers are written out by hand."""

from __future__ import annotations

import json

import pytest
import torch

from seqlra.data.vocabulary import Vocabulary, split_tokens, token_starts
from seqlra.errors import SeqlraError

# -- characters --------------------------------------------------------------------------------------------------------


def test_characters_are_numbered_in_their_order_after_the_unknown_token() -> None:
    vocabulary = Vocabulary.of("banana\n", "chars")
    assert vocabulary.symbols == ("<unk>", "\n", "a", "b", "n")
    assert len(vocabulary) == 5
    ids = vocabulary.encode("nab\n")
    assert ids.dtype == torch.int64
    assert ids.tolist() == [4, 2, 3, 1]
    assert vocabulary.decode(ids) == "nab\n"
    assert vocabulary.decode([4, 2, 3, 1]) == "nab\n"


@pytest.mark.parametrize(
    "text", ["To be, or not to be:\n\n\tthat 1s it!  ", "naïve – 'ſ' 漢字 \U0001f600\u0301", "x", ""]
)
def test_characters_come_back(text: str) -> None:
    vocabulary = Vocabulary.of(text, "chars")
    ids = vocabulary.encode(text)
    assert ids.shape == (len(text),)
    assert vocabulary.decode(ids) == text
    assert vocabulary.unknown(ids) == 0


def test_other_characters_are_unknown() -> None:
    """Before, between and after the known code points, and half of a surrogate pair, as a shell may pass it."""
    vocabulary = Vocabulary.of("bdb", "chars")
    ids = vocabulary.encode("abcde\U0001f600\udc80b")
    assert ids.tolist() == [0, 1, 0, 2, 0, 0, 0, 1]
    assert vocabulary.unknown(ids) == 5
    assert vocabulary.decode(ids[:2]) == "<unk>b"


def test_a_vocabulary_of_nothing_knows_nothing() -> None:
    vocabulary = Vocabulary.of("", "chars")
    assert vocabulary.symbols == ("<unk>",)
    assert vocabulary.encode("a\0").tolist() == [0, 0]


# -- words -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I'll go, said Tom.", ["I'll", "go", ",", "said", "Tom", "."]),
        ("who?\nMe!\n\n", ["who", "?", "\n", "Me", "!", "\n", "\n"]),
        ("  a\t b  ", ["a", "b"]),
        ("self-love--so", ["self", "-", "love", "-", "-", "so"]),
        ("'Tis the lords' 2nd: \"yes\"", ["'Tis", "the", "lords'", "2nd", ":", '"', "yes", '"']),
        ("snake_case été <unk>", ["snake", "_", "case", "été", "<", "unk", ">"]),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert split_tokens(text, "words") == words
    starts = token_starts(text, "words")
    assert [text[start : start + len(word)] for start, word in zip(starts, words, strict=True)] == words


def test_characters_start_everywhere() -> None:
    assert split_tokens("a b", "chars") == ["a", " ", "b"]
    assert list(token_starts("a b", "chars")) == [0, 1, 2]


def test_frequent_words_stay_and_the_first_of_equals() -> None:
    text = "z z z b a b a c d d d d"
    assert Vocabulary.of(text, "words").symbols == ("<unk>", "d", "z", "b", "a", "c")
    vocabulary = Vocabulary.of(text, "words", max_words=4)
    assert vocabulary.symbols == ("<unk>", "d", "z", "b")
    ids = vocabulary.encode("a b c z Z d")
    assert ids.dtype == torch.int64
    assert ids.tolist() == [0, 3, 0, 2, 0, 1]
    assert vocabulary.unknown(ids) == 3


@pytest.mark.parametrize(
    "text",
    [
        "Come, come; I'll go!\nWhither?\n\nHome: 'tis late.\n",
        "my self-love (so he said) is [a\nb] {c}.",
        "'Fair ladies,' quoth he.",
        "a & b",
    ],
)
def test_words_are_joined_as_they_are_written(text: str) -> None:
    vocabulary = Vocabulary.of(text, "words")
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_other_spaces_are_lost_but_words_stay() -> None:
    text = "a  b ,c\t.\n d - e"
    vocabulary = Vocabulary.of(text, "words")
    written = vocabulary.decode(vocabulary.encode(text))
    assert written == "a b, c.\nd-e"
    assert vocabulary.encode(written).equal(vocabulary.encode(text))


# -- saved in a file ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", ["chars", "words"])
def test_json_round_trip(tokens: str) -> None:
    vocabulary = Vocabulary.of("Où? \n 漢 'tis", tokens)  # type: ignore[arg-type]
    back = Vocabulary.from_dict(json.loads(json.dumps(vocabulary.to_dict())))
    assert back == vocabulary
    assert back.encode("'tis 漢").equal(vocabulary.encode("'tis 漢"))


@pytest.mark.parametrize(
    ("saved", "says"),
    [
        ({"tokens": "chars"}, "'tokens' and 'symbols', a list of strings"),
        ({"tokens": "chars", "symbols": ["<unk>", 1]}, "'tokens' and 'symbols', a list of strings"),
        ({"symbols": ["<unk>", "a"]}, "unknown kind of tokens None; known: chars, words"),
        ({"tokens": "bytes", "symbols": ["<unk>", "a"]}, "unknown kind of tokens 'bytes'; known: chars, words"),
        ({"tokens": "chars", "symbols": ["a", "<unk>"]}, "'<unk>' and then others, each once"),
        ({"tokens": "chars", "symbols": []}, "'<unk>' and then others, each once"),
        ({"tokens": "chars", "symbols": ["<unk>", "a", "a"]}, "'<unk>' and then others, each once"),
        ({"tokens": "chars", "symbols": ["<unk>", "ab"]}, "of chars cannot hold 'ab'"),
        ({"tokens": "chars", "symbols": ["<unk>", ""]}, "of chars cannot hold ''"),
        ({"tokens": "words", "symbols": ["<unk>", "a b"]}, "of words cannot hold 'a b'"),
    ],
)
def test_what_is_no_vocabulary(saved: dict[str, object], says: str) -> None:
    with pytest.raises(SeqlraError) as caught:
        Vocabulary.from_dict(saved)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_kinds_and_sizes_that_do_not_exist() -> None:
    with pytest.raises(SeqlraError, match="unknown kind of tokens 'letters'; known: chars, words"):
        Vocabulary.of("abc", "letters")  # type: ignore[arg-type]
    with pytest.raises(SeqlraError, match="at least 2"):
        Vocabulary.of("a b", "words", max_words=1)
    assert Vocabulary.of("a b b", "words", max_words=2).symbols == ("<unk>", "b")
