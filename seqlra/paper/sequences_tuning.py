"""Step sizes of the rules on text: the same three for each, compared on validation alone."""

from __future__ import annotations

from itertools import product
from typing import Any

from seqlra.paper.cells import Cell, Machine, Scale
from seqlra.paper.exhibit import Entry, Exhibit, Page, entry, what_ran
from seqlra.paper.panels import Row, not_run
from seqlra.paper.reproduction import Found, Reproduction
from seqlra.paper.sequence_text import RULES, cell, options, text

SIZE, UPDATES = 128, 1000
STEP_SIZES = (0.005, 0.01, 0.02)


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
        """Every rule with every step size; both scales are the same."""
        return [cell(rule, SIZE, text(machine), UPDATES, lr) for rule, lr in product(RULES, STEP_SIZES)]

    def page(self, reproduction: Reproduction) -> Page | None:
        """One row a rule, one column a step size. A step size is chosen where all of them were tried."""
        rows: list[Row] = [("rule", *(f"lr {lr:g}" for lr in STEP_SIZES), "chosen", "options")]
        entries: list[Entry] = []
        ran: list[Found] = []
        chosen: dict[str, float] = {}
        for rule, (label, given) in RULES.items():
            figures = {}
            for lr in STEP_SIZES:
                made = cell(rule, SIZE, updates=UPDATES, lr=lr)
                if found := reproduction.found(made, made.epochs):
                    ran.append(found)
                    figures[lr] = entry(f"{label}, lr {lr:g}, validation", found, "valid_bpc")
            if figures:
                known = {lr: figures[lr].mean for lr in figures if figures[lr].mean == figures[lr].mean}  # not nan
                if len(figures) == len(STEP_SIZES) and known:
                    chosen[rule] = min(known, key=known.__getitem__)
                means = (f"{known[lr]:.3f}" if lr in known else "-" for lr in STEP_SIZES)
                rows.append((label, *means, f"{chosen[rule]:g}" if rule in chosen else "-", flags(given)))
                entries += [figures[lr] for lr in known]
        if not ran:
            return None
        data = sorted({outcome["dataset"] for found in ran for outcome in found.outcomes})
        shared = options("bptt", SIZE, " and ".join(data), UPDATES, 0.01)
        command = f"seqlra train rnn {flags({k: v for k, v in shared.items() if k not in ('rule', 'lr')})}"
        note = f"Each is `{command} --lr LR` with the options of its row. The test split is not looked at here."
        notes = [note, *not_run(reproduction, self.cells()), what_ran(ran)]
        return Page(rows, entries, notes, data={"chosen": chosen, "command": f"{command} --lr LR", "datasets": data})


def flags(given: dict[str, Any]) -> str:
    """Options as the command line has them."""
    words = {name: ",".join(map(str, v)) if isinstance(v, tuple) else v for name, v in given.items()}
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in words.items())
