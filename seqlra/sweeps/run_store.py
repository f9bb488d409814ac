"""A run store: a folder with an ordinary run directory for each of several runs.

Runs that are trained together are a group, one stack; its checkpoint is in ``<group>.stack/`` until they are done. A
finished run is not run again, and a stopped one continues. A run that diverged has ``failed.json`` in place of
``result.json``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

from seqlra.errors import Diverged, SeqlraError
from seqlra.training.experiment import prepare, shared
from seqlra.training.machine import set_threads
from seqlra.training.run_directory import Directory, RunDirectory, StackDirectory, TrainingDirectory
from seqlra.training.runs import Watch, begin, check_unchanged, quietly, train
from seqlra.training.settings import Config

Watching = Callable[[Sequence["RunSpec"]], AbstractContextManager[Watch]]
"""Shows the progress of runs that are trained together: entered when they start, it gives the `Watch` of their
training."""


@dataclass(frozen=True)
class RunSpec:
    """One run of several: the setting that ``label`` names, with one seed.

    Raises:
        SeqlraError: the label cannot be part of the name of a folder.
    """

    label: str
    config: Config

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", self.label):
            raise SeqlraError(
                f"the label {self.label!r} cannot name a folder; accepted: letters, digits and . _ + -, "
                "and LABEL=RULE for a rule of any name"
            )

    @property
    def seed(self) -> int:
        """The seed of this run."""
        return self.config.seed

    @property
    def folder(self) -> str:
        """The name of its run directory."""
        return f"{self.label}-seed{self.seed}"


@dataclass(frozen=True)
class Group:
    """Runs that are trained together, and a name for them."""

    name: str
    specs: tuple[RunSpec, ...]


def groups(specs: Sequence[RunSpec]) -> list[Group]:
    """The runs in groups that can be trained together, in the order of the first of each group.

    If no other label can join a label, all its seeds are a group. If several labels can, a group has one seed of each,
    because these share one stream of data.
    """
    alike: dict[str, list[RunSpec]] = {}
    for spec in specs:  # runs that start from another run may have to wait for it
        kind = [shared(spec.config), spec.config.network.init_from is not None]
        alike.setdefault(json.dumps(kind), []).append(spec)
    return [group for those in alike.values() for group in _by_seed(those)]


def _by_seed(specs: Sequence[RunSpec]) -> Iterator[Group]:
    if len({spec.label for spec in specs}) == 1:
        yield Group(specs[0].label, tuple(specs))
        return
    for seed in dict.fromkeys(spec.seed for spec in specs):
        together = tuple(spec for spec in specs if spec.seed == seed)
        yield Group(f"{together[0].label}-and-{len(together) - 1}-more-seed{seed}", together)


def show_nothing(specs: Sequence[RunSpec]) -> AbstractContextManager[Watch]:
    """The `Watching` that shows nothing."""
    return nullcontext(quietly)


class RunStore(Directory):
    """The folder of several runs."""

    def run_of(self, spec: RunSpec) -> RunDirectory:
        """The directory of a run, which may not exist yet."""
        return RunDirectory(self.path / spec.folder)

    def stack_of(self, group: str, specs: Sequence[RunSpec] = ()) -> StackDirectory:
        """The stack of these runs of a group."""
        return StackDirectory(self.path / f"{group}.stack", [f"../{spec.folder}" for spec in specs])

    def outcome(self, spec: RunSpec) -> dict[str, Any] | None:
        """The result of a run that is done, one that diverged too (``diverged`` says so); None before.

        Raises:
            SeqlraError: it is damaged.
        """
        outcome = self.run_of(spec).outcome()
        return None if outcome is None else {"run": spec.folder, **outcome}

    def left(self, group: str, specs: Sequence[RunSpec], stacked: bool = True) -> list[list[RunSpec]]:
        """The unfinished runs of a group, grouped as they are trained together."""
        for spec in specs:
            if self.run_of(spec).path.is_symlink():
                raise SeqlraError(
                    f"{self.run_of(spec).path} is a link; the runs of a comparison are folders in its own"
                )
        stopped: list[RunSpec] = []
        if (stack := self.stack_of(group)).about.exists():  # it continues as it was
            folders = stack.named()
            stopped = [spec for spec in specs if f"../{spec.folder}" in folders]
        left = [spec for spec in specs if self.outcome(spec) is None and spec not in stopped]
        alone = [[spec] for spec in left if not stacked or self.run_of(spec).checkpoint.exists()]
        new = [spec for spec in left if [spec] not in alone]
        return [each for each in (stopped, *alone, new) if each]

    def train(self, group: str, specs: Sequence[RunSpec], watching: Watching) -> None:
        """Train runs that `left` groups together to their end, from their checkpoint if they have one.

        A run that diverges is recorded, and the rest continue.

        Raises:
            Stopped: the user asked to stop; a checkpoint was written.
            SeqlraError: data or files that are missing or changed since the runs started.
        """
        stack = self.stack_of(group, specs)
        directory: TrainingDirectory = stack if len(specs) > 1 else self.run_of(specs[0])
        with watching(specs) as watch:
            set_threads(specs[0].config.threads)
            if directory is stack and not stack.about.exists():
                stack.remove()  # what a kill may have left of another
            experiment = prepare([spec.config for spec in specs], fresh=not directory.checkpoint.exists())
            if directory.about.exists():
                check_unchanged(experiment, directory)
            else:
                directory.path.mkdir(exist_ok=True)
                begin(experiment, directory)
            with suppress(Diverged):  # of all; their files say so
                train(experiment, directory, watch)
            if directory is stack:
                stack.remove()
