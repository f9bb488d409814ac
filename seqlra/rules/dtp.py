"""Difference target propagation (DTP; Lee, Zhang, Fischer and Bengio 2015).

Every layer gets a target from the layer above through a learned inverse. The inverse of layer l is an auto-encoder's
decoder ``z_{l-1} ~ f(z_l E_l + c_l)``; its weights take the place of the graph's feedback weights E, so that what is
fixed and random under FA and LRA is learned here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from seqlra.errors import SeqlraError
from seqlra.network.graph import Graph
from seqlra.network.layers import Read, Reader
from seqlra.rules.base import BackwardPass, Rows, Rule, require


@dataclass(frozen=True)
class DifferenceTargetPropagation(Rule):
    """DTP (Lee et al. 2015, Algorithm 1).

    The uppermost hidden layer takes a step down the true gradient of the output loss, ``y = z - target_step * dL/dz``.
    Below it the inverse g of the layer above gives ``y_{l-1} = z_{l-1} + g(y_l) - g(z_l)``: the difference takes out
    what the inverse gets wrong. Each layer then descends ``|z - y|^2 / 2``, and each inverse
    ``|g(f(u W + b)) - u|^2 / 2`` at noisy inputs ``u = z_{l-1} + noise * N(0, 1)``, with an RMSprop of its own.

    Defined for chains of layers, whose inverse is a matter of one layer below. Where units discretize, the layer above
    reads their g, and targets are for z, as under LRA (their Sections 3.2 and 3.3).

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

    def setup(self, graph: Graph) -> None:
        """Keep the biases of the inverses, and RMSprop's mean squares; their weights are the graph's feedback."""
        for i, tied in enumerate(graph.ties):
            if tied.subgraph.is_output:
                continue
            reader = _above(graph, i)
            if graph.ties[reader.tie].subgraph.is_output:
                continue  # the first target needs no inverse
            below, above = tied.subgraph.units, graph.ties[reader.tie].subgraph.units
            graph.remember(f"{reader.read.feedback} bias", torch.zeros(1, below))
            graph.remember(f"{reader.read.feedback} bias, mean square", torch.zeros(1, below))
            graph.remember(f"{reader.read.feedback} mean square", torch.zeros(above, below))

    def feedback_matrix(self, graph: Graph, read: Read) -> Tensor | None:
        """W^T, which the first target alone makes use of."""
        return graph.weights[read.weight].mT

    def incoming(
        self, walk: BackwardPass, tie: int, copies: range, readers: list[Reader], errors: list[Tensor | None]
    ) -> Tensor | None:
        """How far z is from its target: ``z - y``."""
        reader = _above(walk.graph, tie)
        if walk.graph.ties[reader.tie].subgraph.is_output:
            gradient = walk.carried(copies, readers, errors)
            return None if gradient is None else gradient * self.target_step
        name, f = str(reader.read.feedback), walk.f(tie).f
        z, y = walk.activity.z[reader.tie], walk.targets[reader.tie]
        return f(self._decoded(walk.graph, name, z)) - f(self._decoded(walk.graph, name, y))

    def hidden_error(self, walk: BackwardPass, tie: int, rows: Rows, incoming: Tensor) -> Tensor:
        """``d = (z - y) * f'(h)``; the target y is kept for the layer below."""
        h, z = walk.state(tie, rows)
        walk.targets[tie] = z - incoming
        return incoming * walk.f(tie).derivative(h, z)

    def learn(self, walk: BackwardPass) -> None:
        """Descend the reconstruction loss of every inverse."""
        for i, tied in enumerate(walk.graph.ties):
            if tied.subgraph.is_output:
                continue
            reader = _above(walk.graph, i)
            if not walk.graph.ties[reader.tie].subgraph.is_output:
                for _ in range(self.inverse_steps):
                    self._learn_inverse(walk, i, reader)

    def inverse_gradient(self, walk: BackwardPass, tie: int, reader: Reader, u: Tensor) -> tuple[Tensor, Tensor]:
        """The derivatives, by the inverse's weights and its bias, of its mean loss at u ``(*stack, rows, units)``."""
        graph, f, above = walk.graph, walk.f(tie), walk.graph.ties[reader.tie].subgraph
        g = graph.ties[tie].subgraph.g
        h = (u if g is None else g.g(u)) @ graph.weights[reader.read.weight]
        if above.bias is not None:
            h = h + graph.biases[above.bias].unsqueeze(-2)
        z = walk.f(reader.tie).f(h)
        back = self._decoded(graph, str(reader.read.feedback), z)
        decoded = f.f(back)
        d = (decoded - u) * f.derivative(back, decoded) / u.shape[-2]
        return z.mT @ d, d.sum(-2, keepdim=True)

    def _learn_inverse(self, walk: BackwardPass, tie: int, reader: Reader) -> None:
        graph, name = walk.graph, str(reader.read.feedback)
        z = walk.activity.z[tie]
        by_weights, by_bias = self.inverse_gradient(walk, tie, reader, z + self.noise * torch.randn_like(z))
        bias = f"{name} bias"
        self._rmsprop(graph.feedback[name], by_weights, graph.recall(f"{name} mean square", self.name))
        self._rmsprop(graph.recall(bias, self.name), by_bias, graph.recall(f"{bias}, mean square", self.name))

    def _rmsprop(self, parameter: Tensor, gradient: Tensor, mean_square: Tensor) -> None:
        mean_square.lerp_(gradient.square(), 1 - self.inverse_decay)
        parameter.sub_(self.inverse_lr * gradient / (mean_square.sqrt() + 1e-8))

    def _decoded(self, graph: Graph, name: str, z: Tensor) -> Tensor:
        """The pre-activation of an inverse."""
        return z @ graph.feedback[name] + graph.recall(f"{name} bias", self.name)


def _above(graph: Graph, tie: int) -> Reader:
    """The one subgraph that reads this one.

    Raises:
        SeqlraError: the graph is no chain of layers.
    """
    tied = graph.ties[tie]
    readers = tied.readers
    if len(readers) == tied.copies == 1 and readers[0].read.feedback is not None:
        reader = readers[0]
        if len(graph.ties[reader.tie].reads) == graph.ties[reader.tie].copies == 1:
            return reader
    raise SeqlraError(
        f"dtp is defined for chains of layers (mlp): {tied.subgraph.name!r} must be read once, "
        "over a connection with feedback, by a subgraph that reads nothing else; recurrent networks are no chains"
    )
