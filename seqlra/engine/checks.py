"""What is looked at before the first updates of a graph, so that nothing trains in vain and in silence."""

from __future__ import annotations

from typing import Any

from seqlra.errors import SeqlraError
from seqlra.network.graph import Graph
from seqlra.network.values import wrong_values


def check_first(graph: Graph, inputs: Any, targets: Any) -> None:
    """Look at the weights and the values of a mini-batch before the first updates of a graph, and at no later one.

    Raises:
        SeqlraError: the graph was never initialized, or values that it cannot take.
    """
    if not graph.unchecked:
        return
    _demand_filled(graph)
    wrong = wrong_values(graph, inputs, targets)
    if wrong is not None:
        raise SeqlraError(wrong)
    graph.unchecked -= 1


def _demand_filled(graph: Graph) -> None:
    """All-zero weights and feedback stay as they are under every rule; who wants them says so."""
    if graph.weights.filled:
        return
    if not any(bool(tensor.any()) for held in (graph.weights, graph.feedback) for tensor in held.values()):
        raise SeqlraError(
            "the graph was never initialized: all weights and feedback are 0; call seqlra.initialize(graph, seed=0) "
            "first (with weights='zeros' to start from zero weights)"
        )
    graph.weights.filled = True
