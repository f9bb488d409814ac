"""Progress, tables and JSON for people and scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from statistics import fmean
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from seqlra.training.trainer import Trainer


class Watch:
    """Shows how training goes, on standard error: a bar on a terminal, else one line an epoch.

    Of several models it shows the means.
    """

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.bar = _bar(self.console, "updates")
        self._epochs = 0
        self._id: Any = None

    def __enter__(self) -> Watch:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, trainer: Trainer) -> None:
        """Show the progress of the trainer."""
        name = trainer.task.selects
        last, ended = _last_row(trainer), max(len(record.history) for record in trainer.records)
        if self._id is None:
            self._id = self.bar.add_task("epoch 1", total=trainer.total)
            self._epochs = ended
        valid = f", valid {name} {last[f'valid_{name}']:.2f}" if last else ""
        epoch = min(trainer.step, trainer.total - 1) // trainer.task.steps_per_epoch + 1
        self.bar.update(self._id, completed=trainer.step, description=f"epoch {epoch}{valid}")
        if last is not None and ended > self._epochs:
            self._epochs = ended
            if not self.console.is_terminal:
                print(_epoch_line(last), file=sys.stderr, flush=True)


@contextmanager
def progress(what: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error if it is a terminal; yields a function of how many are done, and of how many."""
    with _bar(Console(stderr=True), unit) as bar:
        number = bar.add_task(what)
        yield lambda done, total: bar.update(number, completed=done, total=total)


def _bar(console: Console, unit: str) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
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


def table(title: str, rows: Iterable[tuple[str, ...]], header: tuple[str, ...] = (), to_stderr: bool = False) -> None:
    """Print a small table; with ``to_stderr`` it leaves standard output to JSON."""
    grid = Table(show_header=bool(header), box=None, padding=(0, 2, 0, 0))
    rows = list(rows)
    for nth in range(len(rows[0])):
        grid.add_column(header[nth] if header else "", overflow="fold", no_wrap=nth == 0)
    for row in rows:
        grid.add_row(*row)
    console = Console(stderr=to_stderr, markup=False, highlight=False)
    if not console.is_terminal:  # a file or a pipe has no width
        console.width = 160
    console.print(title, style="bold", soft_wrap=True)
    console.print(grid)


def result_rows(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A result as rows of text, with rounded numbers."""
    rows = []
    for name, value in result.items():
        if not isinstance(value, Mapping | list):
            rows.append((name.replace("_", " "), f"{value:.4g}" if isinstance(value, float) else str(value)))
    return rows


def json_line(content: Mapping[str, Any]) -> None:
    """One JSON object, alone, as the last line of standard output."""
    print(json.dumps(content), flush=True)
