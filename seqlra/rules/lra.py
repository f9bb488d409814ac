"""Local Representation Alignment (Ororbia et al. 2018): Algorithms 1 and 2.

Every layer gets a target: its own pre-activation is displaced so that the layers that read it come closer to their
targets, and passes through its own ``f``, so that the target can be reached. Its weights then take one step on the
local loss. `LRAFeedback` displaces through error weights E, `LRADiff` through the derivative, in K steps.
`seqlra.engine.reference` has the algorithm one subgraph at a time, next to the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from seqlra.network.graph import Graph
from seqlra.network.layers import ConnectionOutOf
from seqlra.network.scalars import per_model
from seqlra.rules.backward import BackwardPass
from seqlra.rules.base import require
from seqlra.rules.learned_feedback import LearnedFeedback
from seqlra.rules.normalize import norm_from, normalize
from seqlra.rules.space import Dimension, Range
from seqlra.rules.suited import Suited
from seqlra.rules.views import ConnectionView, LayerView
from seqlra.rules.window import Windowed


@dataclass(frozen=True)
class _LRA(Windowed):
    """What both variants have in common: targets, local losses, Normalize and halting.

    Args:
        beta: step size of the displacement of a pre-activation.
        c1: bound on the norm of the update of each weight matrix, each bias and each trained leak; None: no bound.
        c2: bound on the norm of a displacement; None: no bound.
        c2_per: whether c2 bounds each sample's displacement or the whole mini-batch's.
        epsilon: a subgraph whose local loss is below this gets no update, nor does anything below it; 0: off.
        epsilon_output: the same for outputs, whose losses have another scale; None: epsilon.
        epsilon_per: whether this is decided for each sample, or for the mini-batch by its mean loss.
        skip: with epsilon per sample, leave aligned samples out of the computation. The updates are the same; it saves
            time, but waits for the device at every subgraph.
        carry: what a hidden layer sends down. ``derivative``: ``d = dL/dh``, as in the paper. ``error``:
            ``e = dL/dz / beta``, the distance to the target over beta. It has one factor f' less, and its size does not
            depend on beta; the updates use ``d = e * f'(h)``.
    """

    per_model: ClassVar[tuple[str, ...]] = ("beta", "c1", "c2")
    costs: ClassVar[tuple[str, str]] = ("T B n (window 0), T B n^2", "T B n")
    beta: float | Tensor = 0.1
    c1: float | Tensor | None = None
    c2: float | Tensor | None = 10.0
    c2_per: Literal["sample", "batch"] = "sample"
    epsilon: float = 0.0
    epsilon_output: float | None = None
    epsilon_per: Literal["sample", "batch"] = "sample"
    skip: bool = False
    carry: Literal["derivative", "error"] = "derivative"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(_all_positive(self.beta), f"beta must be above 0, not {self.beta}")
        for name, bound in (("c1", self.c1), ("c2", self.c2)):
            require(bound is None or _all_positive(bound), f"{name} must be above 0 (or left off), not {bound}")
        for name, threshold in (("epsilon", self.epsilon), ("epsilon_output", self.epsilon_output)):
            require(threshold is None or threshold >= 0, f"{name} must not be negative: {threshold}")
        for name, per in (("c2_per", self.c2_per), ("epsilon_per", self.epsilon_per)):
            require(per in ("sample", "batch"), f"{name} must be sample or batch, not {per!r}")
        require(not self.skip or self.halts, "skip leaves out what is under epsilon; give an epsilon above 0")
        require(self.carry in ("derivative", "error"), f"carry must be derivative or error, not {self.carry!r}")

    @property
    def halts(self) -> bool:
        """Whether there is a threshold below which subgraphs get no update."""
        return max(self.epsilon, self.epsilon_output or 0.0) > 0

    @property
    def skips(self) -> bool:
        """Whether aligned samples leave the computation."""
        return self.skip and self.epsilon_per == self.c2_per == "sample"

    def threshold(self, output: bool) -> float:
        """The epsilon of an output, or of a hidden subgraph."""
        return self.epsilon if self.epsilon_output is None or not output else self.epsilon_output

    def output_error(self, layer: LayerView) -> Tensor:
        """The error of an output, 0 where its loss is already below epsilon (the while of Algorithm 2)."""
        d = super().output_error(layer)
        if not self.halts:
            return d
        active = self._active(layer, layer.output_loss.value(layer.h, layer.target))
        return layer.halt(active, d)

    def error(self, layer: LayerView, incoming: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Set the target ``y = f(h - beta * Normalize(displacement))`` and take ``dL(z, y)/dz * f'(h)``.

        A trained leak takes its step on the same local loss: from ``dL(z, y)/dz``, over beta with ``carry="error"``.
        """
        z, y = layer.z, self.target(layer, incoming)
        e = layer.loss.gradient(z, y)
        if self.carry == "error":
            e = e * (1 / self.beta)  # a product: torch divides by a number slowly
        # all rows of a selection have an error, so only a threshold can halt them
        if self.epsilon > 0 or (self.halts and layer.rows.selection is None):
            e = layer.halt(self._active(layer, layer.loss.value(z, y)), e)
        layer.dz = e
        if self.carry == "error" and not layer.final:
            return e  # which needs no f'
        d = e * layer.derivative
        return (d, e) if self.carry == "error" else d

    def target(self, layer: LayerView, incoming: Tensor) -> Tensor:
        """The target y ``(*stack, rows, units)``."""
        return layer.output_at(self.displaced(layer, layer.h, incoming))

    def displaced(self, layer: LayerView, h: Tensor, displacement: Tensor) -> Tensor:
        """``h - beta * Normalize(displacement, c2)``."""
        beta, c2 = self.beta, self.c2
        if c2 is not None and self.c2_per == "sample":
            norm = norm_from(displacement, c2, -1)
            if isinstance(beta, Tensor) or isinstance(c2, Tensor):
                return torch.addcdiv(h, displacement, norm / (beta * c2), value=-1)
            return torch.addcdiv(h, displacement, norm, value=-beta * c2)
        if c2 is not None:
            batches = layer.by_step(displacement)  # each step has a mini-batch of its own
            displacement = normalize(batches, per_model(c2, 3), (-2, -1)).flatten(-3, -2)
        if isinstance(beta, Tensor):
            return torch.addcmul(h, displacement, beta, value=-1)
        return torch.add(h, displacement, alpha=-beta)

    def displacement(self, layer: LayerView, incoming: Tensor) -> Tensor:
        """The argument of `displaced`, of the first step if there are several."""
        return incoming

    def update_bound(self) -> float | Tensor | None:
        """c1."""
        return per_model(self.c1, 0)

    def clipped(self, backward: BackwardPass) -> dict[str, Tensor]:
        """By hidden subgraph, the share ``(*stack,)`` of its samples whose displacement is cut to c2.

        With c2 per batch a whole mini-batch is cut or not. With c2 off the mapping is empty.
        """
        cut: dict[str, list[Tensor]] = {}
        if self.c2 is None:
            return {}
        messages = [backward.all_rows(i, backward.messages) for i in range(len(backward.errors))]
        for i, layer in enumerate(backward.graph.layers):
            if messages[i] is None or layer.subgraph.is_output:
                continue
            view = backward.receiving(i, range(layer.steps), messages)
            total = backward.memory.totals[i]
            incoming = self.incoming(view) if total is None else total
            if incoming is None:  # a window that no error has crossed
                continue
            cut.setdefault(layer.name, []).append(self._cut(view, self.displacement(view, incoming)))
        return {name: torch.cat(of_layers, -1).mean(-1) for name, of_layers in cut.items()}

    def _cut(self, layer: LayerView, displacement: Tensor) -> Tensor:
        """1 for each sample ``(*stack, rows)`` (or each mini-batch) that Normalize shortens, 0 where it does not."""
        vectors = layer.by_step(displacement).flatten(-2) if self.c2_per == "batch" else displacement
        return (torch.linalg.vector_norm(vectors, dim=-1) > per_model(self.c2, 1)).to(displacement.dtype)

    def normalize_update(self, update: Tensor, axes: int) -> Tensor:
        """``Normalize(update, c1)``, once for the whole update of a parameter (time steps summed)."""
        return normalize(update, per_model(self.c1, axes), tuple(range(-axes, 0)))

    def _active(self, layer: LayerView, loss: Tensor) -> Tensor:
        """1 for the rows ``(*stack, rows)`` whose loss is at least epsilon, 0 for those at which the rule halts.

        An error of 0 displaces nothing below, so the loss there is 0, too: this is how the pass stops. So a loss of 0
        counts as below an epsilon of 0.
        """
        dtype = loss.dtype
        if self.epsilon_per == "batch":
            mean = layer.by_step(loss, -1).mean(-1)
            loss = mean.repeat_interleave(layer.backward.forward.batch, -1)
        least = max(self.threshold(layer.subgraph.is_output), torch.finfo(dtype).tiny)
        return (loss >= least).to(dtype)

    @classmethod
    def suited(cls, task: str, activation: str, optimizer: str, given: Mapping[str, Any]) -> Suited:
        """Settings that suit the units and the optimizer.

        Plain gradient descent takes the sum over a mini-batch: the paper's step size of 0.01 learns with it (with the
        mean a deep sigmoid net does not start). Optimizers that adapt to the scale of the updates take the mean.
        """
        lr = super().suited(task, activation, optimizer, given).lr
        settings: dict[str, Any] = {"reduction": "mean", "beta": 0.1, "c1": None, "c2": None}
        if task == "rnn":
            return Suited(lr, settings, feedback_init="gaussian")
        settings["c2"] = 10.0
        if optimizer == "sgd":
            lr, settings["reduction"] = 0.01, "sum"
        if activation == "sigmoid":  # its derivative is at most 1/4, so with beta 0.1 it learns too slowly
            settings.update(beta=1.0, c2=3.0)
        elif optimizer == "sgd":  # nothing else limits the steps of a deep net
            settings.update(c1=10.0, c2=3.0)
        elif activation == "softplus":  # no upper bound: from zeros, larger or normalized displacements make it diverge
            settings.update(beta=0.02, c2=None)
        return Suited(lr, settings, feedback_init="gaussian")

    @classmethod
    def space(cls, lr: float, settings: Mapping[str, Any]) -> dict[str, Dimension]:
        """beta, and the bounds that are on; a bound that is off stays so."""
        around = {name: Range.around(settings[name], 10) for name in cls.per_model if settings[name] is not None}
        return {**super().space(lr, settings), **around}


