"""Random feedback local online learning (RFLO; Murray 2019, "Local online learning in recurrent networks with random
feedback", eLife 8:e43299)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seqlra.rules.online import OnlineRule


@dataclass(frozen=True)
class RFLO(OnlineRule):
    """RFLO: ``dV_ij = sum_t L_tj p_tij`` with the trace ``p_tij = (1 - leak) p_{t-1,ij} + leak f'(h_tj) z_{t-1,i}``
    (its 1/tau is the leak), and the same for W and b; of a trained leak ``p_tj = (1 - leak) p_{t-1,j} + dz_tj/da_j``.

    The recurrent weights have no part in the trace. ``L_t = d_output E`` comes through random weights. In one
    recurrent layer it is FA with window 0, and backprop with window 0 where feedback is exact.
    """

    name: ClassVar[str] = "rflo"
    about: ClassVar[str] = "RFLO: traces that decay with the leak, random E (Murray 2019)"
