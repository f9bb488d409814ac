"""Networks as files: the list of subgraphs and its tensors, without anything that could run.

A file is read with ``weights_only=True``, and its architecture is plain data (`seqlra.network.plain`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqlra.data.memory import MEMORY_TASKS
from seqlra.errors import SeqlraError
from seqlra.network.builders import elman, mlp
from seqlra.network.graph import Graph
from seqlra.network.plain import Own, architecture, from_plain
from seqlra.network.subgraph import Input, Subgraph
from seqlra.network.units import discretizer
from seqlra.training import checkpoint
from seqlra.training.data_settings import Generated, Images, Text
from seqlra.training.reading import read_config
from seqlra.training.run_directory import RunDirectory
from seqlra.training.settings import Config
from seqlra.training.weights import chosen_tensors, graph_of


def save(graph: Graph, path: Path | str) -> None:
    """Write a graph with its architecture, weights, feedback and the state of its rule to a file, whole or not at all.

    Units and losses of your own are written by their names alone; `load` then needs the objects.

    Raises:
        SeqlraError: the file cannot be written.
    """
    checkpoint.save(Path(path), {**architecture(graph), "graph": graph.state_dict()})


def load(path: Path | str, *, own: Iterable[Own] = (), device: torch.device | str = "cpu") -> Graph:
    """A graph from a file of `save` or of `Checkpoint`, or from a run directory of the command line, with the best
    weights. Data sets are not needed, and no code of the file or the directory is run.

    Args:
        path: the file or the directory.
        own: units and losses that are not seqlra's, found by their names.
        device: where the tensors shall live.

    Raises:
        SeqlraError: there is nothing, it is damaged, or holds a unit or a loss that is neither seqlra's nor in ``own``.
    """
    path = Path(path)
    run = RunDirectory.open(path) if path.is_dir() else None
    file = path if run is None else run.checkpoint
    state = checkpoint.load(file, device)
    tensors = chosen_tensors(state, file)
    learned: Any
    if "nodes" in state:
        nodes, learned = from_plain(state["nodes"], own), state.get("learned")
    elif run is not None:
        config = read_config(run)
        nodes, learned = _nodes_of(config, tensors, file), config.rule.get("feedback") == "learned"
    else:
        raise SeqlraError(f"{path} does not say of what network it is; of a run directory give the directory itself")
    return graph_of(nodes, tensors, file, learned)


def _nodes_of(config: Config, tensors: Mapping[str, Tensor], file: Path) -> list[Input | Subgraph]:
    """The network of a run; its numbers of inputs and outputs are those of its weights."""
    net, of_layers = config.network, len(config.network.hidden)
    rnn = config.task == "rnn"
    lowest = "W" if rnn and of_layers == 1 else "W1"
    highest = "U" if rnn else f"W{of_layers + 1}"
    try:
        inputs, outputs = tensors[f"weights.{lowest}"].shape[-2], tensors[f"weights.{highest}"].shape[-1]
    except (KeyError, IndexError) as error:
        raise SeqlraError(f"the checkpoint {file} does not fit its config.json") from error
    g = discretizer(net.discretizer, net.block_size)
    if isinstance(config.data, Images):
        return mlp(inputs, net.hidden, outputs, net.activation, g, net.loss)
    steps, output, at = _over_time(config)
    return elman(
        inputs, net.hidden, outputs, steps, net.activation, g, net.loss, output, net.across_time, at, **net.memory
    )


def _over_time(config: Config) -> tuple[int, Any, range | None]:
    """The steps of a recurrent network, its output loss, and the steps with outputs; None: all.

    Images step by step say only with their data how many steps they are; a graph over 2 is that over any number.
    """
    data = config.data
    if isinstance(data, Text):
        return data.unroll, "cross-entropy", None
    if isinstance(data, Generated):
        task = MEMORY_TASKS[data.dataset]
        return data.length, task.loss, range(data.length - task.asked + 1, data.length + 1)
    return 2, "cross-entropy", range(2, 3)
