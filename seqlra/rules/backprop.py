"""Back-propagation as a rule on the same graph: the chain rule, connection by connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from seqlra.rules.base import Rule
from seqlra.rules.views import ConnectionView, LayerView
from seqlra.rules.window import Windowed


@dataclass(frozen=True)
class Backprop(Windowed, Rule):
    """The exact gradient of the output loss: ``d = (d_above @ W^T) * f'(h)``, across time too (BPTT).

    The derivative of a discretizer g is taken as 1. With a window of w steps it is truncated BPTT: the graph is cut w
    steps back from every step.
    """

    name: ClassVar[str] = "backprop"
    costs: ClassVar[tuple[str, str]] = ("T B n^2", "T B n")
    about: ClassVar[str] = "back-propagation of errors, through time where the graph has time"

    def feedback_matrix(self, connection: ConnectionView) -> Tensor | None:
        """W^T of every connection."""
        return connection.weight.mT

    def error(self, layer: LayerView, incoming: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """The chain rule through f."""
        return incoming * layer.derivative
