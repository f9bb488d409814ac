"""Initial weights: null, Gaussian or uniform by fan-in, and the random feedback; all from one seed."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from seqlra.engine.checks import demand_kinds
from seqlra.engine.mirror import VECTORS, mirror, mirrored_connections
from seqlra.errors import SeqlraError, unknown
from seqlra.network.graph import Graph, Tensors, on_diagonal

if TYPE_CHECKING:
    from seqlra.rules import Rule

WeightInit = Literal["zeros", "gaussian", "fan-in", "reservoir", "orthogonal"]

WEIGHT_INITS: dict[str, str] = {
    "zeros": "null initialization: all weights 0 (Sections 3.2, 3.3)",
    "gaussian": "zero-mean Gaussian with a standard deviation of your choice (Section 3.2)",
    "fan-in": "uniform in +-1/sqrt(n_in) (eq. 5)",
    "reservoir": "for RNNs on tokens: orthogonal recurrent weights, N(0, 1) input weights, the rest fan-in",
    "orthogonal": "for RNNs with a long memory, on tokens or numbers: orthogonal recurrent weights, the rest fan-in",
}

FEEDBACK_INITS: dict[str, str] = {
    "gaussian": "zero-mean Gaussian with a standard deviation of your choice, as in the paper for LRA",
    "fan-out": "uniform in +-1/sqrt(units that the error goes to), as in Nøkland (2016) for DFA and FA",
    "mirror": "a weight mirror: the correlation of noise with its image under the weights (Akrout et al. 2019)",
}


OTHERS = ", ".join(name for name in FEEDBACK_INITS if name != "mirror")


@torch.no_grad()
def initialize(
    graph: Graph,
    seed: int | Sequence[int],
    weights: WeightInit | str = "fan-in",
    std: float = 0.05,
    feedback_std: float = 1.0,
    feedback: str = "gaussian",
    rule: Rule | None = None,
    mirror_vectors: int = VECTORS,
) -> Graph:
    """Fill the parameters of a graph in place and return it. Biases start at 0, trained leaks where the list says.

    Numbers are drawn on the CPU in the order of the graph's list, so a seed gives the same network on every device.
    Feedback has its own stream, so a seed gives the same E under every weight initialization.

    Args:
        seed: one seed, or one for each model of a stack; model s of a stack is the same as one model with its seed.
        weights: one of `WEIGHT_INITS`. A diagonal recurrence has a fan-in of 1; ``orthogonal`` makes it 1, so that a
            unit holds its state, and ``reservoir`` uniform in 0 to 1, so that units differ in how long they do.
        std: standard deviation of ``gaussian`` weights.
        feedback_std: standard deviation of ``gaussian`` error weights E.
        feedback: one of `FEEDBACK_INITS`.
        rule: the rule that will train the graph, if it needs more than weights and E (see `Rule.setup`).
        mirror_vectors: the number of noise vectors of the ``mirror``.

    Raises:
        SeqlraError: an unknown initialization, a rule that is not defined for the graph, a negative standard
            deviation, or a number of seeds that is not the stack's.
    """
    demand_kinds(graph, rule)
    _check(weights, std, feedback, feedback_std, mirror_vectors)
    seeds = _seeds(seed)
    if len(seeds) != (graph.stack[0] if graph.stack else 1):
        raise SeqlraError(f"{len(seeds)} seeds were given for a stack of {graph.stack[0] if graph.stack else 1}")
    if rule is not None:
        rule.setup(graph)
    draw_weight, draw_feedback = _weights(graph, weights, std), _error_weights(graph, feedback, feedback_std)
    for nth, own_seed in enumerate(seeds):
        index = (nth,) if graph.stack else ()
        _fill(graph.weights, index, draw_weight, _stream(own_seed, 0))
        if feedback == "mirror":
            _mirror(graph, index, mirror_vectors, _stream(own_seed, 1))
        else:
            _fill(graph.feedback, index, draw_feedback, _stream(own_seed, 1))
    for bias in graph.biases.values():
        bias.zero_()
    graph.start_leaks()
    graph.weights.filled = True
    return graph


def _check(weights: str, std: float, feedback: str, feedback_std: float, mirror_vectors: int) -> None:
    if weights not in WEIGHT_INITS:
        raise unknown("weight initialization", weights, WEIGHT_INITS)
    if feedback not in FEEDBACK_INITS:
        raise unknown("feedback initialization", feedback, FEEDBACK_INITS)
    if mirror_vectors < 1:
        raise SeqlraError(f"a mirror needs at least one vector of noise, not {mirror_vectors}")
    if std < 0 or feedback_std < 0:
        raise SeqlraError(f"standard deviations must not be negative: {std}, {feedback_std}")


def _seeds(seed: Any) -> list[int]:
    """One seed or several as a list of whole numbers that torch's generators take."""
    try:
        seeds = [operator.index(each) for each in (seed if isinstance(seed, Iterable) else [seed])]
    except TypeError:
        seeds = []
    if not seeds or not all(abs(each) < 2**62 for each in seeds):
        raise SeqlraError(f"a seed is a whole number under 2^62, one for each model of a stack; given: {seed!r:.60}")
    return seeds


