"""From a configuration to a trained network: data, list of subgraphs, rule, optimiser, trainer, result."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from seqlra import __version__, checkpoint
from seqlra.config import Config
from seqlra.errors import SeqlraError
from seqlra.graph import Graph
from seqlra.initialization import initialize
from seqlra.networks import mlp
from seqlra.optimizers import optimizer
from seqlra.rules import Rule, rule
from seqlra.rundir import RunDirectory
from seqlra.tasks.classification import Classification
from seqlra.tasks.images import load_images
from seqlra.training import Trainer
from seqlra.units import discretizer


def versions() -> dict[str, str]:
    """What a result depends on besides its configuration."""
    return {"seqlra": __version__, "torch": torch.__version__, "python": platform.python_version()}


def pick_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one.

    Raises:
        SeqlraError: CUDA is asked for and there is none, or an unknown device.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise SeqlraError(f"unknown device {name!r}; known: auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise SeqlraError("there is no CUDA device here; accepted: --device cpu, or auto to take what there is")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Experiment:
    """All that a configuration stands for, ready to train or to evaluate."""

    config: Config
    rule: Rule
    task: Classification
    graph: Graph
    optimizer: torch.optim.Optimizer

    @property
    def title(self) -> str:
        """One line for tables and pictures: the network, the data, the rule."""
        net = self.config.network
        unit = net.activation + (f"/{net.discretizer}" if net.discretizer else "")
        sizes = "x".join(str(units) for units in net.hidden)
        if len(set(net.hidden)) == 1:
            sizes = f"{len(net.hidden)} layers of {net.hidden[0]}"
        return f"{self.config.rule['name']}, {sizes} {unit}, {self.config.data.dataset}, seed {self.config.seed}"


def prepare(config: Config) -> Experiment:
    """Load the data and build the network with its initial weights.

    Raises:
        SeqlraError: anything in the configuration that cannot be used.
    """
    device = pick_device(config.device)
    net, settings = config.network, dict(config.rule)
    learner = rule(settings.pop("name"), **settings)
    g = discretizer(net.discretizer, net.block_size)
    mlp(1, net.hidden, 1, net.activation, g, net.loss)  # refuses units that make no sense before data is loaded
    data_dir = None if config.data.data_dir is None else Path(config.data.data_dir)
    images = load_images(config.data.dataset, data_dir, config.seed, device, config.data.valid)
    task = Classification(images, config.optimisation.batch_size, config.seed)
    graph = Graph(mlp(images.pixels, net.hidden, images.classes, net.activation, g, net.loss))
    initialize(graph, config.seed, net.weight_init, net.weight_std, net.feedback_std).to(device)
    torch.manual_seed(config.seed)  # the draws of stochastic units
    return Experiment(config, learner, task, graph, optimizer(graph.parameters(), config.optimisation))


def train(
    experiment: Experiment,
    run: RunDirectory,
    resume: bool = False,
    watch: Callable[[Trainer], None] = lambda trainer: None,
) -> dict[str, Any]:
    """Train to the end and write ``result.json``; the test split is looked at once, here, with the best weights.

    Raises:
        SeqlraError: see `Trainer`.
    """
    trainer = Trainer(
        experiment.graph, experiment.rule, experiment.optimizer, experiment.task, experiment.config.optimisation, run
    )
    if resume and run.checkpoint.exists():
        trainer.resume(trainer.log.device)
    trainer.train(watch)
    trainer.use_best()
    result = _result(experiment, trainer)
    run.write_json(run.result, result)
    return result


def load_best(run: RunDirectory, device: str = "auto", data_dir: Path | None = None) -> Experiment:
    """The network of a run with the weights that validation chose.

    Raises:
        SeqlraError: the run or its data are missing or damaged.
    """
    plain = Config.read(run.config).to_dict()
    plain["device"] = device
    if data_dir is not None:
        plain["data"]["data_dir"] = str(data_dir)
    experiment = prepare(Config.from_dict(plain))
    state = checkpoint.load(run.checkpoint, next(experiment.graph.parameters()).device)
    try:
        experiment.graph.load_state_dict(state["best"]["weights"])
    except (KeyError, RuntimeError) as error:
        raise SeqlraError(f"the checkpoint {run.checkpoint} does not fit its config.json") from error
    return experiment


def _result(experiment: Experiment, trainer: Trainer) -> dict[str, Any]:
    config, task = experiment.config, experiment.task
    test, valid = task.evaluate(trainer.graph, "test"), task.evaluate(trainer.graph, "valid")
    samples = trainer.step * task.samples_per_step
    return {
        "task": config.task,
        "dataset": config.data.dataset,
        "rule": config.rule["name"],
        "seed": config.seed,
        "device": trainer.log.device.type,
        "threads": torch.get_num_threads(),
        "epochs": len(trainer.history),
        "steps": trainer.step,
        "parameters": sum(parameter.numel() for parameter in trainer.graph.parameters()),
        "best_epoch": trainer.best["epoch"],
        **{f"test_{name}": value for name, value in test.items()},
        **{f"valid_{name}": value for name, value in valid.items()},
        "train_error": trainer.history[trainer.best["epoch"] - 1]["train_error"],
        "mean_depth": sum(row["depth"] for row in trainer.history) / len(trainer.history),
        "train_seconds": round(trainer.seconds, 3),
        "samples_per_second": round(samples / trainer.seconds, 1) if trainer.seconds else None,
        "versions": versions(),
    }
