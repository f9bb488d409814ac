"""From configurations to the files of trained runs, for one model and for several that are trained together.

`train_runs` and `resume_runs` do all of it; what they are made of is here, too: `create`, `begin`, `train`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqlra import torchrun
from seqlra.engine.parallel import any_of, check, demand_equal
from seqlra.errors import Diverged, SeqlraError
from seqlra.network.plain import architecture
from seqlra.training import checkpoint, fingerprint
from seqlra.training.callback import Callback
from seqlra.training.callbacks import Checkpoint, Diagnostics, Interrupt, MetricsFile, Watched
from seqlra.training.data_settings import Labeled, Rows
from seqlra.training.experiment import Experiment, prepare, title, with_changes
from seqlra.training.loading import check_vocabulary
from seqlra.training.logger import Logger
from seqlra.training.loggers import logs_of
from seqlra.training.machine import pick_device, set_threads, versions
from seqlra.training.pictures import save_pictures, save_stack_picture
from seqlra.training.reading import read_config
from seqlra.training.results import results, summary
from seqlra.training.run_directory import RunDirectory, StackDirectory, TrainingDirectory
from seqlra.training.settings import Config
from seqlra.training.trainer import Stopped, Trainer

Watch = Callable[[Trainer], None]
"""Called now and then during training, to show progress."""


def quietly(trainer: Trainer) -> None:
    """The `Watch` that shows nothing."""


def train_runs(configs: Sequence[Config], path: Path, watch: Watch = quietly) -> list[dict[str, Any]]:
    """Train one model, or several together, in a new directory; returns the result of each, as ``result.json`` has it.

    With one configuration ``path`` is the directory of that run. With several it is that of a stack, which holds a run
    directory of each: ``seed<k>`` where their seeds differ, else ``model<n>``. What they may differ in, `prepare` says.

    >>> from pathlib import Path
    >>> from seqlra.training.configure import configure
    >>> from seqlra.training.runs import train_runs
    >>> options = {"hidden": (12,), "valid": 13_000, "epochs": 1}
    >>> configs = [configure("mlp", **options, seed=seed, beta=0.1) for seed in (0, 1)]
    >>> both = train_runs(configs, Path("runs/both"))
    >>> [result["seed"] for result in both]
    [0, 1]
    >>> (alone,) = train_runs(configs[:1], Path("runs/alone"))
    >>> abs(alone["test_error"] - both[0]["test_error"]) < 0.5
    True

    Raises:
        SeqlraError: configurations that cannot be used, or a directory that is not empty or cannot be written.
        Diverged: every model did; the files are written, with ``failed.json`` in place of ``result.json``.
        Stopped: the user asked to stop; go on with `resume_runs`.
    """
    set_threads(configs[0].threads if configs else None)
    experiment = prepare(configs, fresh=True)
    directory = create(path, configs, stacked=len(configs) > 1)
    begin(experiment, directory)
    return train(experiment, directory, watch)


def resume_runs(path: Path, watch: Watch = quietly) -> list[dict[str, Any]]:
    """Continue a stopped training from its checkpoint; see `train_runs`."""
    directory = TrainingDirectory.open(path)
    set_threads(read_config(directory.runs[0]).threads)
    return train(reopen(directory), directory, watch)


def create(path: Path, configs: Sequence[Config], stacked: bool) -> TrainingDirectory:
    """Make the directory of a new training, which holds run directories of its own where it is ``stacked``.

    Raises:
        SeqlraError: it is not empty, or cannot be written.
    """
    if not stacked:
        return RunDirectory.create(path)
    StackDirectory.create(path)
    seeds = [config.seed for config in configs]
    own = len(set(seeds)) == len(seeds)
    return StackDirectory(path, [f"seed{seed}" if own else f"model{nth}" for nth, seed in enumerate(seeds)])


def begin(experiment: Experiment, directory: TrainingDirectory) -> None:
    """Record what is trained, before work starts; ``directory.about`` comes last, as the mark of a complete record."""
    known = fingerprint.versions_of(experiment.rule, experiment.task)
    for config, run in zip(experiment.configs, directory.runs, strict=True):
        run.path.mkdir(exist_ok=True)
        if experiment.vocabulary is not None:
            run.write_json(run.vocabulary, experiment.vocabulary.to_dict())
        run.write_json(run.config, with_changes(config, versions=known).to_dict())
    if isinstance(directory, StackDirectory):
        directory.write_json(directory.about, {"runs": list(directory.folders), "versions": versions()})
    directory.started()


def reopen(directory: TrainingDirectory, device: str = "auto", longer: Mapping[str, int] | None = None) -> Experiment:
    """What a directory was begun for.

    Args:
        directory: of a training, which may have ended where it is to be longer.
        device: another one, unless that is "auto".
        longer: more ``epochs`` or ``steps`` than a run has had. What follows goes on from its last weights, with the
            step size that the schedule of the longer training has there.

    Raises:
        SeqlraError: the directory is damaged, its data have gone or changed, or it cannot be longer.
    """
    configs = [_longer(directory, **longer)] if longer else [read_config(run) for run in directory.runs]
    if device != "auto":
        configs = [with_changes(config, device=pick_device(device).type) for config in configs]
    experiment = prepare(configs, fresh=not directory.checkpoint.exists())
    check_unchanged(experiment, directory)
    if longer and torchrun.rank() == 0:
        with directory.locked():  # not while another process trains it as it was
            plain, length = directory.read_json(directory.about), configs[0].optimization
            plain["optimization"] |= {"epochs": length.epochs, "steps": length.steps}
            directory.write_json(directory.about, plain)
    return experiment


def _longer(directory: TrainingDirectory, epochs: int | None = None, steps: int | None = None) -> Config:
    """The configuration of a run with more updates, see `reopen`."""
    if isinstance(directory, StackDirectory):
        raise SeqlraError(f"models that were trained together cannot be made longer; {directory.path} holds several")
    (run,) = directory.runs
    config, rows = read_config(run), run.read_metrics()
    if epochs is not None and steps is not None:
        raise SeqlraError("a training has so many epochs, or so many steps; give one of them")
    done = rows[-1] if rows else {"epoch": 0, "step": 0}
    for word, wanted, so_far in (("epochs", epochs, done["epoch"]), ("steps", steps, done["step"])):
        if wanted is not None and wanted <= so_far:
            raise SeqlraError(f"the run {run.path} has had {so_far} {word} already; {word} must be more than that")
    return with_changes(config, optimization=with_changes(config.optimization, epochs=epochs, steps=steps))


def check_unchanged(experiment: Experiment, directory: TrainingDirectory) -> None:
    """Look whether a training goes on with what it began with; see `fingerprint.check_unchanged`.

    Raises:
        SeqlraError: its data are others, or its checkpoint is gone.
    """
    if not directory.checkpoint.exists() and any(run.metrics.exists() for run in directory.runs):
        raise SeqlraError(
            f"the training in {directory.path} has begun, but its checkpoint.pt is gone, so it cannot go on; a new one "
            "with its options needs another --out"
        )
    check_vocabulary(experiment, directory)
    config = read_config(directory.runs[0])
    fingerprint.check_unchanged(experiment.rule, experiment.task, config)


def train(experiment: Experiment, directory: TrainingDirectory, watch: Watch = quietly) -> list[dict[str, Any]]:
    """Train to the end, from the checkpoint where there is one; write the files of each run and return their results.

    The test split is looked at once, here, with the weights that validation chose. A run that diverged has
    ``failed.json`` in place of ``result.json``; its figures are those of the last epoch that it ended. The
    ``result.json`` of a stack (see `summary`) comes last. Then its checkpoint goes, whose slices the runs now have.

    Raises:
        Diverged: every model did; the files are written all the same.
        Stopped: the user asked to stop; a checkpoint was written.
        SeqlraError: the checkpoint is damaged, or files cannot be written.
    """
    with directory.locked():
        for each in (directory, *directory.runs):
            each.sweep()
        with logs_of(experiment.configs, directory.runs) as logs:
            return _train(experiment, directory, watch, logs)


def _train(
    experiment: Experiment, directory: TrainingDirectory, watch: Watch, logs: Sequence[Sequence[Logger]]
) -> list[dict[str, Any]]:
    trainer = trainer_of(experiment, directory, watch, [log for of_model in logs for log in of_model])
    if directory.checkpoint.exists():
        trainer.resume(directory.checkpoint, fingerprint.settings_fingerprint(experiment.configs, directory.runs))
        if trainer.step < trainer.total:  # of one that is made longer
            for ended in (directory.result, *(run.result for run in directory.runs)):
                ended.unlink(missing_ok=True)
    if trainer.parallel is not None:
        demand_equal(trainer.step)
    with suppress(Diverged):  # the records say so
        trainer.train()
    if isinstance(directory, StackDirectory):
        network = architecture(experiment.graph) if _of_own_data(experiment) else {}
        for model, run in enumerate(directory.runs):
            of_settings = fingerprint.settings_fingerprint([experiment.configs[model]], [run])
            checkpoint.save(run.checkpoint, {**network, **state_alone(trainer, model), "settings": of_settings})
    found = results(experiment, trainer)
    models = zip(experiment.configs, directory.runs, trainer.records, found, logs, strict=True)
    for config, run, record, result, of_model in models:
        save_pictures(run, title(config), trainer.task.selects, config.diagnose > 0)  # before the mark of the end
        if record.diverged:
            run.write_json(run.failed, {"message": record.diverged, **result})
        else:
            run.write_json(run.result, result)
            run.failed.unlink(missing_ok=True)  # from before it was resumed
        for log in of_model:
            log.finish({**result, "diverged": record.diverged} if record.diverged else result)
    if isinstance(directory, StackDirectory):
        summarized = summary(experiment, directory, trainer.seconds)
        save_stack_picture(directory, summarized, experiment.title, trainer.task.selects)
        directory.write_json(directory.result, summarized)
        directory.checkpoint.unlink(missing_ok=True)
    if trainer.diverged:
        first, *others = trainer.records
        message = f"every model diverged; {directory.runs[0].failed} says where, as for the other models"
        raise Diverged(message if others else first.diverged)
    return found


def check_parallel(experiment: Experiment) -> None:
    """Whether the processes of torchrun can train this together; tries its first mini-batch.

    Raises:
        SeqlraError: they cannot, and why.
    """
    if experiment.config.compile:
        raise SeqlraError("several processes do not compile their updates; leave --compile or torchrun away")
    check(experiment.graph, experiment.rule, *experiment.task.batch(0))


def follow(experiment: Experiment, directory: TrainingDirectory | None) -> None:
    """Train in a process of torchrun that is not the first, which does the same with `train` and writes all files.

    Args:
        directory: where a training goes on from, if it does.
    """
    trainer = trainer_with(experiment, [Interrupt(any_of)], parallel=True)
    if directory is not None and directory.checkpoint.exists():
        trainer.resume(directory.checkpoint, fingerprint.settings_fingerprint(experiment.configs, directory.runs))
    demand_equal(trainer.step)
    with suppress(Diverged, Stopped):  # the first process says so
        trainer.train()


def trainer_with(
    experiment: Experiment, callbacks: Sequence[Callback], kept: Sequence[str] | None = None, parallel: bool = False
) -> Trainer:
    """The trainer of an experiment; it looks at validation, and not at the test split."""
    settings = experiment.config.optimization
    return Trainer(
        experiment.graph,
        experiment.rule,
        experiment.optimizer,
        experiment.task,
        settings.steps or (settings.epochs or 1) * experiment.task.steps_per_epoch,
        settings.schedule,
        callbacks,
        experiment.config.compile,
        experiment.rates,
        kept,
        parallel,
    )


def trainer_of(
    experiment: Experiment, directory: TrainingDirectory, watch: Watch = quietly, logs: Sequence[Logger] = ()
) -> Trainer:
    """The same with the callbacks that write into a directory; under torchrun it is that of the first process."""
    parallel = torchrun.processes() > 1
    return trainer_with(
        experiment,
        [
            Diagnostics(experiment.config.diagnose),
            MetricsFile(directory.runs),
            *logs,  # before the checkpoint, so that no row of it is missing there
            Checkpoint(
                directory.checkpoint,
                architecture=_of_own_data(experiment),
                settings=fingerprint.settings_fingerprint(experiment.configs, directory.runs),
            ),
            Interrupt(any_of if parallel else None),  # behind the checkpoint, before what is shown
            Watched(watch),
        ],
        [str(run.path) for run in directory.runs],
        parallel,
    )


def _of_own_data(experiment: Experiment) -> bool:
    """Whether the configuration alone does not say what the network is, so that checkpoints must."""
    return isinstance(experiment.config.data, Rows | Labeled)


def state_alone(trainer: Trainer, model: int) -> dict[str, Any]:
    """The checkpoint that this model would have had alone; of one that diverged or has solved its task, with the
    weights that validation chose for those that it has now."""
    state, at = trainer.state(), trainer.slice(model)

    def own(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor[at].clone() for name, tensor in tensors.items()}

    moments = {
        number: {
            # a count of steps is one number for all
            name: value[at].clone() if isinstance(value, Tensor) and value.dim() > 0 else value
            for name, value in held.items()
        }
        for number, held in state["optimizer"]["state"].items()
    }
    groups = state["optimizer"]["param_groups"]
    if trainer.rates is not None:
        groups = [{**group, "lr": group["lr"] * trainer.rates[model].item()} for group in groups]
    record, weights = trainer.records[model], own(trainer.best_weights)
    ended = record.diverged or trainer.solved_at(record) is not None
    return {
        **state,
        "graph": weights if ended else own(state["graph"]),
        "optimizer": {**state["optimizer"], "param_groups": groups, "state": moments},
        "task": own(state["task"]),
        "seconds": trainer.seconds / len(trainer.records),
        "records": [record.state()],
        "best": {"weights": weights},
        "log": trainer.log.view(len(trainer.log), 3, -1)[:, :, model].clone(),
        "diagnostics": {name: torch.stack([each[at] for each in both]) for name, both in state["diagnostics"].items()},
    }
