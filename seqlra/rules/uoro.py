"""Unbiased online recurrent optimization (UORO; Tallec and Ollivier 2017, arXiv:1702.05043)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from seqlra.network.graph import Graph
from seqlra.rules.backward import BackwardPass
from seqlra.rules.base import require
from seqlra.rules.online import OnlineRule, own_connections
from seqlra.rules.rtrl import learning_signals
from seqlra.rules.traces import by_parameter, carried_in, carry_on, changes_of
from seqlra.rules.views import LayerView


@dataclass(frozen=True)
class UORO(OnlineRule):
    """UORO: the influence of RTRL as the product of two random vectors, ``J_t ~ s_t theta_t``, for every sample,

        s_t = rho0 * (dz_t/dz_{t-1}) s_{t-1} + rho1 * nu_t
        theta_t = theta_{t-1} / rho0 + (nu_t dz_t/dtheta) / rho1        nu: random signs

    The mean of ``s_t theta_t`` is J_t. ``rho0`` and ``rho1`` balance the norms of both, for less
    variance. The update is ``sum_t (L_t s_t) theta_t``. For one recurrent layer.

    theta is as large as the weights, for every sample, and never made: it is a sum of ``d_s x_s``, of ``d = nu dz/dh``
    and what the layer read (of a trained leak ``nu dz/da`` and 1), with a factor for each step s (`Thetas`). So the
    update is a product of errors and sources as that of every other rule.
    """

    name: ClassVar[str] = "uoro"
    about: ClassVar[str] = "UORO: an unbiased estimate of RTRL of rank one (Tallec and Ollivier 2017)"
    costs: ClassVar[tuple[str, str]] = ("T B n (n + T)", "T B (n + T)")
    feedback: Literal["exact", "fixed", "learned"] = "exact"

    def check(self, graph: Graph) -> None:
        """There must be one recurrent layer, which reads no other step of its own than the one before."""
        super().check(graph)
        hidden = [layer for layer in graph.layers if not layer.subgraph.is_output]
        one = len(hidden) == 1 and all(c.first == hidden[0].first - 1 for c in own_connections(hidden[0]))
        require(one, "uoro is defined for one recurrent layer that reads its step before, with all steps alike")

    def has_memory(self, graph: Graph, number: int) -> bool:
        """The two vectors have the past in them."""
        return False

    def hidden_updates(self, backward: BackwardPass) -> dict[Tensor, Tensor]:
        """``sum_t (L_t s_t) theta_t``."""
        graph, forward = backward.graph, backward.forward
        number = next(i for i, layer in enumerate(graph.layers) if not layer.subgraph.is_output)
        layer, signal, view = graph.layers[number], learning_signals(backward).get(number), backward.view(number)
        if signal is None and not self.online:
            return {}
        nu = 1 - 2 * (torch.rand_like(view.h) < 0.5).to(view.h)
        s = torch.zeros_like(nu[..., forward.rows(range(1)), :])
        changes, units = [(nu * derivative, read) for derivative, read in changes_of(view)], s.shape[-1]
        before = carried_in(backward, layer.name, (1 + sum(read.shape[-1] for _, read in changes)) * units)
        if before is not None:
            s, before = before[..., :units], before[..., units:]
        theta = Thetas(view, changes, before)
        for step in range(layer.steps):
            rows = forward.rows(range(step, step + 1))
            ahead = _ahead(backward.receiving(number, range(step, step + 1), backward.messages), s)
            rho0, rho1 = _balance(theta.norm, ahead), _balance(theta.fresh_norms[..., step, :], nu[..., rows, :])
            s = rho0 * ahead + rho1 * nu[..., rows, :]
            theta.add(step, rho0, rho1)
            if signal is not None:
                theta.count((signal[..., rows, :] * s).sum(-1, keepdim=True))
        if self.online:
            carry_on(backward, layer.name, torch.cat((s, theta.now().flatten(-2)), -1))
        return by_parameter(graph, [(layer, theta.counted())])


class Thetas:
    """theta of every sample as factors of its parts: ``theta_t = factor_0 * theta_0 + sum_s factor_s * d_s x_s``, one
    above the other for each of several pairs of d and x.

    Attributes:
        norm: that of theta as it is now, ``(*stack, batch, 1)``.
        fresh_norms: those of ``d_s x_s``, ``(*stack, batch, steps, 1)``.
    """

    def __init__(self, layer: LayerView, changes: list[tuple[Tensor, Tensor]], before: Tensor | None) -> None:
        """Start from theta_0.

        Args:
            layer: all steps of the layer.
            changes: pairs of d and x of all its rows.
            before: theta_0, ``(*stack, batch, sources * units)``; None: 0.
        """
        self.pairs = [  # (*stack, batch, steps, .)
            (layer.by_step(d).transpose(-3, -2), layer.by_step(x).transpose(-3, -2)) for d, x in changes
        ]
        units = self.pairs[0][0].shape[-1]
        self.before = None if before is None else before.unflatten(-1, (-1, units))
        self.norm = torch.zeros_like(self.pairs[0][0][..., 0, :1])
        with_before = torch.zeros_like(self.pairs[0][0][..., :1])
        if self.before is not None:
            self.norm = self.before.flatten(-2).norm(dim=-1, keepdim=True)
            parts = self.before.split([x.shape[-1] for _, x in self.pairs], -2)
            for (d, x), part in zip(self.pairs, parts, strict=True):
                with_before = with_before + torch.einsum("...ti,...ij,...tj->...t", x, part, d).unsqueeze(-1)
        fresh = torch.stack([(d @ d.mT) * (x @ x.mT) for d, x in self.pairs]).sum(0)
        self.products = torch.cat((with_before, fresh), -1)
        self.fresh_norms = self.products[..., 1:].diagonal(dim1=-2, dim2=-1).unsqueeze(-1).sqrt()
        self.factors = torch.zeros_like(self.products[..., 0, :])
        self.factors[..., 0] = 1
        self.weighted = torch.zeros_like(self.factors)

    def add(self, step: int, rho0: Tensor, rho1: Tensor) -> None:
        """``theta / rho0 + d_s x_s / rho1`` of this step."""
        old, fresh = self.norm / rho0, self.fresh_norms[..., step, :] / rho1
        self.factors = self.factors / rho0
        mixed = (self.factors * self.products[..., step, :]).sum(-1, keepdim=True) / rho1
        self.factors[..., step + 1] = 1 / rho1.squeeze(-1)
        self.norm = (old.square() + 2 * mixed + fresh.square()).clamp(min=0).sqrt()

    def count(self, share: Tensor) -> None:
        """Add ``share (*stack, batch, 1)`` times theta as it is now to the update."""
        self.weighted = self.weighted + share * self.factors

    def counted(self) -> Tensor:
        """The update, summed over samples: ``(*stack, sources, units)``."""
        return self._sum("...ij", self.weighted)

    def now(self) -> Tensor:
        """theta, ``(*stack, batch, sources, units)``."""
        return self._sum("...bij", self.factors)

    def _sum(self, shape: str, factors: Tensor) -> Tensor:
        pairs = ((factors[..., 1:].unsqueeze(-1) * d, x) for d, x in self.pairs)
        fresh = torch.cat([torch.einsum(f"...bti,...btj->{shape}", x, d) for d, x in pairs], -2)
        if self.before is None:
            return fresh
        return fresh + torch.einsum(f"...b,...bij->{shape}", factors[..., 0], self.before)


def _ahead(view: LayerView, s: Tensor) -> Tensor:
    """``(dz_t/dz_{t-1}) s``."""
    ahead = torch.zeros_like(s)
    for connection in own_connections(view.graph.layers[view.number]):
        ahead += s @ view.graph.weights[connection.weight]
    ahead *= view.derivative
    return ahead if view.leak is None else ahead + (1 - view.leak) * s


def _balance(norm: Tensor, other: Tensor) -> Tensor:
    """The root of the ratio of a norm to that of a vector, of each sample, ``(*stack, batch, 1)``; 1 where both are
    0."""
    tiny = 1e-7
    return ((norm + tiny) / (other.norm(dim=-1, keepdim=True) + tiny)).sqrt()
