"""Graphs that nobody initialized, and rules that return errors of another shape: neither trains in silence."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers import small_mlp, updates
from torch import Tensor

from seqlra import Graph, Input, LRAFeedback, RecordedUpdate, SeqlraError, Subgraph, initialize, update

RULE = LRAFeedback(c1=0.5)
X, T = torch.randn(6, 5, generator=torch.Generator().manual_seed(2)), torch.tensor([2, 0, 1, 1, 0, 2])


def zeros() -> Graph:
    return Graph(small_mlp())


def test_a_graph_that_was_never_initialized_does_not_train() -> None:
    one, other = zeros().float(), zeros().float()
    for way in (lambda: update(one, RULE, X, T), lambda: RecordedUpdate(other, RULE)(X, T)):
        with pytest.raises(SeqlraError, match=r"never initialized.*initialize\(graph, seed=0\)"):
            way()


def by_hand(graph: Graph) -> Graph:
    with torch.no_grad():
        graph.weights["W2"][0, 0] = 1
    return graph


def loaded(graph: Graph) -> Graph:
    graph.load_state_dict(zeros().state_dict())
    return graph


CHOSEN: dict[str, Callable[[], Graph]] = {
    "asked for": lambda: initialize(zeros(), 0, weights="zeros", feedback_std=0.0),
    "feedback": lambda: initialize(zeros(), 0, weights="zeros"),
    "by hand": lambda: by_hand(zeros()),
    "feedback by hand": lambda: by_hand_feedback(zeros()),
    "loaded": lambda: loaded(zeros()),
    "a copy": lambda: copy.deepcopy(initialize(zeros(), 0, weights="zeros", feedback_std=0.0)),
    "pickled": lambda: pickle.loads(pickle.dumps(initialize(zeros(), 0, weights="zeros", feedback_std=0.0))),
    "shared": lambda: initialize(zeros(), 0, weights="zeros", feedback_std=0.0).sharing(small_mlp()),
}


def by_hand_feedback(graph: Graph) -> Graph:
    graph.feedback["E2"][0, 0] = 1
    return graph


@pytest.mark.parametrize("make", CHOSEN.values(), ids=CHOSEN.keys())
def test_zeros_that_somebody_chose_train(make: Callable[[], Graph]) -> None:
    graph = make().float()
    update(graph, RULE, X, T)
    assert updates(graph)["biases.b4"].any()


@pytest.mark.parametrize("shape", [(1, 4), (6, 1), (4,), (3, 4)])
def test_an_error_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    class Wrong(LRAFeedback):
        def error(self, layer: Any, incoming: Tensor) -> Any:
            return incoming.new_ones(shape)

    graph = initialize(
        Graph([Input("x", 5), Subgraph("a", 4, ["x"]), Subgraph("o", 3, ["a"], loss="cross-entropy")]), 0
    )
    says = r"Wrong must return the error of layer 'a' as \(6, 4\), not \("
    with pytest.raises(SeqlraError, match=says):
        update(graph.float(), Wrong(), X, T)
