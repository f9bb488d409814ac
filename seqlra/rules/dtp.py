"""Difference target propagation (DTP; Lee, Zhang, Fischer and Bengio 2015).

Every layer gets a target from the layer above through a learned inverse. The inverse of layer l is the decoder of an
auto-encoder, ``z_{l-1} ~ f(z_l E_l + c_l)``. Its weights are the graph's feedback weights E, which DTP learns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from seqlra.errors import SeqlraError
from seqlra.network.graph import Graph
from seqlra.network.layers import ConnectionOutOf
from seqlra.rules.backward import BackwardPass
from seqlra.rules.base import Rule, require
from seqlra.rules.space import Dimension, Range
from seqlra.rules.views import ConnectionView, LayerView


@dataclass(frozen=True)
class DifferenceTargetPropagation(Rule):
    """DTP (Lee et al. 2015, Algorithm 1).

    The uppermost hidden layer takes a step down the true gradient of the output loss, ``y = z - target_step * dL/dz``.
    Below it the inverse g of the layer above gives ``y_{l-1} = z_{l-1} + g(y_l) - g(z_l)``: the difference removes
    the error of the inverse. Each layer then descends ``|z - y|^2 / 2``, and each inverse
    ``|g(f(u W + b)) - u|^2 / 2`` at noisy inputs ``u = z_{l-1} + noise * N(0, 1)``, with an RMSprop of its own.

    Defined for chains of layers: each inverse is for one layer below. Where units have a discretizer g, the layer above
    reads g(z), and targets are for z, as under LRA (their Sections 3.2 and 3.3).

    Args:
        target_step: step size of the first target.
        noise: standard deviation of the noise at which inverses are learned.
        inverse_lr: step size of their RMSprop.
        inverse_decay: its decay.
        inverse_steps: its steps for each mini-batch.
    """

    name: ClassVar[str] = "dtp"
    about: ClassVar[str] = "difference target propagation: targets through learned inverses (Lee et al. 2015)"
    target_step: float = 0.3
    noise: float = 0.3
    inverse_lr: float = 0.001
    inverse_decay: float = 0.95
    inverse_steps: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.target_step > 0, f"target_step must be above 0, not {self.target_step}")
        require(self.noise >= 0, f"noise must not be negative: {self.noise}")
        require(self.inverse_lr >= 0, f"inverse_lr must not be negative: {self.inverse_lr}")
        require(0 <= self.inverse_decay < 1, f"inverse_decay must be in [0, 1), not {self.inverse_decay}")
        require(self.inverse_steps >= 0, f"inverse_steps must not be negative: {self.inverse_steps}")

    @classmethod
    def space(cls, lr: float, settings: Mapping[str, Any]) -> dict[str, Dimension]:
        """The first target, and how the inverses learn."""
        names = [name for name in ("target_step", "noise", "inverse_lr") if settings[name] > 0]
        return {**super().space(lr, settings), **{name: Range.around(settings[name], 10) for name in names}}

    def setup(self, graph: Graph) -> None:
        """Add the biases of the inverses, and RMSprop's mean squares; their weights are the graph's feedback."""
        for i, layer in enumerate(graph.layers):
            if layer.subgraph.is_output:
                continue
            up = _above(graph, i)
            if graph.layers[up.reader].subgraph.is_output:
                continue  # the first target needs no inverse
            below, above = layer.subgraph.units, graph.layers[up.reader].subgraph.units
            graph.declare_state(f"{up.connection.feedback} bias", torch.zeros(1, below))
            graph.declare_state(f"{up.connection.feedback} bias, mean square", torch.zeros(1, below))
            graph.declare_state(f"{up.connection.feedback} mean square", torch.zeros(above, below))

    def feedback_matrix(self, connection: ConnectionView) -> Tensor | None:
        """W^T, which only the first target uses."""
        return connection.weight.mT

    def incoming(self, layer: LayerView) -> Tensor | None:
        """How far z is from its target: ``z - y``."""
        up = _above(layer.graph, layer.number)
        if layer.graph.layers[up.reader].subgraph.is_output:
            gradient = layer.incoming()
            return None if gradient is None else gradient * self.target_step
        name, f = str(up.connection.feedback), layer.f.f
        z, y = layer.backward.forward.z[up.reader], layer.backward.targets[up.reader]
        return f(self._decoded(layer.graph, name, z)) - f(self._decoded(layer.graph, name, y))

    def error(self, layer: LayerView, incoming: Tensor) -> Tensor:
        """``d = (z - y) * f'(h)``; the target y is stored for the layer below."""
        layer.backward.targets[layer.number] = layer.z - incoming
        return incoming * layer.derivative

    def after_update(self, backward: BackwardPass) -> None:
        """Descend the reconstruction loss of every inverse."""
        for i, layer in enumerate(backward.graph.layers):
            if layer.subgraph.is_output:
                continue
            up = _above(backward.graph, i)
            if not backward.graph.layers[up.reader].subgraph.is_output:
                for _ in range(self.inverse_steps):
                    self._learn_inverse(backward.view(i), up)

    def inverse_gradient(self, layer: LayerView, up: ConnectionOutOf, u: Tensor) -> tuple[Tensor, Tensor]:
        """The derivatives, by the inverse's weights and its bias, of its mean loss at u ``(*stack, rows, units)``."""
        graph, f, above = layer.graph, layer.f, layer.backward.view(up.reader)
        g = layer.subgraph.g
        h = (u if g is None else g.g(u)) @ graph.weights[up.connection.weight]
        if above.subgraph.bias is not None:
            h = h + graph.biases[above.subgraph.bias].unsqueeze(-2)
        z = above.f.f(h)
        back = self._decoded(graph, str(up.connection.feedback), z)
        decoded = f.f(back)
        d = (decoded - u) * f.derivative(back, decoded) / u.shape[-2]
        return z.mT @ d, d.sum(-2, keepdim=True)

    def _learn_inverse(self, layer: LayerView, up: ConnectionOutOf) -> None:
        graph, name, z = layer.graph, str(up.connection.feedback), layer.z
        by_weights, by_bias = self.inverse_gradient(layer, up, z + self.noise * torch.randn_like(z))
        bias = f"{name} bias"
        self._rmsprop(graph.feedback[name], by_weights, graph.state(f"{name} mean square", self.name))
        self._rmsprop(graph.state(bias, self.name), by_bias, graph.state(f"{bias}, mean square", self.name))

    def _rmsprop(self, parameter: Tensor, gradient: Tensor, mean_square: Tensor) -> None:
        mean_square.lerp_(gradient.square(), 1 - self.inverse_decay)
        parameter.sub_(self.inverse_lr * gradient / (mean_square.sqrt() + 1e-8))

    def _decoded(self, graph: Graph, name: str, z: Tensor) -> Tensor:
        """The pre-activation of an inverse."""
        return z @ graph.feedback[name] + graph.state(f"{name} bias", self.name)


def _above(graph: Graph, number: int) -> ConnectionOutOf:
    """The connection to the one layer that reads this one.

    Raises:
        SeqlraError: the graph is not a chain of layers.
    """
    layer = graph.layers[number]
    if (
        layer.subgraph.leak is None
        and len(layer.out_of) == layer.steps == 1
        and layer.out_of[0].connection.feedback is not None
    ):
        above = graph.layers[layer.out_of[0].reader]
        if len(above.into) == above.steps == 1:
            return layer.out_of[0]
    raise SeqlraError(
        f"dtp is defined for chains of layers (mlp): {layer.subgraph.name!r} must be read once, "
        "over a connection with feedback, by a subgraph that reads nothing else; recurrent networks are not chains"
    )
