"""Text: one long sequence of tokens on the device, split in three."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from seqlra.data import hub
from seqlra.data.sources import embedded, from_hub, local_folder, new_folder
from seqlra.data.tables import column_of_text
from seqlra.data.vocabulary import Tokens, Vocabulary, kind_of_tokens, token_starts
from seqlra.errors import SeqlraError, unknown
from seqlra.files import demand_file

FILE = "input.txt"
"""The name of a text in its folder, as the original char-rnn has it."""

SPLITS = ("train", "valid", "test")
TRAIN, VALID = 90, 95  # in percent of the tokens: where training ends and where validation ends
SHORTEST = 31  # tokens; the shortest text that gives each split two of them: one to read, one to predict


@dataclass(frozen=True)
class TextDataset:
    """Where a text is, unless a folder that holds it is given.

    Attributes:
        about: one line for people.
        hub: its id on the Hub, where the splits ``train``, ``validation`` and ``test`` have one row, ``text``.
        revision: the commit of it to take; None for its main branch.
        embedded: its folder under ``data/``, for one that is shipped with seqlra; it goes before the Hub.
    """

    about: str
    hub: str = ""
    revision: str | None = None
    embedded: str = ""


TEXTS: dict[str, TextDataset] = {
    "text-sample": TextDataset(
        "nine comedies of Shakespeare, 1 MB, shipped with seqlra (the default)", embedded="text_sample"
    ),
    "tiny_shakespeare": TextDataset(
        "parts of Shakespeare's plays, 1.1 MB",
        hub="karpathy/tiny_shakespeare",
        # its main branch is a script, which datasets no longer runs; this commit, offered for merging, is Parquet
        revision="fe12e06d82fe3af4291b90426557387520d81385",
    ),
}


@dataclass(frozen=True)
class Text:
    """A text on the device, as numbers of tokens.

    Attributes:
        name: of the dataset, or of the user's file.
        source: where it came from: a file, the Hub, or embedded.
        vocabulary: what the numbers mean.
        train, valid, test: ``(n,)`` each, int64; one after the other they are the whole text.
        unknown: how many tokens of each split the vocabulary does not hold.
    """

    name: str
    source: str
    vocabulary: Vocabulary
    train: Tensor
    valid: Tensor
    test: Tensor
    unknown: dict[str, int]


def load_text(
    dataset: str,
    data_dir: Path | None = None,
    text: Path | None = None,
    tokens: str = "chars",
    device: torch.device | str = "cpu",
    vocabulary: Vocabulary | None = None,
    max_words: int = 10_000,
    held_out: tuple[Path, Path] | None = None,
    lowercase: bool = False,
    selection: hub.Selection = hub.WHOLE,
) -> Text:
    """A text as numbers on the device: the first 90 percent of its tokens to train, 5 to validate, 5 to test, unless it
    comes in three files.

    For tiny Shakespeare, these are exactly the splits on the Hub.

    Args:
        dataset: one of `TEXTS`, or ``hf:owner/name``: any of the Hub with a column of text. Where that has the splits
            ``train``, ``validation`` and ``test``, they are the three; else ``train`` is cut. Ignored where ``text``
            is given.
        data_dir: the folder that holds ``<dataset>/input.txt``. Without it, or where the dataset is embedded and
            there is no such folder: see `TEXTS`.
        text: the user's own file, in UTF-8, or a table, ``.csv`` or ``.parquet``, with a column of text.
        tokens: ``"chars"`` or ``"words"``.
        device: where the numbers live.
        vocabulary: the one of a trained network; without it, one is made of the training split alone.
        max_words: the most symbols that a vocabulary of words has.
        held_out: the files to validate and to test on; all of ``text`` is then to train on.
        lowercase: whether capitals are read as small letters.
        selection: the column of a dataset by its id, or of a table.

    Raises:
        SeqlraError: an unknown dataset or kind of tokens, a vocabulary of the other kind, a file that cannot be used,
            a text of less than `SHORTEST` tokens, or a Hub that cannot be reached.
    """
    kind = kind_of_tokens(tokens)
    if vocabulary is not None and vocabulary.tokens != kind:
        raise SeqlraError(f"this vocabulary is one of {vocabulary.tokens}, so it cannot read {kind}")
    if text is None and hub.is_on_hub(dataset):
        name, (parts, source) = dataset, _by_id(dataset, data_dir, selection, kind)
    else:
        if text is not None:
            name, content, source = Path(text).name, read_text(text, selection.column), str(text)
        else:
            name, (content, source) = dataset, _read(dataset, data_dir)
        if held_out is None:
            parts = _split(content, kind, source)
        else:
            parts = [content, *(read_text(file, selection.column) for file in held_out)]
    for part, file in zip(parts, (source, *(held_out or (source, source))), strict=True):
        if len(token_starts(part, kind)) < 2:
            raise SeqlraError(f"{file} is too short: it needs two {kind}, one to read and one to predict")
    if vocabulary is None:
        vocabulary = Vocabulary.of(parts[0], kind, max_words, lowercase)
    ids = {split: vocabulary.encode(part).to(device) for split, part in zip(SPLITS, parts, strict=True)}
    unknown_in = {split: vocabulary.unknown(ids[split]) for split in SPLITS}
    return Text(name, source, vocabulary, **ids, unknown=unknown_in)


def read_text(path: Path, column: str | None = None) -> str:
    r"""The text in a file, with ``\n`` for every kind of newline and without a byte order mark.

    Args:
        path: a file in UTF-8. With a ``column`` it is a table, ``.csv`` or ``.parquet``, whose rows are lines.
        column: of the table; a ``.parquet`` without one has the column ``text``.

    Raises:
        SeqlraError: there is no such file, it cannot be read, it is not UTF-8, or there is no text in it.
    """
    path = Path(path)
    demand_file(path)
    if column is not None or path.suffix == ".parquet":
        return _plain(hub.joined(column_of_text(path, "text" if column is None else column)), str(path))
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise SeqlraError(f"there is no file {path}; a text is one file, in UTF-8") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise SeqlraError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        return _plain(content.decode("utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise SeqlraError(
            f"{path} is not UTF-8: the byte at offset {error.start} is 0x{content[error.start]:02x}; "
            "accepted is plain text in UTF-8"
        ) from None


def export_text(dataset: str, out: Path) -> Path:
    """Write a dataset, from the Hub or embedded, as ``out/<dataset>/input.txt``; return that folder.

    The folder appears when it is whole, or not at all.

    Raises:
        SeqlraError: an unknown dataset, a folder that is already there or cannot be written, or a Hub that
            cannot be reached.
    """
    folder = Path(out) / dataset
    with new_folder(folder) as whole:
        (whole / FILE).write_bytes(_read(dataset, None)[0].encode("utf-8"))
    return folder


def _read(dataset: str, data_dir: Path | None) -> tuple[str, str]:
    """A text, and where it came from."""
    if dataset not in TEXTS:
        raise unknown("dataset", dataset, [*TEXTS, "hf:owner/name"])
    about = TEXTS[dataset]
    folder = local_folder(dataset, data_dir, bool(about.embedded), _offline_ways(dataset))
    if folder is not None:
        return read_text(folder / FILE), str(folder / FILE)
    if about.embedded:
        return read_text(embedded(about.embedded) / FILE), "embedded"
    return _from_hub(about, _offline_ways(dataset)), f"Hub {about.hub}"


def _from_hub(about: TextDataset, offline_ways: str) -> str:
    """The three splits of a text on the Hub as the one text that they were cut from."""
    loaded = from_hub(about.hub, offline_ways, about.revision)
    splits = ("train", "validation", "test")
    for split in splits:
        if split not in loaded or "text" not in loaded[split].column_names:
            raise SeqlraError(f"{about.hub} has no split {split!r} with the column 'text'")
    return _plain("".join(row for split in splits for row in loaded[split]["text"]), about.hub)


def _by_id(dataset: str, data_dir: Path | None, selection: hub.Selection, kind: Tokens) -> tuple[list[str], str]:
    """The three parts of a dataset by its id on the Hub, and where they came from."""
    loaded, source = hub.load_splits(dataset, data_dir, selection)
    found = {
        name: _plain(text, f"{source}, {name}") for name, text in hub.texts(loaded, source, selection.column).items()
    }
    if {"validation", "test"} <= found.keys():
        return [found["train"], found["validation"], found["test"]], source
    return _split(found["train"], kind, source), source


def _plain(content: str, source: str) -> str:
    r"""The content with ``\n`` for every kind of newline and without a byte order mark.

    Raises:
        SeqlraError: nothing is left.
    """
    content = content.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if not content:
        raise SeqlraError(f"{source} is empty; a text has at least {SHORTEST} tokens")
    return content


def _split(content: str, tokens: Tokens, source: str) -> list[str]:
    """The content in three parts, cut between tokens; integers, so that no rounding depends on the machine.

    Raises:
        SeqlraError: it is too short.
    """
    starts = token_starts(content, tokens)
    if len(starts) < SHORTEST:
        raise SeqlraError(
            f"{source} is too short to split: it has {len(starts)} {tokens}, and at least {SHORTEST} are needed"
        )
    first, second = (starts[len(starts) * percent // 100] for percent in (TRAIN, VALID))
    return [content[:first], content[first:second], content[second:]]


def _offline_ways(dataset: str) -> str:
    return (
        f"without the Hub, give --data-dir DIR with DIR/{dataset}/{FILE} (`seqlra data get {dataset} --out DIR` writes "
        "it on a machine with network), take your own --text FILE, or take --dataset text-sample"
    )