Draw = Callable[[str, torch.Size, torch.Generator], Tensor]
"""Draws the tensor of that name and shape."""


def _weights(graph: Graph, kind: str, std: float) -> Draw:
    recurrent, given = _kinds(graph)

    def draw(name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
        if kind == "zeros":
            return torch.zeros(shape)
        if kind in ("reservoir", "orthogonal") and name in graph.weights.diagonal:
            return torch.ones(shape) if kind == "orthogonal" else torch.rand(shape, generator=generator)
        if kind == "gaussian":
            return torch.randn(shape, generator=generator) * std
        if kind in ("reservoir", "orthogonal") and name in recurrent:
            return torch.nn.init.orthogonal_(torch.empty(shape), generator=generator)
        if kind == "reservoir" and name in given:
            return torch.randn(shape, generator=generator)
        fan_in = 1 if name in graph.weights.diagonal else shape[-2]
        return (2 * torch.rand(shape, generator=generator) - 1) / fan_in**0.5

    return draw


def _error_weights(graph: Graph, kind: str, std: float) -> Draw:
    def draw(name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
        if kind == "fan-out":
            fan_out = 1 if name in graph.feedback.diagonal else shape[-1]
            return (2 * torch.rand(shape, generator=generator) - 1) / fan_out**0.5
        return torch.randn(shape, generator=generator) * std

    return draw


def _stream(seed: int, number: int) -> torch.Generator:
    return torch.Generator().manual_seed(2 * seed + number)


def _mirror(graph: Graph, index: tuple[int, ...], vectors: int, generator: torch.Generator) -> None:
    connections = mirrored_connections(graph)
    for name, tensor in graph.feedback.items():
        if name not in connections:
            raise SeqlraError(f"{name} belongs to no connection whose weights a mirror can see; accepted: {OTHERS}")
        weight, source = connections[name]
        tensor[index].copy_(mirror(graph.weights[weight][index], source, vectors, generator))
        if name in graph.feedback.diagonal:
            tensor[index].copy_(on_diagonal(tensor[index]))


def _kinds(graph: Graph) -> tuple[set[str], set[str]]:
    """The names of the recurrent weights, and of the weights that read inputs."""
    connections = [(layer, connection) for layer in graph.layers for connection in layer.into]
    recurrent = {connection.weight for layer, connection in connections if connection.source == layer.name}
    buffers = graph.layout.buffers
    given = {c.weight for _, c in connections if len(buffers[c.source].inputs) == buffers[c.source].blocks}
    return recurrent, given


def _fill(held: Tensors, index: tuple[int, ...], draw: Draw, generator: torch.Generator) -> None:
    for name, tensor in held.items():
        tensor[index].copy_(draw(name, tensor[index].shape, generator))
        if name in held.diagonal:
            tensor[index].copy_(on_diagonal(tensor[index]))
