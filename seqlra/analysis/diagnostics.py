"""Comparison of an update with the one that back-propagation would have made, and how much Normalize cut.

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
from seqlra.network.layers import ConnectionInto
from seqlra.rules.backprop import Backprop
from seqlra.rules.backward import BackwardPass
from seqlra.rules.base import Rule


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` finds; every tensor is ``(*stack,)``, but for ``angle_steps``.

    Angles are in degrees, from 0 to 180, and nan where one of the two updates is zero. Where a discretizer g
    stands on the way, backprop takes its derivative as 1.

    Attributes:
        angle: between all updates of the network, weights, biases and trained leaks collectively, and backprop's.
        angle_layers: the same for the parameters that one subgraph (all its steps) uses, by its name.
        angle_steps: over time, ``(*stack, T)``: between the parts of the updates that all hidden subgraphs of step t
            add, and the same parts of backprop's updates, before c1; None where no hidden subgraph has several steps.
        update_norms: the Euclidean norm of the update of each parameter, by the parameter's name.
        clipped_c1: by the parameter's name 1 where c1 cut its update, else 0; empty where c1 is off.
        clipped_c2: by hidden subgraph the share of its samples whose displacement c2 cut; empty where c2 is off.
        alignment: by name of error weights, the angle between them and the transposed weights of their connection.
    """

    angle: Tensor
    angle_layers: dict[str, Tensor]
    angle_steps: Tensor | None
    update_norms: dict[str, Tensor]
    clipped_c1: dict[str, Tensor]
    clipped_c2: dict[str, Tensor]
    alignment: dict[str, Tensor]


@torch.no_grad()
def diagnose(step: Step) -> Diagnosis:
    """Compare the updates that `update` put in ``p.grad`` with backprop's.

    Call it before the optimizer's step: backprop runs with the current weights. It draws no random numbers, changes no
    ``p.grad``, and does not wait for the device.

    Args:
        step: what `update` returned.

    Raises:
        SeqlraError: a parameter has no update in ``p.grad``.
    """
    if not isinstance(step, Step):
        raise SeqlraError(f"diagnose takes the step that seqlra.update returned, not {type(step).__name__}")
    backward, graph = step.backward, step.forward.graph
    # the same reduction, so that equal updates are equal bit for bit
    backprop = BackwardPass(Backprop(reduction=backward.rule.reduction), step.forward, _targets(backward))
    theirs = updates_of(backprop, torch.empty_like)
    names: dict[str, Tensor] = {name: p for name, p in graph.named_parameters() if p in theirs}  # E has no gradient
    products = {p: _products(_update(name, p), theirs[p], graph) for name, p in names.items()}
    norms = {name: products[p][..., 0, 0].sqrt() for name, p in names.items()}
    layers = {name: angle(_total(products[p] for p in used)) for name, used in _layers(graph).items()}
    return Diagnosis(
        angle=angle(_total(products.values())),
        angle_layers=layers,
        angle_steps=_angle_steps(backward, backprop),
        update_norms=norms,
        clipped_c1=_clipped_c1(backward.rule, norms),
        clipped_c2=backward.rule.clipped(backward),
        alignment=_alignment(graph),
    )


def angle(products: Tensor) -> Tensor:
    """Degrees ``(...)`` between two vectors, from their inner products ``(..., 2, 2)``; nan where one of them is 0."""
    own, cross, other = products[..., 0, 0], products[..., 0, 1], products[..., 1, 1]
    # not only the arc cosine, as in Section 3.5: it turns the rounding of a cosine of 1 into 1e-6 degrees
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
    """The inner products of all parameters, taken as one long vector."""
    return torch.stack(list(products)).sum(0)


