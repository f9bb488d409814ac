"""Figure 3: filters of the third layer after one epoch on Fashion MNIST, linearized back to pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from seqlra.analysis.plotting import save_figure
from seqlra.paper.cells import Cell, Scale
from seqlra.paper.exhibit import Entry, Exhibit, Page, what_ran
from seqlra.paper.figure2 import diff, fdbk, network
from seqlra.paper.panels import Row, not_run
from seqlra.paper.reproduction import Reproduction
from seqlra.training import checkpoint
from seqlra.training.run_directory import RunDirectory

DATA, LAYER, STEPS = "fashion_mnist", 3, 30

Filters = NDArray[np.float32]  # (units, height, width)


CELLS = {
    "backprop, lr 0.1": Cell(f"{DATA}-3x64-tanh-backprop", network(DATA, "backprop") | {"lr": 0.1}, epochs=1),
    f"LRA-diff, K = {STEPS}": replace(diff(DATA, STEPS), epochs=1),
    "LRA-fdbk": replace(fdbk(DATA, 1.0), epochs=1),
    "backprop, lr 0.01": Cell(f"{DATA}-3x64-tanh-backprop-lr0.01", network(DATA, "backprop") | {"lr": 0.01}, epochs=1),
}
"""By their words in the picture: the paper's (a), (b), (c), networks of Figure 2 after one epoch, always. In (a)
backprop has its default step size here; the last panel has the paper's, taken for means over a mini-batch."""


def linearized(weights: Mapping[str, Tensor], layer: int = LAYER) -> Tensor:
    """The filters of a layer if no layer below had a nonlinearity: ``W1 W2 .. (pixels, units)``."""
    return reduce(torch.matmul, [weights[f"weights.W{number}"] for number in range(1, layer + 1)])


def filters_of(run: RunDirectory) -> Filters:
    """The linearized filters of a run as images; they are squares, as those of Fashion MNIST."""
    seen = linearized(checkpoint.load(run.checkpoint)["best"]["weights"])
    side = math.isqrt(len(seen))
    return seen.T.reshape(-1, side, side).float().numpy()


def smoothness(filters: Filters) -> float:
    """The correlation of pixels with their neighbors to the right and below, averaged over the filters: 1 where a
    filter is smooth, 0 where it is noise."""
    pairs = [
        (one.reshape(len(filters), -1), other.reshape(len(filters), -1))
        for one, other in ((filters[:, :, 1:], filters[:, :, :-1]), (filters[:, 1:], filters[:, :-1]))
    ]
    one, other = (np.concatenate(both, 1) for both in zip(*pairs, strict=True))
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(one, other, strict=True)]))


class Figure3(Exhibit):
    """A tile for each unit of the third layer; backprop, LRA-diff and LRA-fdbk side by side."""

    name = "figure3"
    title = "third-level filters after one epoch on Fashion MNIST (Section 3.1)"
    quick = Scale(epochs=1)
    paper = Scale(epochs=1)

    def cells(self) -> list[Cell]:
        """One of each rule."""
        return list(CELLS.values())

    def page(self, reproduction: Reproduction) -> Page | None:
        """How smooth the filters are, and the error of the network."""
        rows: list[Row] = [("", "correlation of neighboring pixels", "test error in percent")]
        entries: list[Entry] = []
        for label, runs in _runs(reproduction).items():
            smooth = tuple(smoothness(filters_of(run)) for run in runs)
            errors = tuple(found["test_error"] for run in runs if (found := run.outcome()))
            own = [Entry(f"{label}, correlation", smooth, None, 1), Entry(f"{label}, test error", errors, None, 1)]
            rows.append((label, *(entry.summary() for entry in own)))
            entries += own
        if not entries:
            return None
        ran = what_ran(reproduction.found(cell, cell.epochs) for cell in self.cells())
        return Page(rows, entries, [NOTE, *not_run(reproduction, self.cells()), ran])

    def draw(self, reproduction: Reproduction, path: Path) -> bool:
        """Of each rule the first seed."""
        known = {label: filters_of(runs[0]) for label, runs in _runs(reproduction).items()}
        if not known:
            return False
        figure = Figure(figsize=(4.5 * len(known), 5.1), layout="constrained")
        figure.suptitle("Filters of the third layer after one epoch on Fashion MNIST, linearized: dark -, light +")
        places = figure.subplots(1, len(known), squeeze=False)[0]
        for part, (label, filters), axes in zip("abcd", known.items(), places, strict=False):
            axes.set_title(f"({part}) {label}")
            _draw_tiles(axes, filters)
        save_figure(figure, path)
        return True


def _runs(reproduction: Reproduction) -> dict[str, tuple[RunDirectory, ...]]:
    """The finished runs, by their words in the picture."""
    founds = {label: reproduction.found(cell, cell.epochs) for label, cell in CELLS.items()}
    done = {label: tuple(run for run in found.runs if run.result.exists()) for label, found in founds.items() if found}
    return {label: runs for label, runs in done.items() if runs}


def _draw_tiles(axes: Axes, filters: Filters) -> None:
    """All filters in a square, each scaled to its own largest value, as a unit's best input is known but for its norm
    (Erhan et al. 2010)."""
    columns = math.ceil(math.sqrt(len(filters)))
    rows = math.ceil(len(filters) / columns)
    height, width = (size + 1 for size in filters.shape[1:])  # a line between tiles
    canvas = np.full((rows * height + 1, columns * width + 1), np.nan, np.float32)
    for number, each in enumerate(filters):
        top, left = (place * size + 1 for place, size in zip(divmod(number, columns), (height, width), strict=True))
        canvas[top : top + height - 1, left : left + width - 1] = each / max(np.abs(each).max(), 1e-30)
    axes.imshow(np.ma.masked_invalid(canvas), cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    axes.set_axis_off()


NOTE = (
    "A tile is W1 W2 W3 for one unit of the third layer. The paper prints no figures here; it says that both kinds of "
    "LRA have good and clear filters after one epoch, and backprop far noisier ones. The correlation of a pixel with "
    "its neighbors, averaged over tiles, is 1 for a smooth filter and 0 for noise. Backprop stands here twice: with "
    "its default step size here, and with the paper's 0.01, taken for means over a mini-batch."
)
