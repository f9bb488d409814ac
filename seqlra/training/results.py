"""The results of a training: `results` of each of its models, `summary` of several, and the text of tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from seqlra.network.graph import Graph
from seqlra.training.data_settings import Generated, Text
from seqlra.training.experiment import Experiment
from seqlra.training.machine import versions
from seqlra.training.run_directory import StackDirectory
from seqlra.training.settings import Config
from seqlra.training.trainer import Record, Trainer


def results(experiment: Experiment, trainer: Trainer) -> list[dict[str, Any]]:
    """The result of each model as ``result.json`` has it; the graph then has the weights that validation chose.

    The time of a model is its share: that of the training over the number of models.
    """
    trainer.use_best()
    measured: list[dict[str, float]] = [{} for _ in trainer.records]
    if any(record.history for record in trainer.records):
        for split in ("test", "valid"):
            for own, metrics in zip(measured, experiment.task.evaluate(trainer.graph, split), strict=True):
                own |= {f"{split}_{name}": value for name, value in metrics.items()}
    models = zip(experiment.configs, trainer.records, measured, strict=True)
    return [_result(config, record, metrics, trainer) for config, record, metrics in models]


def _result(config: Config, record: Record, metrics: dict[str, float], trainer: Trainer) -> dict[str, Any]:
    history, models = record.history, len(trainer.records)
    steps, seconds = trainer.step, trainer.seconds / models
    solved = trainer.solved_at(record)
    if record.diverged or solved is not None:  # the figures are those of the last epoch that it ended
        steps, seconds = (history[-1]["step"], history[-1]["seconds"]) if history else (0, 0.0)
    return {
        "task": config.task,
        "dataset": config.data.dataset,
        "rule": config.rule["name"],
        "seed": config.seed,
        "device": trainer.log.device.type,
        "threads": torch.get_num_threads(),
        "epochs": len(history),
        "steps": steps,
        "parameters": _parameters(trainer.graph) // models,
        "best_epoch": record.epoch,
        **({"solved_at": solved} if isinstance(config.data, Generated) else {}),
        **({"draws": 1} if trainer.graph.draws else {}),  # that its figures are of: units are random
        **({**metrics, **_over_epochs(record)} if history else {}),
        "train_seconds": round(seconds, 3),
        rate(config): round(steps * trainer.task.samples_per_step / seconds, 1) if seconds else None,
        "versions": versions(),
    }


def _over_epochs(record: Record) -> dict[str, Any]:
    """The figures that come from the rows of metrics of a run that has ended an epoch."""
    best = record.history[record.epoch - 1]
    return {
        **{name: best[name] for name in ("train_error",) if name in best},  # values are neither right nor wrong
        "mean_depth": sum(row["depth"] for row in record.history) / len(record.history),
    }


def rate(config: Config) -> str:
    """The name that a result has for the speed of training."""
    return "tokens_per_second" if isinstance(config.data, Text) else "samples_per_second"


def summary(experiment: Experiment, stack: StackDirectory, seconds: float) -> dict[str, Any]:
    """``result.json`` of a stack: what its runs share, the `spread` of each of their figures, and their results.

    ``train_seconds`` and the speed are those of all models together, ``ms_per_update`` of a model its share.
    """
    runs = [{"run": folder, **(run.outcome() or {})} for folder, run in zip(stack.folders, stack.runs, strict=True)]
    figures = {
        name: None
        for run in runs
        for name in run
        if name.startswith(("test_", "valid_")) or name in ("train_error", "mean_depth")
    }
    steps = max(run["steps"] for run in runs)
    first, speed = experiment.config, rate(experiment.config)
    samples = sum(run["steps"] for run in runs) * experiment.task.samples_per_step
    return {
        "task": first.task,
        "dataset": first.data.dataset,
        "rule": first.rule["name"],
        "models": len(runs),
        "seeds": [config.seed for config in experiment.configs],
        "diverged": [run["seed"] for run in runs if run["diverged"]],
        **{name: runs[0][name] for name in ("device", "threads")},
        "epochs": max(run["epochs"] for run in runs),
        "steps": steps,
        "parameters": runs[0]["parameters"],
        "best_epochs": [run["best_epoch"] for run in runs],
        **({"solved_at": [run["solved_at"] for run in runs]} if isinstance(first.data, Generated) else {}),
        **{name: spread(run.get(name) for run in runs) for name in figures},
        "train_seconds": round(seconds, 3),
        "ms_per_update": round(1000 * seconds / steps / len(runs), 4) if steps else None,
        speed: round(samples / seconds, 1) if seconds else None,
        "versions": versions(),
        "members": runs,
    }


def spread(values: Iterable[float | None]) -> dict[str, Any]:
    """Figures as their ``mean``, ``min`` and ``max``, and ``all`` of them; None is one that is not known."""
    every = list(values)
    known = [value for value in every if value is not None]
    if not known:
        return {"mean": None, "min": None, "max": None, "all": every}
    return {"mean": math.fsum(known) / len(known), "min": min(known), "max": max(known), "all": every}


def spread_text(figure: Mapping[str, Any], ranged: bool = True, digits: int = 2) -> str:
    """A `spread` over seeds as text: the mean, and with ``ranged`` how many seeds there are and their range."""
    known = [value for value in figure["all"] if value is not None]
    if not known:
        return "-"
    text = f"{figure['mean']:.{digits}f}"
    if ranged and len(known) > 1:
        text += f" ({len(known)} seeds, {figure['min']:.{digits}f} to {figure['max']:.{digits}f})"
    return text


def table(result: Mapping[str, Any], metric: str) -> list[tuple[str, ...]]:
    """The runs of a `summary` as rows of text, below a header, with their mean as the last."""
    header = ("seed", f"test {metric}", f"valid {metric}", "mean depth", "best epoch", "notes")
    rows: Sequence[tuple[str, ...]] = [
        (
            str(run["seed"]),
            *(_number(run.get(name)) for name in (f"test_{metric}", f"valid_{metric}", "mean_depth")),
            str(run["best_epoch"]),
            _notes(run),
        )
        for run in result["members"]
    ]
    means = [result.get(name, {}).get("mean") for name in (f"test_{metric}", f"valid_{metric}", "mean_depth")]
    return [header, *rows, ("mean", *map(_number, means), "", "")]


def _notes(run: Mapping[str, Any]) -> str:
    if run["diverged"]:
        return f"diverged in epoch {run['epochs'] + 1}"
    return f"solved at update {run['solved_at']}" if run.get("solved_at") else ""


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _parameters(graph: Graph) -> int:
    """How many numbers the network itself learns: weights, biases and leaks, not what a rule learns besides."""
    return sum(parameter.numel() for held, _ in graph.trained for parameter in held.values())
