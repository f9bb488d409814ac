"""Table 2: networks of many kinds of units from null initialization. Three layers of 800, Adam, mini-batches of 20."""

from __future__ import annotations

from itertools import product
from statistics import fmean
from typing import Any

from seqlra.paper.cells import Cell, Scale
from seqlra.paper.exhibit import Entry, Exhibit, Page, entry, what_ran
from seqlra.paper.published import TABLE2
from seqlra.paper.reproduction import Found, Reproduction
from seqlra.paper.table1 import DATA

NETWORKS: dict[str, dict[str, Any]] = {
    "softsign": {"activation": "softsign"},
    "relu6": {"activation": "relu6"},
    "softplus": {"activation": "softplus", "lr": 0.00005},
    "LWTA-1": {"activation": "tanh", "discretizer": "lwta"},
    "LWTA-2": {"activation": "hard-tanh", "discretizer": "lwta"},
    "SLWTA-1": {"activation": "tanh", "discretizer": "slwta"},
    "SLWTA-2": {"activation": "hard-tanh", "discretizer": "slwta"},
    "signum": {"activation": "tanh", "discretizer": "sign"},
}
"""The unit f of each network, and what competes or discretizes above it. The step size of softplus is our choice: its
units have no upper bound, and diverge with the step size of the other networks."""

STEP_SIZE = 0.0002
"""Of Adam; Section 3.3 does not state it, Section 3.5 has this one."""


def cell(network: str, data: str, epochs: int | None = None) -> Cell:
    """One network on one dataset, for the epochs of the scale or always for so many."""
    options: dict[str, Any] = {
        "dataset": data,
        "hidden": (800,) * 3,
        "weight_init": "zeros",
        "optimizer": "adam",
        "lr": STEP_SIZE,
        "batch_size": 20,
        **NETWORKS[network],
    }
    return Cell(f"{data}-3x800-{network}-lra-fdbk", options, epochs=epochs)


class Table2(Exhibit):
    """Test error of the eight networks after one epoch, and the best."""

    name = "table2"
    title = "many kinds of units from null initialization (Section 3.3), test error in percent"
    quick = Scale(epochs=2)
    paper = Scale(epochs=100)

    def cells(self) -> list[Cell]:
        """Each network twice: for one epoch, since the test set is looked at once a run, and for those of the scale."""
        return [cell(network, data, epochs) for epochs in (1, None) for network in NETWORKS for data in DATA]

    def page(self, reproduction: Reproduction) -> Page | None:
        """One row a network and dataset; ours (the paper's, the difference)."""
        rows: list[tuple[str, ...]] = []
        entries: list[Entry] = []
        ran: list[Found] = []
        for network, data in product(NETWORKS, DATA):
            first, longest = reproduction.found(cell(network, data), 1), reproduction.found(cell(network, data))
            if longest is None:
                continue
            after_one, after_50, _, best, best_epoch = TABLE2[network, data]
            own = [
                entry(f"{network}, {data}, epoch 1", first, "test_error", after_one) if first else None,
                entry(f"{network}, {data}, best", longest, "test_error", best) if longest.epochs > 1 else None,
            ]
            ran += [found for found in {id(found): found for found in (first, longest)}.values() if found]
            entries += [each for each in own if each]
            last = fmean(history[-1]["valid_error"] for history in longest.histories)
            at = ", ".join(str(outcome["best_epoch"]) for outcome in longest.outcomes)
            shown = [each.summary() if each else "-" for each in own]
            chosen = f"{at} of {longest.epochs} ({best_epoch} of 100)"
            rows.append((network, data, shown[0], f"{last:.2f}", f"{after_50:g}", shown[1], chosen))
        if not rows:
            return None
        header = (
            "network", "data", "epoch 1", "last epoch, validation", "paper, epoch 50", "best", "epoch of the best"
        )  # fmt: skip
        return Page([header, *rows], entries, [NOTE, what_ran(ran)])


NOTE = (
    "Ours (the paper's, the difference). Our best is the test error of the epoch that validation chose, in a run of as "
    "many epochs as the row shows; the paper's is the best of 100. Epoch 1 is a run of one epoch."
)
