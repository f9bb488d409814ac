"""Labeled sequences from arrays: inputs at every step, and targets at some steps.

Sequences are along the first axis, ``(sequences, time, ...)``; a task turns a mini-batch of them into rows for the
engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqlra.data.images import ImageTask, Split
from seqlra.errors import SeqlraError
from seqlra.network.losses import NOT_ASKED, asked


@dataclass(frozen=True)
class PixelDataset:
    """Images to be read as sequences.

    Attributes:
        about: one line for people.
        images: one of `seqlra.data.images.DATASETS`.
        rows: whether a step is a row, rather than one pixel.
    """

    about: str
    images: str
    rows: bool


PIXEL_DATASETS: dict[str, PixelDataset] = {
    "mnist-rows": PixelDataset("mnist row by row: 28 steps of 28 pixels, the class at the last", "mnist", True),
    "mnist-pixels": PixelDataset("mnist pixel by pixel: 784 steps, the class at the last", "mnist", False),
    "mnist-sample-rows": PixelDataset("mnist-sample row by row", "mnist-sample", True),
}

MAX_SYMBOLS = 1_000_000
"""The most tokens or classes that are counted from data: larger numbers are hardly indices."""


@dataclass(frozen=True)
class Sequences:
    """Sequences of one length and their targets.

    Attributes:
        x: vectors ``(n, time, features)``, or integer tokens ``(n, time)``.
        t: targets at the steps ``steps``: classes ``(n, len(steps))`` or vectors ``(n, len(steps), units)``; -100 or
            NaN where none is asked.
        steps: the steps with an output, counted from 1 as in ``output[1] .. output[T]``.
    """

    x: Tensor
    t: Tensor
    steps: range

    def __len__(self) -> int:
        return self.x.shape[0]

    @property
    def time(self) -> int:
        """T, the steps of a sequence."""
        return self.x.shape[1]

    @cached_property
    def masked(self) -> bool:
        """Whether some targets are missing, so that the output needs a `seqlra.network.losses.masked` loss."""
        return not bool(asked(self.t).all())

    def take(self, numbers: Tensor | slice) -> Sequences:
        """The sequences of these numbers."""
        return Sequences(self.x[numbers], self.t[numbers], self.steps)

    def rows(self) -> tuple[Tensor, Tensor]:
        """Inputs ``(time * n, features)`` (tokens: ``(time * n,)``) and targets ``(len(steps) * n, ...)``, step by
        step, for the engine."""
        return self.x.transpose(0, 1).flatten(0, 1), self.t.transpose(0, 1).flatten(0, 1)


@dataclass(frozen=True)
class SequenceSplits:
    """A data set of sequences in three splits, which have the same length and outputs at the same steps.

    Attributes:
        train, valid, test: the splits.
        inputs: features of a step, or the size of the vocabulary of tokens.
        outputs: classes, or units of a target vector.
    """

    train: Sequences
    valid: Sequences
    test: Sequences
    inputs: int
    outputs: int

    def __post_init__(self) -> None:
        shapes = {(part.time, part.steps, part.x.shape[2:], part.t.shape[2:]) for part in self._parts}
        if len(shapes) > 1 or not all(len(part) for part in self._parts):
            given = "; ".join(f"x {tuple(p.x.shape)}, t {tuple(p.t.shape)}, {p.steps}" for p in self._parts)
            raise SeqlraError(
                "the splits of sequences must not be empty, and must have one length, one kind of step and of target, "
                f"and outputs at the same steps; given: {given}"
            )

        if not all(bool(part.x.isfinite().all()) and not part.t.isinf().any() for part in self._parts):
            raise SeqlraError("the inputs of sequences have NaN or infinity in them, or their targets have infinity")

    @property
    def _parts(self) -> tuple[Sequences, Sequences, Sequences]:
        return self.train, self.valid, self.test

    @property
    def time(self) -> int:
        """T, the steps of a sequence."""
        return self.train.time

    @property
    def steps(self) -> range:
        """The steps with an output, counted from 1."""
        return self.train.steps

    @cached_property
    def masked(self) -> bool:
        """Whether some targets are missing in one of the splits."""
        return any(part.masked for part in self._parts)

    def part(self, split: str) -> Sequences:
        """The split "train", "valid" or "test"."""
        return {"train": self.train, "valid": self.valid, "test": self.test}[split]

    @property
    def loss(self) -> str:
        """The output loss that fits the targets."""
        return "gaussian" if self.train.t.dtype.is_floating_point else "cross-entropy"


def sequences_from_arrays(
    x: Any, targets: Any, lengths: Any = None, mask: Any = None, device: torch.device | str = "cpu"
) -> Sequences:
    """Sequences of your own.

    Args:
        x: floats ``(sequences, time, features)``, or integer tokens ``(sequences, time)``; arrays or tensors.
        targets: one a sequence, asked at its last step: classes ``(sequences,)`` or vectors ``(sequences, units)``; or
            one at each step: classes ``(sequences, time)`` or vectors ``(sequences, time, units)``.
        lengths: how many steps of each sequence count, ``(sequences,)``; what is behind them is padding, where
            nothing is asked. None: all.
        mask: at which steps a target at each step is asked, bool ``(sequences, time)``. None: at all.
        device: where the tensors shall live.

    Raises:
        SeqlraError: shapes, types or lengths that do not fit together, or nothing that is asked.
    """
    inputs, t = _tensor(x, "x", device), _tensor(targets, "targets", device)
    vectors = t.dtype.is_floating_point
    _check_shape(inputs)
    count, time = inputs.shape[:2]
    ends = (torch.full((count,), time) if lengths is None else _lengths(lengths, count, time)).to(device)
    within = torch.arange(time, device=device) < ends.unsqueeze(-1)
    inputs = _without_padding(inputs, within)
    each = t.dim() == (3 if vectors else 2)
    wanted = (count, time) if each else (count,)
    if t.shape[: len(wanted)] != wanted or t.dim() != len(wanted) + vectors:
        raise SeqlraError(
            f"{count} sequences of {time} steps take classes ({count},) or ({count}, {time}), or vectors "
            f"({count}, units) or ({count}, {time}, units), as targets; given: {tuple(t.shape)} of {t.dtype}"
        )
    if not vectors and ((t < 0) & (t != NOT_ASKED) | (t >= MAX_SYMBOLS)).any():
        raise SeqlraError(
            f"classes are from 0 to {MAX_SYMBOLS - 1}, or {NOT_ASKED} where none is asked; "
            f"given: {int(t.min())} to {int(t.max())}"
        )
    if mask is not None:
        given = _tensor(mask, "mask", device)
        if not each or given.dtype != torch.bool or given.shape != (count, time):
            raise SeqlraError(
                f"a mask is bool ({count}, {time}) beside a target at each step; given: {tuple(given.shape)} of "
                f"{given.dtype}, and targets {tuple(t.shape)}"
            )
        within &= given
    elif not each:
        within = torch.arange(1, time + 1, device=device) == ends.unsqueeze(-1)
        t = t.unsqueeze(1).expand(count, time, *t.shape[1:])
    missing = float("nan") if vectors else NOT_ASKED
    t = t.masked_fill(~(within.unsqueeze(-1) if vectors else within), missing)
    return _cut(inputs, t)


def split_sequences(sequences: Sequences, valid: int, test: int, seed: int) -> SequenceSplits:
    """Draw sequences for validation and for the test; the rest are for training.

    Raises:
        SeqlraError: one of the splits would be empty.
    """
    train = len(sequences) - valid - test
    if min(train, valid, test) < 1:
        raise SeqlraError(f"{len(sequences)} sequences cannot be split into {train} + {valid} + {test}; each needs one")
    order = torch.randperm(len(sequences), generator=torch.Generator().manual_seed(seed)).to(sequences.x.device)
    fit, held, last = (sequences.take(numbers) for numbers in order.split([train, valid, test]))
    vectors = sequences.t.dtype.is_floating_point
    inputs = sequences.x.shape[2] if sequences.x.dtype.is_floating_point else int(sequences.x.max()) + 1
    outputs = sequences.t.shape[2] if vectors else int(sequences.t.max()) + 1
    return SequenceSplits(fit, held, last, inputs, outputs)


def pixel_sequences(images: ImageTask, features: int) -> SequenceSplits:
    """Images pixel by pixel: ``features`` pixels a step in reading order, and the class asked at the last step.

    After Le et al. (2015, "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units").
    ``features = images.width`` reads a row a step (28 steps for MNIST), 1 a pixel a step (784 steps).

    Raises:
        SeqlraError: features that do not divide the pixels, or splits drawn for each model of a stack.
    """
    if features < 1 or images.pixels % features:
        raise SeqlraError(f"{images.pixels} pixels cannot be cut into steps of {features}; a divisor of them can")
    train, valid, test = (_pixels(split, features) for split in (images.train, images.valid, images.test))
    return SequenceSplits(train, valid, test, features, images.classes)


def _pixels(split: Split, features: int) -> Sequences:
    if split.rows is not None:
        raise SeqlraError("sequences of pixels take one split for all models; load the images with one seed")
    x = split.x.unflatten(-1, (-1, features))
    return Sequences(x, split.t.unsqueeze(-1), range(x.shape[1], x.shape[1] + 1))


def _cut(x: Tensor, t: Tensor) -> Sequences:
    """With targets from the first step at which any sequence is asked to the last."""
    steps = asked(t).any(0).nonzero().squeeze(-1).tolist()
    if not steps:
        raise SeqlraError("no sequence is asked for anything: every target is masked, -100 or NaN")
    low, high = steps[0], steps[-1] + 1
    return Sequences(x, t[:, low:high].contiguous(), range(low + 1, high + 1))


def _tensor(given: Any, name: str, device: torch.device | str) -> Tensor:
    """As float32 (or float64 as it is), int64 or bool."""
    try:
        tensor = given if isinstance(given, Tensor) else torch.as_tensor(np.asarray(given))
    except (TypeError, ValueError) as error:
        raise SeqlraError(f"{name} is not an array of numbers: {error}") from error
    if tensor.dtype not in (torch.float32, torch.float64, torch.bool):
        tensor = tensor.to(torch.float32 if tensor.dtype.is_floating_point else torch.int64)
    return tensor.to(device)


def _check_shape(x: Tensor) -> None:
    vectors = x.dtype.is_floating_point
    if x.dtype == torch.bool or x.dim() != (3 if vectors else 2) or x.numel() == 0:
        raise SeqlraError(
            "x is (sequences, time, features) of floats or (sequences, time) of integer tokens, not empty; "
            f"given: {tuple(x.shape)} of {x.dtype}"
        )


def _without_padding(x: Tensor, within: Tensor) -> Tensor:
    """Inputs with 0 where the sequence is over, checked: a NaN there would spread, although nothing is asked."""
    if x.dtype.is_floating_point:
        return x.masked_fill(~within.unsqueeze(-1), 0.0)
    x = x.masked_fill(~within, 0)
    if x.min() < 0 or x.max() >= MAX_SYMBOLS:
        raise SeqlraError(f"tokens are from 0 to {MAX_SYMBOLS - 1}; given: {int(x.min())} to {int(x.max())}")
    return x


def _lengths(lengths: Sequence[int] | Any, count: int, time: int) -> Tensor:
    ends = _tensor(lengths, "lengths", "cpu")
    if ends.dtype != torch.int64 or ends.shape != (count,) or ends.min() < 1 or ends.max() > time:
        raise SeqlraError(f"lengths are {count} integers from 1 to {time}; given: {ends.tolist()}")
    return ends
