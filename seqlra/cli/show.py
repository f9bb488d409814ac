"""Progress, tables and JSON for people and scripts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table

from seqlra.training.progress import bar_of


@contextmanager
def progress(what: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error if it is a terminal; yields a function of how many are done, and of how many."""
    with bar_of(Console(stderr=True), unit) as bar:
        number = bar.add_task(what)
        yield lambda done, total: bar.update(number, completed=done, total=total)


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
