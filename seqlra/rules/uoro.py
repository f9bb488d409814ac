"""Unbiased online recurrent optimization (UORO; Tallec and Ollivier 2017, arXiv:1702.05043)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from seqlra.network.graph import Graph
from seqlra.rules.backward import BackwardPass
from seqlra.rules.base import require
from seqlra.rules.online import OnlineRule
from seqlra.rules.rtrl import columns, learning_signals, sources
from seqlra.rules.views import LayerView


@dataclass(frozen=True)
class UORO(OnlineRule):
    """UORO: the influence of RTRL as the product of two random vectors, ``J_t ~ s_t theta_t``, for every sample,

        s_t = rho0 * (dz_t/dz_{t-1}) s_{t-1} + rho1 * nu
        theta_t = theta_{t-1} / rho0 + (nu dz_t/dtheta) / rho1        nu: random signs

    The mean of ``s_t theta_t`` is J_t. ``rho0`` and ``rho1`` balance the norms of both, for less
    variance. The update is ``sum_t (L_t s_t) theta_t``. For one recurrent layer.
    """

    name: ClassVar[str] = "uoro"
    about: ClassVar[str] = "UORO: an unbiased estimate of RTRL of rank one (Tallec and Ollivier 2017)"
    costs: ClassVar[tuple[str, str]] = ("T B n^2", "B n^2")
    feedback: Literal["exact", "fixed", "learned"] = "exact"

    def check(self, graph: Graph) -> None:
        """There must be one recurrent layer, which reads no other step of its own than the one before."""
        super().check(graph)
        hidden = [layer for layer in graph.layers if not layer.subgraph.is_output]
        one = len(hidden) == 1 and all(c.first == hidden[0].first - 1 for c in hidden[0].recurrent_connections)
        require(one, "uoro is defined for one recurrent layer that reads its step before, with all steps alike")

    def has_memory(self, graph: Graph, number: int) -> bool:
        """The two vectors have the past in them."""
        return False

    def hidden_updates(self, backward: BackwardPass) -> dict[Tensor, Tensor]:
        """``sum_t (L_t s_t) theta_t``."""
        graph, forward = backward.graph, backward.forward
        number = next(i for i, layer in enumerate(graph.layers) if not layer.subgraph.is_output)
        layer, signal, where = graph.layers[number], learning_signals(backward).get(number), columns(graph)
        if signal is None:
            return {}
        s = torch.zeros_like(signal[..., forward.rows(range(1)), :])
        theta = s.new_zeros(*s.shape[:-1], max(part.stop for part in where.values()))
        total = torch.zeros_like(theta[..., 0, :])
        for step in range(layer.steps):
            view = backward.receiving(number, range(step, step + 1), backward.messages)
            nu = 1 - 2 * (torch.rand_like(s) < 0.5).to(s)
            ahead, fresh = _ahead(view, s), _fresh(view, nu * view.derivative, where)
            rho0, rho1 = _balance(theta, ahead), _balance(fresh, nu)
            s, theta = rho0 * ahead + rho1 * nu, theta / rho0 + fresh / rho1
            share = (signal[..., forward.rows(range(step, step + 1)), :] * s).sum(-1, keepdim=True)
            total += (share * theta).sum(-2)
        return {parameter: total[..., part].reshape(parameter.shape) for parameter, part in where.items()}


def _ahead(view: LayerView, s: Tensor) -> Tensor:
    """``(dz_t/dz_{t-1}) s``."""
    layer = view.graph.layers[view.number]
    ahead = torch.zeros_like(s)
    for connection in layer.recurrent_connections:
        ahead += s @ view.graph.weights[connection.weight]
    ahead *= view.derivative
    return ahead if view.leak is None else ahead + (1 - view.leak) * s


def _fresh(view: LayerView, d: Tensor, where: Mapping[Tensor, slice]) -> Tensor:
    """``d dh_t/dtheta`` of each sample, ``(*stack, batch, columns)``."""
    graph, layer, steps = view.graph, view.graph.layers[view.number], view.rows.steps
    assert steps is not None
    fresh = d.new_zeros(*d.shape[:-1], max(part.stop for part in where.values()))
    for connection in layer.into:
        weight = graph.weights[connection.weight]
        source = sources(view.backward, connection, steps)
        fresh[..., where[weight]] += (source.unsqueeze(-1) * d.unsqueeze(-2)).flatten(-2)
    if layer.subgraph.bias is not None:
        fresh[..., where[graph.biases[layer.subgraph.bias]]] += d
    return fresh


def _balance(one: Tensor, other: Tensor) -> Tensor:
    """The root of the ratio of the norms of each sample, ``(*stack, batch, 1)``; 1 where both are 0."""
    tiny = 1e-7
    return ((one.norm(dim=-1, keepdim=True) + tiny) / (other.norm(dim=-1, keepdim=True) + tiny)).sqrt()
