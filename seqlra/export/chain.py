"""A multilayer perceptron as ``nn.Sequential``."""

from __future__ import annotations

from torch import Tensor, nn

from seqlra.export.units import output_module, unit_module
from seqlra.network.graph import Graph
from seqlra.network.losses import OutputLoss
from seqlra.network.subgraph import Connection, Subgraph


def is_chain(graph: Graph) -> bool:
    """Whether every subgraph reads just the one before it in the list, through parameters of its own."""
    if len(graph.inputs) != 1 or len(graph.outputs) != 1 or any(each.leak is not None for each in graph.subgraphs):
        return False
    sources = [node.name for node in graph.nodes[:-1]]
    return own_parameters(graph.subgraphs) and sources == [
        subgraph.reads[0].source if len(subgraph.reads) == 1 else "" for subgraph in graph.subgraphs
    ]


def chain_module(graph: Graph, logits: bool) -> nn.Sequential:
    """``nn.Linear``, ``f`` and, where there is one, ``g`` of every subgraph, one after the other.

    Raises:
        SeqlraError: a unit of your own that does more than torch operations.
    """
    modules: list[nn.Module] = []
    for subgraph in graph.subgraphs:
        modules.append(linear(graph, subgraph, subgraph.reads[0]))
        if subgraph.f is not None:
            modules.append(unit_module(subgraph.f))
        if subgraph.g is not None:
            modules.append(unit_module(subgraph.g))
    f = None if logits else output_f(graph)
    return nn.Sequential(*modules) if f is None else nn.Sequential(*modules, f)


def own_parameters(subgraphs: tuple[Subgraph, ...]) -> bool:
    """Whether no two of them share weights or a bias."""
    weights = [read.weight for subgraph in subgraphs for read in subgraph.reads]
    biases = [subgraph.bias for subgraph in subgraphs if subgraph.bias is not None]
    return len(set(weights)) == len(weights) and len(set(biases)) == len(biases)


def linear(graph: Graph, subgraph: Subgraph, read: Connection) -> nn.Linear:
    """``h`` of a subgraph that reads over one connection; the slope of hidden units, if any, is in the weights."""
    weight = graph.weights[read.weight]
    slope = None if subgraph.is_output else graph.slope
    inputs, units = weight.shape
    module = nn.Linear(inputs, units, bias=subgraph.bias is not None, dtype=weight.dtype, device=weight.device)
    fill(module.weight, weight.mT, slope)
    if subgraph.bias is not None:
        fill(module.bias, graph.biases[subgraph.bias], slope)
    return module


def fill(parameter: Tensor, value: Tensor, slope: Tensor | None = None) -> None:
    """Copy ``value``, times the slope ``(1, 1)`` where there is one, to a parameter."""
    value = value.detach()
    parameter.data.copy_(value if slope is None else slope.squeeze() * value)


def output_f(graph: Graph) -> nn.Module | None:
    """The ``f`` of the last output of the list, as a module; None where it is linear."""
    loss = graph.outputs[-1].loss
    assert isinstance(loss, OutputLoss)
    return output_module(loss)
