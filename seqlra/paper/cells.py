"""A cell: one setting that the paper trains, by name, and how long.

Several tables and figures may use the same cell (the curves of Figure 4 are a column of Table 1); it is trained once.
Its name describes it. Settings that the paper leaves open are where the cell is made, with their reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from seqlra.training.configure import configure
from seqlra.training.settings import Config


@dataclass(frozen=True)
class Scale:
    """How much of the paper to run: epochs of training, and seeds 0 to ``seeds - 1``."""

    epochs: int
    seeds: int = 1


@dataclass(frozen=True)
class Machine:
    """The hardware of the cells, and the place of their data; it changes results only by rounding.

    Args:
        device, threads: as of a `Config`.
        data_dir: local copies of the data; None: the Hub.
        compile: whether updates are compiled.
    """

    device: str
    threads: int
    data_dir: str | None = None
    compile: bool = False


@dataclass(frozen=True)
class Cell:
    """A network, data and a rule.

    Args:
        name: fit for a folder, without epochs and seed.
        options: as of `configure`.
        rule: settings of the rule.
        after: the cell from whose chosen weights this one starts.
        epochs: the epochs of this cell at every scale; None: those of the scale.
        task: of `configure`; None: ``rnn`` where the options have ``unroll``, else ``mlp``.
    """

    name: str
    options: Mapping[str, Any]
    rule: Mapping[str, Any] = field(default_factory=dict)
    after: Cell | None = None
    epochs: int | None = None
    task: str | None = None

    def at(self, scale: Scale) -> Scale:
        """The epochs of this cell at a scale."""
        return scale if self.epochs is None else replace(scale, epochs=self.epochs)

    def config(self, epochs: int, seed: int, machine: Machine, start: str | None = None) -> Config:
        """The configuration of a run of it, with weights from the run ``start``, if any."""
        given: dict[str, Any] = {
            "data_dir": machine.data_dir,
            "compile": machine.compile,
            "diagnose": 0,
            "init_from": start,
        }
        given |= {"device": machine.device, "threads": machine.threads, "settings": self.rule}
        given |= {**self.options, "epochs": epochs, "seed": seed}
        return configure(self.task or ("rnn" if "unroll" in self.options else "mlp"), **given)


def with_sources(cells: Sequence[Cell]) -> list[Cell]:
    """The cells, each behind the one whose weights it starts from, and none of them twice."""
    ordered: dict[tuple[str, int | None], Cell] = {}
    for cell in cells:
        for each in (*([cell.after] if cell.after else []), cell):
            ordered.setdefault((each.name, each.epochs), each)
    return list(ordered.values())
