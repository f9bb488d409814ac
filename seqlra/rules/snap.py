"""Sparse n-step approximation of RTRL (SnAp; Menick et al. 2020, "Practical real time recurrent learning with a sparse
approximation", arXiv:2006.07232), for n = 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from seqlra.network.graph import Graph
from seqlra.network.layers import ConnectionInto
from seqlra.rules.online import OnlineRule, own_connections


@dataclass(frozen=True)
class SnAp1(OnlineRule):
    """SnAp-1: RTRL with all influences set to 0 but that of a weight on the unit that it goes into.

    The trace is ``p_t = m_t p_{t-1} + dz_t/dh_t source_t`` with the diagonal of the Jacobian of the recurrence,
    ``m_tj = dz_tj/dz_{t-1,j} = (1 - leak) + dz_tj/dh_tj V_jj``. If V is diagonal this is RTRL.
    """

    name: ClassVar[str] = "snap-1"
    about: ClassVar[str] = "SnAp-1: RTRL of each unit by itself, exact if V is diagonal (Menick et al. 2020)"
    feedback: Literal["exact", "fixed", "learned"] = "exact"

    def through_itself(self, graph: Graph, number: int) -> list[ConnectionInto]:
        """All connections of a layer with itself."""
        return own_connections(graph.layers[number])
