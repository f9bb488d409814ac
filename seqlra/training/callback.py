"""What looks at a training while it runs.

The training loop (`seqlra.training.trainer.Trainer`) makes updates, measures on validation and keeps the best weights.
All else are callbacks: progress, files, checkpoints, diagnostics, early stopping, Ctrl-C.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from seqlra.engine.update import Step
    from seqlra.training.trainer import Trainer


class Callback:
    """Base of callbacks. Every method does nothing, so override only what you need.

    Callbacks are called in the order in which they were given. They may read everything of the trainer: ``step`` and
    ``total`` (updates done and to do), ``graph``, ``optimizer``, ``records[0].history`` (the rows of metrics so far).
    ``trainer.stop()`` ends training after the update in hand.

    Attributes:
        key: the name under which a checkpoint holds its `state`; empty: it has none.
    """

    key: ClassVar[str] = ""

    def on_train_begin(self, trainer: Trainer) -> None:
        """Before the first update, also of a training that goes on from a checkpoint."""

    def on_epoch_begin(self, trainer: Trainer) -> None:
        """Before the first update of an epoch, or of the rest of one."""

    def wants_step(self, trainer: Trainer) -> bool:
        """Whether `on_before_optimizer_step` shall be called at the next update. That runs through the engine, which
        takes longer than a recorded update and gives the same numbers."""
        return False

    def on_before_optimizer_step(self, trainer: Trainer, step: Step) -> None:
        """With the update in ``p.grad``, before the optimizer takes its step; only where `wants_step` says so."""

    def on_update_end(self, trainer: Trainer) -> None:
        """After every update. Reading a loss here makes a GPU wait; `on_check` does that seldom."""

    def on_check(self, trainer: Trainer) -> None:
        """Every 50 updates and at the end of an epoch, before it is measured; the losses so far were finite."""

    def metrics(self, trainer: Trainer, model: int) -> dict[str, Any]:
        """What to add to the row of metrics of an epoch; ``model`` counts the models of a stack from 0."""
        return {}

    def on_epoch_end(self, trainer: Trainer) -> None:
        """After an epoch was measured: ``trainer.records[0].history[-1]`` is its row."""

    def on_train_end(self, trainer: Trainer) -> None:
        """At the end, also where an error or Ctrl-C ends training."""

    def state(self) -> Mapping[str, Any]:
        """What a checkpoint must hold for training to go on as if it had not been stopped: plain data and tensors."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """The reverse of `state`."""
