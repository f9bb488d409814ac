"""The interface of every table and figure of the paper: cells to train, our figures and the paper's, a picture."""

from __future__ import annotations

import math
import re
import statistics
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from seqlra.markdown import table
from seqlra.paper.cells import Cell, Machine, Scale
from seqlra.paper.reproduction import Found, Reproduction


@dataclass(frozen=True)
class Entry:
    """One figure beside the paper's.

    Args:
        name: the words of its row and column.
        figures: ours, one for each seed.
        paper: the paper's; None where it has none.
        epochs: of training.
    """

    name: str
    figures: tuple[float, ...]
    paper: float | None
    epochs: int

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return math.fsum(self.figures) / len(self.figures)

    @property
    def spread(self) -> float | None:
        """The standard deviation over the seeds; None of a single one."""
        return statistics.stdev(self.figures) if len(self.figures) > 1 else None

    def summary(self) -> str:
        """Mean and spread, the paper's figure and the difference, e.g. ``2.81 ± 0.05 (2.75, +0.06)``."""
        ours = f"**{self.mean:.2f}**" + ("" if self.spread is None else f" ± {self.spread:.2f}")
        return ours if self.paper is None else f"{ours} ({self.paper:g}, {self.mean - self.paper:+.2f})"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        difference = None if self.paper is None else self.mean - self.paper
        return {**vars(self), "mean": self.mean, "spread": self.spread, "difference": difference}


@dataclass(frozen=True)
class Section:
    """One of several tables of a page: its heading, and its cells, the header first."""

    heading: str
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Page:
    """A table or figure as Markdown and as data.

    Args:
        rows: the cells of its table, the header first; none where there is only a picture.
        entries: every figure of it.
        notes: sentences below it.
        sections: more tables.
        data: what else its JSON has, by name.
    """

    rows: Sequence[Sequence[str]] = ()
    entries: Sequence[Entry] = ()
    notes: Sequence[str] = field(default_factory=tuple)
    sections: Sequence[Section] = ()
    data: Mapping[str, Any] = field(default_factory=dict)


class Exhibit(ABC):
    """A table or figure.

    Attributes:
        name: "table1" and so on; title: its subject, with the section.
        quick, paper: its scales.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    quick: ClassVar[Scale]
    paper: ClassVar[Scale]

    @abstractmethod
    def cells(self) -> list[Cell]:
        """The cells to train, the most important first."""

    def cells_at(self, scale: str, machine: Machine) -> list[Cell]:
        """The cells of a scale, "quick" or "paper", with the data that the machine has; as a rule all, at both."""
        return self.cells()

    def measure(self, reproduction: Reproduction, cells: Sequence[Cell]) -> None:
        """Measure these cells after training, except what is measured already."""

    @abstractmethod
    def page(self, reproduction: Reproduction) -> Page | None:
        """The results so far; None if there are none."""

    def draw(self, reproduction: Reproduction, path: Path) -> bool:
        """Draw its picture; returns whether it has one, so far."""
        return False


def entry(name: str, found: Found, figure: str, paper: float | None = None) -> Entry:
    """A figure of the outcomes of a cell; see `Entry`."""
    values = tuple(value for value in found.figure(figure)["all"] if value is not None)
    return Entry(name, values or (math.nan,), paper, found.epochs)


def what_ran(founds: Iterable[Found | None]) -> str:
    """The number of runs, their epochs and seeds, the machines, and the time."""
    known = [found for found in founds if found is not None]
    outcomes = [outcome for found in known for outcome in found.outcomes]
    seconds = math.fsum(outcome["train_seconds"] for outcome in outcomes)
    machines = {(outcome["device"], outcome["threads"]) for outcome in outcomes}
    epochs, seeds = [found.epochs for found in known], [len(found.runs) for found in known]
    versions = {", ".join(f"{name} {v}" for name, v in outcome["versions"].items()) for outcome in outcomes}
    return (
        f"{len(outcomes)} runs, {_range(seeds)} seed(s) a cell, {_range(epochs)} epochs, {seconds / 60:.0f} minutes of "
        f"training in all, on {' and '.join(sorted(f'{d} ({t} threads)' for d, t in machines))}; "
        f"{' and '.join(sorted(versions))}."
    )


def _range(values: Sequence[int]) -> str:
    return str(values[0]) if len(set(values)) == 1 else f"{min(values)} to {max(values)}"


def write(exhibit: Exhibit, reproduction: Reproduction) -> Page | None:
    """Write ``NAME.md``, ``NAME.json`` and ``NAME.png`` into the folder, from the results so far.

    Raises:
        SeqlraError: results are damaged.
    """
    page = exhibit.page(reproduction)
    if page is None:
        return None
    folder = reproduction.path
    drawn = exhibit.draw(reproduction, folder / f"{exhibit.name}.png")
    reproduction.write_text(folder / f"{exhibit.name}.md", markdown(exhibit, page, drawn))
    entries = [each.to_dict() for each in page.entries]
    content: dict[str, Any] = {
        "name": exhibit.name,
        "title": exhibit.title,
        "entries": entries,
        "notes": list(page.notes),
    }
    if page.sections:
        content["tables"] = [vars(section) for section in page.sections]
    content |= page.data
    reproduction.write_json(folder / f"{exhibit.name}.json", content)
    return page


def markdown(exhibit: Exhibit, page: Page, drawn: bool) -> str:
    """The page of an exhibit, with its picture where there is one."""
    name = re.sub(r"(\d)", r" \1", exhibit.name).capitalize()  # "Table 1"
    lines = [f"## {name}: {exhibit.title}", ""]
    if page.rows:
        lines += [table(page.rows), ""]
    for section in page.sections:
        lines += [f"### {section.heading}", "", table(section.rows), ""]
    if drawn:
        lines += [f"![{exhibit.title}]({exhibit.name}.png)", ""]
    lines += [line for note in page.notes for line in (note, "")]
    return "\n".join(lines)