@dataclass(frozen=True)
class LRAFeedback(_LRA, LearnedFeedback):
    """LRA-fdbk (Algorithm 2): errors cross a connection through error weights E; one step, no derivative of g."""

    name: ClassVar[str] = "lra-fdbk"
    about: ClassVar[str] = "local targets through error weights E (Algorithm 2), the headline"

    def feedback_matrix(self, connection: ConnectionView) -> Tensor | None:
        """E of the connection; None where it has none."""
        return connection.feedback

    @classmethod
    def suited(cls, task: str, activation: str, optimizer: str, given: Mapping[str, Any]) -> Suited:
        """For an RNN learned feedback and credit from all later steps, which measured best and on a CPU costs less than
        a window of two; with fixed feedback the paper's own rule, since an error that crosses time through random
        weights does harm."""
        suited = super().suited(task, activation, optimizer, given)
        feedback = given.get("feedback", "learned" if task == "rnn" else "fixed")
        if feedback != "learned":
            return replace(suited, settings={**suited.settings, "window": 0})
        window = {"window": None, "carry": "error"} if task == "rnn" else {}
        return Suited(
            suited.lr, {**suited.settings, "feedback": "learned", **window}, "mirror", across_time=task == "rnn"
        )


@dataclass(frozen=True)
class LRADiff(_LRA):
    """LRA-diff (Algorithm 1): targets by K steps down the loss of the layers above.

    Errors cross the connections that have feedback weights, through W^T (the values of E are not used). The derivative
    of a discretizer g is taken as 1.

    Args:
        steps: K, the sub-optimization steps for each layer.
        form: "pre" displaces the pre-activation, as in the algorithm; "post" displaces the output itself, as in
            Lemma 1: then one step with beta 1 and the L2 loss is back-propagation.
    """

    name: ClassVar[str] = "lra-diff"
    about: ClassVar[str] = "local targets by K steps down the derivative (Algorithm 1)"
    steps: int = 1
    form: Literal["pre", "post"] = "pre"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.steps >= 1, f"steps (K) must be at least 1, not {self.steps}")
        require(self.form in ("pre", "post"), f"form must be pre or post, not {self.form!r}")
        require(self.form == "pre" or self.steps == 1, "the form of Lemma 1 (post) has one step")
        require(self.steps == 1 or not self.window, "a window goes with one step (K); accepted: window 0, or off")
        require(self.steps == 1 or self.carry == "derivative", "carry error goes with one step (K)")

    def feedback_matrix(self, connection: ConnectionView) -> Tensor | None:
        """W^T of the connection; None where it has no feedback."""
        return None if connection.feedback is None else connection.weight.mT

    def has_memory(self, graph: Graph, number: int) -> bool:
        """Errors go back over the leak, in one step (K): more steps re-run the layers above, not the steps after."""
        leaky = super().has_memory(graph, number)
        require(not leaky or self.steps == 1, f"lra-diff takes one step (K) where units leak, not {self.steps}")
        return leaky

    @classmethod
    def suited(cls, task: str, activation: str, optimizer: str, given: Mapping[str, Any]) -> Suited:
        """As in the paper, no error crosses time."""
        suited = super().suited(task, activation, optimizer, given)
        return replace(suited, settings={**suited.settings, "window": 0})

    @classmethod
    def space(cls, lr: float, settings: Mapping[str, Any]) -> dict[str, Dimension]:
        """K, too, where there may be several steps."""
        several = settings["window"] == 0 and settings["carry"] == "derivative" and settings["form"] == "pre"
        steps: dict[str, Dimension] = {"steps": Range(1, 5, whole=True)} if several else {}
        return {**super().space(lr, settings), **steps}

    @property
    def skips(self) -> bool:
        """Only with one step: more steps re-run whole layers."""
        return super().skips and self.steps == 1

    def displacement(self, layer: LayerView, incoming: Tensor) -> Tensor:
        """Multiplied by the derivative of f, too, unless the output itself is displaced."""
        return incoming if self.form == "post" else incoming * layer.derivative

    def target(self, layer: LayerView, incoming: Tensor) -> Tensor:
        """K steps of lines "Find target for layer l - 1", re-running the layers that read these rows."""
        f, h_bar, z_bar, targets = layer.f, layer.h, layer.z, layer.backward.targets
        if self.form == "post":
            return self.displaced(layer, z_bar, incoming)
        stores = layer.rows.selection is None  # the layers below may need the distance of this layer to its target
        if stores and targets[layer.number].numel() == 0:
            targets[layer.number] = torch.zeros_like(layer.backward.forward.z[layer.number])
        for step in range(self.steps):
            if step:
                incoming = self._again(layer, z_bar)
            slope = layer.derivative if layer.leak is not None else f.derivative(h_bar, z_bar)
            h_bar = self.displaced(layer, h_bar, incoming * slope)
            z_bar = layer.output_at(h_bar)
        if stores:
            targets[layer.number][..., layer.rows.index, :] = z_bar
        return z_bar

    def _again(self, layer: LayerView, z_bar: Tensor) -> Tensor:
        """The displacement that the readers' losses give these rows if their output is ``z_bar`` instead of z."""
        backward, steps, g = layer.backward, layer.rows.steps, layer.subgraph.g
        assert steps is not None
        rows = backward.forward.rows
        change = (g.g(z_bar) if g else z_bar) - layer.z_star
        total = torch.zeros_like(change)
        for connection in layer.connections:
            reader = connection.reader
            if backward.errors[reader] is None and reader != layer.number:  # it has no target of its own
                continue
            there = rows(connection.reader_steps)
            here = rows(range(connection.steps.start - steps.start, connection.steps.stop - steps.start))
            h = backward.forward.h[reader][..., there, :]
            for weight in _weights_between(layer, connection):
                h = h + change[..., here, :] @ weight
            matrix = self.feedback_matrix(ConnectionView(layer.graph, connection.connection))
            assert matrix is not None
            total[..., here, :] += _error_at(backward, reader, there, h) @ matrix
        return total


def _all_positive(setting: float | Tensor) -> bool:
    return bool((setting > 0).all()) if isinstance(setting, Tensor) else setting > 0


def _weights_between(layer: LayerView, connection: ConnectionOutOf) -> list[Tensor]:
    """The weights of every connection, with feedback or without, between these steps and the reader's steps."""
    return [
        layer.graph.weights[other.connection.weight]
        for other in layer.graph.layers[layer.number].out_of
        if other.reader == connection.reader and other.shift == connection.shift
    ]


def _error_at(backward: BackwardPass, number: int, rows: slice, h: Tensor) -> Tensor:
    """``dL/dh`` of rows of a layer for their targets, at the pre-activation ``h``; 0 in halted rows."""
    target, layer = backward.targets[number], backward.view(number)
    target = target[..., rows, :] if target.dtype.is_floating_point else target[..., rows]
    if layer.subgraph.is_output:
        d = layer.output_loss.error(layer.output_loss.f(h), target)
    else:
        z = layer.f.f(h)
        d = layer.loss.gradient(z, target) * layer.f.derivative(h, z)
    active = backward.active[number]
    return d if active is None else d * active[..., rows].unsqueeze(-1)
