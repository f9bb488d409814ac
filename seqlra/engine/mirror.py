"""A weight mirror: error weights E from noise, before training (Akrout et al. 2019).

Noise x goes through the weights of one connection only, and E becomes the correlation of the result with the noise: the
mean of ``(x W)^T x``, which is W^T for independent entries of variance 1. A mirror uses activities, as learning does;
no weight is copied from one side to the other.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqlra.network.graph import Graph
from seqlra.network.subgraph import Subgraph

VECTORS = 100_000
"""By default. The angle between E and W^T is about sqrt(units / vectors) radians. On text 10,000 do as well, but where
errors cross F for 28 steps (MNIST row by row, 100 units) a network that had learned with them unlearns."""

AT_ONCE = 10_000
"""Vectors that are in memory at once."""


def mirror(weight: Tensor, source: Subgraph, vectors: int, generator: torch.Generator) -> Tensor:
    """E ``(units, source units)`` for a connection with ``weight (source units, units)``.

    Units with a discretizer g can only output values of g: for these x is ``g(f(noise))`` minus its mean, and E is
    divided by the variance of each unit.

    Args:
        weight: W of one model.
        source: the subgraph that the connection reads.
        vectors: the number of noise vectors; the cosine between E and W^T grows with it.
        generator: draws the noise.
    """
    sizes = [min(AT_ONCE, vectors - start) for start in range(0, vectors, AT_ONCE)]
    return sum((size / vectors) * _estimate(weight, source, size, generator) for size in sizes)  # type: ignore[return-value]


def _estimate(weight: Tensor, source: Subgraph, vectors: int, generator: torch.Generator) -> Tensor:
    x = torch.randn(vectors, len(weight), generator=generator).to(weight)
    if source.g is not None and source.f is not None:
        with torch.random.fork_rng([weight.device] if weight.is_cuda else []):  # g may draw, too
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))  # numbers of its own, not those of x
            x = source.g.g(source.f.f(x))
        x = x - x.mean(0)
        return (x @ weight).mT @ x / x.square().sum(0).clamp(min=torch.finfo(x.dtype).tiny)
    return (x @ weight).mT @ x / vectors


def mirrored_connections(graph: Graph) -> dict[str, tuple[str, Subgraph]]:
    """By name of error weights, the weights to mirror and the subgraph that they read; the first if E is shared."""
    subgraphs = {layer.name: layer.subgraph for layer in graph.layers}
    found: dict[str, tuple[str, Subgraph]] = {}
    for layer in graph.layers:
        for connection in layer.into:
            if connection.feedback is not None and connection.source in subgraphs:
                found.setdefault(connection.feedback, (connection.weight, subgraphs[connection.source]))
    return found
