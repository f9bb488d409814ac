"""Decoupled neural interfaces for recurrent networks (DNI; Jaderberg et al. 2017, "Decoupled neural interfaces using
synthetic gradients", ICML, arXiv:1608.05343), with a linear predictor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from seqlra.network.forward import rows_of
from seqlra.network.graph import Graph
from seqlra.network.layers import Layer
from seqlra.rules.backward import BackwardPass
from seqlra.rules.base import require
from seqlra.rules.learned_feedback import LearnedFeedback
from seqlra.rules.routes import error_routes
from seqlra.rules.views import ConnectionView, LayerView


@dataclass(frozen=True)
class DNI(LearnedFeedback):
    """DNI: truncated BPTT that adds, at the last step T of a chunk, what all later chunks would send back, predicted
    from the state:

        dL/dz_T = (from the chunk) + z_T A

    A ``(units, units)`` of each recurrent layer starts at 0 and is learned where a chunk starts: what comes back to the
    state z_0 that was carried in, with the prediction at T in it, is the target of ``z_0 A``,

        A += predictor_lr * z_0^T (target - z_0 A) / |z_0|^2         summed over the mini-batch

    So ``--unroll 1`` is the cheapest form: no error crosses two steps, and the future comes in through A alone. From a
    state of 0 the prediction is 0: where sequences start anew with every mini-batch, it stays BPTT.

    Args:
        feedback: how errors cross connections within the chunk. ``exact``: through W^T; ``fixed`` and ``learned``:
            through error weights, as `FeedbackAlignment`.
        predictor_lr: the step size of A, above 0 and under 2.
    """

    feedbacks: ClassVar[tuple[str, ...]] = ("exact", "fixed", "learned")
    name: ClassVar[str] = "dni"
    about: ClassVar[str] = "BPTT with a learned prediction of later chunks' gradient (Jaderberg et al. 2017)"
    costs: ClassVar[tuple[str, str]] = ("T B n^2", "T B n")
    feedback: Literal["exact", "fixed", "learned"] = "exact"
    predictor_lr: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.predictor_lr < 2, f"predictor_lr must be above 0 and under 2, not {self.predictor_lr}")

    def setup(self, graph: Graph) -> None:
        """Declare A of every recurrent layer.

        Raises:
            SeqlraError: no state is carried, or no error comes to a last step, as where it has no output.
        """
        super().setup(graph)
        carried = _carried(graph)
        for layer, route in zip(graph.layers, error_routes(self, graph), strict=True):
            if route is not None and _is_last(graph, layer):
                reached = route.receives and (route.reached is None or route.reached[-1])
                require(reached, f"dni is defined where an error comes to the last step, unlike that of {layer.name!r}")
        for name, units in carried.items():
            graph.declare_state(_predictor(name), torch.zeros(units, units))

    def feedback_matrix(self, connection: ConnectionView) -> Tensor | None:
        """W^T, or E; None where the connection has no E."""
        return connection.weight.mT if self.feedback == "exact" else connection.feedback

    def has_memory(self, graph: Graph, number: int) -> bool:
        """Errors go back over the leak."""
        return graph.layers[number].subgraph.leak is not None

    def incoming(self, layer: LayerView) -> Tensor | None:
        """What comes over the connections; at the end of the chunk, the prediction, too."""
        found, steps, own = super().incoming(layer), layer.rows.steps, layer.graph.layers[layer.number]
        if steps is None or steps.stop < layer.steps or not _is_last(layer.graph, own):
            return found
        rows = layer.backward.forward.rows(range(len(steps) - 1, len(steps)))
        total = torch.zeros_like(layer.z) if found is None else found.clone()
        total[..., rows, :] += rows_of(layer.z, rows) @ layer.graph.state(_predictor(own.name), self.name)
        return total

    def error(self, layer: LayerView, incoming: Tensor) -> Tensor:
        """The chain rule through f."""
        return incoming * layer.derivative

    def after_update(self, backward: BackwardPass) -> None:
        """Learn A, and E where that is learned."""
        super().after_update(backward)
        for name in _carried(backward.graph):
            a, z = backward.graph.state(_predictor(name), self.name), initial_state(backward, name)
            product = z.mT @ (self.sent_back(backward, name) - z @ a)
            tiny = torch.finfo(z.dtype).tiny
            a.add_(self.predictor_lr * product / z.square().sum((-2, -1), keepdim=True).clamp(min=tiny))

    def sent_back(self, backward: BackwardPass, name: str) -> Tensor:
        """What a chunk sends back to the state that it started from, ``dL/dz_0 (*stack, batch, units)``."""
        graph, total = backward.graph, torch.zeros_like(initial_state(backward, name))
        first = backward.forward.rows(range(1))
        for i, layer in enumerate(graph.layers):
            if layer.name == name and layer.first == 1 and (sent := backward.memory.sent[i]) is not None:
                total = total + sent[..., first, :]
            for connection in layer.into:
                matrix, message = self.feedback_matrix(ConnectionView(graph, connection)), backward.messages[i]
                if (connection.source, connection.first) == (name, 0) and message is not None and matrix is not None:
                    total = total + message[..., first, :] @ matrix
        return total


def initial_state(backward: BackwardPass, name: str) -> Tensor:
    """The state z_0 that a chunk started from, ``(*stack, batch, units)``."""
    forward = backward.forward
    connection = next(c for layer in backward.graph.layers for c in layer.into if (c.source, c.first) == (name, 0))
    return forward.source(connection, range(1)).expand(*backward.graph.stack, -1, -1)


def _carried(graph: Graph) -> dict[str, int]:
    """The units of every recurrent layer whose state is carried from chunk to chunk.

    Raises:
        SeqlraError: there is none, or no layer reads its first state.
    """
    found = {name: b.units for name, b in graph.layout.buffers.items() if b.inputs == (0,) and b.blocks > 1}
    require(bool(found), "dni is defined for recurrent networks that carry a state (elman); this network has none")
    read = {(connection.source, connection.first) for layer in graph.layers for connection in layer.into}
    for name in found:
        require((name, 0) in read, f"dni is defined where a layer reads the state {name}[0] over a connection")
    return found


def _is_last(graph: Graph, layer: Layer) -> bool:
    """Whether a layer has the step whose state the next chunk starts from."""
    buffer = graph.layout.buffers[layer.name]
    return buffer.inputs == (0,) and layer.blocks.stop == buffer.blocks


def _predictor(name: str) -> str:
    return f"{name} predictor"
