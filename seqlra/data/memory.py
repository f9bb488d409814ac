"""Generated tasks with memory: a signal early in a sequence, asked for at its end.

The tasks go back to Hochreiter and Schmidhuber (1997), in the form that Pascanu et al. (2013, "On the difficulty of
training recurrent neural networks") gave them and Manchev and Spratling (JMLR 2020, "Target propagation in
recurrent neural networks") used. Steps are counted from 0 here. T is the length of a sequence; where a share of it is
no whole number of steps, it is rounded down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Generator, Tensor

from seqlra.data.arrays import Sequences
from seqlra.errors import SeqlraError, unknown

TRAIN, VALID, TEST = range(3)
"""Streams of draws under one seed."""

PATTERN, BITS = 10, 7
"""Steps and bits of the pattern of the copy task."""


@dataclass(frozen=True)
class MemoryTask:
    """A generated task.

    Attributes:
        about: one line for people.
        inputs: symbols (tokens), or features of a step.
        outputs: classes, or units of the target vector.
        loss: the output loss, "cross-entropy" for classes or "gaussian" for vectors.
        shortest: the least T.
        asked: at how many steps the target is asked, the last ones of a sequence.
        generate: ``(sequences, T, generator) -> (inputs, targets)``: tokens ``(sequences, T)`` or vectors
            ``(sequences, T, inputs)``, and classes ``(sequences, asked)`` or vectors ``(sequences, asked, outputs)``.
        wrong: ``(output, target) -> (...)``, whether an answer is wrong; both have the shape of a target, except
            that the output has a last axis of ``outputs`` units even for classes.
    """

    about: str
    inputs: int
    outputs: int
    loss: str
    shortest: int
    asked: int
    generate: Callable[[int, int, Generator], tuple[Tensor, Tensor]]
    wrong: Callable[[Tensor, Tensor], Tensor]


SOLVED = 0.01
"""Percent: a task is solved when less is wrong on 10,000 sequences (Manchev and Spratling 2020)."""


def temporal_order(sequences: int, steps: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Which of the signals 0 and 1 came first, and which second: class ``v0 + 2 v1``.

    The first stands in [0.1T, 0.2T), the second in [0.5T, 0.6T), each place being equally likely; all other symbols are
    distractors 2 to 5. Problem 6a of Hochreiter and Schmidhuber (1997), as in Pascanu et al. (2013).
    """
    return _in_order(sequences, steps, generator, (1, 5))


