"""Common code of the exhibits beyond the paper: variants of one setting, one row each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from seqlra.paper.cells import Cell
from seqlra.paper.exhibit import Entry, Exhibit, Page, entry, what_ran
from seqlra.paper.panels import Row, not_run
from seqlra.paper.reproduction import Found, Reproduction

METRICS = {"error": "error in percent", "bpc": "bits per character"}
SPLITS = {"test": "test", "valid": "validation"}


class Variants(Exhibit):
    """Figures of some cells on test and validation, the depth of their updates and their time.

    Attributes:
        variants: the cells, by the words of their rows.
        metric: what is measured, a key of `METRICS`.
        splits: where, of `SPLITS`.
        note: sentences below the table.
    """

    variants: ClassVar[Mapping[str, Cell]]
    metric: ClassVar[str]
    splits: ClassVar[tuple[str, ...]] = ("test", "valid")
    note: ClassVar[str]

    def cells(self) -> list[Cell]:
        """In the order of the rows."""
        return list(self.variants.values())

    def page(self, reproduction: Reproduction) -> Page | None:
        """One row for each variant that was run."""
        known = {label: found for label, cell in self.variants.items() if (found := self._found(reproduction, cell))}
        if not known:
            return None
        measured = (f"{SPLITS[split]} {METRICS[self.metric]}" for split in self.splits)
        rows: list[Row] = [("", *measured, "mean depth", "ms an update", "epochs", "seeds")]
        entries: list[Entry] = []
        for label, found in known.items():
            own = [entry(f"{label}, {SPLITS[split]}", found, f"{split}_{self.metric}") for split in self.splits]
            depth = _text(found.figure("mean_depth")["mean"])
            count = (str(found.epochs), str(len(found.runs)))
            rows.append((label, *(each.summary() for each in own), depth, f"{found.ms_per_update:.1f}", *count))
            entries += own
        missing = not_run(reproduction, self.cells())
        return Page(rows, entries, [self.note, *missing, what_ran(known.values())])

    def _found(self, reproduction: Reproduction, cell: Cell) -> Found | None:
        return reproduction.found(cell, cell.epochs)


def _text(value: Any) -> str:
    return "-" if value is None else f"{value:.2f}"
