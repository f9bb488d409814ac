"""What an update looks like beside the one that back-propagation would have made, and what Normalize left of it.

The angle is that of Section 3.5 and Figure 7: between the rule's updates and backprop's, on the same forward pass (the
same draws, where units are stochastic). Under 90 degrees the rule's update goes down the output loss.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from seqlra.engine.update import Step, Updates, updates_of
from seqlra.errors import SeqlraError
from seqlra.network.forward import rows_of
from seqlra.network.graph import Graph
from seqlra.network.scalars import per_model
from seqlra.rules.backprop import Backprop
from seqlra.rules.base import BackwardPass, Rule
from seqlra.rules.estimators import SlopeAnnealing
from seqlra.rules.lra import LRADiff, LRAFeedback


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` finds; every tensor is ``(*stack,)``, but for ``angle_steps``.

    Angles are in degrees, from 0 to 180, and nan where one of the two updates is zero. Where a discretizer g
    stands on the way, backprop takes its derivative as 1.

    Attributes:
        angle: between all updates of the network, weights and biases collectively, and backprop's.
        angle_layers: the same for the parameters that one subgraph (all its copies) uses, by its name.
        angle_steps: over time, ``(*stack, T)``: between what the t-th copies of all hidden subgraphs add to the updates
            and what they add to backprop's, before c1; None where no hidden subgraph has copies.
        update_norms: the Euclidean norm of the update of each parameter, by the parameter's name.
        clipped_c1: by the parameter's name 1 where c1 cut its update, else 0; empty where c1 is off.
        clipped_c2: by hidden subgraph the share of its samples whose displacement c2 cut; empty where c2 is off.
    """

    angle: Tensor
    angle_layers: dict[str, Tensor]
    angle_steps: Tensor | None
    update_norms: dict[str, Tensor]
    clipped_c1: dict[str, Tensor]
    clipped_c2: dict[str, Tensor]


@torch.no_grad()
def diagnose(step: Step) -> Diagnosis:
    """Set the updates that `update` has left in ``p.grad`` beside backprop's.

    Call it before the optimizer's step: backprop is run over the weights as they are. It draws no random numbers,
    changes no ``p.grad``, and asks nothing of the device that would have to be waited for.

    Args:
        step: what `update` returned.

    Raises:
        SeqlraError: a parameter has no update in ``p.grad``.
    """
    walk, graph = step.walk, step.activity.graph
    # the same reduction, so that what is equal is so bit for bit; a slope m makes the chain rule go through f(m h)
    chain_rule = SlopeAnnealing if "slope" in graph.memory else Backprop
    backprop = BackwardPass(chain_rule(reduction=walk.rule.reduction), step.activity, _targets(walk))
    theirs = updates_of(backprop, torch.empty_like)
    names: dict[str, Tensor] = dict(graph.named_parameters())
    products = {p: _products(_update(name, p), theirs[p], graph) for name, p in names.items()}
    norms = {name: products[p][..., 0, 0].sqrt() for name, p in names.items()}
    layers = {name: angle(_total(products[p] for p in used)) for name, used in _layers(graph).items()}
    return Diagnosis(
        angle=angle(_total(products.values())),
        angle_layers=layers,
        angle_steps=_angle_steps(walk, backprop),
        update_norms=norms,
        clipped_c1=_clipped_c1(walk.rule, norms),
        clipped_c2=walk.rule.clipped(walk) if isinstance(walk.rule, LRAFeedback | LRADiff) else {},
    )


def angle(products: Tensor) -> Tensor:
    """Degrees ``(...)`` between two vectors, from their inner products ``(..., 2, 2)``; nan where one of them is 0."""
    own, cross, other = products[..., 0, 0], products[..., 0, 1], products[..., 1, 1]
    # not the arc cosine alone, as in Section 3.5: it would make 1e-6 degrees of the rounding of a cosine of 1
    opposite = (own * other - cross.square()).clamp(min=0).sqrt()
    degrees = torch.rad2deg(torch.atan2(opposite, cross))
    return degrees.where(own * other > 0, torch.nan)


def _products(one: Tensor, other: Tensor, graph: Graph) -> Tensor:
    """The inner products ``(*stack, 2, 2)`` of two updates of a parameter with themselves and each other.

    In double precision, where the square of a vanishing gradient in float32 is still above 0.
    """
    both = torch.stack([update.flatten(len(graph.stack)) for update in (one, other)], -2).double()
    return both @ both.mT


def _total(products: Iterable[Tensor]) -> Tensor:
    """Those of all parameters, taken as one long vector."""
    return torch.stack(list(products)).sum(0)


