"""What a trained graph says: predictions for arrays, metrics on them, and forecasts that run free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from seqlra.data.arrays import Sequences
from seqlra.data.samples import Layout, Reader, Samples
from seqlra.errors import SeqlraError
from seqlra.network.forward import ForwardPass, null_state
from seqlra.network.graph import Graph
from seqlra.network.unrolling import over_steps, sequence_inputs, step_of, time_of
from seqlra.tasks.in_memory import Batches, metrics_of, read
from seqlra.tasks.measures import last_output, passes_of, passes_over_time
from seqlra.tasks.randomness import seeded

State = Mapping[str, Tensor]
"""The state of a recurrent network, by name ``(batch, units)``."""

Given = TypeVar("Given")


def predict(
    graph: Graph,
    x: Any,
    *,
    layout: Layout | str = "batch-major",
    state: State | None = None,
    return_state: bool = False,
    seed: int = 0,
) -> Any:
    """What a graph makes of samples: probabilities of classes, or values under a Gaussian output.

    A recurrent graph runs over as many steps as ``x`` has. Where it has an output at every step it runs chunk by chunk,
    so long sequences need no more memory.

    Args:
        graph: a trained graph.
        x: ``(n, features)``, or sequences ``(n, time, features)``; integers without the last axis are tokens. Numpy
            arrays, tensors, lists and data frames will do, of any type of numbers.
        layout: ``time-major`` says that sequences are ``(time, n, ...)``; so is then what is returned.
        state: the state where sequences start, as returned with the ones before them; None: the null state.
        return_state: whether to return the state at the end, too, as a second value.
        seed: seed of the draws of stochastic units; torch's global generator stays as it is.

    Returns:
        ``(n, units)``; ``(n, time, units)`` where there is an output at every step. A tensor where ``x`` is one, on the
        device of ``x``, else a numpy array.

    Raises:
        SeqlraError: inputs that do not fit the graph, or a state where none can be carried.
    """
    every = _asked_at_every_step(graph)
    if (state is not None or return_state) and not every:
        raise SeqlraError("a state is carried by a recurrent graph with an output at every step, as elman makes it")
    samples = _samples(graph, x, layout, every)
    last: ForwardPass | None = None
    parts = []
    with torch.no_grad(), seeded(seed, next(graph.parameters()).device):
        if every:
            _check_state(graph, state, len(samples))
            for last, _ in passes_over_time(graph, samples, state):
                parts.append(last.last_output.unflatten(0, (-1, len(samples))).transpose(0, 1))
            y = torch.cat(parts, 1)
        else:
            over = over_steps(graph, samples.time) if sequence_inputs(graph) else graph
            for activity, _ in passes_of(over, samples):
                steps = len(activity.last_output) // activity.batch
                rows = activity.last_output.unflatten(0, (steps, activity.batch)).transpose(0, 1)
                parts.append(rows.squeeze(1) if steps == 1 else rows)
            y = torch.cat(parts)
    y = _as_given(y.transpose(0, 1) if layout == "time-major" and y.dim() == 3 else y, x)
    return (y, dict(last.carried()) if last else {}) if return_state else y


def evaluate(
    graph: Graph, data: Any, *, layout: Layout | str = "batch-major", stateful: bool = False, seed: int = 0
) -> dict[str, float]:
    """Metrics of a graph on samples with targets.

    Args:
        graph: a trained graph.
        data: ``(x, t)`` or ``(x, t, lengths)`` or an iterable of such batches, see `seqlra.fit`.
        layout: as of `predict`.
        stateful: whether sequences of any length, with a target at each step, run chunk by chunk with a carried state.
        seed: seed of the draws of stochastic units.

    Returns:
        ``loss``, the mean output loss of a target (cross-entropy in nats, or half the squared error), and for classes
        ``error``, the percent of targets that are not the likeliest class.

    Raises:
        SeqlraError: data that do not fit the graph.
    """
    return metrics_of(graph, samples_of(graph, data, Reader(graph, layout, stateful)), seed, stateful)


def samples_of(graph: Graph, data: Any, reader: Reader) -> Samples | Batches:
    """``(x, t)``, ``(x, t, lengths)`` or `Sequences` as samples; anything else as batches of such pairs.

    Raises:
        SeqlraError: data that do not fit the graph.
    """
    if isinstance(data, Sequences):
        return reader.samples(data)
    return read(reader, data) if isinstance(data, tuple) else Batches(graph, data, reader)


def forecast(
    graph: Graph,
    x: Any,
    steps: int,
    *,
    layout: Layout | str = "batch-major",
    temperature: float = 0.0,
    state: State | None = None,
    seed: int = 0,
) -> Any:
    """Read sequences, then go on alone: what the network predicts is what it reads at the next step.

    Args:
        graph: a recurrent graph that predicts the next step at every step: its outputs are like its inputs.
        x: sequences to read first, ``(n, time, features)``, or tokens ``(n, time)``; of any length.
        steps: how many steps to go on.
        layout: as of `predict`.
        temperature: of tokens: 0 takes the likeliest; above 0 they are drawn, by probabilities whose logarithms are
            divided by it.
        state: as of `predict`.
        seed: seed of the draws of tokens and of stochastic units.

    Returns:
        The next ``steps`` steps, ``(n, steps, features)`` or ``(n, steps)``; a tensor where ``x`` is one, on the device
        of ``x``, else a numpy array.

    Raises:
        SeqlraError: a graph that does not predict its own input, inputs that do not fit it, or less than one step.
    """
    if not _asked_at_every_step(graph) or [node.units for node in graph.outputs[-1:]] != _input_units(graph):
        raise SeqlraError("a forecast needs a recurrent graph with an output at every step that is like its only input")
    if steps < 1 or not 0 <= temperature < float("inf"):
        raise SeqlraError(
            f"a forecast needs at least 1 step and a temperature from 0 on, not {steps} and {temperature}"
        )
    samples = _samples(graph, x, layout, True)
    ((name, given),) = samples.x.items()
    tokens, count = not given.dtype.is_floating_point, len(samples)
    single = over_steps(graph, 1)
    found: list[Tensor] = []
    with torch.no_grad(), seeded(seed, given.device):
        _check_state(graph, state, count)
        for activity, _ in passes_over_time(graph, samples, state):
            last = activity
        for _ in range(steps):
            if found:
                last = ForwardPass(single, {name: found[-1], **last.carried()})
            rows = last_output(last)[0] if tokens else last.last_output
            found.append(_drawn(rows[-count:], temperature) if tokens else rows[-count:])
    return _as_given(torch.stack(found, 0 if layout == "time-major" else 1), x)


def _drawn(h: Tensor, temperature: float) -> Tensor:
    """Tokens ``(n,)`` from pre-activations ``(n, symbols)``."""
    if temperature == 0:
        return h.argmax(-1)
    return torch.multinomial(((h - h.amax(-1, keepdim=True)) / temperature).softmax(-1), 1).squeeze(-1)


def _input_units(graph: Graph) -> list[int]:
    names = sequence_inputs(graph)
    return [next(node.units for node in graph.inputs if step_of(node.name)[0] == name) for name in names]


def _asked_at_every_step(graph: Graph) -> bool:
    """Whether it is a recurrent graph with an output at every step."""
    return bool(sequence_inputs(graph)) and len(graph.outputs) == time_of(graph)


def _samples(graph: Graph, x: Any, layout: Layout | str, every: bool) -> Samples:
    """Inputs for predictions, over any number of steps."""
    return Reader(graph, layout, every, any_time=True).samples(x)


def _check_state(graph: Graph, state: State | None, count: int) -> None:
    wanted = {name: tuple(tensor.shape) for name, tensor in null_state(graph, count).items()}
    given = wanted if state is None else {name: tuple(tensor.shape) for name, tensor in state.items()}
    if given != wanted:
        raise SeqlraError(f"the state of {count} sequences is {wanted}; given: {given}")


def _as_given(y: Tensor, x: Any) -> Any:
    """As a tensor on the device of ``x`` where that holds tensors, else as a numpy array."""
    first = next(iter(x.values())) if isinstance(x, Mapping) else x
    return y.to(first.device) if isinstance(first, Tensor) else np.asarray(y.cpu())
