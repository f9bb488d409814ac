"""Data of your own as tasks: arrays, batches from anywhere, and long sequences with a carried state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from seqlra.data.memory import most_likely_is_wrong
from seqlra.data.samples import Reader, Samples
from seqlra.engine.tracing import Outcome
from seqlra.engine.update import Step
from seqlra.errors import SeqlraError
from seqlra.network.forward import ForwardPass, null_state
from seqlra.network.graph import Graph
from seqlra.network.unrolling import time_of
from seqlra.tasks.guessing import guessing
from seqlra.tasks.measures import measure, passes_of, passes_over_time
from seqlra.tasks.randomness import order_of, seeded
from seqlra.tasks.task import Inputs


class Labeled:
    """Samples in arrays: shuffled mini-batches by number.

    Every epoch has its own order, drawn from the seed and the number of the epoch. An incomplete last mini-batch is
    left out of the epoch.

    Args:
        graph: the network, whose null state every sequence starts from.
        train, valid: the samples; valid may be missing, or batches of samples.
        batch_size: samples in a mini-batch; at most all of them.
        seed: seed of the order, and of the draws of stochastic units when samples are measured.

    Raises:
        SeqlraError: mini-batches without a sample.
    """

    def __init__(
        self, graph: Graph, train: Samples, valid: Samples | Batches | None, batch_size: int, seed: int = 0
    ) -> None:
        if batch_size < 1:
            raise SeqlraError(f"a batch needs at least one sample, not {batch_size}")
        self.train, self.valid, self.seed = train, valid, seed
        self.samples_per_step = min(batch_size, len(train))
        self.steps_per_epoch = len(train) // self.samples_per_step
        self.measures_error = train.measures_error
        self.selects = "error" if self.measures_error else "loss"
        self._device = next(graph.parameters()).device
        self._null = null_state(graph, self.samples_per_step)
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.long)

    def batch(self, step: int) -> tuple[Inputs, Tensor]:
        """Inputs, with the null state, and targets of update ``step``."""
        epoch, nth = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, order_of(self.seed, epoch, len(self.train)).to(self._device)
        size = self.samples_per_step
        inputs, t = self.train.take(self._order[nth * size : (nth + 1) * size]).rows()
        return {**inputs, **self._null}, t

    def evaluate(self, graph: Graph, split: str) -> list[dict[str, float]]:
        """See `metrics_of`; nothing where there is no validation."""
        return [{} if self.valid is None else metrics_of(graph, self.valid, self.seed)]

    def guess(self) -> dict[str, float]:
        """The metrics on validation of whoever always gives the same class; see `guessing`. Nothing where there are no
        classes, or no samples to count them in."""
        valid = self.valid
        if not isinstance(valid, Samples) or valid.t is None or not valid.measures_error:
            return {}
        return guessing(valid.t)

    def after(self, step: Step | Outcome) -> None:
        """Nothing: samples do not depend on each other."""

    def train_metrics(self, loss: float, mistakes: float) -> dict[str, float]:
        """``loss``; of classes also ``error``, as of `metrics_of`."""
        return {"loss": loss, **({"error": 100 * mistakes} if self.measures_error else {})}

    def solved(self, metrics: Mapping[str, float]) -> bool:
        """Never: training goes on as long as it was asked to."""
        return False

    def state(self) -> dict[str, Tensor]:
        """Nothing: mini-batches follow from the seed and the step."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Nothing: there is no state."""


class Batches(Labeled):
    """Batches from an iterable, such as a ``DataLoader`` or a list, which is gone through anew in every epoch.

    Args:
        graph, seed: as of `Labeled`.
        batches: of ``(x, t)`` or ``(x, t, lengths)``, or mappings with these names; one at a time is in memory.
        reader: how they become samples.
        valid: as of `Labeled`.

    Raises:
        SeqlraError: there is no batch, they are used up after one epoch, or are no such pairs.
    """

    def __init__(
        self,
        graph: Graph,
        batches: Iterable[Any],
        reader: Reader,
        valid: Samples | Batches | None = None,
        seed: int = 0,
    ) -> None:
        if not isinstance(batches, Iterable):
            raise SeqlraError(f"data is a pair (x, t) or an iterable of such batches, not {type(batches).__name__}")
        if iter(batches) is batches:
            raise SeqlraError("an iterator is used up after one epoch; give a list, a DataLoader, or list(batches)")
        self._batches, self._reader, self._graph = batches, reader, graph
        first = next(self.samples(), None)
        if first is None:
            raise SeqlraError("there is no batch to learn from")
        super().__init__(graph, first, valid, len(first), seed)
        self.steps_per_epoch = _length(batches)
        self._nulls: dict[int, dict[str, Tensor]] = {}
        self._running: Iterator[Samples] = iter(())
        self._next = -1

    def samples(self) -> Iterator[Samples]:
        """The batches of one epoch."""
        for batch in self._batches:
            yield read(self._reader, batch)

    def batch(self, step: int) -> tuple[Inputs, Tensor]:
        """Inputs, with the null state, and targets of the next batch.

        Raises:
            SeqlraError: the epoch has fewer batches than the first one had.
        """
        nth = step % self.steps_per_epoch
        if nth == 0 or step != self._next:
            self._running = self.samples()
            for _ in range(nth):  # a training that goes on in the middle of an epoch
                next(self._running, None)
        self._next = step + 1
        samples = next(self._running, None)
        if samples is None:
            raise SeqlraError(f"this epoch has {nth} batches, and an epoch was to have {self.steps_per_epoch}")
        if len(samples) not in self._nulls:
            self._nulls[len(samples)] = null_state(self._graph, len(samples))
        inputs, t = samples.rows()
        return {**inputs, **self._nulls[len(samples)]}, t


