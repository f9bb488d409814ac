"""Back-propagation as a rule on the same graph: the chain rule, connection by connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from seqlra.graph import Graph
from seqlra.rules.base import Rows, Rule, Walk
from seqlra.ties import Read


@dataclass(frozen=True)
class Backprop(Rule):
    """The exact gradient of the output loss: ``d = (d_above @ W^T) * f'(h)``, across time too (BPTT).

    Where a discretiser g stands on the way, its derivative is taken as 1.
    """

    name: ClassVar[str] = "backprop"
    about: ClassVar[str] = "back-propagation of errors, through time where the graph has time"

    def carrier(self, graph: Graph, read: Read) -> Tensor | None:
        """W^T of every connection."""
        return graph.weights[read.weight].mT

    def hidden_error(self, walk: Walk, tie: int, rows: Rows, incoming: Tensor) -> Tensor:
        """The chain rule through f."""
        return incoming * walk.f(tie).derivative(*walk.state(tie, rows))
