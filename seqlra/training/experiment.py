"""From a configuration to a trained network: data, list of subgraphs, rule, optimizer, trainer, result."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqlra import __version__
from seqlra.data.images import load_images
from seqlra.data.text import load_text, read_text
from seqlra.data.vocabulary import Vocabulary
from seqlra.engine.initialization import initialize
from seqlra.errors import SeqlraError
from seqlra.network.builders import elman, mlp
from seqlra.network.graph import Graph
from seqlra.network.subgraph import Input, Subgraph
from seqlra.network.units import discretizer
from seqlra.rules import Rule, rule, rule_class
from seqlra.tasks.classification import Classification
from seqlra.tasks.prediction import Prediction, Unroll, as_streams, covering
from seqlra.training import checkpoint
from seqlra.training.optimizers import optimizer
from seqlra.training.run_directory import RunDirectory, StackDirectory
from seqlra.training.settings import PRECISIONS, Config, Images, Network, Text
from seqlra.training.trainer import Record, Trainer

Nodes = Sequence[Input | Subgraph]


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
    """All that a configuration stands for, ready to train or to evaluate; or several, whose models are one stack.

    ``vocabulary`` says what the tokens of a text mean; None for images.
    """

    configs: tuple[Config, ...]
    rule: Rule
    task: Classification | Prediction
    graph: Graph
    optimizer: torch.optim.Optimizer
    vocabulary: Vocabulary | None = None

    @property
    def config(self) -> Config:
        """The configuration; of a stack, that of its first model."""
        return self.configs[0]

    @property
    def title(self) -> str:
        """One line for tables and pictures: the network, the data, the rule."""
        return title(*self.configs)

    def check_vocabulary(self, run: RunDirectory) -> None:
        """Raise `SeqlraError` where the text has changed since the run, so that its tokens mean something else."""
        if self.vocabulary is not None and self.vocabulary != read_vocabulary(run):
            raise SeqlraError(
                f"{self.config.data.dataset} has changed since the run {run.path}: it has another vocabulary"
            )


def title(*configs: Config) -> str:
    """One line for tables and pictures: the network, the data, the rule, the seed or the seeds."""
    config, seeds = configs[0], [each.seed for each in configs]
    of = f"seed {seeds[0]}"
    if len(seeds) > 1:
        ascend = seeds == list(range(seeds[0], seeds[0] + len(seeds)))
        of = f"seeds {seeds[0]} to {seeds[-1]}" if ascend else f"seeds {', '.join(map(str, seeds))}"
    return f"{config.rule['name']}, {describe(config.network)}, {config.data.dataset}, {of}"


def prepare(config: Config | Sequence[Config], fresh: bool = False) -> Experiment:
    """Load the data and build the network with its initial weights.

    Args:
        config: what to prepare. Several are a stack: models that are trained together, with a leading axis of all
            their tensors. They agree in all but the seed, how their weights start, the step size and those settings of
            the rule that it names in ``per_model``. Model s starts as the run of configuration s alone; it sees the
            same mini-batches, too, where ``data.seed`` leaves them to its own seed. Units that draw do so from one
            generator for all, so their draws are others than those of the run alone.
        fresh: whether training begins here, so that weights come from the run that ``init_from`` names, if any;
            otherwise they are about to be read from a checkpoint.

    Raises:
        SeqlraError: anything in the configuration that cannot be used.
    """
    alone = isinstance(config, Config)
    configs = (config,) if isinstance(config, Config) else tuple(config)
    _check_stack(configs)
    first = configs[0]
    device = pick_device(first.device)
    torch.set_float32_matmul_precision(PRECISIONS[first.precision])
    learns = learner(first) if alone else _learner_of_stack(configs, device)
    images = isinstance(first.data, Images)
    task, nodes, vocabulary = _images(configs, device) if images else _text(first, device)
    models = (_initial(nodes, each, learns, fresh, device) for each in configs)
    graph = next(models) if alone else _stacked(nodes, len(configs), models, learns, device)
    task.start(graph)
    torch.manual_seed(first.seed)  # the draws of stochastic units
    return Experiment(configs, learns, task, graph, optimizer(graph.parameters(), first.optimization), vocabulary)


OF_THE_START = ("weight_init", "weight_std", "feedback_init", "feedback_std", "init_from")
"""Settings of a network in which the models of a stack may differ, besides their seed."""


def _check_stack(configs: Sequence[Config]) -> None:
    """Raise `SeqlraError` where configurations differ in more than models of one training can."""
    if not configs:
        raise SeqlraError("a stack needs at least one model")
    first = shared(configs[0])
    for config in configs:
        for name, value in shared(config).items():
            if value != first.get(name):
                raise SeqlraError(
                    "the models of a stack may differ in their seed, how their weights start, the step size, and beta, "
                    f"c1 and c2 where these are on; {name} is {value} and {first.get(name)}"
                )


def shared(config: Config) -> dict[str, Any]:
    """What the models of a stack have in common, by a flat name; of a setting that may differ, whether it is off."""
    plain = config.to_dict()
    parts = {name: plain.pop(name) for name in ("data", "network", "rule", "optimization")}
    flat = {f"{part} {name}": value for part, held in parts.items() for name, value in held.items()}
    own = {"seed", "versions", "optimization lr", *(f"network {name}" for name in OF_THE_START)}
    for name in rule_class(config.rule["name"]).per_model:
        flat[f"rule {name}"] = "off" if config.rule.get(name) is None else "on"
    return {name: value for name, value in (plain | flat).items() if name not in own}


def _learner_of_stack(configs: Sequence[Config], device: torch.device) -> Rule:
    """The rule of all; where a setting differs between them it is a tensor ``(models, 1, 1)``."""
    for config in configs:
        learner(config)  # refuses values that make no sense
    settings = dict(configs[0].rule)
    for name in rule_class(settings["name"]).per_model:
        values = [config.rule.get(name) for config in configs]
        if len(set(values)) > 1:
            settings[name] = torch.tensor(values, device=device)[:, None, None]
    return rule(settings.pop("name"), **settings)


def _initial(nodes: Nodes, config: Config, learns: Rule, fresh: bool, device: torch.device) -> Graph:
    """The network of one configuration, as its training begins."""
    net, graph = config.network, Graph(nodes)
    initialize(graph, config.seed, net.weight_init, net.weight_std, net.feedback_std, net.feedback_init, learns).to(
        device
    )
    if fresh and net.init_from is not None:
        take_weights(graph, RunDirectory.open(Path(net.init_from)))
    return graph


@torch.no_grad()
def _stacked(nodes: Nodes, size: int, models: Iterable[Graph], learns: Rule, device: torch.device) -> Graph:
    """The models as one graph, model s as slice s of every tensor."""
    stack = Graph(nodes, stack=size)
    learns.setup(stack)
    held = stack.to(device).state_dict()
    for nth, model in enumerate(models):
        for name, tensor in model.state_dict().items():
            held[name][nth].copy_(tensor)
    return stack


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


def _images(configs: Sequence[Config], device: torch.device) -> tuple[Classification, Nodes, None]:
    config = configs[0]
    data, net = config.data, config.network
    assert isinstance(data, Images)
    seeds = [each.seed if data.seed is None else data.seed for each in configs]
    seed = seeds[0] if len(set(seeds)) == 1 else seeds
    g = discretizer(net.discretizer, net.block_size)
    mlp(1, net.hidden, 1, net.activation, g, net.loss)  # refuses units that make no sense before data is loaded
    images = load_images(data.dataset, _path(data.data_dir), seed, device, data.valid)
    task = Classification(images, config.optimization.batch_size or 1, seed)
    return task, mlp(images.pixels, net.hidden, images.classes, net.activation, g, net.loss), None


def _text(config: Config, device: torch.device) -> tuple[Prediction, Nodes, Vocabulary]:
    assert isinstance(config.data, Text)
    data = config.data
    unroll(config, Vocabulary.of("ab", "chars"))(1)  # refuses units that make no sense before data is loaded
    text = load_text(data.dataset, _path(data.data_dir), _path(data.text), data.tokens, device, None, data.max_words)
    network = unroll(config, text.vocabulary)
    held_out = {split: covering(getattr(text, split)) for split in ("train", "valid", "test")}
    series = as_streams(text.train, data.streams)
    task = Prediction(series, held_out, network, data.unroll, data.tokens, config.seed)
    return task, network(data.unroll), text.vocabulary


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name)


def begin(experiment: Experiment, run: RunDirectory | StackDirectory) -> None:
    """Write down what a run is, before work starts, of a stack each of its runs; ``config.json`` comes last, so that
    with it all is there."""
    for config, each in zip(experiment.configs, run.runs, strict=True):
        each.path.mkdir(exist_ok=True)
        if experiment.vocabulary is not None:
            each.write_json(each.vocabulary, experiment.vocabulary.to_dict())
        each.write_json(each.config, replace(config, versions=versions()).to_dict())


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
    trainer = trainer_of(experiment, run)
    if resume and run.checkpoint.exists():
        trainer.resume(trainer.log.device)
    trainer.train(watch)
    (result,) = results(experiment, trainer)
    run.write_json(run.result, result)
    return result


def result_so_far(experiment: Experiment, run: RunDirectory) -> dict[str, Any]:
    """What a run that diverged came to at its last good checkpoint, as `train` tells it; nothing is written.

    The test split is looked at with the weights that validation chose until then; where no epoch had ended there
    are none, and the metrics are left out.

    Raises:
        SeqlraError: the checkpoint is missing or damaged.
    """
    trainer = trainer_of(experiment, run)
    trainer.resume(trainer.log.device)
    (result,) = results(experiment, trainer)
    return result


def trainer_of(experiment: Experiment, run: RunDirectory | StackDirectory) -> Trainer:
    """What trains an experiment in a directory."""
    settings = experiment.config.optimization
    return Trainer(
        experiment.graph,
        experiment.rule,
        experiment.optimizer,
        experiment.task,
        settings,
        run,
        diagnose_every=experiment.config.diagnose,
        compiled=experiment.config.compile,
        rates=_rates(experiment),
    )


def _rates(experiment: Experiment) -> Tensor | None:
    """The step size of each model over that of the first ``(models,)``; None where they agree."""
    sizes = [config.optimization.lr for config in experiment.configs]
    if len(set(sizes)) == 1:
        return None
    return torch.tensor(sizes, device=next(experiment.graph.parameters()).device) / sizes[0]


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
    learner(config).setup(graph)
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


def results(experiment: Experiment, trainer: Trainer) -> list[dict[str, Any]]:
    """What training came to, model by model, as ``result.json`` has it; the graph then has the weights that validation
    chose.

    The time of a model of a stack is its share: that of the stack over the number of models.
    """
    trainer.use_best()
    measured: list[dict[str, float]] = [{} for _ in trainer.records]
    if any(record.history for record in trainer.records):
        for split in ("test", "valid"):
            for told, metrics in zip(measured, experiment.task.evaluate_each(trainer.graph, split), strict=True):
                told |= {f"{split}_{name}": value for name, value in metrics.items()}
    models = zip(experiment.configs, trainer.records, measured, strict=True)
    return [_result(config, record, told, trainer) for config, record, told in models]


def _result(config: Config, record: Record, measured: dict[str, float], trainer: Trainer) -> dict[str, Any]:
    history, models = record.history, len(trainer.records)
    steps, seconds = trainer.step, trainer.seconds / models
    if record.diverged:  # the figures are those of the last epoch that it ended
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
        "parameters": sum(parameter.numel() for parameter in trainer.graph.parameters()) // models,
        "best_epoch": record.epoch,
        **({**measured, **_learned(record)} if history else {}),
        "train_seconds": round(seconds, 3),
        rate(config): round(steps * trainer.task.samples_per_step / seconds, 1) if seconds else None,
        "versions": versions(),
    }


def _learned(record: Record) -> dict[str, Any]:
    """What the rows of metrics tell of a run that has ended an epoch."""
    return {
        "train_error": record.history[record.epoch - 1]["train_error"],
        "mean_depth": sum(row["depth"] for row in record.history) / len(record.history),
    }


def rate(config: Config) -> str:
    """What a result calls the speed of training."""
    return "samples_per_second" if config.task == "mlp" else "tokens_per_second"
