"""What traces are made of, and how they go on from chunk to chunk.

All that a layer reads is one matrix, with a column for every source and a last one of 1 for the bias.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor

from seqlra.errors import SeqlraError
from seqlra.network.forward import TRACE
from seqlra.network.graph import Graph
from seqlra.network.layers import ConnectionInto, Layer
from seqlra.rules.backward import BackwardPass


def source_of(backward: BackwardPass, connection: ConnectionInto, steps: range) -> Tensor:
    """What these steps of a layer read over a connection, ``(*stack, rows, source units)``; tokens as one-hot rows."""
    source, weight = backward.forward.source(connection, steps), backward.graph.weights[connection.weight]
    if source.dtype.is_floating_point:
        return source
    one_hot = weight.new_zeros(*source.shape, weight.shape[-2])  # torch's looks at values, so it cannot be recorded
    return one_hot.scatter_(-1, source.unsqueeze(-1), 1.0)


def sources_of(backward: BackwardPass, number: int) -> Tensor:
    """All that a layer reads at all its steps, connection by connection, and a 1 where it has a bias:
    ``(*stack, rows, sources)``."""
    layer = backward.graph.layers[number]
    found = [source_of(backward, connection, range(layer.steps)) for connection in layer.into]
    if layer.subgraph.bias is not None:
        found.append(found[0].new_ones(*found[0].shape[:-1], 1))
    stack = max((each.shape[:-2] for each in found), key=len)
    return torch.cat([each.expand(*stack, -1, -1) for each in found], -1)


def carried_in(backward: BackwardPass, name: str, units: int) -> Tensor | None:
    """The trace that was carried here under that name, ``(*stack, batch, units)``; None: none was.

    Raises:
        SeqlraError: it is of another graph or mini-batch.
    """
    trace, shape = backward.forward.traces.get(TRACE + name), (*backward.graph.stack, backward.forward.batch, units)
    if trace is not None and trace.shape != shape:
        raise SeqlraError(f"{TRACE}{name} must be {shape} as its rule left it; given: {tuple(trace.shape)}")
    return trace


def carry_on(backward: BackwardPass, name: str, trace: Tensor) -> None:
    """Leave a trace ``(*stack, batch, units)`` for the next chunk."""
    backward.forward.traces_left[TRACE + name] = trace


def by_parameter(graph: Graph, layers: Iterable[tuple[Layer, Tensor]]) -> dict[Tensor, Tensor]:
    """Updates ``(*stack, sources, units)`` of layers, of the columns of `sources_of`, as those of the parameters."""
    found: dict[Tensor, Tensor] = {}
    for layer, update in layers:
        parameters, ends = [graph.weights[connection.weight] for connection in layer.into], [0]
        for weight in parameters:
            ends.append(ends[-1] + weight.shape[-2])
        parts = [update[..., start:end, :] for start, end in pairwise(ends)]
        if layer.subgraph.bias is not None:
            parameters.append(graph.biases[layer.subgraph.bias])
            parts.append(update[..., -1, :])
        for parameter, part in zip(parameters, parts, strict=True):
            found[parameter] = found[parameter] + part if parameter in found else part
    return found
