"""Table 1: robustness to poor initialization. Eight layers of 128 units, weights from N(0, std), 100 epochs."""

from __future__ import annotations

from itertools import product
from typing import Any

from seqlra.paper.cells import Cell, Scale
from seqlra.paper.exhibit import Entry, Exhibit, Page, entry, what_ran
from seqlra.paper.published import STDS, TABLE1
from seqlra.paper.reproduction import Found, Reproduction

DATA = ("mnist", "fashion_mnist")
UNITS = ("sigmoid", "tanh")
RULES = ("backprop", "fa", "dfa", "dtp", "lra-fdbk")

STEP_SIZES = {
    ("backprop", "sigmoid"): 0.1,
    ("backprop", "tanh"): 0.1,
    ("fa", "sigmoid"): 1.0,
    ("fa", "tanh"): 0.5,
    ("dfa", "sigmoid"): 10.0,
    ("dfa", "tanh"): 1.0,
    ("dtp", "sigmoid"): 0.0003,
    ("dtp", "tanh"): 0.0003,
    ("lra-fdbk", "sigmoid"): 0.01,
    ("lra-fdbk", "tanh"): 0.0025,
}
"""The paper's is 0.01 for all but DTP, and fixed. Whether updates are sums or means it does not say, so each was chosen
on validation (``results/tuning.json``): that of LRA for sums, as with 0.01 it learns, those of its rivals for means. In
all of ours it falls to 0 in a straight line: on Fashion-MNIST that is worth a point of LRA's error."""


def cell(data: str, unit: str, rule: str, std: float) -> Cell:
    """One cell of the table. DTP has RMSprop, as the paper gave it an adaptive step size, too."""
    options: dict[str, Any] = {
        "dataset": data,
        "hidden": (128,) * 8,
        "activation": unit,
        "rule": rule,
        "weight_init": "gaussian" if std else "zeros",
        "weight_std": std or 0.05,
        "optimizer": "rmsprop" if rule == "dtp" else "sgd",
        "lr": STEP_SIZES[rule, unit],
        "schedule": "linear",
        "batch_size": 50,
    }
    settings = {"c1": None, "c2": 10.0} if (rule, unit) == ("lra-fdbk", "tanh") else {}
    return Cell(f"{data}-8x128-{unit}-{rule}-std{std:g}", options, settings)


class Table1(Exhibit):
    """Test error by rule, unit, data and standard deviation of the initial weights."""

    name = "table1"
    title = "robustness to poor initialization (Section 3.2), test error in percent"
    quick = Scale(epochs=3)
    paper = Scale(epochs=100, seeds=3)

    def cells(self) -> list[Cell]:
        """The headline first, so that a stopped run has it."""
        return [
            cell(data, unit, rule, std) for rule in reversed(RULES) for data in DATA for unit in UNITS for std in STDS
        ]

    def page(self, reproduction: Reproduction) -> Page | None:
        """One row for each rule, unit and data, as wide as the paper's; ours (the paper's, the difference)."""
        rows: list[tuple[str, ...]] = []
        entries: list[Entry] = []
        ran: list[Found] = []
        for data, unit, rule in product(DATA, UNITS, RULES):
            found = [reproduction.found(cell(data, unit, rule, std)) for std in STDS]
            if not any(found):
                continue
            ran += [each for each in found if each]
            papers = TABLE1[data, unit, rule]
            own = [
                entry(f"{data}, {unit}, {rule}, std {std:g}", each, "test_error", paper) if each else None
                for std, each, paper in zip(STDS, found, papers, strict=True)
            ]
            entries += [each for each in own if each]
            epochs = sorted({each.epochs for each in found if each})
            shown = (each.summary() + ("" if each.paper is not None else " (X)") if each else "-" for each in own)
            rows.append((data, unit, rule, *shown, ", ".join(map(str, epochs))))
        if not rows:
            return None
        header = ("data", "unit", "rule", *(f"std {std:g}" for std in STDS), "epochs")
        return Page([header, *rows], entries, [NOTE, what_ran(ran)])


NOTE = (
    "Ours (the paper's, the difference); X: the paper reports no learning. The paper's is the best error found within "
    "100 epochs; ours is the test error of the epoch that validation chose. Step sizes were chosen on validation."
)
