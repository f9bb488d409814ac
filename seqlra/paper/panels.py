"""Common code of the figures with curves: a grid of panels, each with one curve by epoch for each of its cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqlra.analysis.curves import Curves
from seqlra.analysis.plotting import by_epoch, draw_curves, logarithmic, save_figure
from seqlra.paper.cells import Cell
from seqlra.paper.exhibit import Entry
from seqlra.paper.reproduction import Found, Reproduction

TITLES = {"mnist": "MNIST", "fashion_mnist": "Fashion MNIST"}
"""Datasets as the paper writes them."""

Row = tuple[str, ...]


@dataclass(frozen=True)
class Panel:
    """One panel: its title, and its cells by their words in the legend, in an order that decides their colors."""

    title: str
    cells: Mapping[str, Cell]


Grid = Sequence[Sequence[Panel]]  # rows of panels, as they stand on the page


def each(grid: Grid) -> Iterator[tuple[str, str, Cell]]:
    """Every cell of a grid, with the title of its panel and its words in the legend."""
    for row in grid:
        for panel in row:
            for label, cell in panel.cells.items():
                yield panel.title, label, cell


def curves(found: Found, key: str, label: str = "") -> Curves:
    """The values of that name in the rows of ``metrics.jsonl``, seed by seed; nan if an epoch has none."""
    return Curves(label, [[_number(row.get(key)) for row in history] for history in found.histories])


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def draw(
    reproduction: Reproduction,
    path: Path,
    title: str,
    grid: Grid,
    key: str,
    axis: str,
    finish: Callable[[Axes], None] = lambda axes: None,
    log: bool = False,
    apart: bool = False,
) -> bool:
    """Draw what there is of a grid; returns whether there was anything.

    Args:
        reproduction, path: where the runs are, and where the picture goes.
        title, grid: what is drawn; a row of panels shares its axis at the side.
        key, axis: what the curves are, by its name in ``metrics.jsonl``, and what the axis calls it.
        finish: adds to a panel what is not a curve.
        log: whether that axis is logarithmic.
        apart: whether marks stand where no other curve has any, since curves may coincide, or at the epochs.
    """
    if not any(reproduction.found(cell) for _, _, cell in each(grid)):
        return False
    figure = Figure(figsize=(0.8 + 5.2 * len(grid[0]), 0.6 + 3.9 * len(grid)), layout="constrained")
    figure.suptitle(title)
    places = figure.subplots(len(grid), len(grid[0]), squeeze=False, sharey="row")
    for panels, row in zip(grid, places, strict=True):
        for panel, axes in zip(panels, row, strict=True):
            if log:
                logarithmic(axes)
            _draw_panel(reproduction, panel, axes, key, apart)
            finish(axes)
            if axes.get_legend_handles_labels()[0]:
                axes.legend()
        row[0].set_ylabel(axis)
    save_figure(figure, path)
    return True


def _draw_panel(reproduction: Reproduction, panel: Panel, axes: Axes, key: str, apart: bool) -> None:
    for nth, (label, cell) in enumerate(panel.cells.items()):
        if found := reproduction.found(cell):  # its color stays its own, whatever is missing
            draw_curves(axes, curves(found, key, label), nth, len(panel.cells), apart)
    axes.set_title(panel.title)
    axes.grid(alpha=0.3, which="both")
    by_epoch(axes)


def by_epochs(
    reproduction: Reproduction, grid: Grid, key: str, wanted: Sequence[int], papers: Mapping[str, float] | None = None
) -> tuple[list[Row], list[Entry]]:
    """The values of the curves after the given epochs, if any curve has them: rows below a header, and entries.

    Args:
        reproduction, grid, key: as of `draw`.
        wanted: epochs.
        papers: the paper's figures, by the names of the entries: ``<panel>, <label>, epoch <n>``.
    """
    known = [(title, label, found) for title, label, cell in each(grid) if (found := reproduction.found(cell))]
    reached = [epoch for epoch in wanted if any(found.epochs >= epoch for *_, found in known)]
    rows: list[Row] = [("", "", *(f"epoch {epoch}" for epoch in reached))]
    entries: list[Entry] = []
    for title, label, found in known:
        own = [_after(epoch, f"{title}, {label}", curves(found, key), papers or {}) for epoch in reached]
        rows.append((title, label, *(entry.summary() if entry else "-" for entry in own)))
        entries += [entry for entry in own if entry]
    return rows, entries


def _after(epoch: int, name: str, found: Curves, papers: Mapping[str, float]) -> Entry | None:
    """The figure after an epoch, over the seeds that reached it."""
    figures = tuple(seed[epoch - 1] for seed in found.values if len(seed) >= epoch)
    name = f"{name}, epoch {epoch}"
    return Entry(name, figures, papers.get(name), epoch) if figures else None


NAMED = 16
"""The most cells that `not_run` names."""


def not_run(reproduction: Reproduction, cells: Sequence[Cell]) -> list[str]:
    """A sentence about the cells that are still missing; none where none is."""
    missing = [cell.name for cell in cells if not reproduction.found(cell, cell.epochs)]
    more = f", and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    return [f"Not run yet: {', '.join(missing[:NAMED])}{more}."] if missing else []
