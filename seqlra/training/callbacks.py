"""The callbacks of the command line, most of which serve `seqlra.fit` as well."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

from torch import Tensor

from seqlra.analysis.diagnostics import Averages, diagnose
from seqlra.engine.update import Step
from seqlra.errors import SeqlraError
from seqlra.network.plain import architecture
from seqlra.training import checkpoint
from seqlra.training.callback import Callback
from seqlra.training.run_directory import RunDirectory
from seqlra.training.trainer import Stopped, Trainer


class Diagnostics(Callback):
    """Sets updates beside those that backprop would have made, see `seqlra.diagnose`; the means of an epoch are in its
    row of metrics: ``angle`` in degrees, ``angle_layers``, ``update_norms``, and more.

    Args:
        every: every how many updates one is diagnosed, from the first on, at the cost of about two; 0: never. Short
            epochs have `LEAST` of them all the same.

    Raises:
        SeqlraError: a negative number.
    """

    key: ClassVar[str] = "diagnostics"
    LEAST: ClassVar[int] = 4
    """Diagnosed updates in an epoch, at the least: one alone says little of it."""

    def __init__(self, every: int = 100) -> None:
        if every < 0:
            raise SeqlraError(f"diagnostics are made every so many updates, or 0 for never; not {every}")
        self.every = every
        self._averages = Averages()

    def wants_step(self, trainer: Trainer) -> bool:
        """At every so many updates of an epoch."""
        each = min(self.every, max(1, trainer.task.steps_per_epoch // self.LEAST))
        return self.every > 0 and trainer.step % trainer.task.steps_per_epoch % each == 0

    def on_before_optimizer_step(self, trainer: Trainer, step: Step) -> None:
        """Diagnose an update; another callback may have asked for it."""
        if self.wants_step(trainer):
            self._averages.add(diagnose(step))

    def metrics(self, trainer: Trainer, model: int) -> dict[str, Any]:
        """The means so far."""
        return self._averages.row(trainer.slice(model))

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Begin new means."""
        self._averages = Averages()

    def state(self) -> dict[str, Tensor]:
        """The sums so far."""
        return self._averages.sums

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from these sums."""
        self._averages.sums = dict(state)


class EarlyStopping(Callback):
    """Ends training once a metric has not fallen for so many epochs.

    Args:
        patience: epochs without a new lowest value.
        metric: a name in the rows of metrics; None: the metric by which validation chooses the weights, or
            ``train_loss`` where there is no validation.
        min_delta: how much lower a value must be to count.

    Raises:
        SeqlraError: a patience under 1; when an epoch ends: no such metric.
    """

    key: ClassVar[str] = "early_stopping"

    def __init__(self, patience: int, metric: str | None = None, min_delta: float = 0.0) -> None:
        if patience < 1:
            raise SeqlraError(f"patience is a number of epochs, at least 1; not {patience}")
        self.patience, self.metric, self.min_delta = patience, metric, min_delta
        self._lowest, self._waited = math.inf, 0

    def on_train_begin(self, trainer: Trainer) -> None:
        """Begin anew, unless training goes on from a checkpoint."""
        if trainer.step == 0:
            self._lowest, self._waited = math.inf, 0

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Compare the last row with the lowest so far; the mean over the models of a stack."""
        rows = [record.history[-1] for record in trainer.records if record.history]
        selected = f"valid_{trainer.task.selects}"
        metric = self.metric or (selected if selected in rows[0] else "train_loss")
        if metric not in rows[0]:
            raise SeqlraError(f"there is no metric {metric!r} to stop by; there are {', '.join(rows[0])}")
        value = math.fsum(row[metric] for row in rows) / len(rows)
        if value < self._lowest - self.min_delta:
            self._lowest, self._waited = value, 0
            return
        self._waited += 1
        if self._waited >= self.patience:
            trainer.stop()

    def state(self) -> dict[str, float]:
        """The lowest value so far, and the epochs since."""
        return {"lowest": self._lowest, "waited": self._waited}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._lowest, self._waited = state["lowest"], state["waited"]


