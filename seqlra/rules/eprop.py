"""Eligibility propagation (e-prop; Bellec et al. 2020, "A solution to the learning dilemma for recurrent networks of
spiking neurons", Nature Communications 11:3625), for rate units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from seqlra.network.graph import Graph
from seqlra.network.layers import ConnectionInto
from seqlra.rules.online import OnlineRule, own_connections


@dataclass(frozen=True)
class EProp(OnlineRule):
    """e-prop: ``dV_ij = sum_t L_tj e_tij``, where the eligibility trace e follows the state inside unit j:
    ``e_t = (dz_t/dz_{t-1} inside the unit) e_{t-1} + dz_t/dV_ij``.

    What a unit hears over a matrix of recurrent weights is taken as given, from itself, too. Inside a leaky rate unit
    is then only the leak, so ``dz_t/dz_{t-1} = 1 - leak``, and the trace is that of `RFLO`. A diagonal recurrence is
    inside the unit: the trace is that of `SnAp1`, and exact. The variants differ in where the learning signal comes
    from: symmetric e-prop has the exact U^T, random e-prop fixed weights, and adaptive e-prop weights that get the
    updates of U, both sides with a decay: ``feedback`` exact, fixed, and learned with ``feedback_decay``.
    """

    name: ClassVar[str] = "e-prop"
    about: ClassVar[str] = "e-prop of leaky rate units: symmetric, random or adaptive E (Bellec et al. 2020)"
    feedback: Literal["exact", "fixed", "learned"] = "exact"

    def through_itself(self, graph: Graph, number: int) -> list[ConnectionInto]:
        """The diagonal connections of a layer with itself."""
        return [c for c in own_connections(graph.layers[number]) if c.weight in graph.weights.diagonal]
