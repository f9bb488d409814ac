"""What lies in a folder: the runs of each setting, whichever kind of folder it is.

Another kind of folder has a reader of its own, in `KINDS`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seqlra.errors import SeqlraError
from seqlra.sweeps.comparison import Comparison
from seqlra.training.experiment import title
from seqlra.training.reading import read_config
from seqlra.training.run_directory import RESULT, ROW, RunDirectory, StackDirectory
from seqlra.training.settings import Config


@dataclass(frozen=True)
class Run:
    """One run, perhaps not begun.

    Attributes:
        config: its settings.
        rows: the rows of metrics so far.
        outcome: its result, with ``diverged``; None where it has not ended.
    """

    config: Config
    rows: Sequence[dict[str, Any]]
    outcome: dict[str, Any] | None

    @staticmethod
    def read(directory: RunDirectory, config: Config | None = None) -> Run:
        """The run of a directory; with ``config`` that need not be there yet.

        Raises:
            SeqlraError: a file is missing or damaged.
        """
        run = Run(config or read_config(directory), directory.read_metrics(), directory.outcome())
        for row in run.rows:
            _demand(directory.metrics, row, ROW)
        if run.outcome is not None:
            _demand(directory.failed if run.outcome["diverged"] else directory.result, run.outcome, RESULT)
        return run


def _demand(file: Path, plain: Mapping[str, Any], names: Iterable[str]) -> None:
    for name in names:
        if name not in plain:
            raise SeqlraError(f"{file} is damaged: it has no {name}")


@dataclass(frozen=True)
class Entry:
    """The runs of one setting, which differ in their seeds alone: a line of the table.

    Attributes:
        label: its name on the page.
        source: the folder it was found in.
        runs: one for each seed.
        command: the command line that made it, where that is known.
    """

    label: str
    source: Path
    runs: Sequence[Run]
    command: str = ""

    @property
    def title(self) -> str:
        """Its rule, network, data and seeds in a line."""
        return title(*(run.config for run in self.runs))


def _of_a_run(path: Path) -> Iterator[Entry]:
    yield Entry(_name(path), path, [Run.read(RunDirectory.open(path))])


def _of_a_stack(path: Path) -> Iterator[Entry]:
    """One entry, or where models differ in more than their seeds, one for each setting."""
    stack = StackDirectory.open(path)
    settings: dict[str, list[tuple[str, Run]]] = {}
    for folder, directory in zip(stack.folders, stack.runs, strict=True):
        run = Run.read(directory)
        plain = {**run.config.to_dict(), "seed": None}
        settings.setdefault(json.dumps(plain, sort_keys=True), []).append((folder, run))
    for those in settings.values():
        label = _name(path) if len(settings) == 1 else f"{_name(path)}/{those[0][0]}"
        yield Entry(label, path, [run for _, run in those])


def _of_a_comparison(path: Path) -> Iterator[Entry]:
    comparison = Comparison.open(path)
    for label, specs in comparison.by_label().items():
        runs = [Run.read(comparison.run_of(spec), spec.config) for spec in specs]
        yield Entry(label, path, runs, comparison.command)


KINDS: dict[str, Callable[[Path], Iterator[Entry]]] = {
    "compare.json": _of_a_comparison,
    "stack.json": _of_a_stack,
    "config.json": _of_a_run,
}
"""The reader of each kind of folder, by the file that makes it one."""


def find(paths: Sequence[Path]) -> list[Entry]:
    """What lies in these folders, in their order; of several folders, entries of one label are told apart by theirs.

    Raises:
        SeqlraError: a folder is of no kind that is known, or is damaged.
    """
    entries = [entry for path in dict.fromkeys(paths) for entry in _read(path)]
    labels = [entry.label for entry in entries]
    return [
        replace(entry, label=f"{entry.source}: {entry.label}") if labels.count(entry.label) > 1 else entry
        for entry in entries
    ]


def _read(path: Path) -> list[Entry]:
    for file, reader in KINDS.items():
        if (path / file).is_file():
            return list(reader(path))
    raise SeqlraError(
        f"{path} holds nothing to report; accepted: the folder of a run, of several seeds, or of a comparison"
    )


def _name(path: Path) -> str:
    return path.absolute().name
