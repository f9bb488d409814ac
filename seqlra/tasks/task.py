"""The interface of a task for training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from seqlra.engine.tracing import Outcome
from seqlra.engine.update import Step
from seqlra.network.graph import Graph

Inputs = Tensor | Mapping[str, Tensor]


class Task(Protocol):
    """Data as mini-batches, in an order that depends only on a seed and their number.

    Attributes:
        steps_per_epoch: mini-batches in one pass over the training split.
        samples_per_step: predictions in one mini-batch.
        selects: the metric (lower is better) by which validation chooses the weights.
    """

    steps_per_epoch: int
    samples_per_step: int
    selects: str

    def batch(self, step: int) -> tuple[Inputs, Tensor]:
        """The inputs and targets of update ``step``, counted from 0 over all epochs."""

    def after(self, step: Step | Outcome) -> None:
        """Read what the task needs from an update, e.g. the state from which the next chunk of a sequence starts."""

    def evaluate(self, graph: Graph, split: str) -> list[dict[str, float]]:
        """Metrics over the whole of a split, "valid" or "test": one mapping for each model, in one pass for all; a
        graph without a stack is one model."""

    def train_metrics(self, loss: float, mistakes: float) -> dict[str, float]:
        """What `evaluate` measures, as far as updates show it while the network learns: from the mean ``loss`` and
        the share of ``mistakes`` in [0, 1]."""

    def solved(self, metrics: Mapping[str, float]) -> bool:
        """Whether these metrics of validation say that there is nothing left to learn, so that training may end."""

    def state(self) -> dict[str, Tensor]:
        """What `batch` needs besides the step, for a checkpoint."""

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """The reverse of `state`."""
