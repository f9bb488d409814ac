"""Real-time recurrent learning (RTRL; Williams and Zipser 1989, "A learning algorithm for continually running fully
recurrent neural networks", Neural Computation 1:270-280)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from seqlra.network.graph import Graph, over_units
from seqlra.network.layers import ConnectionOutOf
from seqlra.rules.backward import BackwardPass
from seqlra.rules.online import OnlineRule
from seqlra.rules.traces import carried_in, carry_on, source_of


@dataclass(frozen=True)
class RTRL(OnlineRule):
    """RTRL: the whole influence ``J_t = dz_t/dtheta`` of all weights on the state, forward in time,

        J_t = dz_t/dh_t * (J_{t-1} V + ... + the immediate influence of the weights on h_t) + (1 - leak) J_{t-1}

    and the update ``sum_t L_t J_t`` with ``L_t = dL_t/dz_t`` (weights stay as they are over a chunk). With exact
    feedback that is the gradient of BPTT. J holds units x weights numbers for every sample, and a step costs units^2 x
    weights: for small networks, and as an oracle. J starts at 0 with every chunk, or (``online``) with every sequence.
    """

    name: ClassVar[str] = "rtrl"
    about: ClassVar[str] = "RTRL, real-time recurrent learning: BPTT forward in time (Williams and Zipser 1989)"
    costs: ClassVar[tuple[str, str]] = ("T B n^4", "B n^3")
    feedback: Literal["exact", "fixed", "learned"] = "exact"

    def connections(self, graph: Graph, number: int) -> list[ConnectionOutOf]:
        """Those with outputs: J has the effects on other hidden layers in it."""
        found = super().connections(graph, number)
        return [c for c in found if graph.layers[c.reader].subgraph.is_output]

    def has_memory(self, graph: Graph, number: int) -> bool:
        """J has the past in it."""
        return False

    def hidden_updates(self, backward: BackwardPass) -> dict[Tensor, Tensor]:
        """``sum_t L_t J_t``."""
        graph, forward = backward.graph, backward.forward
        signals = learning_signals(backward)
        where = columns(graph)
        total: Tensor | None = None
        last: dict[str, Tensor] = {}
        for number, step, influence in influences(backward):
            signal = signals.get(number)
            last[graph.layers[number].name] = influence
            if signal is not None:
                rows = signal[..., forward.rows(range(step, step + 1)), :]
                found = torch.einsum("...bn,...bnp->...p", rows, influence)
                total = found if total is None else total + found
        for name, influence in last.items() if self.online else ():
            carry_on(backward, name, influence.flatten(-2))
        if total is None:
            return {}
        return {parameter: total[..., part].view_as(parameter) for parameter, part in where.items()}


def learning_signals(backward: BackwardPass) -> dict[int, Tensor]:
    """By hidden layer what comes in from the outputs of the same step, ``L (*stack, rows, units)``."""
    found = {}
    for i, layer in enumerate(backward.graph.layers):
        route = backward.routes[i]
        if route is not None and route.connections:
            signal = backward.rule.incoming(backward.receiving(i, range(layer.steps), backward.messages))
            if signal is not None:
                found[i] = signal
    return found


def columns(graph: Graph) -> dict[Tensor, slice]:
    """By parameter of hidden layers, its columns of an influence matrix."""
    names: dict[Tensor, None] = {}
    for layer in graph.layers:
        if not layer.subgraph.is_output:
            names.update(dict.fromkeys(graph.used_by(layer)))
    found, start = {}, 0
    for parameter in names:
        size = parameter[0].numel() if graph.stack else parameter.numel()
        found[parameter] = slice(start, start + size)
        start += size
    return found


def influences(backward: BackwardPass) -> Iterator[tuple[int, int, Tensor]]:
    """For every hidden subgraph in the order of the list: its layer, its step there, and ``J = dz/dtheta``, ``(*stack,
    batch, units, columns)`` with the `columns` of the parameters."""
    graph, where = backward.graph, columns(backward.graph)
    layers = {
        (layer.name, block): (i, block - layer.first) for i, layer in enumerate(graph.layers) for block in layer.blocks
    }
    hidden = [subgraph for subgraph in graph.subgraphs if not subgraph.is_output]
    at = {place: full for full, place in graph.layout.places.items()}
    last_use: dict[str, int] = {}
    for nth, subgraph in enumerate(hidden):
        place = graph.layout.places[subgraph.name]
        for source in [*(read.source for read in subgraph.reads), at.get((place[0], place[1] - 1), "")]:
            last_use[source] = nth
    known = _carried_over(backward, sum(part.stop - part.start for part in where.values()))
    for nth, subgraph in enumerate(hidden):
        name, block = graph.layout.places[subgraph.name]
        number, step = layers[name, block]
        known[subgraph.name] = _influence(backward, number, step, known, where, at)
        yield number, step, known[subgraph.name]
        known = {source: j for source, j in known.items() if last_use.get(source, -1) > nth}


def _carried_over(backward: BackwardPass, size: int) -> dict[str, Tensor]:
    """By the name of a state that was carried in, its J."""
    found = {}
    for full, (name, block) in backward.graph.layout.places.items():
        trace = carried_in(backward, name, backward.graph.layout.buffers[name].units * size) if block == 0 else None
        if trace is not None:
            found[full] = trace.unflatten(-1, (-1, size))
    return found


def _influence(
    backward: BackwardPass,
    number: int,
    step: int,
    known: Mapping[str, Tensor],
    where: Mapping[Tensor, slice],
    at: Mapping[tuple[str, int], str],
) -> Tensor:
    """J of one step of a layer from the J of what it reads; those of inputs are 0."""
    graph, layer = backward.graph, backward.graph.layers[number]
    view = backward.receiving(number, range(step, step + 1), backward.messages)
    derivative = view.derivative
    size, units = max(part.stop for part in where.values()), derivative.shape[-1]
    eye = torch.eye(units, dtype=derivative.dtype, device=derivative.device)
    j = derivative.new_zeros(*derivative.shape, size)
    for connection in layer.into:
        weight = graph.weights[connection.weight]
        source = at[connection.source, connection.first + step]
        if source in known:
            j += torch.einsum("...bmp,...mn->...bnp", known[source], weight)
        rows = source_of(backward, connection, range(step, step + 1))
        immediate = torch.einsum("...bi,jk->...bjik", rows, eye)
        j[..., where[weight]] += immediate.flatten(-2)
    if layer.subgraph.bias is not None:
        j[..., where[graph.biases[layer.subgraph.bias]]] += eye
    j *= derivative.unsqueeze(-1)
    if layer.subgraph.trained_leak is not None:
        logits = graph.leaks[layer.subgraph.trained_leak]
        j[..., where[logits]] += view.leak_derivative.unsqueeze(-1) * over_units(eye, logits)
    before = at.get((layer.name, layer.first + step - 1), "")
    if view.leak is not None and before in known:
        j += (1 - view.leak).unsqueeze(-1) * known[before]
    return j
