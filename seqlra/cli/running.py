"""The running part of ``seqlra train``: a training starts or continues, shows progress, and reports its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from seqlra import torchrun
from seqlra.errors import Diverged, SeqlraError

if TYPE_CHECKING:
    from seqlra.training.experiment import Experiment
    from seqlra.training.run_directory import TrainingDirectory
    from seqlra.training.settings import Config


class Interrupted(Exception):
    """The user stopped the run; the message says how to go on."""


def start(configs: Sequence[Config], out: Path, stacked: bool, json: bool) -> None:
    """Train in a new directory, which holds one of each run where it is ``stacked``."""
    from seqlra.training.experiment import prepare
    from seqlra.training.runs import begin, create

    if stacked and torchrun.processes() > 1:
        raise SeqlraError("torchrun trains one model in several processes; it does not go with --seeds")
    with _together(configs[0].device):
        experiment = prepare(configs, fresh=True)
        if _follows(experiment, None):
            return
        directory = create(out, configs, stacked)
        begin(experiment, directory)
        _train(experiment, directory, json)


def resume(
    task: str, path: Path, device: str, threads: int | None, json: bool, longer: Mapping[str, int] | None = None
) -> None:
    """Continue a training that was stopped, or make it ``longer``: to so many ``epochs``, or ``steps``."""
    from seqlra.training.machine import set_threads
    from seqlra.training.reading import read_config
    from seqlra.training.run_directory import StackDirectory, TrainingDirectory
    from seqlra.training.runs import reopen

    directory = TrainingDirectory.open(path)
    config = read_config(directory.runs[0])
    stacked = isinstance(directory, StackDirectory)
    if not stacked and StackDirectory(path.resolve().parent).about.is_file() and not directory.runs[0].outcome():
        raise SeqlraError(f"the run {path} is trained with others; go on with: --resume {path.parent}")
    if config.task != task:
        these = f"the runs in {path} are" if stacked else f"the run {path} is one"
        raise SeqlraError(f"{these} of seqlra train {config.task}")
    if directory.result.exists() and not longer:
        these = f"the runs in {path} are finished: their" if stacked else f"the run {path} is finished: its"
        more = "" if stacked else "; to make it longer, add --epochs N"
        raise SeqlraError(f"{these} result is in {directory.result}{more}")
    if stacked and torchrun.processes() > 1:
        raise SeqlraError(f"torchrun trains one model in several processes; {path} holds several models")
    set_threads(threads or config.threads)
    with _together(config.device if device == "auto" else device):
        experiment = reopen(directory, device, longer)
        if not _follows(experiment, directory):
            _train(experiment, directory, json)


def _together(device: str) -> AbstractContextManager[None]:
    """The other processes of torchrun, if there are any."""
    if torchrun.processes() == 1:
        return nullcontext()
    from seqlra.engine.parallel import joined
    from seqlra.training.machine import pick_device

    return joined(pick_device(device).type == "cuda")


def _follows(experiment: Experiment, directory: TrainingDirectory | None) -> bool:
    """Train, if this is a process of torchrun other than the first; returns whether it was."""
    if torchrun.processes() == 1:
        return False
    from seqlra.training.runs import check_parallel, follow

    check_parallel(experiment)
    if torchrun.rank() > 0:
        follow(experiment, directory)
    return torchrun.rank() > 0


def _train(experiment: Experiment, directory: TrainingDirectory, json: bool) -> None:
    """Train and show progress; if the user stops it, print how to continue."""
    from seqlra.training.progress import Progress
    from seqlra.training.runs import train
    from seqlra.training.trainer import Stopped

    try:
        with Progress() as watch:
            train(experiment, directory, watch)
    except Stopped:
        command = f"seqlra train {experiment.config.task} --resume {directory.path}"
        raise Interrupted(f"stopped; go on with: {command}") from None
    except Diverged:
        if directory.result.exists():  # a stack has one all the same
            _report(experiment, directory, json)
        raise
    _report(experiment, directory, json)


def _report(experiment: Experiment, directory: TrainingDirectory, json: bool) -> None:
    from seqlra.cli.show import json_line, result_rows, table
    from seqlra.training.results import table as cells
    from seqlra.training.run_directory import StackDirectory

    result = directory.read_json(directory.result)
    title = f"{experiment.title}: {directory.path}"
    if isinstance(directory, StackDirectory):
        header, *rows = cells(result, experiment.task.selects)
        table(title, rows, header, to_stderr=json)
        title = "all together"
    table(title, result_rows(result), to_stderr=json)
    if json:
        json_line({**result, "out": str(directory.path)})