class Streams(Labeled):
    """Long sequences side by side, with a target at every step: an update sees the next chunk of all of them, from the
    state that the last one left. An epoch starts from the null state; what does not fill a chunk is left out of it.

    Args:
        graph: a recurrent network with an output at every step; a chunk has as many steps as it has.
        train, valid: the sequences; valid may be missing.
        seed: as of `Labeled`.

    Raises:
        SeqlraError: sequences shorter than a chunk.
    """

    def __init__(self, graph: Graph, train: Samples, valid: Samples | None, seed: int = 0) -> None:
        super().__init__(graph, train, None, len(train), seed)
        self._held_out = valid
        self.length = time_of(graph) or 1
        self.steps_per_epoch = train.time // self.length
        if self.steps_per_epoch == 0:
            raise SeqlraError(f"sequences of {train.time} steps are shorter than the {self.length} steps of the graph")
        self.samples_per_step = self.length * len(train)
        self._carried = self._null

    def batch(self, step: int) -> tuple[Inputs, Tensor]:
        """Inputs and targets of update ``step``: the next chunk, from the state that the last one left."""
        nth = step % self.steps_per_epoch
        inputs, t = self.train.steps(nth * self.length, (nth + 1) * self.length).rows()
        return {**inputs, **(self._carried if nth else self._null)}, t

    def after(self, step: Step | Outcome) -> None:
        """Carry the state over to the next chunk."""
        self._carried = step.carried

    def evaluate(self, graph: Graph, split: str) -> list[dict[str, float]]:
        """Over whole sequences, from the null state."""
        return [{} if self._held_out is None else metrics_of(graph, self._held_out, self.seed, stateful=True)]

    def state(self) -> dict[str, Tensor]:
        """The carried state."""
        return {name: state.clone() for name, state in self._carried.items()}  # a view would bring all its steps along

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a carried state."""
        self._carried = dict(state)


def read(reader: Reader, batch: Any) -> Samples:
    """``(x, t)`` or ``(x, t, lengths)``, or a mapping with these names, as samples.

    Raises:
        SeqlraError: it is none of them, or does not fit the graph.
    """
    if isinstance(batch, Mapping):
        if not {"x", "t"} <= batch.keys() <= {"x", "t", "lengths"}:
            named = ", ".join(map(str, batch))
            raise SeqlraError(f"a batch with names has x and t, and perhaps lengths; this one has {named or 'none'}")
        batch = tuple(batch[name] for name in ("x", "t", "lengths") if name in batch)
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        raise SeqlraError(f"data is (x, t) or (x, t, lengths), not {type(batch).__name__}")
    return reader.samples(*batch)


def metrics_of(graph: Graph, data: Samples | Batches, seed: int = 0, stateful: bool = False) -> dict[str, float]:
    """The mean ``loss`` in nats of what is asked, and for classes the ``error``, the percent of wrong answers.

    Args:
        seed: of the draws of stochastic units.
        stateful: whether sequences of any length run chunk by chunk, with the state carried over.
    """
    parts = [data] if isinstance(data, Samples) else data.samples()
    walk = passes_over_time if stateful else passes_of

    def passes() -> Iterator[tuple[ForwardPass, Tensor]]:
        for part in parts:
            yield from walk(graph, part)

    with seeded(seed, next(graph.parameters()).device):
        return measure(passes(), most_likely_is_wrong if data.measures_error else None)[0]


def _length(batches: Iterable[Any]) -> int:
    """How many batches an epoch has; where nobody says, they are counted."""
    try:
        return len(batches)  # type: ignore[arg-type]
    except TypeError:
        return sum(1 for _ in batches)
