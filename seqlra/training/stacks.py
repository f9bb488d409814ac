"""Several models of one training, each with the run directory that it would have alone.

The models are one stack: a leading axis of every tensor, for one engine and one trainer (see
`seqlra.training.experiment`
for what they may differ in). Model s equals the run of its configuration alone up to rounding, unless its units draw.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from seqlra.analysis.plotting import Curves, save_curves
from seqlra.errors import Diverged
from seqlra.training import checkpoint
from seqlra.training.experiment import Experiment, begin, rate, results, title, trainer_of, versions
from seqlra.training.pictures import save_pictures
from seqlra.training.run_directory import StackDirectory
from seqlra.training.trainer import Trainer


def begin_stack(experiment: Experiment, stack: StackDirectory) -> None:
    """Write down what the models are, before work starts; ``stack.json`` comes last, so that with it all is there."""
    begin(experiment, stack)
    stack.write_json(stack.about, {"runs": list(stack.folders), "versions": versions()})


def train_stack(
    experiment: Experiment, stack: StackDirectory, watch: Callable[[Trainer], None] = lambda trainer: None
) -> dict[str, Any]:
    """Train to the end, from the checkpoint where there is one, and write what each model came to.

    Each gets all the files of a run of its own; one that diverged has ``failed.json`` in place of ``result.json``. Of
    the stack, ``result.json`` (see `summary`) comes last. Then its checkpoint goes, whose slices the models now have.

    Raises:
        Stopped: the user asked to stop; a checkpoint was kept.
        SeqlraError: the checkpoint is damaged, or files cannot be written.
    """
    trainer = trainer_of(experiment, stack)
    if stack.checkpoint.exists():
        trainer.resume(trainer.log.device)
    with suppress(Diverged):  # of all models; their records say so
        trainer.train(watch)
    for model, record in enumerate(trainer.records):
        checkpoint.save(record.run.checkpoint, state_alone(trainer, model))
    of_each = results(experiment, trainer)
    for config, record, found in zip(experiment.configs, trainer.records, of_each, strict=True):
        if record.diverged:
            record.run.write_json(record.run.failed, {"message": record.diverged, **found})
        else:
            record.run.write_json(record.run.result, found)
        save_pictures(record.run, title(config), trainer.task.selects, config.diagnose > 0)
    histories = [[row[f"valid_{trainer.task.selects}"] for row in record.history] for record in trainer.records]
    result = summary(experiment, stack, trainer.seconds)
    if any(histories):
        figure = result[f"test_{trainer.task.selects}"]
        save_curves(stack.curves, [Curves(f"test {told(figure)}", histories)], experiment.title, trainer.task.selects)
    stack.write_json(stack.result, result)
    stack.checkpoint.unlink(missing_ok=True)
    return result


def state_alone(trainer: Trainer, model: int) -> dict[str, Any]:
    """The checkpoint that this model of a stack would have had alone; of one that diverged, with the weights that
    validation chose for those that it has now."""
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
    return {
        **state,
        "graph": weights if record.diverged else own(state["graph"]),
        "optimizer": {**state["optimizer"], "param_groups": groups, "state": moments},
        "task": own(state["task"]),
        "seconds": trainer.seconds / len(trainer.records),
        "history": record.history,
        "best": {"score": record.score, "epoch": record.epoch, "weights": weights},
        "diverged": record.diverged,
        "log": trainer.log[:, :, model].clone(),
        "diagnostics": {name: torch.stack([each[at] for each in both]) for name, both in state["diagnostics"].items()},
    }


def summary(experiment: Experiment, stack: StackDirectory, seconds: float) -> dict[str, Any]:
    """``result.json`` of a stack: what its models share, ``spread`` of each of their figures, and their results.

    ``train_seconds`` and the speed are those of all models together, ``ms_per_update`` of a model its share.
    """
    members = [{"run": folder, **(run.outcome() or {})} for folder, run in zip(stack.folders, stack.runs, strict=True)]
    figures = {
        name: None
        for member in members
        for name in member
        if name.startswith(("test_", "valid_")) or name in ("train_error", "mean_depth")
    }
    steps = max(member["steps"] for member in members)
    first, speed = experiment.config, rate(experiment.config)
    samples = sum(member["steps"] for member in members) * experiment.task.samples_per_step
    return {
        "task": first.task,
        "dataset": first.data.dataset,
        "rule": first.rule["name"],
        "models": len(members),
        "seeds": [config.seed for config in experiment.configs],
        "diverged": [member["seed"] for member in members if member["diverged"]],
        **{name: members[0][name] for name in ("device", "threads")},
        "epochs": max(member["epochs"] for member in members),
        "steps": steps,
        "parameters": members[0]["parameters"],
        "best_epochs": [member["best_epoch"] for member in members],
        **{name: spread(member.get(name) for member in members) for name in figures},
        "train_seconds": round(seconds, 3),
        "ms_per_update": round(1000 * seconds / steps / len(members), 4) if steps else None,
        speed: round(samples / seconds, 1) if seconds else None,
        "versions": versions(),
        "members": members,
    }


def spread(values: Iterable[float | None]) -> dict[str, Any]:
    """Figures as their ``mean``, ``min`` and ``max``, and ``all`` of them; None is one that is not known."""
    every = list(values)
    known = [value for value in every if value is not None]
    if not known:
        return {"mean": None, "min": None, "max": None, "all": every}
    return {"mean": math.fsum(known) / len(known), "min": min(known), "max": max(known), "all": every}


def told(figure: Mapping[str, Any], ranged: bool = True) -> str:
    """What `spread` makes of figures over seeds, in a few words: the mean, and with ``ranged`` how many seeds there are
    and their range."""
    known = [value for value in figure["all"] if value is not None]
    if not known:
        return "-"
    text = f"{figure['mean']:.2f}"
    if ranged and len(known) > 1:
        text += f" ({len(known)} seeds, {figure['min']:.2f} to {figure['max']:.2f})"
    return text


def table(result: Mapping[str, Any], metric: str) -> list[tuple[str, ...]]:
    """The models of a `summary` as rows of text, below a header, with their mean as the last."""
    header = ("seed", f"test {metric}", f"valid {metric}", "mean depth", "best epoch", "notes")
    rows: Sequence[tuple[str, ...]] = [
        (
            str(member["seed"]),
            *(_number(member.get(name)) for name in (f"test_{metric}", f"valid_{metric}", "mean_depth")),
            str(member["best_epoch"]),
            f"diverged in epoch {member['epochs'] + 1}" if member["diverged"] else "",
        )
        for member in result["members"]
    ]
    means = [result.get(name, {}).get("mean") for name in (f"test_{metric}", f"valid_{metric}", "mean_depth")]
    return [header, *rows, ("mean", *map(_number, means), "", "")]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
