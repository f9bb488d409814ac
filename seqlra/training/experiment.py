"""From configurations to what is trained: data, list of subgraphs, rule, optimizer.

A training is of one model or of several, a configuration each. The graph of one model has no stack axis; that of
several has one, and the models are its slices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from seqlra.data.arrays import PIXEL_DATASETS, SequenceSplits, pixel_sequences
from seqlra.data.hub import Selection
from seqlra.data.images import load_images
from seqlra.data.memory import GeneratedSequences
from seqlra.data.own import load_rows, load_sequences
from seqlra.data.text import load_text
from seqlra.data.vocabulary import Vocabulary
from seqlra.engine.initialization import initialize
from seqlra.errors import SeqlraError
from seqlra.network.builders import elman, mlp
from seqlra.network.graph import Graph
from seqlra.network.losses import masked
from seqlra.network.subgraph import Input, Subgraph
from seqlra.network.units import discretizer
from seqlra.rules import Rule, rule, rule_class
from seqlra.tasks.classification import Classification
from seqlra.tasks.prediction import Prediction, Unroll, as_streams, covering
from seqlra.tasks.sequences import LabeledSequences
from seqlra.training.data_settings import Data, Generated, Images, Labeled, Pixels, Rows, Text
from seqlra.training.loggers import demand_libraries
from seqlra.training.machine import pick_device
from seqlra.training.optimizers import optimizer
from seqlra.training.run_directory import RunDirectory
from seqlra.training.settings import PRECISIONS, Config, Network, Optimization
from seqlra.training.weights import take_weights

Nodes = Sequence[Input | Subgraph]
Settings = TypeVar("Settings", bound=Config | Data | Network | Optimization)


def with_changes(settings: Settings, **changes: Any) -> Settings:
    """The same settings with these fields changed."""
    return replace(settings, **changes)


def describe(network: Network) -> str:
    """The hidden layers of a network in a few words."""
    unit = network.activation + (f"/{network.discretizer}" if network.discretizer else "")
    sizes = ", ".join(str(units) for units in network.hidden)
    if len(network.hidden) > 1 and len(set(network.hidden)) == 1:
        sizes = f"{len(network.hidden)} layers of {network.hidden[0]}"
    return f"{sizes} {unit}"


@dataclass(frozen=True)
class Experiment:
    """The objects that the configurations of one or several models describe, ready to train or to evaluate.

    ``vocabulary`` says what the tokens of a text mean; None for other data. ``rates`` is the step size of each model
    over that of the first, ``(models,)``; None where they agree.
    """

    configs: tuple[Config, ...]
    rule: Rule
    task: Classification | Prediction | LabeledSequences
    graph: Graph
    optimizer: torch.optim.Optimizer
    vocabulary: Vocabulary | None = None
    rates: Tensor | None = None

    @property
    def config(self) -> Config:
        """The configuration of the first model."""
        return self.configs[0]

    @property
    def title(self) -> str:
        """One line for tables and pictures: the network, the data, the rule."""
        return title(*self.configs)


def title(*configs: Config) -> str:
    """One line for tables and pictures: the network, the data, the rule, the seed or the seeds."""
    config, seeds = configs[0], [each.seed for each in configs]
    of = f"seed {seeds[0]}"
    if len(seeds) > 1:
        ascend = seeds == list(range(seeds[0], seeds[0] + len(seeds)))
        of = f"seeds {seeds[0]} to {seeds[-1]}" if ascend else f"seeds {', '.join(map(str, seeds))}"
    data = config.data.dataset + (f" of {config.data.length} steps" if isinstance(config.data, Generated) else "")
    return f"{config.rule['name']}, {describe(config.network)}, {data}, {of}"


def prepare(configs: Sequence[Config], fresh: bool = False) -> Experiment:
    """Load the data and build the network with its initial weights.

    Args:
        configs: one of each model. Several models are trained together, with a leading axis of all their tensors. They
            agree in all but the seed, how their weights start, the step size and those settings of the rule that it
            names in ``per_model``. Model s starts as it would alone; it sees the same mini-batches, too, where
            ``data.seed`` leaves them to its own seed; sequences, as a text, are the same for all. Stochastic
            units draw from one generator for all models, so their draws differ from those of a run alone.
        fresh: whether training begins here, so that weights come from the run that ``init_from`` names, if any;
            otherwise they are about to be read from a checkpoint.

    Raises:
        SeqlraError: anything in the configurations that cannot be used.
    """
    configs = tuple(configs)
    _check_stack(configs)
    first = configs[0]
    if fresh:
        demand_libraries(first.log)
    device = pick_device(first.device)
    torch.set_float32_matmul_precision(PRECISIONS[first.precision])
    learns = learner(*configs, device=device)
    task, nodes, vocabulary = task_of(configs, device)
    models = (_initial(nodes, each, learns, fresh, device, vocabulary) for each in configs)
    graph = next(models) if len(configs) == 1 else _stacked(nodes, len(configs), models, learns, device)
    task.start(graph)
    torch.manual_seed(first.seed)  # the draws of stochastic units
    optimizes = optimizer(graph.parameters(), first.optimization)
    return Experiment(configs, learns, task, graph, optimizes, vocabulary, _rates(configs, device))


OF_THE_START = ("weight_init", "weight_std", "feedback_init", "feedback_std", "init_from")
"""Settings of a network in which models that are trained together may differ, besides their seed."""


def _check_stack(configs: Sequence[Config]) -> None:
    """Raise `SeqlraError` where configurations differ in more than models of one training can."""
    if not configs:
        raise SeqlraError("a training needs at least one model")
    first = shared(configs[0])
    for config in configs:
        for name, value in shared(config).items():
            if value != first.get(name):
                raise SeqlraError(
                    "the models of a stack may differ in their seed, how their weights start, the step size, and beta, "
                    f"c1 and c2 where these are on; {name} is {value} and {first.get(name)}"
                )


def shared(config: Config) -> dict[str, Any]:
    """What models that are trained together have in common, by a flat name; for a setting that may differ, whether it
    is off."""
    plain = config.to_dict()
    parts = {name: plain.pop(name) for name in ("data", "network", "rule", "optimization")}
    flat = {f"{part} {name}": value for part, held in parts.items() for name, value in held.items()}
    own = {"seed", "versions", "optimization lr", *(f"network {name}" for name in OF_THE_START)}
    for name in rule_class(config.rule["name"]).per_model:
        flat[f"rule {name}"] = "off" if config.rule.get(name) is None else "on"
    return {name: value for name, value in (plain | flat).items() if name not in own}


def _initial(
    nodes: Nodes, config: Config, learns: Rule, fresh: bool, device: torch.device, vocabulary: Vocabulary | None
) -> Graph:
    """The network of one configuration, as its training begins."""
    net, graph = config.network, Graph(nodes)
    initialize(
        graph,
        config.seed,
        net.weight_init,
        net.weight_std,
        net.feedback_std,
        net.feedback_init,
        learns,
        net.mirror_vectors,
    ).to(device)
    if fresh and net.init_from is not None:
        take_weights(graph, RunDirectory.open(Path(net.init_from)), net, vocabulary)
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


def learner(*configs: Config, device: torch.device | str = "cpu") -> Rule:
    """The rule of the models; where a setting differs between them it is a tensor ``(models, 1, 1)``.

    Raises:
        SeqlraError: values that make no sense.
    """
    for config in configs:
        _rule_of(config.rule)  # refuses values that make no sense
    settings = dict(configs[0].rule)
    for name in rule_class(settings["name"]).per_model:
        values = [config.rule.get(name) for config in configs]
        if len(set(values)) > 1:
            settings[name] = torch.tensor(values, device=device)[:, None, None]
    return _rule_of(settings)


def _rule_of(settings: Mapping[str, Any]) -> Rule:
    return rule(settings["name"], **{name: value for name, value in settings.items() if name != "name"})


def unroll(config: Config, vocabulary: Vocabulary) -> Unroll:
    """The network of an RNN's configuration, over any number of steps."""
    net = config.network
    g = discretizer(net.discretizer, net.block_size)
    symbols = len(vocabulary)
    options: dict[str, Any] = {"across_time": net.across_time, **net.memory}
    return lambda steps: elman(symbols, net.hidden, symbols, steps, net.activation, g, net.loss, **options)


