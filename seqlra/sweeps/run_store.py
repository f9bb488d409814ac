"""A shelf: a folder with an ordinary run directory for each of several runs, its members.

Members that are trained together are a group, one stack, whose own checkpoint is in ``<group>.stack/`` until they are
done. What is done is not done again, and what was stopped goes on. A member that diverged has ``failed.json`` in place
of ``result.json``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from seqlra.errors import Diverged, SeqlraError
from seqlra.training.experiment import begin, prepare, result_so_far, set_threads, shared, train
from seqlra.training.pictures import save_pictures
from seqlra.training.run_directory import Directory, RunDirectory, StackDirectory
from seqlra.training.settings import Config
from seqlra.training.stacks import begin_stack, train_stack
from seqlra.training.trainer import Trainer

Watching = Callable[[Sequence["RunSpec"]], AbstractContextManager[Callable[[Trainer], None]]]
"""What shows how a member goes, or members that are trained together: entered when it starts, and then called as
``watch`` of `experiments.train`."""


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
        """The seed of everything in this run."""
        return self.config.seed

    @property
    def folder(self) -> str:
        """The name of its run directory."""
        return f"{self.label}-seed{self.seed}"


@dataclass(frozen=True)
class Group:
    """Members that are trained together, and a name for that."""

    name: str
    members: tuple[RunSpec, ...]


def groups(members: Sequence[RunSpec]) -> list[Group]:
    """The members, those together that can be models of one stack, in the order of the first of each group.

    All seeds of a label that has no company are a group. Of several labels those of one seed are, for which one stream
    of data will do.
    """
    alike: dict[str, list[RunSpec]] = {}
    for member in members:  # those that start from another run may have to wait for it
        kind = [shared(member.config), member.config.network.init_from is not None]
        alike.setdefault(json.dumps(kind), []).append(member)
    return [group for those in alike.values() for group in _by_seed(those)]


def _by_seed(members: Sequence[RunSpec]) -> Iterator[Group]:
    if len({member.label for member in members}) == 1:
        yield Group(members[0].label, tuple(members))
        return
    for seed in dict.fromkeys(member.seed for member in members):
        together = tuple(member for member in members if member.seed == seed)
        yield Group(f"{together[0].label}-and-{len(together) - 1}-more-seed{seed}", together)


class RunStore(Directory):
    """The folder of several runs."""

    def run_of(self, member: RunSpec) -> RunDirectory:
        """The run directory of a member, which need not be there yet."""
        return RunDirectory(self.path / member.folder)

    def stack_of(self, group: str, members: Sequence[RunSpec] = ()) -> StackDirectory:
        """The stack of these members of a group."""
        return StackDirectory(self.path / f"{group}.stack", [f"../{member.folder}" for member in members])

    def outcome(self, member: RunSpec) -> dict[str, Any] | None:
        """The result of a member that is done, one that diverged too (``diverged`` says so); None before.

        Raises:
            SeqlraError: it is damaged.
        """
        outcome = self.run_of(member).outcome()
        return None if outcome is None else {"run": member.folder, **outcome}

    def left(self, group: str, members: Sequence[RunSpec], stacked: bool = True) -> list[list[RunSpec]]:
        """Of the members of a group those that are not done, those together that are trained together."""
        stopped: list[RunSpec] = []
        if (stack := self.stack_of(group)).about.exists():  # it goes on as it was
            folders = {run.path.name for run in StackDirectory.open(stack.path).runs}
            stopped = [member for member in members if member.folder in folders]
        left = [member for member in members if self.outcome(member) is None and member not in stopped]
        alone = [[member] for member in left if not stacked or self.run_of(member).checkpoint.exists()]
        new = [member for member in left if [member] not in alone]
        return [each for each in (stopped, *alone, new) if each]

    def train(self, group: str, members: Sequence[RunSpec], watching: Watching) -> None:
        """Train members that `left` names together to their end, from their checkpoint where they have one.

        A member that diverges is recorded, and the others go on.

        Raises:
            Stopped: the user asked to stop; a checkpoint was kept.
            SeqlraError: data or files that have gone or changed since the members were begun.
        """
        with watching(members) as watch:
            if len(members) > 1:
                self._train_stack(group, members, watch)
            else:
                self._train_alone(members[0], watch)

    def _train_stack(self, group: str, members: Sequence[RunSpec], watch: Callable[[Trainer], None]) -> None:
        stack = self.stack_of(group, members)
        set_threads(members[0].config.threads)
        if not stack.about.exists():
            stack.remove()  # what a kill may have left of another
        experiment = prepare([member.config for member in members], fresh=not stack.checkpoint.exists())
        if stack.about.exists():
            for run in stack.runs:
                experiment.check_vocabulary(run)
        else:
            stack.path.mkdir()
            begin_stack(experiment, stack)
        train_stack(experiment, stack, watch)
        stack.remove()

    def _train_alone(self, member: RunSpec, watch: Callable[[Trainer], None]) -> None:
        run = self.run_of(member)
        set_threads(member.config.threads)
        experiment = prepare(member.config, fresh=not run.checkpoint.exists())
        run.path.mkdir(exist_ok=True)
        if run.config.exists():
            experiment.check_vocabulary(run)
        else:
            begin(experiment, run)
        try:
            train(experiment, run, resume=True, watch=watch)
        except Diverged as error:
            run.write_json(run.failed, {"message": str(error), **result_so_far(experiment, run)})
        save_pictures(run, experiment.title, experiment.task.selects, member.config.diagnose > 0)
