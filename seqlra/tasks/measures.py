"""The loss and the error of a graph over data, from forward passes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor

from seqlra.data.samples import Samples
from seqlra.network.forward import ForwardPass, null_state
from seqlra.network.graph import Graph
from seqlra.network.losses import OutputLoss, asked
from seqlra.network.unrolling import over_steps, time_of

ROWS = 10_000
"""Rows (steps times samples) that go through the network at once, unless a single sample has more."""


@torch.no_grad()
def measure(
    passes: Iterable[tuple[ForwardPass, Tensor]], wrong: Callable[[Tensor, Tensor], Tensor] | None
) -> list[dict[str, float]]:
    """Over forward passes and their targets, the mean ``loss`` of what is asked in nats, and its ``error``, the percent
    of wrong answers: one mapping for each model.

    Args:
        passes: the rows of each pass and their targets.
        wrong: of pre-activations ``(*stack, rows, units)`` and targets, which are wrong; None: there is no error.
    """
    loss = mistakes = count = torch.zeros((), dtype=torch.float64)
    for activity, t in passes:
        h, output = last_output(activity)
        there = asked(t)
        loss = loss.to(h.device) + output.value(h, t).sum(-1).double()
        if wrong is not None:
            mistakes = mistakes.to(h.device) + (wrong(h, t) & there).sum(-1).double()
        count = count.to(h.device) + there.sum().double()
    names = ["error", "loss"] if wrong is not None else ["loss"]
    values = torch.stack([100 * mistakes.expand_as(loss), loss][-len(names) :], -1) / count
    return [dict(zip(names, row, strict=True)) for row in values.view(-1, len(names)).tolist()]


def last_output(activity: ForwardPass) -> tuple[Tensor, OutputLoss]:
    """The pre-activations of the last output of the list, at all its steps, and its loss."""
    graph = activity.graph
    output = graph.layers[graph.output_layers[0]].subgraph.loss
    assert isinstance(output, OutputLoss)
    return torch.cat([activity.h[i] for i in graph.output_layers], -2), output


def passes_of(graph: Graph, samples: Samples) -> Iterator[tuple[ForwardPass, Tensor]]:
    """Forward passes over samples, each from the null state, and their targets, some samples at a time."""
    at_once = max(1, ROWS // samples.time)
    for start in range(0, len(samples), at_once):
        inputs, t = (part := samples.part(start, start + at_once)).rows()
        yield ForwardPass(graph, {**inputs, **null_state(graph, len(part))}), t


def passes_over_time(
    graph: Graph, samples: Samples, state: Mapping[str, Tensor] | None = None
) -> Iterator[tuple[ForwardPass, Tensor]]:
    """The same over sequences of any length: they run side by side, chunk by chunk, with the state carried over.

    Args:
        graph: a recurrent graph with an output at every step; a chunk has as many steps as it has.
        samples: the sequences.
        state: where they start; None: the null state.
    """
    length = time_of(graph) or 1
    carried = dict(state or null_state(graph, len(samples)))
    over = graph
    for start in range(0, samples.time, length):
        chunk = samples.steps(start, start + length)
        if chunk.time != length:
            over = over_steps(graph, chunk.time)
        inputs, t = chunk.rows()
        activity = ForwardPass(over, {**inputs, **carried})
        carried = activity.carried()
        yield activity, t