class Checkpoint(Callback):
    """Writes everything that the next update depends on to a file, whole or not at all: at the start, at the end of
    every epoch, and in between where an epoch takes long.

    `seqlra.load` reads the network from it, with the best weights so far; ``seqlra.fit(..., resume=path)`` goes on with
    the training, bit for bit.

    Args:
        path: the file.
        seconds: how long to go at most without a checkpoint.
        architecture: whether the file says of what network it is; a run directory does so elsewhere.
        settings: the fingerprint of what is trained, if it has one, without which `Trainer.resume` refuses the file.
    """

    def __init__(self, path: Path | str, seconds: float = 60.0, architecture: bool = True, settings: str = "") -> None:
        self.path, self.seconds, self._architecture, self._settings = Path(path), seconds, architecture, settings
        self._saved_at = 0.0

    def on_train_begin(self, trainer: Trainer) -> None:
        """The first, unless training goes on from one."""
        if trainer.step == 0:
            self.save(trainer)

    def on_epoch_begin(self, trainer: Trainer) -> None:
        """Look at the clock: the end of an epoch wrote one."""
        self._saved_at = time.perf_counter()

    def on_check(self, trainer: Trainer) -> None:
        """In an epoch that takes long, or before it is left; the end of an epoch has one of its own, after its row."""
        if not trainer.epoch_ended and (trainer.interrupted or time.perf_counter() - self._saved_at > self.seconds):
            self.save(trainer)

    def on_epoch_end(self, trainer: Trainer) -> None:
        """With the row of the epoch."""
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Write one now."""
        network = architecture(trainer.graph) if self._architecture else {}
        checkpoint.save(self.path, {**network, **trainer.state(), "settings": self._settings})
        self._saved_at = time.perf_counter()


class MetricsFile(Callback):
    """Writes the rows of each model to ``metrics.jsonl`` of its run directory when an epoch ends."""

    def __init__(self, runs: Sequence[RunDirectory]) -> None:
        self.runs = runs

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Of the models that have a new row."""
        for run, record in zip(self.runs, trainer.records, strict=True):
            if record.history and record.history[-1]["step"] == trainer.step:
                run.write_metrics(record.history)


class Interrupt(Callback):
    """The first Ctrl-C (or SIGTERM) ends training after the update in hand and a checkpoint; a second ends it at once.

    It comes behind `Checkpoint` in the list of callbacks.

    Args:
        agree: says of several processes that train one model whether any of them was asked to stop: a signal reaches
            them at different updates, and they must stop after the same one. None: there is one process.

    Raises:
        Stopped: the user asked to stop, in the middle of an epoch or at the first update of the next one.
    """

    def __init__(self, agree: Callable[[bool], bool] | None = None) -> None:
        self._agree, self._asked = agree, False
        self._before: dict[signal.Signals, Any] = {}

    def on_train_begin(self, trainer: Trainer) -> None:
        """Take the signals."""
        self._asked = False

        def ask(signum: int, frame: FrameType | None) -> None:
            if self._asked:
                raise KeyboardInterrupt
            self._asked = True
            trainer.interrupted = self._agree is None

        try:
            self._before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not in the main thread, where no signal arrives
            self._before = {}

    def on_check(self, trainer: Trainer) -> None:
        """Leave, unless the epoch has ended and is about to be measured; several processes leave at the next update,
        after all of them agreed to."""
        if trainer.interrupted and not trainer.epoch_ended:
            raise Stopped
        if self._agree is not None:
            trainer.interrupted = self._agree(self._asked)

    def on_train_end(self, trainer: Trainer) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)


class Watched(Callback):
    """Calls a function of the trainer every 50 updates and when an epoch has ended."""

    def __init__(self, watch: Callable[[Trainer], None]) -> None:
        self.watch = watch

    def on_check(self, trainer: Trainer) -> None:
        """Now and then."""
        self.watch(trainer)

    def on_epoch_end(self, trainer: Trainer) -> None:
        """With the row of the epoch."""
        self.watch(trainer)
