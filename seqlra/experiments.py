"""From a configuration to a trained network: data, list of subgraphs, rule, optimiser, trainer, result."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from seqlra import __version__, checkpoint
from seqlra.config import Config, Images, Network, Text
from seqlra.errors import SeqlraError
from seqlra.graph import Graph
from seqlra.initialization import initialize
from seqlra.networks import elman, mlp
from seqlra.optimizers import optimizer
from seqlra.rules import Rule, rule
from seqlra.rundir import RunDirectory
from seqlra.tasks.classification import Classification
from seqlra.tasks.images import load_images
from seqlra.tasks.prediction import Prediction, Unroll, as_streams, covering
from seqlra.tasks.text import load_text, read_text
from seqlra.training import Trainer
from seqlra.units import discretizer
from seqlra.vocabulary import Vocabulary


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


def set_threads(threads: int | None) -> int:
    """Let torch use so many CPU threads, or as many as it chose; returns how many.

    Raises:
        SeqlraError: less than one.
    """
    if threads is not None:
        if threads < 1:
            raise SeqlraError(f"threads must be at least 1, not {threads}")
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def describe(network: Network) -> str:
    """The hidden layers of a network in a few words."""
    unit = network.activation + (f"/{network.discretizer}" if network.discretizer else "")
    sizes = ", ".join(str(units) for units in network.hidden)
    if len(network.hidden) > 1 and len(set(network.hidden)) == 1:
        sizes = f"{len(network.hidden)} layers of {network.hidden[0]}"
    return f"{sizes} {unit}"


@dataclass(frozen=True)
class Experiment:
    """All that a configuration stands for, ready to train or to evaluate.

    ``vocabulary`` says what the tokens of a text mean; None for images.
    """

    config: Config
    rule: Rule
    task: Classification | Prediction
    graph: Graph
    optimizer: torch.optim.Optimizer
    vocabulary: Vocabulary | None = None

    @property
    def title(self) -> str:
        """One line for tables and pictures: the network, the data, the rule."""
        config = self.config
        return f"{config.rule['name']}, {describe(config.network)}, {config.data.dataset}, seed {config.seed}"

    def check_vocabulary(self, run: RunDirectory) -> None:
        """Raise `SeqlraError` where the text has changed since the run, so that its tokens mean something else."""
        if self.vocabulary is not None and self.vocabulary != read_vocabulary(run):
            raise SeqlraError(
                f"{self.config.data.dataset} has changed since the run {run.path}: it has another vocabulary"
            )


def prepare(config: Config, fresh: bool = False) -> Experiment:
    """Load the data and build the network with its initial weights.

    Args:
        config: what to prepare.
        fresh: whether training begins here, so that weights come from the run that ``init_from`` names, if any;
            otherwise they are about to be read from a checkpoint.

    Raises:
        SeqlraError: anything in the configuration that cannot be used.
    """
    device = pick_device(config.device)
    learns = learner(config)
    task, graph, vocabulary = _images(config, device) if isinstance(config.data, Images) else _text(config, device)
    net = config.network
    initialize(graph, config.seed, net.weight_init, net.weight_std, net.feedback_std, net.feedback_init, learns).to(
        device
    )
    if fresh and net.init_from is not None:
        take_weights(graph, RunDirectory.open(Path(net.init_from)))
    task.start(graph)
    torch.manual_seed(config.seed)  # the draws of stochastic units
    return Experiment(config, learns, task, graph, optimizer(graph.parameters(), config.optimisation), vocabulary)


def learner(config: Config) -> Rule:
    """The rule of a configuration."""
    settings = dict(config.rule)
    return rule(settings.pop("name"), **settings)


def unroll(config: Config, vocabulary: Vocabulary) -> Unroll:
    """The network of an RNN's configuration, over any number of steps."""
    net = config.network
    g = discretizer(net.discretizer, net.block_size)
    symbols = len(vocabulary)
    return lambda steps: elman(
        symbols, net.hidden, symbols, steps, net.activation, g, net.loss, across_time=net.across_time
    )


