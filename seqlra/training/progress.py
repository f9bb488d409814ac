"""How a training goes, for people who watch it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING, Any

from rich import progress
from rich.console import Console

from seqlra.training.callback import Callback

if TYPE_CHECKING:
    from seqlra.training.trainer import Trainer


class Progress(Callback):
    """Shows how training goes, on standard error: one line an epoch, and on a terminal a bar below them.

    Of several models it shows the means. As a context it keeps the bar over several trainings.
    """

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.bar = bar_of(self.console, "updates")
        self._epochs = 0
        self._id: Any = None

    def __enter__(self) -> Progress:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def on_train_begin(self, trainer: Trainer) -> None:
        """Start the bar."""
        self._id = None
        self.bar.start()

    def on_check(self, trainer: Trainer) -> None:
        """Move the bar."""
        self(trainer)

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Show the metrics of the epoch."""
        self(trainer)

    def on_train_end(self, trainer: Trainer) -> None:
        """Stop the bar."""
        self.bar.stop()

    def __call__(self, trainer: Trainer) -> None:
        """Show the progress of the trainer."""
        name = trainer.task.selects
        last, ended = _last_row(trainer), max(len(record.history) for record in trainer.records)
        if self._id is None:
            self._id = self.bar.add_task("epoch 1", total=trainer.total)
            self._epochs = ended
        metric = f"valid_{name}"
        valid = f", valid {name} {last[metric]:.2f}" if last and metric in last else ""
        self.bar.update(self._id, completed=trainer.step, description=f"epoch {trainer.epoch}{valid}")
        if last is not None and ended > self._epochs:
            self._epochs = ended
            if self.console.is_terminal:
                self.bar.console.print(_epoch_line(last), highlight=False)  # above the bar, where it stays
            else:
                print(_epoch_line(last), file=sys.stderr, flush=True)


class EpochLines:
    """Prints one line an epoch on standard error, with some words before it: for one of several processes.

    Args:
        before: those words.
    """

    def __init__(self, before: str) -> None:
        self.before = before
        self._epochs: int | None = None

    def __call__(self, trainer: Trainer) -> None:
        """Print the line of an epoch that has ended since the last call."""
        ended = max(len(record.history) for record in trainer.records)
        if self._epochs is not None and ended > self._epochs and (last := _last_row(trainer)) is not None:
            print(self.before + _epoch_line(last), file=sys.stderr, flush=True)
        self._epochs = ended


def bar_of(console: Console, unit: str) -> progress.Progress:
    """A bar with the count of so many ``unit`` and the time that is left; nothing where there is no terminal."""
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn(unit),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def _last_row(trainer: Trainer) -> dict[str, Any] | None:
    """The last row of metrics, as means over the models that still learn, with the time of all."""
    rows = [record.history[-1] for record in trainer.records if record.history and not record.diverged]
    if not rows:
        return None
    names = [name for name in rows[0] if all(isinstance(row.get(name), float) for row in rows)]
    means = {name: fmean(row[name] for row in rows) for name in names}
    return {"epoch": rows[0]["epoch"], "step": rows[0]["step"], **means, "seconds": round(trainer.seconds, 3)}


def _epoch_line(row: Mapping[str, Any]) -> str:
    numbers = (f"{name.replace('_', ' ')} {value:.4g}" for name, value in row.items() if isinstance(value, float))
    return f"epoch {row['epoch']} (step {row['step']}): " + ", ".join(numbers)
