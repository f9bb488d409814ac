"""A diagonal recurrence under every rule. Oracles: autograd over one weight a unit, RTRL, and the reference."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import alpha_of, as_rows, assert_same, batch_for, filled, updates
from torch import Tensor
from torch.nn.functional import cross_entropy

from seqlra import (
    RFLO,
    RTRL,
    UORO,
    Backprop,
    Connection,
    DirectFeedbackAlignment,
    EProp,
    FeedbackAlignment,
    Graph,
    Input,
    LRADiff,
    LRAFeedback,
    SeqlraError,
    SnAp1,
    Subgraph,
    elman,
    forecast,
    initialize,
    update,
)
from seqlra.engine.recorded import RecordedUpdate
from seqlra.engine.reference import compute_update_direction
from seqlra.export import to_torch

STEPS = 5
LEAK = (0.2, 0.9, 0.5, 1.0, 0.35, 0.7)
LEAKS: dict[str, Any] = {
    "no leak": {},
    "leak": {"leak": LEAK},
    "trained leaks": {"leak": (0.2, 0.9, 0.5, 0.8, 0.35, 0.7), "train_leak": True},
    "one trained leak": {"leak": 0.3, "train_leak": True},
}


def nodes(**options: Any) -> list[Input | Subgraph]:
    """One diagonal layer, with feedback over time."""
    return elman(4, [6], 3, STEPS, across_time=True, recurrence="diagonal", **options)


def run(graph: Graph, rule: Any, batch: Any) -> dict[str, Tensor]:
    """The updates of the rule."""
    inputs, targets = batch
    update(graph, rule, as_rows(inputs), as_rows(targets))
    return {name: grad.clone() for name, grad in updates(graph).items()}


def off_diagonal(matrix: Tensor) -> float:
    """The largest entry off the diagonal."""
    return float((matrix.detach() - matrix.detach().diagonal(dim1=-2, dim2=-1).diag_embed()).abs().max())


@pytest.mark.parametrize("leak", LEAKS)
def test_the_gradient_is_that_of_one_weight_a_unit(leak: str) -> None:
    graph = filled(nodes(**LEAKS[leak]))
    inputs, targets = batch_for(graph)
    own = {name: p.detach().clone().requires_grad_() for name, p in graph.named_parameters()}
    v = graph.weights["V"].detach().diagonal().clone().requires_grad_()
    alpha, z, loss = alpha_of(graph.subgraphs[0], own), inputs["hidden[0]"], torch.zeros(())
    for t in range(1, STEPS + 1):
        h = inputs[f"x[{t}]"] @ own["weights.W"] + z * v + own["biases.b"]
        z = (1 - alpha) * z + alpha * h.tanh()
        logits = z @ own["weights.U"] + own["biases.c"]
        loss = loss + cross_entropy(logits, targets[f"output[{t}]"], reduction="sum")
    loss.backward()
    expected = {name: p.grad for name, p in own.items() if p.grad is not None}
    assert v.grad is not None
    assert_same(run(graph, Backprop(reduction="sum"), (inputs, targets)), {**expected, "weights.V": v.grad.diag()})


@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize("kind", [SnAp1, EProp])
def test_traces_through_the_unit_alone_are_exact(kind: Any, leak: str) -> None:
    graph = filled(nodes(**LEAKS[leak]))
    batch = batch_for(graph)
    exact = run(graph, RTRL(), batch)
    assert_same(exact, run(graph, Backprop(), batch))
    assert_same(run(graph, kind(feedback="exact"), batch), exact)
    assert (run(graph, RFLO(feedback="exact"), batch)["weights.W"] - exact["weights.W"]).abs().max() > 1e-4


@pytest.mark.parametrize("rule", [LRAFeedback(c1=0.1), LRADiff(), LRAFeedback(window=2)], ids=["c1", "diff", "window"])
def test_the_engine_gives_the_updates_of_the_reference(rule: Any) -> None:
    graph = filled(nodes(leak=0.4, train_leak=True))
    inputs, targets = batch_for(graph)
    assert_same(run(graph, rule, (inputs, targets)), compute_update_direction(graph, rule, inputs, targets))


EVERY = (LRAFeedback(feedback="learned"), LRADiff(), Backprop(), FeedbackAlignment(feedback="learned"))
EVERY += (DirectFeedbackAlignment(), RFLO(), EProp(), SnAp1(), RTRL(), UORO())  # type: ignore[assignment]


@pytest.mark.parametrize("rule", EVERY, ids=lambda rule: rule.name)
def test_other_entries_stay_zero_in_training(rule: Any) -> None:
    graph = Graph(nodes(), stack=2).double()
    initialize(graph, [1, 2], "gaussian", std=0.6, rule=rule)
    before = graph.weights["V"].clone()
    recorded, optimizer = RecordedUpdate(graph, rule), torch.optim.Adam(graph.parameters(), lr=0.1)
    for _ in range(3):
        inputs, targets = batch_for(graph)
        recorded(as_rows(inputs), as_rows(targets))
        optimizer.step()
    assert off_diagonal(graph.weights["V"]) == off_diagonal(graph.feedback["F"]) == 0
    assert ((graph.weights["V"] - before).diagonal(dim1=-2, dim2=-1).abs() > 0).all()


def test_each_initialization_keeps_to_the_diagonal() -> None:
    for kind in ("fan-in", "reservoir", "orthogonal", "gaussian"):
        for feedback in ("gaussian", "fan-out", "mirror"):
            graph = initialize(Graph(nodes()), 1, kind, std=0.5, feedback=feedback)
            assert off_diagonal(graph.weights["V"]) == off_diagonal(graph.feedback["F"]) == 0
            assert (graph.weights["V"].diagonal() != 0).all()
    mirrored = initialize(Graph(nodes()), 1, "gaussian", std=0.5, feedback="mirror", mirror_vectors=4000)
    assert (mirrored.feedback["F"] - mirrored.weights["V"].T).abs().max() < 0.1
    assert torch.equal(initialize(Graph(nodes()), 1, "orthogonal").weights["V"], torch.eye(6))
    wide = initialize(Graph(elman(4, [400], 3, 2, recurrence="diagonal")), 1).weights["V"].diagonal()
    assert 0.95 < wide.abs().max() < 1  # a fan-in of 1


def test_a_forecast_and_an_export_read_the_same_units() -> None:
    graph = filled(elman(3, [6], 3, STEPS, recurrence="diagonal"))
    start = torch.randint(3, (2, 4))
    full = filled(elman(3, [6], 3, STEPS))
    with torch.no_grad():
        for name, weight in full.weights.items():
            weight.copy_(graph.weights[name])
        for name, bias in full.biases.items():
            bias.copy_(graph.biases[name])
    assert torch.equal(forecast(graph, start, steps=3), forecast(full, start, steps=3))
    x = torch.randn(2, STEPS, 3)
    assert torch.equal(to_torch(graph)(x)[0], to_torch(full)(x)[0])


def test_what_is_not_a_diagonal_connection_is_refused() -> None:
    with pytest.raises(SeqlraError, match="full, diagonal"):
        elman(4, [6], 3, 2, recurrence="blocks")  # type: ignore[arg-type]
    with pytest.raises(SeqlraError, match="as many units"):
        Graph([Input("x", 4), Subgraph("out", 3, [Connection("x", "W", None, True)], loss="cross-entropy")])
    mixed = [
        Input("x", 4),
        Subgraph("a", 4, [Connection("x", "W", None, True)]),
        Subgraph("out", 4, [Connection("a", "W")], loss="cross-entropy"),
    ]
    with pytest.raises(SeqlraError, match="only some are diagonal"):
        Graph(mixed)
    with pytest.raises(SeqlraError, match="diagonal in one"):
        Graph(nodes()).sharing(elman(4, [6], 3, STEPS, across_time=True))