def _images(config: Config, device: torch.device) -> tuple[Classification, Graph, None]:
    assert isinstance(config.data, Images)
    data, net = config.data, config.network
    g = discretizer(net.discretizer, net.block_size)
    mlp(1, net.hidden, 1, net.activation, g, net.loss)  # refuses units that make no sense before data is loaded
    images = load_images(data.dataset, _path(data.data_dir), config.seed, device, data.valid)
    task = Classification(images, config.optimisation.batch_size or 1, config.seed)
    return task, Graph(mlp(images.pixels, net.hidden, images.classes, net.activation, g, net.loss)), None


def _text(config: Config, device: torch.device) -> tuple[Prediction, Graph, Vocabulary]:
    assert isinstance(config.data, Text)
    data = config.data
    unroll(config, Vocabulary.of("ab", "chars"))(1)  # refuses units that make no sense before data is loaded
    text = load_text(data.dataset, _path(data.data_dir), _path(data.text), data.tokens, device, None, data.max_words)
    network = unroll(config, text.vocabulary)
    held_out = {split: covering(getattr(text, split)) for split in ("train", "valid", "test")}
    series = as_streams(text.train, data.streams)
    task = Prediction(series, held_out, network, data.unroll, data.tokens, config.seed)
    return task, Graph(network(data.unroll)), text.vocabulary


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name)


def begin(experiment: Experiment, run: RunDirectory) -> None:
    """Write down what a run is, before work starts; ``config.json`` comes last, so that with it all is there."""
    if experiment.vocabulary is not None:
        run.write_json(run.vocabulary, experiment.vocabulary.to_dict())
    run.write_json(run.config, replace(experiment.config, versions=versions()).to_dict())


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
    trainer = _trainer(experiment, run)
    if resume and run.checkpoint.exists():
        trainer.resume(trainer.log.device)
    trainer.train(watch)
    trainer.use_best()
    result = _result(experiment, trainer)
    run.write_json(run.result, result)
    return result


def result_so_far(experiment: Experiment, run: RunDirectory) -> dict[str, Any]:
    """What a run that diverged came to at its last good checkpoint, as `train` tells it; nothing is written.

    The test split is looked at with the weights that validation chose until then; where no epoch had ended there
    are none, and the metrics are left out.

    Raises:
        SeqlraError: the checkpoint is missing or damaged.
    """
    trainer = _trainer(experiment, run)
    trainer.resume(trainer.log.device)
    trainer.use_best()
    return _result(experiment, trainer)


def _trainer(experiment: Experiment, run: RunDirectory) -> Trainer:
    settings = experiment.config.optimisation
    return Trainer(
        experiment.graph,
        experiment.rule,
        experiment.optimizer,
        experiment.task,
        settings,
        run,
        diagnose_every=experiment.config.diagnose,
    )


def load_best(run: RunDirectory, device: str = "auto", data_dir: Path | None = None) -> Experiment:
    """The network of a run with the weights that validation chose, and its data.

    Raises:
        SeqlraError: the run or its data are missing or damaged.
    """
    config = read_config(run)
    data = config.data if data_dir is None else replace(config.data, data_dir=str(data_dir))
    experiment = prepare(replace(config, data=data, device=pick_device(device).type))
    experiment.check_vocabulary(run)
    load_best_weights(experiment.graph, run)
    return experiment


def load_network(run: RunDirectory, device: str = "auto") -> tuple[Graph, Vocabulary]:
    """The chosen network of an RNN run over one step, and its vocabulary; the text is not needed.

    Raises:
        SeqlraError: the run is damaged, or not one of an RNN.
    """
    config = read_config(run)
    if not isinstance(config.data, Text):
        raise SeqlraError(f"the run {run.path} is one of seqlra train {config.task}; text needs one of train rnn")
    vocabulary = read_vocabulary(run)
    graph = Graph(unroll(config, vocabulary)(1))
    learner(config).equip(graph)
    graph.to(pick_device(device))
    load_best_weights(graph, run)
    return graph, vocabulary


