"""The engine: one forward pass, one walk back, one product for each weight matrix of every tie.

There is one engine for MLPs and RNNs. It runs without autograd, and leaves updates where every
``torch.optim`` optimizer looks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seqlra.network.forward import ForwardPass
from seqlra.network.graph import Graph
from seqlra.network.losses import asked
from seqlra.network.scalars import ones
from seqlra.rules.base import BackwardPass, Rule, Selection


@dataclass(frozen=True)
class Step:
    """What one update saw.

    Attributes:
        activity: the forward pass.
        walk: targets and errors of every tie.
    """

    activity: ForwardPass
    walk: BackwardPass

    @property
    def loss(self) -> Tensor:
        """The output loss, the mean over the predictions of each output and the sum over outputs: ``(*stack,)``."""
        walk, graph = self.walk, self.activity.graph
        total = walk.activity.h[0].new_zeros(())
        for i, tied in enumerate(graph.ties):
            if tied.subgraph.is_output:
                value = walk.output_loss(i).value(self.activity.h[i], walk.targets[i])
                same = [j for j in graph.layout.all_outputs if graph.ties[j].base == tied.base]
                total = total + value.sum(-1) / asked_count(walk, same)
        return total

    @property
    def mistakes(self) -> Tensor:
        """The share of predictions of the last output whose most likely class is wrong: ``(*stack,)``.

        For vector targets it is 0: there is nothing to be right or wrong about.
        """
        targets = [self.walk.targets[i] for i in self.activity.graph.output_ties]
        if targets[0].dtype.is_floating_point:
            return self.output.new_zeros(self.output.shape[:-2])
        t = torch.cat(targets, -1)
        wrong = (self.output.argmax(-1) != t).to(self.output.dtype)
        ties = self.activity.graph.output_ties
        if not self.walk.output_loss(ties[0]).masks:
            return wrong.mean(-1)
        return (wrong * asked(t)).sum(-1) / asked_count(self.walk, ties)

    @property
    def depth(self) -> Tensor | float:
        """How many subgraphs were updated for a prediction, on average."""
        return self.walk.rule.depth(self.walk)

    @property
    def carried(self) -> dict[str, Tensor]:
        """The state that the next chunk of a sequence starts from, by base; see `ForwardPass.carried`."""
        return self.activity.carried()

    @property
    def output(self) -> Tensor:
        """The last output of the list at all its steps, ``(*stack, rows, units)``."""
        return _output(self.activity)


@torch.no_grad()
def run(graph: Graph, inputs: Tensor | Mapping[str, Tensor]) -> Tensor:
    """The last output of a graph at all its steps, ``(*stack, rows, units)``: under ``cross-entropy`` probabilities."""
    return _output(ForwardPass(graph, inputs))


@torch.no_grad()
def update(
    graph: Graph, rule: Rule, inputs: Tensor | Mapping[str, Tensor], targets: Tensor | Mapping[str, Tensor]
) -> Step:
    """Run ``rule`` for one mini-batch and put its updates in ``p.grad`` of every parameter.

    What was in ``p.grad`` is overwritten, so no ``zero_grad`` is needed. As with a gradient, an optimizer's
    step subtracts the update.

    Args:
        graph: the network; its parameters get their updates.
        rule: the learning rule.
        inputs: see `ForwardPass`.
        targets: the rows of each output, in the order of its copies: class indices ``(rows,)`` or
            vectors ``(rows, units)``; a mapping by name where there are several outputs.

    Raises:
        SeqlraError: inputs or targets that do not fit the graph.
    """
    activity = ForwardPass(graph, inputs)
    walk = BackwardPass(rule, activity, targets)
    updates_of(walk, grad_of)
    rule.learn(walk)
    return Step(activity, walk)


def _output(activity: ForwardPass) -> Tensor:
    ties = activity.graph.output_ties
    return activity.z[ties[0]] if len(ties) == 1 else torch.cat([activity.z[i] for i in ties], -2)


class Updates(dict[Tensor, Tensor]):
    """By parameter, its update: a tensor of its shape that ``where`` gives, written over at its first use."""

    def __init__(self, where: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._where = where

    def add(
        self,
        activity: ForwardPass,
        tie: int,
        copies: range,
        d: Tensor,
        rows: Selection | None = None,
        scale: float = 1.0,
    ) -> None:
        """Add ``scale * source^T d`` and ``scale * sum d`` for these copies of a tie.

        Args:
            activity: what the sources put out.
            tie, copies: which copies.
            d: their errors, ``(*stack, rows, units)``.
            rows: which rows of these copies ``d`` has; None: all of them.
            scale: a factor.
        """
        graph, tied = activity.graph, activity.graph.ties[tie]
        for read in tied.reads:
            source = activity.source(read, copies)
            if rows is not None:
                source = rows.of(source)
            total, before = self._so_far(graph.weights[read.weight])
            _add_product(total, source, d, scale, before)
        if tied.subgraph.bias is not None:
            total, before = self._so_far(graph.biases[tied.subgraph.bias])
            _add_sum(total, d, scale, before)

    def _so_far(self, parameter: Tensor) -> tuple[Tensor, int]:
        """The update of a parameter, and what to multiply with what stands there: 0 at its first use, then 1."""
        total = self.get(parameter)
        if total is not None:
            return total, 1
        total = self[parameter] = self._where(parameter)
        return total, 0


def asked_count(walk: BackwardPass, outputs: Sequence[int]) -> Tensor | int:
    """How many predictions of these output ties are asked for; where targets may be missing (`masked`), counted from
    them: ``(*stack,)`` or ``()``, at least 1."""
    total: Tensor | int = 0
    for i in outputs:
        everyone = walk.graph.ties[i].copies * walk.activity.batch
        total = total + (asked(walk.targets[i]).sum(-1) if walk.output_loss(i).masks else everyone)
    return total.clamp(min=1) if isinstance(total, Tensor) else total


def updates_of(walk: BackwardPass, where: Callable[[Tensor], Tensor]) -> Updates:
    """The update of every parameter, summed where names are shared, then finished; ``where`` says in which tensors."""
    graph, rule = walk.graph, walk.rule
    mean = rule.reduction == "mean"
    scale = 1 / walk.predictions if mean else 1.0
    count = asked_count(walk, graph.layout.all_outputs) if mean else walk.predictions
    updates = Updates(where)
    for i, (d, rows) in enumerate(zip(walk.errors, walk.rows, strict=True)):
        if d is not None and d.shape[-2]:
            updates.add(walk.activity, i, range(graph.ties[i].copies), d, rows, scale)
    for held, axes in ((graph.weights, 2), (graph.biases, 1)):
        for parameter in held.values():
            total = updates.get(parameter)
            if total is None:  # it had no part in any error
                total = updates[parameter] = where(parameter).zero_()
            if isinstance(count, Tensor):  # the mean is over those that are asked for
                total.mul_(walk.predictions / count.view(*count.shape, *[1] * axes))
            finished = rule.finish(total, axes)
            if finished is not total:
                total.copy_(finished)
    return updates


def grad_of(parameter: Tensor) -> Tensor:
    """``p.grad``, made where there is none yet."""
    if parameter.grad is None:
        parameter.grad = torch.empty_like(parameter)
    return parameter.grad


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
