"""The store of the paper's runs: finished runs stay, stopped runs continue, and tables find their runs here.

A run of a cell is ``<cell>-<epochs>ep-seed<k>/``. Cells that can be trained together are: see
`seqlra.sweeps.run_store.groups`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from seqlra.errors import SeqlraError
from seqlra.paper.cells import Cell, Machine, Scale, with_sources
from seqlra.sweeps.run_store import Group, RunSpec, RunStore, Watching, groups
from seqlra.training.configure import complete
from seqlra.training.data_settings import Images, Pixels, Text
from seqlra.training.reading import read_config
from seqlra.training.results import spread
from seqlra.training.run_directory import RunDirectory
from seqlra.training.settings import Config


@dataclass(frozen=True)
class Found:
    """The finished runs of a cell, one a seed, all of the same number of epochs.

    Attributes:
        epochs: how many.
        runs: their directories, in the order of their seeds.
    """

    epochs: int
    runs: tuple[RunDirectory, ...]

    @cached_property
    def outcomes(self) -> list[dict[str, Any]]:
        """``result.json`` of each run; of one that diverged ``failed.json``."""
        return [outcome for run in self.runs if (outcome := run.outcome())]

    @cached_property
    def histories(self) -> list[list[dict[str, Any]]]:
        """The rows of ``metrics.jsonl`` of each run; of one that diverged at once there may be none.

        Raises:
            SeqlraError: a run is finished but has none, as where it was taken over from a ``runs.jsonl``.
        """
        found = [run.read_metrics() for run in self.runs]
        for run, rows in zip(self.runs, found, strict=True):
            if not rows and run.result.exists():
                raise SeqlraError(f"{run.path} has no curves (metrics.jsonl), only its result")
        return found

    def figure(self, name: str) -> dict[str, Any]:
        """A figure of the results over the seeds: see `spread`."""
        return spread(outcome.get(name) for outcome in self.outcomes)

    @property
    def ms_per_update(self) -> float:
        """Milliseconds that an update took, over all seeds; nan where none made any."""
        steps = sum(outcome["steps"] for outcome in self.outcomes)
        return 1000 * math.fsum(outcome["train_seconds"] for outcome in self.outcomes) / steps if steps else math.nan


class Reproduction(RunStore):
    """The folder of the paper's runs, and of the tables and figures made from them.

    Args:
        path: the folder; created if it does not exist.
        machine: what new runs run on.
    """

    def __init__(self, path: Path, machine: Machine) -> None:
        super().__init__(path)
        self.machine = machine

    def groups(self, cells: Sequence[Cell], scale: Scale) -> list[Group]:
        """All runs that the cells need at a scale, grouped as they are trained together, sources first.

        Raises:
            SeqlraError: a run of that name is there already, with other settings.
        """
        members: list[RunSpec] = []
        for cell in with_sources(cells):
            for seed in range(cell.at(scale).seeds):
                member = self.member(cell, cell.at(scale).epochs, seed)
                if member not in members:  # a cell of fixed epochs may be that of the scale
                    members.append(member)
        return groups(members)

    def left(self, group: str, members: Sequence[RunSpec], stacked: bool = True) -> list[list[RunSpec]]:
        """See `RunStore.left`."""
        for member in members:
            self._check(member)
        return super().left(group, members, stacked)

    def member(self, cell: Cell, epochs: int, seed: int) -> RunSpec:
        """The run of a cell with a seed."""
        start = None
        if cell.after is not None:
            start = str(self.path.resolve() / self.member(cell.after, epochs, seed).folder)
        return RunSpec(f"{cell.name}-{epochs}ep", cell.config(epochs, seed, self.machine, start))

    def train(self, group: str, members: Sequence[RunSpec], watching: Watching) -> None:
        """See `RunStore.train`."""
        self.make()
        super().train(group, members, watching)

    def lengths(self, cell: Cell) -> set[int]:
        """The epochs of the finished runs of a cell."""
        return set(self._finished(cell))

    def found(self, cell: Cell, epochs: int | None = None) -> Found | None:
        """The finished runs of a cell: those of the most epochs, unless it is said how many; None where there are
        none.

        Raises:
            SeqlraError: a result is damaged.
        """
        runs = self._finished(cell)
        wanted = max(runs, default=0) if epochs is None else epochs
        if wanted not in runs:
            return None
        return Found(wanted, tuple(run for _, run in sorted(runs[wanted].items())))

    def unlike(self, cells: Sequence[Cell]) -> list[str]:
        """The runs of these cells that `found` finds and that have other settings than this version would train."""
        names = []
        for cell in cells:
            if (found := self.found(cell)) is not None:
                seeds = (int(run.path.name.rpartition("-seed")[2]) for run in found.runs)
                members = (self.member(cell, found.epochs, seed) for seed in seeds)
                names += [member.folder for member in members if self._is_unlike(member)]
        return names

    def _finished(self, cell: Cell) -> dict[int, dict[int, RunDirectory]]:
        """By epochs and seed the finished runs of a cell."""
        runs: dict[int, dict[int, RunDirectory]] = {}
        for path in self.path.glob(f"{cell.name}-*ep-seed*"):
            length, _, seed = path.name.removeprefix(f"{cell.name}-").partition("ep-seed")
            run = RunDirectory(path)
            if length.isdigit() and seed.isdigit() and run.outcome() is not None:
                runs.setdefault(int(length), {})[int(seed)] = run
        return runs

    def _check(self, member: RunSpec) -> None:
        """Raise `SeqlraError` where a run of that name has other settings."""
        if self._is_unlike(member):
            raise SeqlraError(
                f"{self.run_of(member).path} was run with other settings than those of this version; "
                "remove it to run it again, or choose another --out"
            )

    def _is_unlike(self, member: RunSpec) -> bool:
        run = self.run_of(member)
        return run.config.exists() and _settings(read_config(run)) != _settings(member.config)


def _settings(config: Config) -> Config:
    """What decides the figures of a run, wherever it runs."""
    start = config.network.init_from and Path(config.network.init_from).name
    return replace(
        config,
        data=replace(config.data, data_dir=None) if isinstance(config.data, Images | Text | Pixels) else config.data,
        network=replace(config.network, init_from=start),
        device="",
        threads=1,
        rule=complete(config.rule),
        compile=False,
        versions={},
    )