def task_of(
    configs: Sequence[Config], device: torch.device
) -> tuple[Classification | Prediction | LabeledSequences, Nodes, Vocabulary | None]:
    """The task of the models and their network, from the kind of data that the first has."""
    match configs[0].data:
        case Images():
            return _images(configs, device)
        case Text():
            return _text(configs[0], device)
        case Rows():
            return _rows(configs[0], device)
        case Generated() | Pixels() | Labeled():
            return _sequences(configs[0], device)


def _images(configs: Sequence[Config], device: torch.device) -> tuple[Classification, Nodes, None]:
    config = configs[0]
    data, net = config.data, config.network
    assert isinstance(data, Images)
    seeds = [each.seed if data.seed is None else data.seed for each in configs]
    seed = seeds[0] if len(set(seeds)) == 1 else seeds
    g = discretizer(net.discretizer, net.block_size)
    mlp(1, net.hidden, 1, net.activation, g, net.loss)  # refuses units that make no sense before data is loaded
    images = load_images(data.dataset, _path(data.data_dir), seed, device, data.valid, _selection(data))
    task = Classification(images, config.optimization.batch_size or 1, seed)
    return task, mlp(images.pixels, net.hidden, images.classes, net.activation, g, net.loss), None


def _text(config: Config, device: torch.device) -> tuple[Prediction, Nodes, Vocabulary]:
    assert isinstance(config.data, Text)
    data = config.data
    unroll(config, Vocabulary.of("ab", "chars"))(1)  # refuses units that make no sense before data is loaded
    held_out = None
    if data.valid_text is not None and data.test_text is not None:
        held_out = (Path(data.valid_text), Path(data.test_text))
    text = load_text(
        data.dataset,
        _path(data.data_dir),
        _path(data.text),
        data.tokens,
        device,
        max_words=data.max_words,
        held_out=held_out,
        lowercase=data.lowercase,
        selection=_selection(data),
    )
    network = unroll(config, text.vocabulary)
    splits = {split: covering(getattr(text, split)) for split in ("train", "valid", "test")}
    series = as_streams(text.train, data.streams)
    task = Prediction(series, splits, network, data.unroll, data.tokens, config.seed)
    return task, network(data.unroll), text.vocabulary