def temporal_order_3(sequences: int, steps: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """`temporal_order` with three signals, in [0.1T, 0.2T), [0.3T, 0.4T) and [0.6T, 0.7T): class ``v0 + 2 v1 + 4 v2``.

    Problem 6b of Hochreiter and Schmidhuber (1997), as in Pascanu et al. (2013).
    """
    return _in_order(sequences, steps, generator, (1, 3, 6))


def adding(sequences: int, steps: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Half the sum of two marked numbers.

    Feature 0 is 1 at two steps, one in [0, 0.1T) and one in [0.1T, 0.5T), and 0 elsewhere; feature 1 is uniform in
    [0, 1). An answer is wrong if its squared error is over 0.04. Problem 4 of Hochreiter and Schmidhuber (1997), as in
    Pascanu et al. (2013).
    """
    numbers = torch.rand(sequences, steps, generator=generator, dtype=torch.float32)
    marks = torch.zeros(sequences, steps, dtype=torch.float32)
    places = [_places(low * steps // 10, high * steps // 10, sequences, generator) for low, high in ((0, 1), (1, 5))]
    for place in places:
        marks.scatter_(1, place, 1.0)
    total = sum((numbers.gather(1, place) for place in places), torch.zeros(sequences, 1))
    return torch.stack([marks, numbers], -1), (total.to(torch.float32) / 2).unsqueeze(-1)


def permutation(sequences: int, steps: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """The first of 100 symbols, which is 0 or 1; those after it are drawn from 2 to 99.

    The random permutation of Pascanu et al. (2013), whose symbols repeat, too; after experiment 2 of Hochreiter and
    Schmidhuber (1997).
    """
    x = torch.randint(2, 100, (sequences, steps), generator=generator)
    x[:, 0] = torch.randint(2, (sequences,), generator=generator)
    return x, x[:, :1].clone()


def copy(sequences: int, steps: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Ten patterns of 7 random bits, to be repeated after a silence.

    The patterns come first, in features 0 to 6; then all is 0 but for feature 7, the stop bit, which is 1 at step
    T - 11. At the last 10 steps the patterns are asked, in their order. An answer is wrong if any of its bits is, cut
    at 0.5. After Graves et al. (2014, "Neural Turing Machines"), with patterns of one length and a silence.
    """
    pattern = torch.randint(2, (sequences, PATTERN, BITS), generator=generator).to(torch.float32)
    x = torch.zeros(sequences, steps, BITS + 1, dtype=torch.float32)
    x[:, :PATTERN, :BITS] = pattern
    x[:, steps - PATTERN - 1, BITS] = 1
    return x, pattern


def most_likely_is_wrong(output: Tensor, t: Tensor) -> Tensor:
    """Whether the class with the largest output ``(..., classes)`` is not ``t (...)``."""
    return output.argmax(-1) != t


def far_off(output: Tensor, t: Tensor) -> Tensor:
    """Whether the squared error of ``(..., units)`` is over 0.04."""
    return (output - t).square().sum(-1) > 0.04


def any_bit_is_wrong(output: Tensor, t: Tensor) -> Tensor:
    """Whether one of the bits ``(..., bits)`` lies on the other side of 0.5."""
    return ((output > 0.5) != (t > 0.5)).any(-1)


MEMORY_TASKS: dict[str, MemoryTask] = {
    "temporal-order": MemoryTask(
        "which two signals came, in which order, among distractors: 4 classes at the last step",
        *(6, 4, "cross-entropy", 10, 1, temporal_order, most_likely_is_wrong),
    ),
    "temporal-order-3": MemoryTask(
        "which three signals came, in which order, among distractors: 8 classes at the last step",
        *(6, 8, "cross-entropy", 10, 1, temporal_order_3, most_likely_is_wrong),
    ),
    "adding": MemoryTask(
        "half the sum of two marked numbers at the last step; wrong if the squared error is over 0.04",
        *(2, 1, "gaussian", 10, 1, adding, far_off),
    ),
    "copy": MemoryTask(
        "ten patterns of 7 bits, repeated after a silence and a stop bit; wrong if a bit is",
        *(BITS + 1, BITS, "gaussian", 2 * PATTERN + 1, PATTERN, copy, any_bit_is_wrong),
    ),
    "permutation": MemoryTask(
        "the first symbol, 0 or 1, at the last step, after symbols 2 to 99",
        *(100, 100, "cross-entropy", 2, 1, permutation, most_likely_is_wrong),
    ),
}


class GeneratedSequences:
    """Mini-batches of a generated task by number, and fixed sequences for validation and for the test.

    What is drawn depends on the seed and the number of the mini-batch alone, and is the same on every device.

    Args:
        name: one of `MEMORY_TASKS`.
        steps: T.
        seed: the seed of all draws.
        held_out: sequences for the test.
        valid: sequences for validation; None: as many.
        device, dtype: of the tensors; vectors need the type of the network.

    Attributes:
        time: T.
        steps: the steps with an output, counted from 1 as in ``output[1] .. output[T]``.
        inputs, outputs, loss: see `MemoryTask`.
        masked: False, because every sequence is asked at the same steps.

    Raises:
        SeqlraError: an unknown task, sequences too short for it, or none held out.
    """

    def __init__(
        self,
        name: str,
        steps: int,
        seed: int = 0,
        held_out: int = 10_000,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        valid: int | None = None,
    ) -> None:
        if name not in MEMORY_TASKS:
            raise unknown("memory task", name, MEMORY_TASKS)
        self.task, self.time, self.seed = MEMORY_TASKS[name], steps, seed
        self.held_out = {"valid": (held_out if valid is None else valid, VALID), "test": (held_out, TEST)}
        self.device, self.dtype = device, dtype
        if steps < self.task.shortest:
            raise SeqlraError(f"{name} needs sequences of at least {self.task.shortest} steps, not {steps}")
        for count, _ in self.held_out.values():
            if count < 1:
                raise SeqlraError(f"at least one sequence must be held out, not {count}")
        self.steps = range(steps - self.task.asked + 1, steps + 1)
        self.inputs, self.outputs, self.loss = self.task.inputs, self.task.outputs, self.task.loss
        self.masked = False
        self.part = cache(self._part)  # drawn once

    def draw(self, sequences: int, number: int, stream: int = TRAIN) -> Sequences:
        """So many sequences, the mini-batch of that number of a stream."""
        # the generator of torch sees 32 bits of its seed, so the three numbers are mixed first
        mixed = np.random.SeedSequence((self.seed, stream, number)).generate_state(1)[0]
        x, t = self.task.generate(sequences, self.time, Generator().manual_seed(int(mixed)))
        return Sequences(self._there(x), self._there(t), self.steps)

    def _part(self, split: str) -> Sequences:
        if split not in self.held_out:
            raise SeqlraError("generated sequences for training are new at every update; accepted: valid or test")
        count, stream = self.held_out[split]
        return self.draw(count, 0, stream)

    def _there(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, self.dtype if tensor.dtype.is_floating_point else tensor.dtype)


def _in_order(sequences: int, steps: int, generator: Generator, tenths: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Distractors, and in each of these tenths of a sequence a signal; the signals are the bits of the class."""
    x = torch.randint(2, 6, (sequences, steps), generator=generator)
    t = torch.zeros(sequences, 1, dtype=torch.int64)
    for bit, tenth in enumerate(tenths):
        place = _places(tenth * steps // 10, (tenth + 1) * steps // 10, sequences, generator)
        signal = torch.randint(2, (sequences, 1), generator=generator)
        x.scatter_(1, place, signal)
        t += signal << bit
    return x, t


def _places(low: int, high: int, sequences: int, generator: Generator) -> Tensor:
    """A step in [low, high) for each sequence, ``(sequences, 1)``."""
    return torch.randint(low, high, (sequences, 1), generator=generator)
