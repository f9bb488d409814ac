"""The weights that validation chose in a finished run, given to a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqlra.data.vocabulary import Vocabulary
from seqlra.errors import SeqlraError
from seqlra.network.graph import Graph
from seqlra.network.subgraph import Input, Subgraph
from seqlra.training import checkpoint
from seqlra.training.reading import read_config, read_vocabulary
from seqlra.training.run_directory import RunDirectory
from seqlra.training.settings import Network


def chosen_tensors(state: Mapping[str, Any], file: Path) -> Mapping[str, Tensor]:
    """The tensors of a network in what `checkpoint.load` read: those that validation chose, if it has.

    Raises:
        SeqlraError: there are none.
    """
    best = state.get("best")
    tensors = best.get("weights") if isinstance(best, Mapping) else state.get("graph")
    if not isinstance(tensors, Mapping) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise SeqlraError(f"{file} holds no network")
    return tensors


def graph_of(nodes: Sequence[Input | Subgraph], tensors: Mapping[str, Tensor], file: Path, learned: Any) -> Graph:
    """The graph of a list with these tensors, those that its rule added to it, too; the rule itself is not needed.

    Args:
        nodes: the list.
        tensors: by their names in the graph.
        file: where they are from, for messages.
        learned: which of its feedback the rule learns, by name, or whether all.

    Raises:
        SeqlraError: the tensors are not those of this network.
    """
    weights = {name: tensor for name, tensor in tensors.items() if name.startswith("weights.")}
    if not weights:
        raise SeqlraError(f"{file} holds no network")
    first = next(iter(weights.values()))
    graph = Graph(nodes, first.shape[0] if first.dim() == 3 else None).to(first)
    for name, tensor in tensors.items():
        held, _, own = name.partition(".")
        if held in ("feedback", "rule_state", "unit_state") and own and own not in getattr(graph, held):
            getattr(graph, held)[own] = torch.empty_like(tensor)
    for name in list(graph.feedback):
        if learned is True or (isinstance(learned, list) and name in learned):
            graph.feedback.train_one(name)
    try:
        graph.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise SeqlraError(f"the tensors of {file} do not fit its network") from error
    return graph


@torch.no_grad()
def take_weights(graph: Graph, run: RunDirectory, network: Network, vocabulary: Vocabulary | None) -> None:
    """Start from the weights, biases and leaks that validation chose in another run of any rule (Section 3.5).

    Error weights stay those of the new run's seed.

    Args:
        graph: whose weights are set.
        run: the other run.
        network: the settings of the graph, which must have the units of that run.
        vocabulary: what the tokens of the new run mean; None for other data.

    Raises:
        SeqlraError: that run has another network or vocabulary, or its checkpoint is damaged.
    """
    theirs_is = read_config(run).network
    for name in ("activation", "discretizer", "leak", "recurrence", *(("block_size",) if network.discretizer else ())):
        there, here = getattr(theirs_is, name), getattr(network, name)
        if there != here:
            words = f"{name.replace('_', ' ')} {there or 'none'} there and {here or 'none'} here"
            raise SeqlraError(f"{run.path} has another network: {words}")
    if vocabulary is not None and run.vocabulary.exists() and vocabulary != read_vocabulary(run):
        raise SeqlraError(f"{run.path} learned another text, with another vocabulary: its weights mean nothing here")
    chosen = chosen_tensors(checkpoint.load(run.checkpoint, next(graph.parameters()).device), run.checkpoint)
    of_network = ("weights.", "biases.", "leaks.")  # not learned E
    own = {name: p for name, p in graph.named_parameters() if name.startswith(of_network)}
    theirs = {name: tensor for name, tensor in chosen.items() if name.startswith(of_network)}
    here, there = ({name: tuple(t.shape) for name, t in held.items()} for held in (own, theirs))
    for name in {**here, **there}:
        if here.get(name) != there.get(name):
            shapes = f"{name} is {there.get(name, 'missing')} there and {here.get(name, 'missing')} here"
            raise SeqlraError(f"{run.path} has another network: {shapes}")
    for name, parameter in own.items():
        parameter.copy_(theirs[name])
