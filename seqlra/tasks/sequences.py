"""Labeled sequences as a task: every sequence starts from the null state, and has targets at some of its steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from seqlra.data.arrays import Sequences, SequenceSplits
from seqlra.data.memory import SOLVED, GeneratedSequences, most_likely_is_wrong
from seqlra.engine.tracing import Outcome
from seqlra.engine.update import Step
from seqlra.errors import SeqlraError
from seqlra.network.builders import elman
from seqlra.network.forward import ForwardPass, null_state
from seqlra.network.graph import Graph
from seqlra.network.losses import masked
from seqlra.network.subgraph import Input, Subgraph
from seqlra.tasks.guessing import guessing
from seqlra.tasks.measures import measure
from seqlra.tasks.randomness import order_of, seeded


class LabeledSequences:
    """Mini-batches of sequences by number, and the error on fixed sequences.

    Generated sequences are new at every update; an epoch is `UPDATES_PER_EPOCH` updates. Stored sequences have their
    own order in every epoch, drawn from the seed and the number of the epoch; an incomplete mini-batch is left out.

    Args:
        data: generated sequences, or stored ones in three splits.
        batch_size: sequences in a mini-batch.
        seed: seed of the order of stored sequences, and of the draws of stochastic units when a split is measured.

    Attributes:
        solved_below: by metric, what it must fall under for the task to be solved; empty for data of your own.

    Raises:
        SeqlraError: a mini-batch that is empty, or larger than the training split.
    """

    UPDATES_PER_EPOCH = 100  # of generated sequences: so often Manchev and Spratling (2020) look whether it is solved
    EVALUATION_ROWS = 50_000  # rows (steps times sequences) that go through the network at once in a measurement

    def __init__(self, data: GeneratedSequences | SequenceSplits, batch_size: int, seed: int = 0) -> None:
        self.data, self.batch_size, self.seed = data, batch_size, seed
        if batch_size < 1:
            raise SeqlraError(f"a batch needs at least one sequence, not {batch_size}")
        if isinstance(data, GeneratedSequences):
            self.wrong, self.steps_per_epoch = data.task.wrong, self.UPDATES_PER_EPOCH
        else:
            self.wrong, self.steps_per_epoch = most_likely_is_wrong, len(data.train) // batch_size
            if self.steps_per_epoch == 0:
                raise SeqlraError(f"a batch of {batch_size} is larger than the training split of {len(data.train)}")
        self.measures_error = data.loss == "cross-entropy" or isinstance(data, GeneratedSequences)
        self.selects = "error" if self.measures_error else "loss"
        self.solved_below: dict[str, float] = {"error": SOLVED} if isinstance(data, GeneratedSequences) else {}
        self.samples_per_step = batch_size * len(data.steps)
        self._null: dict[str, Tensor] = {}
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.long)

    def batch(self, step: int) -> tuple[dict[str, Tensor], Tensor]:
        """Inputs, with the null state, and targets of update ``step``."""
        x, t = self._sequences(step).rows()
        return {"x": x, **self._null}, t

    def elman(self, hidden: Sequence[int], **options: Any) -> list[Input | Subgraph]:
        """The Elman network of this task (see `seqlra.network.builders.elman` for the options): it has outputs at the
        steps that are asked, and a loss that fits the targets."""
        data = self.data
        loss = masked(data.loss) if data.masked else data.loss
        return elman(data.inputs, hidden, data.outputs, data.time, output=loss, outputs_at=data.steps, **options)

    def start(self, graph: Graph) -> None:
        """Make the null state of this graph, the start of every sequence.

        Raises:
            SeqlraError: targets are missing, and the output of the graph does not allow for that.
        """
        if self.data.masked and not all(output.loss.masks for output in graph.outputs):  # type: ignore[union-attr]
            raise SeqlraError("some targets are missing: give the output of the network the loss masked(...)")
        self._null = null_state(graph, self.batch_size)

    def train_metrics(self, loss: float, mistakes: float) -> dict[str, float]:
        """``loss``; of classes also ``error``, as of `evaluate`."""
        return {"loss": loss, **({"error": 100 * mistakes} if self.data.loss == "cross-entropy" else {})}

    def solved(self, metrics: Mapping[str, float]) -> bool:
        """Whether these metrics of a split say that the task is solved; never for data of your own."""
        return bool(self.solved_below) and all(metrics[name] < bound for name, bound in self.solved_below.items())

    def evaluate(self, graph: Graph, split: str) -> list[dict[str, float]]:
        """Over "valid" or "test", the mean ``loss`` of what is asked, and its ``error``: percent of wrong answers, as
        the task defines them (vectors of your own have none); for each model, in one pass."""
        data = self.data.part(split)
        at_once = max(1, self.EVALUATION_ROWS // (data.time * (graph.stack[0] if graph.stack else 1)))

        def passes() -> Iterator[tuple[ForwardPass, Tensor]]:
            for start in range(0, len(data), at_once):
                x, t = (part := data.take(slice(start, start + at_once))).rows()
                yield ForwardPass(graph, {"x": x, **null_state(graph, len(part))}), t

        with seeded(self.seed, data.x.device):
            return measure(passes(), self.wrong if self.measures_error else None)

    def guess(self) -> dict[str, float]:
        """The metrics on validation of whoever always gives the same answer; see `guessing`. Where a task has an error
        of its own, only its loss."""
        by_guess = guessing(self.data.part("valid").t)
        return by_guess if self.wrong is most_likely_is_wrong else {"loss": by_guess["loss"]}

    def after(self, step: Step | Outcome) -> None:
        """Nothing: sequences do not depend on each other."""

    def state(self) -> dict[str, Tensor]:
        """Nothing: mini-batches follow from the seed and the step."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Nothing: there is no state."""

    def _sequences(self, step: int) -> Sequences:
        if isinstance(self.data, GeneratedSequences):
            return self.data.draw(self.batch_size, step)
        epoch, nth = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            order = order_of(self.seed, epoch, len(self.data.train))
            self._epoch, self._order = epoch, order.to(self.data.train.x.device)
        return self.data.train.take(self._order[nth * self.batch_size : (nth + 1) * self.batch_size])
