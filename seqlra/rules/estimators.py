"""Gradient estimators for stochastic units: straight-through estimators (STE) and REINFORCE (Section 3.4).

A stochastic binary unit is ``z* ~ Bernoulli(z)`` with ``z = sigmoid(h)``. The draw has no derivative. An STE
substitutes one and continues with the chain rule: biased, low variance. REINFORCE (Williams 1992) needs no chain rule:
it uses the loss itself, unbiased, high variance. Sources: Bengio et al. 2013, Chung et al. 2016.
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
from seqlra.rules.backprop import Backprop
from seqlra.rules.backward import BackwardPass
from seqlra.rules.base import Rule, require
from seqlra.rules.feedback import straight_from_outputs
from seqlra.rules.space import Dimension, Range
from seqlra.rules.views import ConnectionView, LayerView


@dataclass(frozen=True)
class PassThroughSTE(Backprop):
    """The derivative of the whole unit, from h to what it draws, is taken as 1: ``d = d_above @ W^T``.

    Units that have no discretizer keep their derivative.
    """

    name: ClassVar[str] = "ste"
    about: ClassVar[str] = "backprop, pass-through straight-through estimator: the unit's derivative is 1"

    def error(self, layer: LayerView, incoming: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """The error as it comes, where the unit discretizes."""
        return super().error(layer, incoming) if layer.subgraph.g is None else incoming


@dataclass(frozen=True)
class SigmoidAdjustedSTE(Backprop):
    """The derivative of the draw is taken as 1, that of f is used: ``d = (d_above @ W^T) * f'(h)``.

    `Backprop` does the same with any discretizer; this class has the name that papers use.
    """

    name: ClassVar[str] = "ste-sigmoid"
    about: ClassVar[str] = "backprop, sigmoid-adjusted straight-through estimator: the draw's derivative is 1"


@dataclass(frozen=True)
class SlopeAnnealing(Backprop):
    """The sigmoid-adjusted STE of units ``z = f(m h)``. The slope m grows linearly from 1, so the units approach step
    functions, for which the estimator is less biased (Chung et al. 2016).

    The graph stores the slope with its units, so a trained network runs with its last slope.

    Args:
        slope: m at the end of training.
    """

    name: ClassVar[str] = "ste-slope"
    about: ClassVar[str] = "backprop, straight-through with slope annealing: units become steps (Chung et al. 2016)"
    slope: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.slope >= 1, f"the slope grows from 1 to at least 1, not to {self.slope}")

    @classmethod
    def space(cls, lr: float, settings: Mapping[str, Any]) -> dict[str, Dimension]:
        """The last slope."""
        return {**super().space(lr, settings), "slope": Range(1.0, 4 * settings["slope"], log=True)}

    def setup(self, graph: Graph) -> None:
        """Give the units a slope, 1 to begin with."""
        graph.declare_slope()

    def anneal(self, graph: Graph, progress: float) -> None:
        """Set the slope for this progress of training.

        Raises:
            SeqlraError: the graph was not initialized for the rule.
        """
        self._slope_of(graph).fill_(1 + (self.slope - 1) * progress)

    def output_error(self, layer: LayerView) -> Tensor:
        """The error of backprop, after a check that the units have a slope."""
        self._slope_of(layer.graph)
        return super().output_error(layer)

    def _slope_of(self, graph: Graph) -> Tensor:
        if graph.slope is None:
            raise SeqlraError("ste-slope stores the slope with the graph: initialize(graph, seed, ..., rule=the rule)")
        return graph.slope


@dataclass(frozen=True)
class Reinforce(Rule):
    """REINFORCE: ``d = L * (z* - z)``, the loss of the sample times the score of what was drawn (Williams 1992).

    The score of a Bernoulli unit is the derivative of -log P(z*) by h, with the sign turned: units that were on when
    the loss was high become less likely. The expectation is the exact gradient of the expected loss. In a recurrent
    network a unit gets the losses of its own step and of all later steps. The output, which is not stochastic, gets its
    exact derivative.
    """

    name: ClassVar[str] = "reinforce"
    about: ClassVar[str] = "REINFORCE for Bernoulli units: the loss itself, nothing sent back (Williams 1992)"

    def setup(self, graph: Graph) -> None:
        """Check that the units are stochastic."""
        for i, layer in enumerate(graph.layers):
            s = layer.subgraph
            if s.is_output:
                continue
            if s.f is None or s.f.name != "sigmoid" or s.g is None or s.g.name != "bernoulli":
                raise SeqlraError(f"{self.name} trains Bernoulli units on sigmoid; {s.name!r} is not one of these")
            straight_from_outputs(graph, i)

    def connections(self, graph: Graph, number: int) -> list[ConnectionOutOf]:
        """The connections with the outputs, which have the loss."""
        return straight_from_outputs(graph, number)

    def feedback_matrix(self, connection: ConnectionView) -> Tensor | None:
        """No error is carried back."""
        return None

    def incoming(self, layer: LayerView) -> Tensor | None:
        """The sum of the losses that each row gets, ``(*stack, rows, 1)``."""
        total: Tensor | None = None
        for connection in layer.connections:
            rows = layer.backward.forward.rows(connection.reader_steps)
            later = self._loss_to_come(layer.backward.view(connection.reader))[..., rows]
            total = later if total is None else total + later
        return None if total is None else total.unsqueeze(-1)

    def error(self, layer: LayerView, incoming: Tensor) -> Tensor:
        """The loss times the score of what was drawn."""
        return incoming * (layer.z_star - layer.z)

    def _loss_to_come(self, output: LayerView) -> Tensor:
        """By row of an output, its loss and those of the steps after it in the same stream, ``(*stack, rows)``."""
        loss = output.output_loss.value(output.h, output.target)
        if output.rows.steps == range(1):
            return loss
        return output.by_step(loss, -1).flip(-2).cumsum(-2).flip(-2).flatten(-2)


@dataclass(frozen=True)
class VarianceAdjustedReinforce(Reinforce):
    """REINFORCE with the baseline of least variance: ``d = (L - b) * (z* - z)``, for each unit
    ``b = E[(z* - z)^2 L] / E[(z* - z)^2]`` (Bengio et al. 2013, eq. 10).

    Both expectations are running means over the mini-batches before this one, so that the estimate stays unbiased.

    Args:
        decay: the factor by which one mini-batch shrinks the running means.
    """

    name: ClassVar[str] = "reinforce-va"
    about: ClassVar[str] = "REINFORCE, variance-adjusted: less the baseline of least variance (Bengio et al. 2013)"
    decay: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.decay < 1, f"decay must be in [0, 1), not {self.decay}")

    @classmethod
    def space(cls, lr: float, settings: Mapping[str, Any]) -> dict[str, Dimension]:
        """How long the baseline remembers: from 2 mini-batches to 1,000."""
        return {**super().space(lr, settings), "decay": Range(0.5, 0.999)}

    def setup(self, graph: Graph) -> None:
        """Add the two running means of every hidden subgraph, 0 at first."""
        super().setup(graph)
        for name, units in {a.name: a.subgraph.units for a in graph.layers if not a.subgraph.is_output}.items():
            graph.declare_state(f"{name} weighted loss", torch.zeros(1, units))
            graph.declare_state(f"{name} weight", torch.zeros(1, units))

    def error(self, layer: LayerView, incoming: Tensor) -> Tensor:
        """The loss minus the baseline, times the score."""
        weighted, weight = self._means(layer.graph, layer.graph.layers[layer.number].name)
        baseline = torch.where(weight > 0, weighted / weight, 0)
        return (incoming - baseline) * (layer.z_star - layer.z)

    def after_update(self, backward: BackwardPass) -> None:
        """Update the running means."""
        for i, layer in enumerate(backward.graph.layers):
            if layer.subgraph.is_output:
                continue
            view = backward.receiving(i, range(layer.steps), backward.messages)
            loss, weight = self.incoming(view), (view.z_star - view.z).square()
            assert loss is not None
            for mean, now in zip(self._means(backward.graph, layer.name), (weight * loss, weight), strict=True):
                mean.lerp_(now.mean(-2, keepdim=True), 1 - self.decay)

    def _means(self, graph: Graph, name: str) -> tuple[Tensor, Tensor]:
        return graph.state(f"{name} weighted loss", self.name), graph.state(f"{name} weight", self.name)