def load_on_text(run: RunDirectory, text: Path, device: str = "auto") -> tuple[Graph, Prediction, dict[str, int]]:
    """The chosen network of an RNN run, the whole of a text as the split "text" of a task, and how many ``tokens`` that
    is and how many of them training never saw, ``unknown_tokens``.

    Raises:
        SeqlraError: the run or the text cannot be used.
    """
    graph, vocabulary = load_network(run, device)
    config = read_config(run)
    assert isinstance(config.data, Text)
    ids = vocabulary.encode(read_text(text)).to(next(graph.parameters()).device)
    series = covering(ids)
    length = min(config.data.unroll, len(series[0]) - 1)
    task = Prediction(series[0], {"text": series}, unroll(config, vocabulary), length, config.data.tokens, config.seed)
    return graph, task, {"tokens": len(ids), "unknown_tokens": vocabulary.unknown(ids)}


def read_vocabulary(run: RunDirectory) -> Vocabulary:
    """What the tokens of a run mean; raises `SeqlraError` where that is missing or damaged."""
    return Vocabulary.from_dict(run.read_json(run.vocabulary))


def read_config(run: RunDirectory) -> Config:
    """The configuration of a run; raises `SeqlraError` where it is damaged."""
    return Config.from_dict(run.read_json(run.config))


def load_best_weights(graph: Graph, run: RunDirectory) -> None:
    """Give a graph the weights that validation chose in a run.

    Raises:
        SeqlraError: the checkpoint is damaged, or of another network.
    """
    state = checkpoint.load(run.checkpoint, next(graph.parameters()).device)
    try:
        graph.load_state_dict(state["best"]["weights"])
    except (KeyError, RuntimeError) as error:
        raise SeqlraError(f"the checkpoint {run.checkpoint} does not fit its config.json") from error


@torch.no_grad()
def take_weights(graph: Graph, run: RunDirectory) -> None:
    """Start from the weights and biases that validation chose in another run, whatever rule trained it (Section 3.5).

    Error weights stay those of the new run's seed.

    Raises:
        SeqlraError: that run has another network, or its checkpoint is damaged.
    """
    chosen = checkpoint.load(run.checkpoint, next(graph.parameters()).device)["best"]["weights"]
    own = dict(graph.named_parameters())
    theirs = {name: tensor for name, tensor in chosen.items() if name.startswith(("weights.", "biases."))}
    here, there = ({name: tuple(t.shape) for name, t in held.items()} for held in (own, theirs))
    for name in {**here, **there}:
        if here.get(name) != there.get(name):
            shapes = f"{name} is {there.get(name, 'missing')} there and {here.get(name, 'missing')} here"
            raise SeqlraError(f"{run.path} has another network: {shapes}")
    for name, parameter in own.items():
        parameter.copy_(theirs[name])


def _result(experiment: Experiment, trainer: Trainer) -> dict[str, Any]:
    config, task = experiment.config, experiment.task
    samples = trainer.step * task.samples_per_step
    rate = "samples_per_second" if config.task == "mlp" else "tokens_per_second"
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
        **(_chosen(trainer) if trainer.history else {}),
        "train_seconds": round(trainer.seconds, 3),
        rate: round(samples / trainer.seconds, 1) if trainer.seconds else None,
        "versions": versions(),
    }


def _chosen(trainer: Trainer) -> dict[str, Any]:
    """Metrics of the weights that validation chose, which the graph has now."""
    test, valid = (trainer.task.evaluate(trainer.graph, split) for split in ("test", "valid"))
    return {
        **{f"test_{name}": value for name, value in test.items()},
        **{f"valid_{name}": value for name, value in valid.items()},
        "train_error": trainer.history[trainer.best["epoch"] - 1]["train_error"],
        "mean_depth": sum(row["depth"] for row in trainer.history) / len(trainer.history),
    }
