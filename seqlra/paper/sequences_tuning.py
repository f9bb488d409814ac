"""Step sizes of the rules on text: three for each rule and size of network, compared on validation alone."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

from seqlra.paper.cells import Cell, Machine, Scale
from seqlra.paper.exhibit import Entry, Exhibit, Page, entry, what_ran
from seqlra.paper.panels import Row, not_run
from seqlra.paper.reproduction import Found, Reproduction
from seqlra.paper.sequence_text import RULES, SIZES, cell, options, text

UPDATES = 1000
STEP_SIZES = {128: (0.01, 0.02, 0.04), 256: (0.005, 0.01, 0.02), 512: (0.0025, 0.005, 0.01)}
"""By number of units: the larger a network, the smaller the steps that it bears."""


class SequencesTuning(Exhibit):
    """Bits per character on validation by rule and step size; its JSON has what `sequences` takes."""

    name = "sequences-tuning"
    title = "step sizes of recurrent networks on text, bits per character on validation (beyond the paper)"
    quick = Scale(epochs=4)
    paper = Scale(epochs=4)

    def cells(self) -> list[Cell]:
        """On the embedded text."""
        return self.cells_at("paper", Machine("cpu", 1))

    def cells_at(self, scale: str, machine: Machine) -> list[Cell]:
        """Every rule with every step size of each size, the small networks first; both scales are the same."""
        return [_cell(rule, size, lr, text(machine)) for size in SIZES for rule in RULES for lr in STEP_SIZES[size]]

    def page(self, reproduction: Reproduction) -> Page | None:
        """One row a rule and size, one column a step size. One is chosen where all of its row were tried."""
        columns = sorted({lr for grid in STEP_SIZES.values() for lr in grid})
        rows: list[Row] = [("rule", "units", *(f"lr {lr:g}" for lr in columns), "chosen", "options")]
        entries: list[Entry] = []
        ran: list[Found] = []
        chosen: dict[str, dict[str, float]] = {}
        for size, (rule, (label, given)) in product(SIZES, RULES.items()):
            known = _trained(reproduction, rule, size)
            if not known:
                continue
            ran += known.values()
            words = f"{label}, {size} units"
            figures = {lr: entry(f"{words}, lr {lr:g}, validation", f, "valid_bpc") for lr, f in known.items()}
            figures = {lr: each for lr, each in figures.items() if not math.isnan(each.mean)}
            if len(known) == len(STEP_SIZES[size]) and figures:
                chosen.setdefault(rule, {})[str(size)] = min(figures, key=lambda lr: figures[lr].mean)
            best = chosen.get(rule, {}).get(str(size))
            means = (_words(figures.get(lr), lr in known) for lr in columns)
            rows.append((label, str(size), *means, "-" if best is None else f"{best:g}", flags(given)))
            entries += figures.values()
        if not ran:
            return None
        data = sorted({outcome["dataset"] for found in ran for outcome in found.outcomes})
        shared = options("bptt", SIZES[0], " and ".join(data), UPDATES, 0.01)
        own = ("rule", "lr", "hidden")
        command = f"seqlra train rnn {flags({k: v for k, v in shared.items() if k not in own})} --hidden UNITS --lr LR"
        note = f"Each is `{command}` with the options of its row. The test split is not looked at here."
        notes = [note, *not_run(reproduction, self.cells_at("paper", reproduction.machine)), what_ran(ran)]
        return Page(rows, entries, notes, data={"chosen": chosen, "command": command, "datasets": data})


def _cell(rule: str, size: int, lr: float, dataset: str) -> Cell:
    return cell(rule, size, dataset, UPDATES, lr)


def _trained(reproduction: Reproduction, rule: str, size: int) -> dict[float, Found]:
    """The finished runs of a rule at a size, by step size."""
    made = {lr: _cell(rule, size, lr, text(reproduction.machine)) for lr in STEP_SIZES[size]}
    return {lr: found for lr, each in made.items() if (found := reproduction.found(each, each.epochs))}


def _words(figure: Entry | None, trained: bool) -> str:
    if figure is None:
        return "diverged" if trained else "-"
    return f"{figure.mean:.3f}"


def flags(given: dict[str, Any]) -> str:
    """Options as the command line has them."""
    words = {name: ",".join(map(str, v)) if isinstance(v, tuple) else v for name, v in given.items()}
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in words.items())
