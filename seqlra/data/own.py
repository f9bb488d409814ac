"""Files of your own: rows with a target in .npz, .csv or .parquet, images in a folder of IDX files, and labeled
sequences in .npz."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seqlra.data.arrays import Sequences, SequenceSplits, sequences_from_arrays, split_sequences
from seqlra.data.images import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, read_folder
from seqlra.data.tables import demand_column, read_table
from seqlra.errors import SeqlraError, first_line
from seqlra.files import demand_file

SPLITS = ("train", "valid", "test")

Arrays = Mapping[str, NDArray[Any]]


def load_rows(
    path: Path,
    targets: str,
    column: str | None = None,
    valid: int | None = None,
    test: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> SequenceSplits:
    """Rows with a target each, as sequences of one step.

    Args:
        path: a ``.npz`` with ``x (n, features)`` and ``t (n,)`` or ``(n, units)``, or ``x_train``, ``t_train``,
            ``x_valid``, ... ``t_test``; or a table, ``.csv`` with a header or ``.parquet``, of numbers; or a folder
            with the four IDX files of a data set like MNIST, whose pixels are made numbers from 0 to 1.
        targets: "classes", from 0 on (words are numbered in their order), or "values".
        column: the target in a table; None: the last column.
        valid, test: how many rows are held out of a file without splits; None: a tenth. IDX files have a test split.
        seed: draws them.
        device: where the tensors shall live.

    Raises:
        SeqlraError: a file that cannot be read, or does not hold that.
    """
    if path.is_dir():
        if column is not None or test is not None:
            given = "column" if column is not None else "test split"
            raise SeqlraError(f"{path} holds IDX files, whose {given} is not to be chosen")
        return _splits(path, _read_idx(path, valid, seed), targets, None, None, seed, device, rows=True)
    demand_file(path)
    arrays = _read_npz(path) if path.suffix == ".npz" else _read_table(path, column)
    if column is not None and path.suffix == ".npz":
        raise SeqlraError(f"{path} has no columns with names; its targets are the array t")
    return _splits(path, arrays, targets, valid, test, seed, device, rows=True)


def load_sequences(
    path: Path,
    targets: str,
    length: int | None = None,
    valid: int | None = None,
    test: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> SequenceSplits:
    """Labeled sequences, or a series to predict one step ahead.

    Of a series the last part is the test and the part before it validation. Training sees all windows of it, the
    measurements those that follow each other.

    Args:
        path: a ``.npz`` with ``series (time,)`` or ``(time, features)``, numbers, or integers as tokens; or with
            ``x (n, time, features)`` or tokens ``(n, time)``, and ``t``, a target of each sequence or
            of each step; it may have ``lengths (n,)``, see `sequences_from_arrays`; all with ``_train``, ``_valid`` and
            ``_test`` at their names where the file has splits.
        length: the steps of a window of a series; None: 30.
        targets, valid, test, seed, device: as of `load_rows`; of a series "classes" are the next tokens.

    Raises:
        SeqlraError: a file that cannot be read, or does not hold that.
    """
    if path.suffix != ".npz":
        raise SeqlraError(f"sequences are in a .npz with the arrays x, t and, if need be, lengths; not in {path.name}")
    demand_file(path)
    arrays = _read_npz(path)
    if "series" in arrays:
        return _series(path, arrays["series"], targets, 30 if length is None else length, valid, test, device)
    if length is not None:
        raise SeqlraError(f"a length is that of windows of a series, and {path} has no array of that name")
    return _splits(path, arrays, targets, valid, test, seed, device, rows=False)


def _series(
    path: Path,
    series: NDArray[Any],
    targets: str,
    length: int,
    valid: int | None,
    test: int | None,
    device: torch.device | str,
) -> SequenceSplits:
    tokens = targets == "classes"
    if series.ndim not in ((1,) if tokens else (1, 2)) or series.dtype.kind not in ("iub" if tokens else "fiub"):
        accepted = (
            "integers (time,), or numbers with --targets values" if tokens else "numbers (time,) or (time, features)"
        )
        raise SeqlraError(f"the series of {path} must be {accepted}; found {series.shape} of {series.dtype}")
    if not np.isfinite(series).all() or (tokens and series.min() < 0):
        raise SeqlraError(f"the series of {path} has tokens under 0, or NaN or infinite numbers")
    whole = torch.from_numpy(series.astype(np.int64 if tokens else np.float32))
    whole = (whole if tokens else whole.to(torch.get_default_dtype()).view(len(series), -1)).to(device)
    tenth = max(1, len(whole) // 10)
    held = [tenth if valid is None else valid, tenth if test is None else test]
    sizes = [len(whole) - sum(held), *held]
    if min(sizes) <= length:
        raise SeqlraError(f"each part of a series needs more than the {length} steps of a window; they have {sizes}")
    train, held_out, last = [
        _windows(part, length, length if nth else 1) for nth, part in enumerate(whole.split(sizes))
    ]
    units = int(whole.max()) + 1 if tokens else whole.shape[1]
    return SequenceSplits(train, held_out, last, units, units)


def _windows(series: torch.Tensor, length: int, stride: int) -> Sequences:
    """Windows of a series, which begin ``stride`` steps after each other; the target of a step is the next one."""
    windows = series.unfold(0, length + 1, stride)
    windows = windows if windows.dim() == 2 else windows.transpose(1, 2)
    return Sequences(windows[:, :-1], windows[:, 1:], range(1, length + 1))


def _splits(
    path: Path,
    arrays: Arrays,
    targets: str,
    valid: int | None,
    test: int | None,
    seed: int,
    device: torch.device | str,
    rows: bool,
) -> SequenceSplits:
    named = any(name.endswith(tuple(f"_{split}" for split in SPLITS)) for name in arrays)
    suffixes = [f"_{split}" for split in SPLITS] if named else [""]
    words = _words([arrays[f"t{suffix}"] for suffix in suffixes if f"t{suffix}" in arrays])
    parts = [_part(path, arrays, suffix, targets, words, device, rows) for suffix in suffixes]
    if not named:
        (whole,) = parts
        tenth = max(1, len(whole) // 10)
        return split_sequences(whole, tenth if valid is None else valid, tenth if test is None else test, seed)
    if valid is not None or test is not None:
        raise SeqlraError(f"{path} has its own splits, so no rows can be held out of it")
    vectors, tokens = parts[0].t.dtype.is_floating_point, not parts[0].x.dtype.is_floating_point
    inputs = max(int(part.x.max()) + 1 if tokens else part.x.shape[2] for part in parts)
    outputs = max(part.t.shape[2] if vectors else int(part.t.max()) + 1 for part in parts)
    train, held_out, last = parts
    return SequenceSplits(train, held_out, last, inputs, outputs)


def _part(
    path: Path,
    arrays: Arrays,
    suffix: str,
    targets: str,
    words: Mapping[Any, int],
    device: torch.device | str,
    rows: bool,
) -> Sequences:
    """One split, or all there is."""
    for name in ("x", "t"):
        if f"{name}{suffix}" not in arrays:
            raise SeqlraError(f"{path} has no array {name}{suffix}; it has {', '.join(arrays) or 'none'}")
    x, t, lengths = arrays[f"x{suffix}"], arrays[f"t{suffix}"], arrays.get(f"lengths{suffix}")
    if words and targets == "classes":
        t = np.array([words[word] for word in t.ravel().tolist()], np.int64).reshape(t.shape)
    if targets == "classes" and t.dtype.kind not in "iub":
        raise SeqlraError(
            f"the targets of {path} are {t.dtype}, and classes are integers or words; see --targets values"
        )
    if targets == "values":
        t = _numbers(path, "the targets", t).astype(np.float32)
        t = t[:, None] if t.ndim == 1 else t
    if rows:
        if x.ndim != 2 or t.ndim > 1 + (targets == "values") or len(x) != len(t) or lengths is not None:
            raise SeqlraError(
                f"{path} must hold x (n, features) and t (n,) of as many rows; found {x.shape}, {t.shape}"
            )
        x = x[:, None]
    if x.dtype.kind not in "iub" or rows:
        x = _numbers(path, "x", x).astype(np.float32)
        if lengths is None and not np.isfinite(x).all():
            raise SeqlraError(f"x of {path} has NaN or infinite numbers")
    found = sequences_from_arrays(x, t, lengths, device=device)
    dtype = torch.get_default_dtype()
    given = [each.to(dtype) if each.dtype.is_floating_point else each for each in (found.x, found.t)]
    return Sequences(given[0], given[1], found.steps)


def _words(targets: list[NDArray[Any]]) -> dict[Any, int]:
    """The numbers of classes that are words; empty where they are numbers."""
    words = {word for t in targets if t.dtype.kind in "OUS" for word in t.ravel().tolist()}
    return {word: number for number, word in enumerate(sorted(words, key=str))}


def _numbers(path: Path, what: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind not in "fiub":
        raise SeqlraError(f"{what} of {path} must be numbers, not {array.dtype}")
    return array


def _read_npz(path: Path) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name.replace("y", "t", 1) if name.split("_")[0] == "y" else name: file[name] for name in file}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise SeqlraError(f"cannot read {path}: {getattr(error, 'strerror', None) or first_line(error)}") from error


def _read_idx(folder: Path, valid: int | None, seed: int) -> Arrays:
    """Images as rows of pixels, with labels; validation is drawn from the training images."""
    found = read_folder(folder)
    x, t = found[TRAIN_IMAGES], found[TRAIN_LABELS]
    held = max(1, len(x) // 10) if valid is None else valid
    if not 0 < held < len(x) or len(x) != len(t):
        raise SeqlraError(
            f"{folder} has {len(x)} training images and {len(t)} labels; validation takes from 1 to all but one, "
            f"not {held}"
        )
    drawn = np.random.default_rng(seed).permutation(len(x))
    splits = {
        "train": (x[drawn[held:]], t[drawn[held:]]),
        "valid": (x[drawn[:held]], t[drawn[:held]]),
        "test": (found[TEST_IMAGES], found[TEST_LABELS]),
    }
    images = {f"x_{split}": pixels.reshape(len(pixels), -1) / np.float32(255) for split, (pixels, _) in splits.items()}
    return {**images, **{f"t_{split}": labels.astype(np.int64) for split, (_, labels) in splits.items()}}


def _read_table(path: Path, column: str | None) -> Arrays:
    """The columns of a table as arrays ``x`` and ``t``."""
    table = read_table(path)
    names = list(table.columns)
    if len(names) < 2:
        raise SeqlraError(f"{path} must have at least two columns, a feature and the target; found {names}")
    column = names[-1] if column is None else column
    demand_column(path, table, column)
    features = table.drop(columns=column)
    wrong = [name for name in features if features[name].dtype.kind not in "fiub"]
    if wrong:
        raise SeqlraError(f"the features of {path} must be numbers; these columns are not: {', '.join(wrong)}")
    if table[column].isna().any():
        raise SeqlraError(f"{path} has rows without a target in the column {column!r}")
    return {"x": features.to_numpy(np.float32), "t": table[column].to_numpy()}
