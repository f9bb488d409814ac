"""Datasets of the Hub by their id, ``hf:owner/name``: which part of one is read, and as what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqlra.data.sources import from_hub, local_folder
from seqlra.errors import SeqlraError
from seqlra.optional import require

PREFIX = "hf:"


@dataclass(frozen=True)
class Selection:
    """Which part of a dataset is read.

    Attributes:
        column: the images or the text; None: the only column of that kind, or ``image`` or ``text``.
        labels: the classes of images; None: the only column of classes, or ``label``.
        config: the configuration, where the dataset has several.
        revision: a commit, branch or tag; None: the main branch.
    """

    column: str | None = None
    labels: str | None = None
    config: str | None = None
    revision: str | None = None


WHOLE = Selection()


def is_on_hub(dataset: str) -> bool:
    """Whether a dataset is named by its id on the Hub."""
    return dataset.startswith(PREFIX)


def load_splits(dataset: str, data_dir: Path | None, selection: Selection) -> tuple[Any, str]:
    """The splits of ``hf:owner/name`` by name, and where they came from: the Hub, or the folder ``data_dir/owner/name``
    with a copy of its files.

    Raises:
        SeqlraError: no such id, a missing folder, or a dataset that could not be loaded.
    """
    hub_id = dataset.removeprefix(PREFIX)
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", hub_id):
        raise SeqlraError(f"{dataset!r} is no dataset of the Hub; accepted: hf:owner/name")
    ways = (
        f"without the Hub, give --data-dir DIR with a copy of its files in DIR/{hub_id}/ (`hf download --repo-type "
        f"dataset {hub_id} --local-dir DIR/{hub_id}` writes them on a machine with network)"
    )
    folder = local_folder(hub_id, data_dir, False, ways)
    place = hub_id if folder is None else str(folder)
    loaded = from_hub(place, ways, None if folder else selection.revision, selection.config, local=folder is not None)
    if "train" not in loaded:
        raise SeqlraError(f"{place} has no split 'train'; it has {', '.join(loaded)}")
    return loaded, f"Hub {hub_id}" if folder is None else place


def texts(loaded: Any, source: str, column: str | None) -> dict[str, str]:
    """Each split as one text, whose rows are lines: a row that does not end in a newline gets one, unless it is alone.

    Raises:
        SeqlraError: no such column, or one of something else than text.
    """
    name = _column(loaded["train"].features, source, column, ("string", "large_string"), "text")
    return {split: joined(rows[name]) for split, rows in loaded.items()}


def joined(rows: Any) -> str:
    """Rows of text as one text; empty ones (None) are left out."""
    known = [row for row in rows if row]
    return known[0] if len(known) == 1 else "".join(row if row.endswith("\n") else f"{row}\n" for row in known)


def images(loaded: Any, source: str, selection: Selection) -> tuple[dict[str, NDArray[Any]], int]:
    """``train`` and ``test`` images ``(n, height, width)`` in uint8 and their labels ``(n,)``, as ``train images`` and
    so on, and the number of classes. Where there is no split ``test``, ``validation`` is tested on. The channels of
    color images lie one above the other: ``(n, 3 * height, width)``.

    Raises:
        SeqlraError: no such split or column, images of several sizes or of other values than bytes, labels that are no
            integers, or no pillow to decode images with.
    """
    features = loaded["train"].features
    column = _column(features, source, selection.column, ("Image", "Array2D", "Array3D"), "image")
    labels = _column(features, source, selection.labels, ("ClassLabel",), "label")
    held_out = next((split for split in ("test", "validation") if split in loaded), None)
    if held_out is None:
        raise SeqlraError(f"{source} has no split 'test' or 'validation' to test on; it has {', '.join(loaded)}")
    if _kind(features[column]) == "Image":
        require("hub", "a dataset of images on the Hub", "PIL")
    arrays: dict[str, NDArray[Any]] = {}
    for split, name in (("train", "train"), ("test", held_out)):
        batches = list(loaded[name].iter(1000))  # by batches, because rows one by one are decoded slowly
        arrays[f"{split} images"] = _stacked([image for batch in batches for image in batch[column]], source, column)
        classes = np.array([label for batch in batches for label in batch[labels]])
        if classes.dtype.kind not in "iub":
            raise SeqlraError(f"the column {labels!r} of {source} holds {_kind(features[labels])}; labels are integers")
        arrays[f"{split} labels"] = classes.astype(np.int64)
    named = getattr(features[labels], "num_classes", None)
    return arrays, named or 1 + int(max(arrays[f"{split} labels"].max(initial=0) for split in ("train", "test")))


def _stacked(found: list[Any], source: str, column: str) -> NDArray[Any]:
    shades = [np.asarray(image) for image in found]
    if len(kinds := {(shade.shape, shade.dtype) for shade in shades}) > 1:
        shown = ", ".join(sorted(f"{shape} of {dtype}" for shape, dtype in kinds)[:4])
        raise SeqlraError(f"the images of {source} are not of one size and kind; {column!r} holds {shown}")
    stacked = np.stack(shades) if shades else np.empty((0, 0, 0), np.uint8)
    if stacked.dtype != np.uint8 and stacked.dtype.kind in "iub" and stacked.size and stacked.min() >= 0:
        stacked = stacked.astype(np.uint8) if stacked.max() < 256 else stacked
    if stacked.ndim == 4:  # color
        stacked = np.moveaxis(stacked, -1, 1).reshape(len(stacked), -1, stacked.shape[2])
    return stacked


def _column(features: Mapping[str, Any], source: str, given: str | None, kinds: tuple[str, ...], usual: str) -> str:
    """The name of a column: the one that was ``given``, the only one of these kinds, or the usual one."""
    fitting = [name for name, feature in features.items() if _kind(feature) in kinds]
    name = given or (fitting[0] if len(fitting) == 1 else usual)
    of_text = usual == "text" and name in features and name not in fitting
    if name not in features or of_text:
        there = ", ".join(f"{each} ({_kind(feature)})" for each, feature in features.items())
        raise SeqlraError(f"{source} has no column {name!r} of {usual}s; it has {there}")
    return name


def _kind(feature: Any) -> str:
    """``string`` or ``int64`` of plain values, else the name of the type, such as ``Image`` or ``ClassLabel``."""
    kind = type(feature).__name__
    return str(feature.dtype) if kind == "Value" else kind