def _update(name: str, parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        raise SeqlraError(f"{name} has no update in p.grad; diagnose a step before the next zero_grad")
    return parameter.grad


def _targets(backward: BackwardPass) -> dict[str, Tensor]:
    """The targets of each output, as they were given."""
    outputs: dict[str, list[tuple[int, Tensor]]] = {}
    for layer, target in zip(backward.graph.layers, backward.targets, strict=True):
        if layer.subgraph.is_output:
            outputs.setdefault(layer.name, []).append((layer.first, target))
    given = {}
    for name, of_layers in outputs.items():
        in_order = [target for _, target in sorted(of_layers, key=lambda entry: entry[0])]
        given[name] = torch.cat(in_order, -2 if in_order[0].dtype.is_floating_point else -1)
    return given


def _alignment(graph: Graph) -> dict[str, Tensor]:
    """See `Diagnosis`; if several connections share error weights, for the first of them."""
    found: dict[str, Tensor] = {}
    for connection in _connections(graph):
        if connection.feedback is not None and connection.feedback not in found:
            e, w = graph.feedback[connection.feedback], graph.weights[connection.weight].mT
            found[connection.feedback] = angle(_products(e, w, graph))
    return found


def _connections(graph: Graph) -> Iterator[ConnectionInto]:
    for layer in graph.layers:
        yield from layer.into


def _layers(graph: Graph) -> dict[str, list[Tensor]]:
    """The parameters that each subgraph uses, by the name that its steps share."""
    layers: dict[str, dict[Tensor, None]] = {}
    for layer in graph.layers:
        layers.setdefault(layer.name, {}).update(dict.fromkeys(graph.used_by(layer)))  # a set that keeps its order
    return {name: list(used) for name, used in layers.items()}


def _angle_steps(ours: BackwardPass, backprop: BackwardPass) -> Tensor | None:
    """See `Diagnosis`. It goes step by step, so that it takes no more memory than an update."""
    forward, steps = ours.forward, _hidden_by_step(ours.graph)
    if len(steps) < 2 or type(ours.rule).hidden_updates is not Rule.hidden_updates:  # its updates have no steps
        return None
    errors = [[(each.all_rows(i), each.leaks[i]) for i in range(len(each.errors))] for each in (ours, backprop)]
    products = []
    for of_step in steps:
        added = [Updates(torch.empty_like), Updates(torch.empty_like)]
        for updates, of_layers in zip(added, errors, strict=True):
            for i, step in of_step:
                here, (d, leaks) = range(step, step + 1), of_layers[i]
                rows = forward.rows(here)
                d = torch.zeros_like(forward.h[i]) if d is None else d
                leaks = None if leaks is None else rows_of(leaks, rows)
                updates.add(forward, i, here, rows_of(d, rows), leaks=leaks)
        pairs = zip(*(updates.values() for updates in added), strict=True)
        products.append(_total(_products(one, other, ours.graph) for one, other in pairs))
    return angle(torch.stack(products, -3))


def _hidden_by_step(graph: Graph) -> list[list[tuple[int, int]]]:
    """For each time step its hidden subgraphs, each as its layer and its step in that layer."""
    steps: dict[int, list[tuple[int, int]]] = {}
    for i, layer in enumerate(graph.layers):
        if not layer.subgraph.is_output:
            for nth, step in enumerate(graph.layout.steps_of(layer)):
                steps.setdefault(step, []).append((i, nth))
    return [steps[step] for step in sorted(steps)]


def _clipped_c1(rule: Rule, norms: dict[str, Tensor]) -> dict[str, Tensor]:
    """Which updates have the norm c1, up to rounding: Normalize shortens them to exactly that."""
    bound = rule.update_bound()
    if bound is None:
        return {}
    return {name: (norm > bound * (1 - 1e-4)).to(norm.dtype) for name, norm in norms.items()}


class Averages:
    """Means of what `diagnose` finds over some updates, e.g. those of an epoch.

    The sums stay on the device until they are read. A mean ignores nan.

    Attributes:
        sums: by flat name (``angle``, ``angle_layers.layer1``), the sum and the count, for a checkpoint.
    """

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}

    def add(self, diagnosis: Diagnosis) -> None:
        """Add a diagnosis."""
        for name, value in _named(diagnosis):
            more = torch.stack([value.nan_to_num(), (~value.isnan()).to(value.dtype)])
            self.sums[name] = self.sums[name] + more if name in self.sums else more

    def row(self, model: tuple[int, ...] = ()) -> dict[str, Any]:
        """The means (of one model of a stack) as plain data for JSON, by the names of `Diagnosis`: numbers and lists of
        them, None where nothing was defined; values for layers or parameters are a mapping by name. Empty after no
        diagnosis."""
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
    """None for values that JSON cannot hold."""
    if isinstance(mean, list):
        return [_plain(each) for each in mean]
    return mean if math.isfinite(mean) else None
