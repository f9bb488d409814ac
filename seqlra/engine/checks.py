"""What is looked at before the first updates of a graph, so that nothing trains in vain and in silence."""

from __future__ import annotations

from typing import Any

from seqlra.errors import SeqlraError
from seqlra.network.graph import Graph
from seqlra.network.values import wrong_values
from seqlra.rules.base import Rule


def demand_kinds(graph: Any, rule: Any) -> None:
    """Raise `SeqlraError` unless it is a graph and a rule; no rule (None) will do."""
    if not isinstance(graph, Graph):
        given = (
            "its list of subgraphs; Graph(...) makes one of it" if isinstance(graph, (list, tuple)) else _kind(graph)
        )
        raise SeqlraError(f"the first argument must be a seqlra.Graph, not {given}")
    if not isinstance(rule, Rule) and rule is not None:
        raise SeqlraError(f"the rule must be an object such as seqlra.LRAFeedback(), not {_kind(rule)}")


def _kind(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"{value!r:.60} ({type(value).__name__})"


def check_first(graph: Graph, inputs: Any, targets: Any) -> None:
    """Look at the weights and the values of a mini-batch before the first updates of a graph, and at no later one.

    Raises:
        SeqlraError: the graph was never initialized, or values that it cannot take.
    """
    if not graph.unchecked:
        return
    _demand_filled(graph)
    if any(parameter.is_inference() for parameter in graph.parameters()):
        raise SeqlraError("the graph was made under torch.inference_mode and cannot be trained; make it outside")
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
