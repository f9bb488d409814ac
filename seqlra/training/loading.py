"""The trained network of a run directory, and what it is measured on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from seqlra.data.text import read_text
from seqlra.data.vocabulary import Vocabulary
from seqlra.errors import SeqlraError, SeqlraWarning
from seqlra.network.graph import Graph
from seqlra.network.subgraph import Input, Subgraph
from seqlra.tasks.classification import Classification
from seqlra.tasks.prediction import Prediction, covering
from seqlra.tasks.sequences import LabeledSequences
from seqlra.training import checkpoint
from seqlra.training.data_settings import Generated, Labeled, Rows, Text
from seqlra.training.experiment import Experiment, task_of, unroll, with_changes
from seqlra.training.fingerprint import data_fingerprint
from seqlra.training.machine import pick_device
from seqlra.training.reading import read_config, read_vocabulary
from seqlra.training.run_directory import RunDirectory, TrainingDirectory
from seqlra.training.settings import PRECISIONS, Config
from seqlra.training.weights import chosen_tensors, graph_of


def check_vocabulary(experiment: Experiment | Trained, directory: TrainingDirectory) -> None:
    """Check that the text has not changed since its runs, so that its tokens still mean the same.

    Raises:
        SeqlraError: it has.
    """
    for run in directory.runs:
        if experiment.vocabulary is not None and experiment.vocabulary != read_vocabulary(run):
            name = experiment.config.data.dataset
            raise SeqlraError(f"{name} has changed since the run {run.path}: it has another vocabulary")


@dataclass(frozen=True)
class Trained:
    """The network of a run with the weights that validation chose, and the task that it learned.

    ``vocabulary`` says what the tokens of a text mean; None for other data.
    """

    config: Config
    task: Classification | Prediction | LabeledSequences
    graph: Graph
    vocabulary: Vocabulary | None = None


def load_best(run: RunDirectory, device: str = "auto", data_dir: Path | None = None) -> Trained:
    """The network of a run with the weights that validation chose, and its data. Its rule is not needed.

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
    on = pick_device(device)
    torch.set_float32_matmul_precision(PRECISIONS[config.precision])
    task, nodes, vocabulary = task_of([with_changes(config, data=data, device=on.type)], on)
    trained = Trained(config, task, _chosen(run, config, nodes, on), vocabulary)
    task.start(trained.graph)
    check_vocabulary(trained, run)
    if config.versions.get("data") not in (None, "", data_fingerprint(task)):
        changed = f"{data.dataset} has changed since the run began: this measures on other data"
        warnings.warn(changed, SeqlraWarning, stacklevel=2)
    torch.manual_seed(config.seed)  # the draws of stochastic units
    return trained


def _chosen(run: RunDirectory, config: Config, nodes: Sequence[Input | Subgraph], device: torch.device) -> Graph:
    """The network of these nodes with the weights that validation chose in a run."""
    tensors = chosen_tensors(checkpoint.load(run.checkpoint, device), run.checkpoint)
    try:
        return graph_of(nodes, tensors, run.checkpoint, config.rule.get("feedback") == "learned")
    except SeqlraError as error:
        raise SeqlraError(f"the checkpoint {run.checkpoint} does not fit its config.json: {error}") from error


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
    graph = _chosen(run, config, network(2), pick_device(device))  # over one step nothing is recurrent: E has no place
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