def _sequences(config: Config, device: torch.device) -> tuple[LabeledSequences, Nodes, None]:
    data, net = config.data, config.network
    g = discretizer(net.discretizer, net.block_size)
    elman(
        1, net.hidden, 1, 1, net.activation, g, net.loss, **net.memory
    )  # refuses units that make no sense before data is loaded
    sequences: GeneratedSequences | SequenceSplits
    if isinstance(data, Generated):
        sequences = GeneratedSequences(
            data.dataset, data.length, data.seed, data.held_out, device, torch.get_default_dtype(), data.valid
        )
    elif isinstance(data, Labeled):
        sequences = load_sequences(
            Path(data.data), data.targets, data.length, data.valid, data.held_out, data.seed, device
        )
    else:
        assert isinstance(data, Pixels)
        about = PIXEL_DATASETS[data.dataset]
        images = load_images(about.images, _path(data.data_dir), data.seed, device, data.valid)
        sequences = pixel_sequences(images, images.width if about.rows else 1)
    task = LabeledSequences(sequences, config.optimization.batch_size or 1, data.seed)
    options = {"activation": net.activation, "discretizer": g, "loss": net.loss, "across_time": net.across_time}
    return task, task.elman(net.hidden, **options, **net.memory), None


def _rows(config: Config, device: torch.device) -> tuple[LabeledSequences, Nodes, None]:
    data, net = config.data, config.network
    assert isinstance(data, Rows)
    g = discretizer(net.discretizer, net.block_size)
    mlp(1, net.hidden, 1, net.activation, g, net.loss)  # refuses units that make no sense before data is loaded
    file = Path(data.data)
    rows = load_rows(file, data.targets, data.target, data.valid, data.held_out, data.seed, device)
    task = LabeledSequences(rows, config.optimization.batch_size or 1, data.seed)
    loss = masked(rows.loss) if rows.masked else rows.loss
    return task, mlp(rows.inputs, net.hidden, rows.outputs, net.activation, g, net.loss, loss), None


def _selection(data: Images | Text) -> Selection:
    return Selection(data.column, getattr(data, "label_column", None), data.config_name, data.revision)


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name)


def _rates(configs: Sequence[Config], device: torch.device) -> Tensor | None:
    """See `Experiment`."""
    sizes = [config.optimization.lr for config in configs]
    return None if len(set(sizes)) == 1 else torch.tensor(sizes, device=device) / sizes[0]
