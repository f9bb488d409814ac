"""Figure 2: the error in the first epochs. Three layers of 64 tanh units; K of LRA-diff, the feedback of LRA-fdbk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seqlra.paper.cells import Cell, Scale
from seqlra.paper.exhibit import Exhibit, Page, what_ran
from seqlra.paper.panels import TITLES, Grid, Panel, by_epochs, draw, each, not_run
from seqlra.paper.reproduction import Reproduction

STEPS = (5, 10, 30, 50)
"""K: steps of LRA-diff a subgraph."""

FEEDBACK = (1.0, 1.25, 1.5, 2.0)
"""Standard deviations of the error weights of LRA-fdbk."""


def network(data: str, rule: str) -> dict[str, Any]:
    """The network of Section 3.1 and how it is trained.

    Weights are uniform by fan-in (eq. 5), and the step size is the paper's 0.01, for sums over a mini-batch under LRA;
    backprop (Figure 3) has its default, for means.
    """
    return {
        "dataset": data,
        "hidden": (64,) * 3,
        "activation": "tanh",
        "loss": "log-penalty",
        "weight_init": "fan-in",
        "rule": rule,
        "optimizer": "sgd",
        "batch_size": 50,
    }


def diff(data: str, steps: int) -> Cell:
    """LRA-diff with K steps a subgraph."""
    return Cell(f"{data}-3x64-tanh-lra-diff-k{steps}", network(data, "lra-diff"), {"steps": steps})


def fdbk(data: str, std: float) -> Cell:
    """LRA-fdbk with error weights from N(0, std)."""
    return Cell(f"{data}-3x64-tanh-lra-fdbk-sd{std:g}", network(data, "lra-fdbk") | {"feedback_std": std})


GRID: Grid = [
    [
        Panel(f"{title}, LRA-diff", {f"K = {steps}": diff(data, steps) for steps in STEPS}),
        Panel(f"{title}, LRA-fdbk", {f"sd = {std:g}": fdbk(data, std) for std in FEEDBACK}),
    ]
    for data, title in TITLES.items()
]


class Figure2(Exhibit):
    """Validation error by epoch; a row of panels for each dataset, LRA-diff on the left and LRA-fdbk on the right."""

    name = "figure2"
    title = "error in the first epochs by K of LRA-diff and feedback of LRA-fdbk (Section 3.1)"
    quick = Scale(epochs=2)
    paper = Scale(epochs=5)

    def cells(self) -> list[Cell]:
        """LRA-fdbk first, and the costly ones, of many steps, last."""
        by_cost = [(cell.rule.get("steps", 0), cell) for *_, cell in each(GRID)]
        return [cell for _, cell in sorted(by_cost, key=lambda pair: pair[0])]

    def page(self, reproduction: Reproduction) -> Page | None:
        """One row for each curve, one column for each epoch."""
        rows, entries = by_epochs(reproduction, GRID, "valid_error", range(1, self.paper.epochs + 1))
        if not entries:
            return None
        ran = what_ran(reproduction.found(cell) for cell in self.cells())
        return Page(rows, entries, [NOTE, *not_run(reproduction, self.cells()), ran])

    def draw(self, reproduction: Reproduction, path: Path) -> bool:
        """See the class."""
        title = "Error in the first epochs: three layers of 64 tanh units"
        return draw(reproduction, path, title, GRID, "valid_error", "error on validation (%)")


NOTE = (
    "Error on the validation images in percent; the paper shows it on the test images, without figures, for the first "
    "five of 100 epochs. It says: larger K is better and sooner, with little left to gain from 30 to 50; LRA-fdbk, at "
    "K = 1, reaches the same; the standard deviation of its feedback matters less than K does."
)