def _update(name: str, parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        raise SeqlraError(f"{name} has no update in p.grad; diagnose a step before the next zero_grad")
    return parameter.grad


def _targets(walk: BackwardPass) -> dict[str, Tensor]:
    """The targets of each output, as they were given."""
    outputs: dict[str, list[tuple[int, Tensor]]] = {}
    for tied, target in zip(walk.graph.ties, walk.targets, strict=True):
        if tied.subgraph.is_output:
            outputs.setdefault(tied.base, []).append((tied.first, target))
    given = {}
    for base, of_ties in outputs.items():
        in_order = [target for _, target in sorted(of_ties, key=lambda entry: entry[0])]
        given[base] = torch.cat(in_order, -2 if in_order[0].dtype.is_floating_point else -1)
    return given


def _layers(graph: Graph) -> dict[str, list[Tensor]]:
    """The parameters that each subgraph uses, by the name that its copies share."""
    layers: dict[str, dict[Tensor, None]] = {}
    for tied in graph.ties:
        used = layers.setdefault(tied.base, {})  # a set that keeps its order
        used.update((graph.weights[read.weight], None) for read in tied.reads)
        if tied.subgraph.bias is not None:
            used[graph.biases[tied.subgraph.bias]] = None
    return {base: list(used) for base, used in layers.items()}


def _angle_steps(ours: BackwardPass, backprop: BackwardPass) -> Tensor | None:
    """See `Diagnosis`. One step after another, so that it takes no more memory than an update."""
    activity, steps = ours.activity, _hidden_by_step(ours.graph)
    if len(steps) < 2:
        return None
    errors = [[walk.all_rows(i) for i in range(len(walk.errors))] for walk in (ours, backprop)]
    products = []
    for copies in steps:
        added = [Updates(torch.empty_like), Updates(torch.empty_like)]
        for updates, of_ties in zip(added, errors, strict=True):
            for i, copy in copies:
                here, d = range(copy, copy + 1), of_ties[i]
                d = torch.zeros_like(activity.h[i]) if d is None else d
                updates.add(activity, i, here, rows_of(d, activity.rows(here)))
        pairs = zip(*(updates.values() for updates in added), strict=True)
        products.append(_total(_products(one, other, ours.graph) for one, other in pairs))
    return angle(torch.stack(products, -3))


def _hidden_by_step(graph: Graph) -> list[list[tuple[int, int]]]:
    """For each step the hidden subgraphs there, each as its tie and its copy in it."""
    steps: dict[int, list[tuple[int, int]]] = {}
    for i, tied in enumerate(graph.ties):
        if not tied.subgraph.is_output:
            for copy, step in enumerate(graph.layout.steps(tied)):
                steps.setdefault(step, []).append((i, copy))
    return [steps[step] for step in sorted(steps)]


def _clipped_c1(rule: Rule, norms: dict[str, Tensor]) -> dict[str, Tensor]:
    """Whose update has the norm c1, to rounding: Normalize shortens it to just that."""
    c1 = per_model(rule.c1, 0) if isinstance(rule, LRAFeedback | LRADiff) else None
    return {} if c1 is None else {name: (norm > c1 * (1 - 1e-4)).to(norm.dtype) for name, norm in norms.items()}


class Averages:
    """Means of what `diagnose` finds over some updates, e.g. those of an epoch.

    The sums stay on the device until they are asked for. What is nan is left out of its mean.

    Attributes:
        sums: by flat name (``angle``, ``angle_layers.layer1``), the sum and the count, for a checkpoint.
    """

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}

    def add(self, diagnosis: Diagnosis) -> None:
        """Count one more diagnosis in."""
        for name, value in _named(diagnosis):
            more = torch.stack([value.nan_to_num(), (~value.isnan()).to(value.dtype)])
            self.sums[name] = self.sums[name] + more if name in self.sums else more

    def row(self, model: tuple[int, ...] = ()) -> dict[str, Any]:
        """The means, of a stack those of one model, as plain data for JSON, by the names of `Diagnosis`: numbers and
        lists of them, None where nothing was defined; what holds one value a layer or a parameter is a mapping by its
        name. Empty after no diagnosis."""
        row: dict[str, Any] = {}
        for flat, sums in self.sums.items():
            total, count = (both[model] for both in sums)
            key, _, name = flat.partition(".")
            mean = _plain((total / count).tolist())
            if name:
                row.setdefault(key, {})[name] = mean
            else:
                row[key] = mean
        return row


def _named(diagnosis: Diagnosis) -> Iterator[tuple[str, Tensor]]:
    for field in fields(diagnosis):
        value = getattr(diagnosis, field.name)
        if isinstance(value, Tensor):
            yield field.name, value
        elif value is not None:
            yield from ((f"{field.name}.{name}", tensor) for name, tensor in value.items())


def _plain(mean: float | list[Any]) -> float | list[Any] | None:
    """What JSON has no number for is None."""
    if isinstance(mean, list):
        return [_plain(each) for each in mean]
    return mean if math.isfinite(mean) else None
