"""What online rules for recurrent networks have in common: a learning signal at every step, and a trace of the past.

An online rule never goes back in time. At step t a hidden layer gets a *learning signal* ``L_t``, the error that
comes in from the outputs of the same step, and multiplies it by a trace of how its weights made its present state. Over
a chunk the sum of these products does not depend on the order of summation. With a diagonal recursion
``p_t = m_t * p_{t-1} + z'_t * source_t`` of the trace, where ``z' = dz/dh``,

    sum_t L_t * p_t = sum_s total_s * z'_s * source_s,      total_s = L_s + m_{s+1} * total_{s+1}

so such a rule needs no traces, which would be as large as the weights, for every sample: it is one elementwise sum
back through the chunk, and the usual product. `seqlra.rules.memory` computes ``total``, and a rule says what ``m`` is.
A trained leak has ``dz/da``, by its logit a, in place of ``z' * source``. Traces start at 0 with every chunk. With
``online`` they are carried over: one is made at the end of a chunk,

    p_T = (prod_t m_t) * p_0 + sum_s (prod_{t > s} m_t) * z'_s * source_s

and the sum over the next has the term ``m_1 * total_1 * p_0`` besides. Then the length of a chunk only says how often
weights change; with chunks of one step, after every step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from seqlra.network.graph import Graph
from seqlra.network.layers import ConnectionInto, ConnectionOutOf, Layer, name_and_step
from seqlra.rules.backward import BackwardPass
from seqlra.rules.base import require
from seqlra.rules.learned_feedback import LearnedFeedback
from seqlra.rules.suited import Suited
from seqlra.rules.traces import by_parameter, carried_in, carry_on, changes_of
from seqlra.rules.views import ConnectionView, LayerView


@dataclass(frozen=True)
class OnlineRule(LearnedFeedback):
    """A rule whose errors cross connections within a step only; the past comes in through a trace.

    Where recurrent layers are stacked, the learning signal of a lower layer is what comes down within the step, without
    the trace of the layer above: a trace through two layers would not be local. The derivative of g is taken as 1.

    Args:
        feedback: how learning signals cross a connection. ``exact``: through W^T; ``fixed``: through error weights E
            that keep their initial value; ``learned``: through E, which gets the transpose of the update of W.
        online: whether traces are carried from chunk to chunk, as states are; they are among ``Step.carried``.
    """

    costs: ClassVar[tuple[str, str]] = ("T B n", "T B n")
    feedbacks: ClassVar[tuple[str, ...]] = ("exact", "fixed", "learned")
    online: bool = False

    def setup(self, graph: Graph) -> None:
        """Check that the network is recurrent."""
        super().setup(graph)
        self.check(graph)

    def check(self, graph: Graph) -> None:
        """Raise `SeqlraError` where the rule is not defined for a graph: without steps there is nothing to trace."""
        remembers = any(own_connections(layer) or layer.subgraph.leak for layer in graph.layers)
        require(remembers, f"{self.name} is defined for recurrent networks (elman); this network has no steps")
        for i, layer in enumerate(graph.layers):
            before = all(c.first == layer.first - 1 for c in self.through_itself(graph, i))
            words = f"{self.name} is defined where {layer.name!r} reads its step before, and no other of its own"
            require(before, words)
            alike = sum(other.name == layer.name for other in graph.layers) == 1 or layer.subgraph.is_output
            require(alike or not self.online, f"online is defined where all steps of {layer.name!r} are alike")

    def through_itself(self, graph: Graph, number: int) -> list[ConnectionInto]:
        """The connections of a layer with itself whose diagonal is part of the trace; none unless a rule says so."""
        return []

    def feedback_matrix(self, connection: ConnectionView) -> Tensor | None:
        """W^T, or E; None where the connection has no E."""
        return connection.weight.mT if self.feedback == "exact" else connection.feedback

    def connections(self, graph: Graph, number: int) -> list[ConnectionOutOf]:
        """The connections within a step."""
        self.check(graph)
        return [c for c in super().connections(graph, number) if _within_a_step(graph, number, c)]

    def has_memory(self, graph: Graph, number: int) -> bool:
        """Traces remember through the leak, and `through_itself`."""
        return graph.layers[number].subgraph.leak is not None or bool(self.through_itself(graph, number))

    def memory(self, layer: LayerView) -> Tensor:
        """``1 - leak``, and ``dz/dh * diagonal of V`` of every connection in the trace."""
        own = self.through_itself(layer.graph, layer.number)
        if not own:
            return super().memory(layer)
        diagonals = (layer.graph.weights[c.weight].diagonal(dim1=-2, dim2=-1).unsqueeze(-2) for c in own)
        through = layer.derivative * sum(diagonals)
        return through if layer.leak is None else through + super().memory(layer)

    def error(self, layer: LayerView, incoming: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """``total * dz/dh`` for the updates; what goes down is made of the learning signal of the step alone."""
        derivative = layer.derivative
        d = incoming * derivative
        if not self.has_memory(layer.graph, layer.number):
            return d
        return d, torch.zeros_like(d) if layer.arrived is None else layer.arrived * derivative

    def hidden_updates(self, backward: BackwardPass) -> dict[Tensor, Tensor] | None:
        """With ``online`` the products of errors and sources, and what is due to the chunks before."""
        if not self.online:
            return None
        found = []
        for number, layer in enumerate(backward.graph.layers):
            if not layer.subgraph.is_output:
                view, d, leaks = backward.view(number), backward.errors[number], backward.leaks[number]
                errors = [torch.zeros_like(view.h) if d is None else d, *([] if leaks is None else [leaks])]
                changes = changes_of(view)
                product = torch.cat([read.mT @ e for (_, read), e in zip(changes, errors, strict=True)], -2)
                if self.has_memory(backward.graph, number):
                    product = product + self._over_chunks(view, changes)
                found.append((layer, product))
        return by_parameter(backward.graph, found)

    def _over_chunks(self, view: LayerView, changes: list[tuple[Tensor, Tensor]]) -> Tensor:
        """What the errors of this chunk say of the steps before it, ``(*stack, sources, units)``; the trace goes on."""
        backward, name = view.backward, view.graph.layers[view.number].name
        memory = view.by_step(self.memory(view).expand_as(view.h))
        from_here = memory.flip(-3).cumprod(-3).flip(-3)  # the product of the memory of a step and of all later ones
        later = torch.cat((from_here[..., 1:, :, :], torch.ones_like(memory[..., :1, :, :])), -3)
        pairs = ((later * view.by_step(derivative), view.by_step(read)) for derivative, read in changes)
        trace = torch.cat([torch.einsum("...tbi,...tbj->...bij", read, fresh) for fresh, read in pairs], -2)
        before = carried_in(backward, name, trace.shape[-2] * trace.shape[-1])
        due, sent = torch.zeros_like(trace[..., 0, :, :]), backward.memory.sent[view.number]
        if before is not None:
            before = before.view_as(trace)
            trace = torch.addcmul(trace, from_here[..., 0, :, :].unsqueeze(-2), before)
            if sent is not None:
                first = sent[..., backward.forward.rows(range(1)), :].unsqueeze(-2)
                due = (first * before).sum(-3)  # einsum would copy the traces, unit by unit
        carry_on(backward, name, trace.flatten(-2))
        return due

    @classmethod
    def suited(cls, task: str, activation: str, optimizer: str, given: Mapping[str, Any]) -> Suited:
        """A mirror starts feedback that is learned."""
        suited = super().suited(task, activation, optimizer, given)
        return replace(suited, feedback_init="mirror") if given.get("feedback") == "learned" else suited


def own_connections(layer: Layer) -> list[ConnectionInto]:
    """The connections of a layer with itself, though the list may have no more than one of its steps."""
    return [connection for connection in layer.into if connection.source == layer.name]


def _within_a_step(graph: Graph, number: int, connection: ConnectionOutOf) -> bool:
    at = {place: full for full, place in graph.layout.places.items()}
    layer, reader = graph.layers[number], graph.layers[connection.reader]
    own = at[layer.name, layer.first + connection.steps.start]
    theirs = at[reader.name, reader.first + connection.reader_steps.start]
    return name_and_step(own)[1] == name_and_step(theirs)[1]
