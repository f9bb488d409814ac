"""The engine: one forward pass, one backward pass, one product for each weight matrix of every layer.

There is one engine for MLPs and RNNs. It runs without autograd, and leaves updates where every
``torch.optim`` optimizer looks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from seqlra.engine.checks import check_first, demand_kinds
from seqlra.errors import SeqlraError
from seqlra.network.forward import ForwardPass
from seqlra.network.graph import Graph, grad_of, on_diagonal, over_units
from seqlra.network.losses import asked
from seqlra.network.scalars import ones
from seqlra.network.values import explained
from seqlra.rules.backward import BackwardPass
from seqlra.rules.base import Rule
from seqlra.rules.views import Selection


@dataclass(frozen=True)
class Step:
    """One update: its forward and backward pass.

    Attributes:
        forward: the forward pass.
        backward: targets and errors of every layer.
    """

    forward: ForwardPass
    backward: BackwardPass

    @property
    def loss(self) -> Tensor:
        """The output loss, the mean over the predictions of each output and the sum over outputs: ``(*stack,)``."""
        graph, backward = self.forward.graph, self.backward
        total = self.forward.h[0].new_zeros(())
        for i in graph.layout.all_outputs:
            output = backward.view(i)
            value = output.output_loss.value(output.h, output.target)
            same = [j for j in graph.layout.all_outputs if graph.layers[j].name == graph.layers[i].name]
            total = total + value.sum(-1) / backward.asked(same)
        return total

    @property
    def mistakes(self) -> Tensor:
        """The share of predictions of the last output whose most likely class is wrong: ``(*stack,)``.

        For vector targets it is 0, because they have no classes.
        """
        targets = [self.backward.targets[i] for i in self.forward.graph.output_layers]
        if targets[0].dtype.is_floating_point:
            return self.output.new_zeros(self.output.shape[:-2])
        t = torch.cat(targets, -1)
        wrong = (self.output.argmax(-1) != t).to(self.output.dtype)
        layers = self.forward.graph.output_layers
        if not self.backward.view(layers[0]).output_loss.masks:
            return wrong.mean(-1)
        return (wrong * asked(t)).sum(-1) / self.backward.asked(layers)

    @property
    def depth(self) -> Tensor | float:
        """How many subgraphs were updated for a prediction, on average."""
        return self.backward.rule.depth(self.backward)

    @property
    def carried(self) -> dict[str, Tensor]:
        """The state that the next chunk of a sequence starts from, by name; see `ForwardPass.carried`. No later update
        writes to it."""
        return self.forward.carried()

    @property
    def output(self) -> Tensor:
        """The last output of the list at all its steps, ``(*stack, rows, units)``."""
        return self.forward.last_output


@torch.no_grad()
def update(
    graph: Graph, rule: Rule, inputs: Tensor | Mapping[str, Tensor], targets: Tensor | Mapping[str, Tensor]
) -> Step:
    """Run ``rule`` for one mini-batch and put its updates in ``p.grad`` of every parameter.

    The update overwrites ``p.grad``, so no ``zero_grad`` is needed. An optimizer's step subtracts the update, as it
    subtracts a gradient.

    Args:
        graph: the network; its parameters get their updates.
        rule: the learning rule.
        inputs: see `ForwardPass`.
        targets: the rows of each output, in the order of its steps: class indices ``(rows,)`` or
            vectors ``(rows, units)``; a mapping by name where there are several outputs.

    Raises:
        SeqlraError: inputs or targets that do not fit the graph, or a graph that was never initialized.
    """
    demand_kinds(graph, rule)
    check_first(graph, inputs, targets)
    with explained(graph, inputs, targets):
        return run_update(graph, rule, inputs, targets)


def run_update(
    graph: Graph, rule: Rule, inputs: Tensor | Mapping[str, Tensor], targets: Tensor | Mapping[str, Tensor]
) -> Step:
    """`update` itself, without a look at values."""
    if torch.is_inference_mode_enabled():
        raise SeqlraError("under torch.inference_mode there are no gradients to train with; accepted: torch.no_grad")
    forward = ForwardPass(graph, inputs)
    backward = BackwardPass(rule, forward, targets)
    updates_of(backward, grad_of)
    rule.after_update(backward)
    return Step(forward, backward)


class Updates(dict[Tensor, Tensor]):
    """By parameter, its update: a tensor of its shape from ``where``, overwritten at its first use."""

    def __init__(self, where: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._where = where

    def add(
        self,
        forward: ForwardPass,
        number: int,
        steps: range,
        d: Tensor,
        rows: Selection | None = None,
        scale: float = 1.0,
        leaks: Tensor | None = None,
    ) -> None:
        """Add ``scale * source^T d`` and ``scale * sum d`` for these steps of a layer, and ``scale * sum leaks``.

        Args:
            forward: has the outputs of the sources.
            number, steps: which steps of which layer.
            d: their errors, ``(*stack, rows, units)``.
            rows: which rows of these steps ``d`` has; None: all of them.
            scale: a factor.
            leaks: their `BackwardPass.leaks`.
        """
        graph, layer = forward.graph, forward.graph.layers[number]
        for connection in layer.into:
            source = forward.source(connection, steps)
            if rows is not None:
                source = rows.of(source)
            total, before = self._so_far(graph.weights[connection.weight])
            _add_product(total, source, d, scale, before)
        if layer.subgraph.bias is not None:
            total, before = self._so_far(graph.biases[layer.subgraph.bias])
            _add_sum(total, d, scale, before)
        if layer.subgraph.trained_leak is not None and leaks is not None:
            total, before = self._so_far(graph.leaks[layer.subgraph.trained_leak])
            _add_sum(total, over_units(leaks, total), scale, before)

    def _so_far(self, parameter: Tensor) -> tuple[Tensor, int]:
        """The update of a parameter, and the factor for its present value: 0 at its first use, then 1."""
        total = self.get(parameter)
        if total is not None:
            return total, 1
        total = self[parameter] = self._where(parameter)
        return total, 0


def updates_of(backward: BackwardPass, where: Callable[[Tensor], Tensor]) -> Updates:
    """The update of every parameter, summed over connections that share it, then normalized, in ``where``."""
    updates = sums_of(backward, where)
    normalize(backward.graph, backward.rule, updates)
    return updates


def sums_of(backward: BackwardPass, where: Callable[[Tensor], Tensor]) -> Updates:
    """The same before it is normalized."""
    graph, rule = backward.graph, backward.rule
    mean = rule.reduction == "mean"
    scale = 1 / backward.predictions if mean else 1.0
    count = backward.asked(graph.layout.all_outputs) if mean else backward.predictions
    updates = Updates(where)
    own = rule.hidden_updates(backward)
    for parameter, summed in (own or {}).items():
        updates[parameter] = where(parameter).copy_(summed).mul_(scale)
    for i, (d, rows, leaks) in enumerate(zip(backward.errors, backward.rows, backward.leaks, strict=True)):
        if d is not None and d.shape[-2] and (own is None or graph.layers[i].subgraph.is_output):
            updates.add(backward.forward, i, range(graph.layers[i].steps), d, rows, scale, leaks)
    for held, axes in graph.trained:
        for name, parameter in held.items():
            total = updates.get(parameter)
            if total is None:  # it had no part in any error
                total = updates[parameter] = where(parameter).zero_()
            if isinstance(count, Tensor):  # the mean is over those that are asked for
                total.mul_(backward.predictions / count.view(*count.shape, *[1] * axes))
            if name in held.diagonal:
                total.copy_(on_diagonal(total))
    return updates


def normalize(graph: Graph, rule: Rule, updates: Mapping[Tensor, Tensor]) -> None:
    """Let the rule change the whole update of every parameter, in place."""
    for held, axes in graph.trained:
        for parameter in held.values():
            total = updates[parameter]
            normalized = rule.normalize_update(total, axes)
            if normalized is not total:
                total.copy_(normalized)


def _add_product(total: Tensor, source: Tensor, d: Tensor, scale: float, before: int) -> None:
    """``total = before * total + scale * source^T d``, summed over rows; tokens add to the rows of the weights that
    they picked."""
    if source.dtype.is_floating_point:
        if total.dim() == 2:
            total.addmm_(source.mT, d, beta=before, alpha=scale)
        else:
            total.baddbmm_(source.mT.expand(*total.shape[:-2], -1, -1), d, beta=before, alpha=scale)
        return
    if not before:
        total.zero_()
    if source.dim() == 1:
        total.index_add_(-2, source, d, alpha=scale)
    else:
        total.scatter_add_(-2, source.unsqueeze(-1).expand_as(d), d * scale)


def _add_sum(total: Tensor, d: Tensor, scale: float, before: int) -> None:
    """``total = before * total + scale * sum d``, summed over rows: the product with a row of ones, in one kernel."""
    _add_product(total.unsqueeze(-2), ones(d.shape[-2], d), d, scale, before)
