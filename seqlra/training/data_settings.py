"""What a run learns from: one class for each kind of data, with its settings. See `seqlra.training.settings`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from seqlra.errors import unknown
from seqlra.training.option import (
    DATA,
    DATA_DIR,
    Option,
)
from seqlra.training.validation import Checked

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
Seed = Annotated[int, Field(ge=0, lt=2**62)]
DataDir = Annotated[str | None, Option(DATA_DIR, DATA, "Hub or embedded", kind=Path)]


OfHub = "Of a dataset of the Hub (hf:owner/name)"
Column = Annotated[
    str | None,
    Option(
        "Column of the images of a dataset of the Hub, or of its text or that of --text FILE.csv.",
        DATA,
        "the only one of its kind",
    ),
]
ConfigName = Annotated[str | None, Option(f"{OfHub}: its configuration.", DATA, "the only one")]
Revision = Annotated[str | None, Option(f"{OfHub}: a commit, branch or tag.", DATA, "main")]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Images(Checked):
    """Images to classify. A ``seed`` draws the images for validation and the order of the others."""

    kind: ClassVar[str] = "images"
    dataset: Annotated[
        str,
        Option(
            "mnist-sample (embedded), mnist, fashion_mnist, or hf:owner/name: images of the Hub with classes, and a "
            "split test, or else validation, to test on.",
            DATA,
            default="mnist-sample",
        ),
    ]
    data_dir: DataDir = None
    column: Column = None
    label_column: Annotated[
        str | None, Option(f"{OfHub}: the column of the classes.", DATA, "the only one of classes")
    ] = None
    config_name: ConfigName = None
    revision: Revision = None
    valid: Annotated[
        int | None, Option("Training images held out for validation.", DATA, "10000; of the sample 2500; hf: a tenth")
    ] = None
    seed: Annotated[
        int | None,
        Field(ge=0, lt=2**62),
        Option("Seed of the images alone.", DATA, "that of the run", name="data_seed", flag=False),
    ] = None


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Text(Checked):
    """Text to predict; of the user's own ``text``, ``dataset`` is the name of the file."""

    kind: ClassVar[str] = "text"
    dataset: Annotated[
        str,
        Option(
            "A text (text-sample, tiny_shakespeare, hf:owner/name of the Hub), a generated task (temporal-order, "
            "adding, ...) or images step by step (mnist-rows, ...); see seqlra list datasets.",
            DATA,
            default="text-sample",
        ),
    ]
    data_dir: DataDir = None
    column: Column = None
    config_name: ConfigName = None
    revision: Revision = None
    text: Annotated[
        str | None,
        Option(
            "Your own UTF-8 text, in place of a dataset; or a .csv or .parquet with --column.",
            DATA,
            open_as=False,
            kind=Path,
        ),
    ] = None
    valid_text: Annotated[
        str | None,
        Option("A text to validate on; all of --text is then to train on.", DATA, open_as=False, kind=Path),
    ] = None
    test_text: Annotated[
        str | None, Option("A text for the final test, with --valid-text.", DATA, open_as=False, kind=Path)
    ] = None
    tokens: Annotated[
        str, Option("chars, or words: runs of letters, digits and apostrophes, single other marks, newlines.", DATA)
    ] = "chars"
    lowercase: Annotated[bool, Option("Read capitals as small letters.", DATA)] = False
    max_words: Annotated[int, Field(ge=2), Option("The most words that a vocabulary of words has.", DATA)] = 10_000
    streams: Annotated[
        int, Field(ge=1), Option("Parallel streams that the text is cut into: the mini-batch.", DATA)
    ] = 64
    unroll: Annotated[
        int, Field(ge=1), Option("K: steps of a stream in one update; the state is carried on.", DATA)
    ] = 50


