"""Reading of a run directory: its configuration, its vocabulary, its trained network."""

from __future__ import annotations

from pathlib import Path

from seqlra.data.text import read_text
from seqlra.data.vocabulary import Vocabulary
from seqlra.errors import SeqlraError
from seqlra.network.graph import Graph
from seqlra.tasks.prediction import Prediction, covering
from seqlra.training.data_settings import Generated, Labeled, Rows, Text
from seqlra.training.experiment import Experiment, learner, prepare, unroll, with_changes
from seqlra.training.machine import pick_device
from seqlra.training.run_directory import RunDirectory, TrainingDirectory
from seqlra.training.settings import Config
from seqlra.training.weights import load_best_weights


def read_config(run: RunDirectory) -> Config:
    """The configuration of a run.

    Raises:
        SeqlraError: it is missing or damaged.
    """
    return Config.from_dict(run.read_json(run.config))


def read_vocabulary(run: RunDirectory) -> Vocabulary:
    """The meaning of the tokens of a run.

    Raises:
        SeqlraError: ``vocabulary.json`` is missing or damaged.
    """
    return Vocabulary.from_dict(run.read_json(run.vocabulary))


def check_vocabulary(experiment: Experiment, directory: TrainingDirectory) -> None:
    """Check that the text has not changed since its runs, so that its tokens still mean the same.

    Raises:
        SeqlraError: it has.
    """
    for run in directory.runs:
        if experiment.vocabulary is not None and experiment.vocabulary != read_vocabulary(run):
            name = experiment.config.data.dataset
            raise SeqlraError(f"{name} has changed since the run {run.path}: it has another vocabulary")


def load_best(run: RunDirectory, device: str = "auto", data_dir: Path | None = None) -> Experiment:
    """The network of a run with the weights that validation chose, and its data.

    Raises:
        SeqlraError: the run or its data are missing or damaged.
    """
    config = read_config(run)
    data = config.data
    if data_dir is not None:
        if isinstance(data, Generated):
            raise SeqlraError(f"{data.dataset} is generated, so --data-dir does not go with it")
        if isinstance(data, Rows | Labeled):
            raise SeqlraError(f"the data of this run are the file {data.data}, so --data-dir does not go with it")
        data = with_changes(data, data_dir=str(data_dir))
    experiment = prepare([with_changes(config, data=data, device=pick_device(device).type)])
    check_vocabulary(experiment, run)
    load_best_weights(experiment.graph, run)
    return experiment


def load_network(run: RunDirectory, device: str = "auto") -> tuple[Graph, Vocabulary]:
    """The chosen network of an RNN run on text over one step, and its vocabulary; the text is not needed.

    Raises:
        SeqlraError: the run is damaged, or not one of an RNN on text.
    """
    config = read_config(run)
    if not isinstance(config.data, Text):
        on = "" if config.task == "mlp" else f" on {config.data.dataset}"
        needed = "train rnn" if config.task == "mlp" else "train rnn on a text"
        raise SeqlraError(f"the run {run.path} is one of seqlra train {config.task}{on}; text needs one of {needed}")
    vocabulary = read_vocabulary(run)
    network = unroll(config, vocabulary)
    graph = Graph(network(2))  # over one step nothing is recurrent, so error weights across time have no place
    learner(config).setup(graph)
    graph.to(pick_device(device))
    load_best_weights(graph, run)
    return graph.sharing(network(1)), vocabulary


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
