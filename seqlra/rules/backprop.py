"""Back-propagation as a rule on the same graph: the chain rule, connection by connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from seqlra.network.graph import Graph
from seqlra.network.layers import Read
from seqlra.rules.base import BackwardPass, Rows, Rule


@dataclass(frozen=True)
class Backprop(Rule):
    """The exact gradient of the output loss: ``d = (d_above @ W^T) * f'(h)``, across time too (BPTT).

    Where a discretizer g stands on the way, its derivative is taken as 1.
    """

    name: ClassVar[str] = "backprop"
    about: ClassVar[str] = "back-propagation of errors, through time where the graph has time"

    def feedback_matrix(self, graph: Graph, read: Read) -> Tensor | None:
        """W^T of every connection."""
        return graph.weights[read.weight].mT

    def hidden_error(self, walk: BackwardPass, tie: int, rows: Rows, incoming: Tensor) -> Tensor:
        """The chain rule through f."""
        return incoming * walk.f(tie).derivative(*walk.state(tie, rows))
