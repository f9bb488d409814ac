"""Figure 4: learning curves of all rules on deep and thin networks, weights from N(0, 0.025): a column of Table 1."""

from __future__ import annotations

from pathlib import Path

from seqlra.paper.cells import Cell
from seqlra.paper.exhibit import Exhibit, Page, what_ran
from seqlra.paper.panels import TITLES, Grid, Panel, by_epochs, draw, each, not_run
from seqlra.paper.reproduction import Reproduction
from seqlra.paper.table1 import RULES, UNITS, Table1, cell

STD = 0.025
LABELS = {"backprop": "backprop", "fa": "FA", "dfa": "DFA", "dtp": "DTP", "lra-fdbk": "LRA-fdbk"}
EPOCHS = (1, 3, 10, 30, 100)
"""Those that the page shows, as far as the runs have come."""

WITHIN = 10
ABOUT = {"mnist": 5.0, "fashion_mnist": 20.0}
"""What the paper says LRA-fdbk is at within ten epochs, in percent: about 5 on MNIST, under 20 on Fashion MNIST."""

GRID: Grid = [
    [
        Panel(f"{title}, {unit}", {LABELS[rule]: cell(data, unit, rule, STD) for rule in RULES})
        for data, title in TITLES.items()
    ]
    for unit in UNITS
]


class Figure4(Exhibit):
    """Validation error by epoch: sigmoid above, tanh below, MNIST on the left, Fashion MNIST on the right."""

    name = "figure4"
    title = f"learning curves of all rules from weights of std {STD} (Section 3.2)"
    quick = Table1.quick
    paper = Table1.paper

    def cells(self) -> list[Cell]:
        """LRA-fdbk first."""
        labels = [LABELS[rule] for rule in reversed(RULES)]
        return [found for label in labels for _, other, found in each(GRID) if other == label]

    def page(self, reproduction: Reproduction) -> Page | None:
        """One row for each curve, one column for each of `EPOCHS`."""
        papers = {
            f"{title}, {unit}, {LABELS['lra-fdbk']}, epoch {WITHIN}": ABOUT[data]
            for data, title in TITLES.items()
            for unit in UNITS
        }
        rows, entries = by_epochs(reproduction, GRID, "valid_error", EPOCHS, papers)
        if not entries:
            return None
        ran = what_ran(reproduction.found(cell) for cell in self.cells())
        return Page(rows, entries, [NOTE, *not_run(reproduction, self.cells()), ran])

    def draw(self, reproduction: Reproduction, path: Path) -> bool:
        """See the class."""
        title = f"Eight layers of 128 units from weights of std {STD}"
        return draw(reproduction, path, title, GRID, "valid_error", "error on validation (%)", log=True, apart=True)


NOTE = (
    "Error on the validation images in percent; the paper shows it on the test images, without figures. Of LRA-fdbk it "
    f"says: about {ABOUT['mnist']:g}% on MNIST and under {ABOUT['fashion_mnist']:g}% on Fashion MNIST within {WITHIN} "
    "epochs (in brackets, with the difference, if we have them), while the other rules struggle to get there within "
    "100, except DFA with tanh. Step sizes are those of Table 1."
)
