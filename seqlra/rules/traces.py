"""What traces are made of, and how they go on from chunk to chunk.

All that a layer reads is one matrix, with a column for every source and a last one of 1 for the bias. A trained leak
reads 1, too, but through a derivative of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from seqlra.errors import SeqlraError
from seqlra.network.forward import TRACE
from seqlra.network.graph import Graph, over_units
from seqlra.network.layers import ConnectionInto, Layer
from seqlra.rules.backward import BackwardPass
from seqlra.rules.views import LayerView


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


def changes_of(layer: LayerView) -> list[tuple[Tensor, Tensor]]:
    """How the parameters of a layer change its output within a step: pairs of a derivative ``(*stack, rows, units)``
    and of sources ``(*stack, rows, sources)``, whose products are ``dz/dparameter``, unit by unit. The first are
    ``dz/dh`` and `sources_of`; the second, of a trained leak, ``dz/da`` by its logit and 1."""
    read = sources_of(layer.backward, layer.number)
    pairs = [(layer.derivative, read)]
    if layer.subgraph.trained_leak is not None:
        pairs.append((layer.leak_derivative, read.new_ones(*read.shape[:-1], 1)))
    return pairs


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
    """Updates ``(*stack, sources, units)`` of layers, of all sources of `changes_of`, as those of the parameters."""
    found: dict[Tensor, Tensor] = {}
    for layer, update in layers:
        parameters = graph.used_by(layer)
        sizes = [graph.weights[connection.weight].shape[-2] for connection in layer.into]
        sizes += [1] * (len(parameters) - len(sizes))
        for parameter, rows in zip(parameters, update.split(sizes, -2), strict=True):
            part = over_units(rows, parameter).reshape(parameter.shape)
            found[parameter] = found[parameter] + part if parameter in found else part
    return found
