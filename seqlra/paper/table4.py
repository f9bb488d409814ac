"""Table 4: LRA and backprop as pre-training. Three layers of 256 tanh units on Fashion-MNIST, then backprop's SGD."""

from __future__ import annotations

from typing import Any, Literal

from seqlra.paper.cells import Cell, Scale
from seqlra.paper.exhibit import Entry, Exhibit, Page, entry, what_ran
from seqlra.paper.published import TABLE4
from seqlra.paper.reproduction import Reproduction

RULES = {"lra": "lra-fdbk", "backprop": "backprop"}
PHASES: tuple[Literal["pretrained", "finetuned"], ...] = ("pretrained", "finetuned")
EVERY = 1000
"""Every how many mini-batches the update is set beside backprop's, as for Figure 7."""


def cell(rule: str, phase: str) -> Cell:
    """One phase of the network that ``rule``, "lra" or "backprop", trained at first."""
    network: dict[str, Any] = {"dataset": "fashion_mnist", "hidden": (256,) * 3, "activation": "tanh", "batch_size": 50}
    if phase == "pretrained":
        start = {"weight_init": "gaussian", "weight_std": 0.05, "optimizer": "adam", "lr": 0.0002, "diagnose": EVERY}
        return Cell(f"fashion_mnist-3x256-{rule}-pretrained", {**network, **start, "rule": RULES[rule]})
    # with means over a mini-batch a step size of 0.001 would change next to nothing in 100 epochs
    tuning = {"rule": "backprop", "optimizer": "sgd", "lr": 0.001}
    before = cell(rule, "pretrained")
    return Cell(f"fashion_mnist-3x256-{rule}-finetuned", {**network, **tuning}, {"reduction": "sum"}, after=before)


class Table4(Exhibit):
    """Error on every split after pre-training and after fine-tuning."""

    name = "table4"
    title = "fine-tuning what LRA and backprop learned (Section 3.5), Fashion-MNIST, error in percent"
    quick = Scale(epochs=20)
    paper = Scale(epochs=100)

    def cells(self) -> list[Cell]:
        """Both phases for both rules."""
        return [cell(rule, phase) for phase in PHASES for rule in RULES]

    def page(self, reproduction: Reproduction) -> Page | None:
        """One row a phase and rule; ours (the paper's, the difference)."""
        rows: list[tuple[str, ...]] = []
        entries: list[Entry] = []
        ran = []
        for rule in RULES:
            for phase in PHASES:
                found = reproduction.found(cell(rule, phase))
                if found is None:
                    continue
                name = f"{rule}-{phase}"
                figures = zip(("train_error", "valid_error", "test_error"), TABLE4[name], strict=True)
                own = [entry(f"{name}, {figure}", found, figure, paper) for figure, paper in figures]
                rows.append((f"{rule}, {phase}", *(each.summary() for each in own), str(found.epochs)))
                entries += own
                ran.append(found)
        if not rows:
            return None
        return Page([("", "training", "validation", "test", "epochs"), *rows], entries, [NOTE, what_ran(ran)])


NOTE = (
    "Ours (the paper's, the difference). All of ours are of the epoch that validation chose; the paper's of "
    "pre-training are of the last one. Our training error is the mean over the epoch, while the weights "
    "change. Fine-tuning sums updates over a mini-batch, as LRA does in Table 1; the paper does not say."
)
