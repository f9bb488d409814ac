"""What every learning rule is: how an error crosses a connection, and what a layer does with the error that comes in.

A rule sees three things: *a layer* (`LayerView`), *a connection* (`ConnectionView`), and *the error that comes in*, a
tensor. The backward pass (`seqlra.rules.backward`) chooses the rows and time steps.

    @dataclass(frozen=True)
    class FeedbackAlignment(Rule):
        def feedback_matrix(self, connection):
            return connection.feedback  # E, where backprop has W^T

        def error(self, layer, incoming):
            return incoming * layer.derivative  # d = (d_above E) * f'(h)

The other methods have defaults. Override them if the errors of your rule take another route, or if it learns something
itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch import Tensor

from seqlra.errors import SeqlraError
from seqlra.network.graph import Graph
from seqlra.network.layers import ConnectionOutOf
from seqlra.rules.space import Dimension, Range
from seqlra.rules.suited import Suited
from seqlra.rules.views import ConnectionView, LayerView

if TYPE_CHECKING:
    from seqlra.rules.backward import BackwardPass


MOST = 1e38
"""Numbers beyond it do not fit single precision."""


@dataclass(frozen=True)
class Rule(ABC):
    """A learning rule; its fields are its settings, recorded with every run.

    ``reduction`` says whether an update is the sum over the predictions of a mini-batch or their mean. ``repeats`` says
    whether the rule calls the same operations for every mini-batch of a shape, so that training may record them once; a
    rule whose Python depends on more than shapes (a counter, for example) may set it to False. What cannot be recorded
    is noticed in most cases, and a warning says so. ``per_model`` names the settings that may be a tensor
    ``(models, 1, 1)``, one value for each model of a stack. ``costs`` are the time and the memory that a chunk of T
    steps and B sequences takes in a recurrent layer of n units, besides the forward pass.
    """

    name: ClassVar[str] = "this rule"
    about: ClassVar[str] = "a rule of your own"
    costs: ClassVar[tuple[str, str]] = ("", "")
    repeats: ClassVar[bool] = True
    per_model: ClassVar[tuple[str, ...]] = ()
    reduction: Literal["sum", "mean"] = "mean"

    def __post_init__(self) -> None:
        for each in fields(self):
            value, kind = getattr(self, each.name), str(getattr(each.type, "__name__", each.type))
            if kind.startswith(("float", "int")) and not (value is None and "None" in kind):
                require(isinstance(value, (Real, Tensor)), f"{each.name} must be a number, not {value!r:.60}")
                too_large = isinstance(value, (int, float)) and MOST < abs(value) < float("inf")
                require(not too_large, f"{each.name} must be from {-MOST:g} to {MOST:g}, not {value}")
        require(self.reduction in ("sum", "mean"), f"reduction must be sum or mean, not {self.reduction!r}")

    @abstractmethod
    def feedback_matrix(self, connection: ConnectionView) -> Tensor | None:
        """How an error crosses a connection: the layer below gets ``error @ feedback_matrix``.

        Args:
            connection: ``weight (*stack, source units, units)`` and ``feedback (*stack, units, source units)``.

        Returns:
            A matrix ``(*stack, units, source units)``; None: no error crosses.
        """

    @abstractmethod
    def error(self, layer: LayerView, incoming: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """The error of a hidden layer, from the error that comes in.

        Args:
            layer: its ``h``, ``z``, ``f``, ``derivative``, ``loss``; tensors are ``(*stack, rows, units)``. Set its
                ``dz``, from which a trained leak learns, if your error at z is another than ``incoming``.
            incoming: the sum over the connections out of it of ``error above @ feedback_matrix``, in the same shape;
                what comes from the step after over the memory of the units (`has_memory`) is added.

        Returns:
            ``d = dL/dh`` in that shape. It gives the updates of the layer's weights, and crosses the connections into
            the layer. For a pair ``(d, e)``, ``e`` crosses them instead.
        """

    def output_error(self, layer: LayerView) -> Tensor:
        """``d = dL/dh`` of an output layer: the derivative of its loss."""
        return layer.output_loss.error(layer.z, layer.target)

    def incoming(self, layer: LayerView) -> Tensor | None:
        """The error that comes in, the argument of `error`; None: none comes."""
        return layer.incoming()

    def connections(self, graph: Graph, number: int) -> list[ConnectionOutOf]:
        """The connections over which errors reach a layer: by default, those out of it with a `feedback_matrix`."""
        out_of = graph.layers[number].out_of
        return [c for c in out_of if self.feedback_matrix(ConnectionView(graph, c.connection)) is not None]

    def has_memory(self, graph: Graph, number: int) -> bool:
        """Whether errors of a layer go back to its steps before over the memory of the units, not over a connection."""
        return False

    def memory(self, layer: LayerView) -> Tensor:
        """What an error is multiplied by when it crosses the memory of these rows to the step before,
        ``dz_t/dz_{t-1}``: ``(1 or units,)`` or ``(*stack, 1 or rows, 1 or units)``; of leaky units ``1 - leak``."""
        assert layer.leak is not None
        return 1 - layer.leak

    @property
    def window(self) -> int | None:
        """How many steps errors go back over the connections of a layer with itself; None: all steps."""
        return None

    @property
    def skips(self) -> bool:
        """Whether rows at which the rule halted leave the computation; otherwise they stay as zeros."""
        return False

    def setup(self, graph: Graph) -> None:
        """Add to the graph what the rule needs besides weights and E: more feedback, which `initialize` then draws, and
        ``graph.rule_state``, the state of the rule between updates. `initialize` calls this.

        Raises:
            SeqlraError: the rule is not defined for a graph of this kind.
        """

    def anneal(self, graph: Graph, progress: float) -> None:
        """Set what changes during training; ``progress`` is the share that is done, from 0 to 1."""

    def hidden_updates(self, backward: BackwardPass) -> dict[Tensor, Tensor] | None:
        """The updates of the hidden layers' parameters, summed over the predictions, of a rule that computes them
        itself; None: they are products of errors and sources."""
        return None

    def normalize_update(self, update: Tensor, axes: int) -> Tensor:
        """Change a parameter's whole update before it is used; its last ``axes`` axes belong to one model."""
        return update

    def after_update(self, backward: BackwardPass) -> None:
        """Update what the rule itself learns; the updates of the weights are in ``p.grad`` by then."""

    def after_step(self, graph: Graph, lr_share: float) -> None:
        """Change weights after the optimizer's step; its step size is ``lr_share`` of the first one."""

    def depth(self, backward: BackwardPass) -> Tensor | float:
        """How many subgraphs were updated for a prediction, on average (Section 3.2, Figure 5)."""
        rows: Tensor | float = 0.0
        for d, active in zip(backward.errors, backward.active, strict=True):
            if d is not None:
                rows = rows + (d.shape[-2] if active is None else active.sum(-1))
        return rows / backward.predictions

    def update_bound(self) -> float | Tensor | None:
        """The bound on the norm of a parameter's update, for diagnostics; None: there is none."""
        return None

    def clipped(self, backward: BackwardPass) -> dict[str, Tensor]:
        """For diagnostics: by hidden subgraph, the share ``(*stack,)`` of samples that `error` cut to a bound."""
        return {}

    @classmethod
    def suited(cls, task: str, activation: str, optimizer: str, given: Mapping[str, Any]) -> Suited:
        """What suits the rule where the user leaves it open; a rule of your own may override it.

        Args:
            task: ``mlp`` or ``rnn``.
            activation: of the hidden units.
            optimizer: a name from `OPTIMIZERS`.
            given: the settings of the rule that the user did not leave open.
        """
        by_optimizer = {"mlp": (0.1, 0.001), "rnn": (1.0, 0.01)}  # sgd, and those that adapt their step
        sgd, adaptive = by_optimizer[task]
        return Suited(sgd if optimizer == "sgd" else adaptive, {"reduction": "mean"})

    @classmethod
    def space(cls, lr: float, settings: Mapping[str, Any]) -> dict[str, Dimension]:
        """What ``seqlra tune`` searches: the step size ``lr``, and settings of the rule by name. A rule of your own
        adds its settings to those of ``super().space(lr, settings)``.

        Args:
            lr: the step size that suits the rule, the task and the optimizer.
            settings: all settings of the rule, as they suit; a range may lie around them.
        """
        return {"lr": Range.around(lr, 30)}


def require(condition: bool, message: str) -> None:
    """Raise `SeqlraError` with that message unless the condition holds."""
    if not condition:
        raise SeqlraError(message)
