"""Figure 7: the angle between the updates of LRA-fdbk and backprop while Table 4's network is pre-trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from seqlra.analysis.plotting import save_figure
from seqlra.paper.cells import Cell
from seqlra.paper.exhibit import Entry, Exhibit, Page, what_ran
from seqlra.paper.panels import Row, curves
from seqlra.paper.published import FIRST_ANGLE, LAST_ANGLE
from seqlra.paper.reproduction import Found, Reproduction
from seqlra.paper.table4 import EVERY, Table4, cell

CELL = cell("lra", "pretrained")
RIGHT_ANGLE = 90.0
"""In degrees: under it an update goes down the loss."""


def measured_at(found: Found) -> list[int]:
    """The updates before each measurement: it is at the first update of an epoch, because an epoch has `EVERY`."""
    longest = max(found.histories, key=len)
    return [0, *(row["step"] for row in longest)][: len(longest)]


class Figure7(Exhibit):
    """The angle of the whole network by mini-batches, with the paper's first and last."""

    name = "figure7"
    title = "angle between the updates of LRA-fdbk and backprop (Section 3.5)"
    quick = Table4.quick
    paper = Table4.paper

    def cells(self) -> list[Cell]:
        """One run, shared with Table 4."""
        return [CELL]

    def page(self, reproduction: Reproduction) -> Page | None:
        """At first, at last, and how it is in between; the first and the last of each layer, too."""
        found = reproduction.found(CELL)
        seeds = [seed for seed in curves(found, "angle").values if seed] if found else []
        if found is None or not seeds:
            return None
        own = [
            Entry("angle at first", tuple(seed[0] for seed in seeds), FIRST_ANGLE, 1),
            Entry("angle at last", tuple(seed[-1] for seed in seeds), LAST_ANGLE, found.epochs),
            Entry("greatest angle", tuple(map(max, seeds)), None, found.epochs),
        ]
        rows: list[Row] = [("", "degrees"), *((entry.name, entry.summary()) for entry in own)]
        layers = _layers(found)
        rows += [(entry.name, entry.summary()) for entry in layers]
        return Page(rows, [*own, *layers], [NOTE, what_ran([found])])

    def draw(self, reproduction: Reproduction, path: Path) -> bool:
        """See the class."""
        found = reproduction.found(CELL)
        if found is None or not (bands := curves(found, "angle").bands()):
            return False
        low, means, high = np.array(bands).T
        at = np.array(measured_at(found))
        figure = Figure(figsize=(8, 5.6), layout="constrained")
        axes = figure.subplots()
        axes.plot(at, means, "o-", markersize=3, label="LRA-fdbk against backprop, whole network")
        axes.fill_between(at, low, high, alpha=0.2, linewidth=0)
        for degrees, style, words in (
            (RIGHT_ANGLE, "--", "90°: no descent"),
            (LAST_ANGLE, "-.", f"the paper's last: {LAST_ANGLE:g}°"),
            (FIRST_ANGLE, ":", f"the paper's first: {FIRST_ANGLE:g}°"),
        ):
            axes.axhline(degrees, color="C3" if degrees == RIGHT_ANGLE else "k", ls=style, lw=1.2, label=words)
        axes.set(xlabel="mini-batches", ylabel="angle (degrees)", ylim=(0, max(100.0, float(np.nanmax(high)) + 5)))
        axes.set_title("Angle between updates: three layers of 256 tanh units, Fashion MNIST")
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.grid(alpha=0.3)
        figure.legend(loc="outside lower center", ncols=2)
        save_figure(figure, path)
        return True


def _layers(found: Found) -> list[Entry]:
    """The angle of each layer at first and at last."""
    histories = [history for history in found.histories if history]
    entries = []
    for when, nth, epochs in (("first", 0, 1), ("last", -1, found.epochs)):
        for layer in histories[0][nth].get("angle_layers", {}):
            angles = [history[nth]["angle_layers"][layer] for history in histories]
            known = tuple(angle for angle in angles if angle is not None)
            entries += [Entry(f"{layer} at {when}", known, None, epochs)] if known else []
    return entries


NOTE = (
    f"Ours (the paper's, the difference), in degrees. Measured at every {EVERY}th mini-batch, which is the first of "
    "each epoch; of all weights and biases taken as one vector, and of those of each layer. The output layer has "
    "backprop's own update under LRA."
)
