"""Sparse n-step approximation of RTRL (SnAp; Menick et al. 2020, "Practical real time recurrent learning with a sparse
approximation", arXiv:2006.07232), for n = 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from seqlra.network.graph import Graph
from seqlra.rules.base import require
from seqlra.rules.online import OnlineRule
from seqlra.rules.views import LayerView


@dataclass(frozen=True)
class SnAp1(OnlineRule):
    """SnAp-1: RTRL with all influences set to 0 but that of a weight on the unit that it goes into.

    The trace is ``p_t = m_t p_{t-1} + dz_t/dh_t source_t`` with the diagonal of the Jacobian of the recurrence,
    ``m_tj = dz_tj/dz_{t-1,j} = (1 - leak) + dz_tj/dh_tj V_jj``. If V is diagonal this is RTRL.
    """

    name: ClassVar[str] = "snap-1"
    about: ClassVar[str] = "SnAp-1: RTRL of each unit by itself, exact if V is diagonal (Menick et al. 2020); a product"
    feedback: Literal["exact", "fixed", "learned"] = "exact"

    def check(self, graph: Graph) -> None:
        """The units must read no other step of their own than the one before."""
        super().check(graph)
        for layer in graph.layers:
            before = all(c.first == layer.first - 1 for c in layer.into if c.source == layer.name)
            require(before, f"snap-1 is defined where {layer.name!r} reads its step before, and no other of its own")

    def has_memory(self, graph: Graph, number: int) -> bool:
        """Traces remember through the leak, and through V."""
        layer = graph.layers[number]
        return super().has_memory(graph, number) or any(c.source == layer.name for c in layer.into)

    def memory(self, layer: LayerView) -> Tensor:
        """``(1 - leak) + dz/dh * diagonal of V``, ``(*stack, rows, units)``."""
        derivative, own = layer.derivative, layer.graph.layers[layer.number]
        total = 0 * derivative if layer.leak is None else super().memory(layer).expand_as(derivative)
        for connection in own.into:
            if connection.source == own.name:
                v = layer.graph.weights[connection.weight].diagonal(dim1=-2, dim2=-1)
                total = total + derivative * v.unsqueeze(-2)
        return total