SequenceSeed = Annotated[
    Seed, Option("Seed of sequences and of their order, which all --seeds see alike.", DATA, name="data_seed")
]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Generated(Checked):
    """Sequences of a generated task with memory. They are drawn from their own ``seed``: models of every seed see the
    same ones in the same order, as they do of a text.

    After each epoch (100 updates) ``valid`` sequences are looked at, and where under 0.01% of the answers are wrong,
    training ends; ``held_out`` others are the test, looked at once.
    """

    kind: ClassVar[str] = "generated"
    dataset: Annotated[str, Option("A generated task.", DATA)]
    length: Annotated[int, Field(ge=1), Option("T: steps of a generated sequence.", DATA)] = 30
    held_out: Annotated[int, Field(ge=1), Option("Generated sequences of the final test.", DATA)] = 10_000
    valid: Annotated[
        int,
        Field(ge=1),
        Option("Sequences for validation: so many generated, or of the images for training.", DATA, False),
    ] = 2_000
    seed: SequenceSeed = 0


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Pixels(Checked):
    """Images as sequences of their pixels. A ``seed`` of their own draws the images for validation and the order of the
    others, so that models of every seed see the same."""

    kind: ClassVar[str] = "pixels"
    dataset: Annotated[str, Option("Images, step by step.", DATA)]
    data_dir: DataDir = None
    valid: Annotated[int | None, Option("Training images held out for validation.", DATA)] = None
    seed: SequenceSeed = 0


OwnFile = Annotated[
    str,
    Option(
        "Your own data: .npz with x and t (or x_train, t_train, x_valid, ...); of an MLP also .csv, .parquet, or a "
        "folder of IDX files; of an RNN also lengths, or a series.",
        DATA,
        default=None,
        open_as=False,
        kind=Path,
    ),
]
Targets = Annotated[
    Literal["classes", "values"], Option("What your own data are to give: classes, or values (regression).", DATA)
]
HeldOut = Annotated[
    int | None, Field(ge=1), Option("Of your own data, or generated sequences: the final test.", DATA, "a tenth")
]
OfValidation = Annotated[int | None, Field(ge=1), Option("Of your own data: for validation.", DATA, "a tenth")]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Rows(Checked):
    """Rows of the user's own file ``data``, whose name is ``dataset``, with a target each. A ``seed`` of their own
    draws what is held out, unless the file has splits, and the order of the others."""

    kind: ClassVar[str] = "rows"
    dataset: Annotated[str, Option("The name of the file.", DATA, default=None)]
    data: OwnFile
    targets: Targets = "classes"
    target: Annotated[str | None, Option("The column of the target in a table.", DATA, "the last")] = None
    valid: OfValidation = None
    held_out: HeldOut = None
    seed: SequenceSeed = 0


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Labeled(Checked):
    """Labeled sequences, or a series, of the user's own file ``data``; as of `Rows`."""

    kind: ClassVar[str] = "labeled"
    dataset: Annotated[str, Option("The name of the file.", DATA, default=None)]
    data: OwnFile
    targets: Targets = "classes"
    length: Annotated[int | None, Field(ge=1), Option("Steps of a window of a series.", DATA, "30")] = None
    valid: OfValidation = None
    held_out: HeldOut = None
    seed: SequenceSeed = 0


Data = Images | Text | Generated | Pixels | Rows | Labeled


DATA_OF: dict[str, tuple[type[Data], ...]] = {"mlp": (Images, Rows), "rnn": (Text, Generated, Pixels, Labeled)}
"""The kinds of data of each task; the first is that of its default dataset."""


def data_of(task: str, data: Mapping[str, Any]) -> type[Data]:
    """The kind of data that has these settings: it follows from the name of the dataset, a ``text`` is one, and so is
    the user's own ``data``.

    Raises:
        SeqlraError: an unknown dataset.
    """
    from seqlra.data.arrays import PIXEL_DATASETS  # here, because these import torch
    from seqlra.data.memory import MEMORY_TASKS
    from seqlra.data.text import TEXTS

    first, *_, own = DATA_OF[task]
    dataset = data["dataset"]
    if data.get("data") is not None:
        return own
    if task == "mlp" or data.get("text") is not None or str(dataset).startswith("hf:"):
        return first
    names: dict[type[Data], Iterable[str]] = {Text: TEXTS, Generated: MEMORY_TASKS, Pixels: PIXEL_DATASETS}
    for kind in DATA_OF[task]:
        if dataset in names.get(kind, ()):
            return kind
    raise unknown("dataset", dataset, [*(name for known in names.values() for name in known), "hf:owner/name"])
