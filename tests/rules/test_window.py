"""Credit through a window. Oracles: the reference, line by line; the whole walk; autograd with the graph cut."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import as_rows, assert_same, batch_for, chain_over_time, filled, updates
from torch import Tensor
from torch.nn.functional import cross_entropy

from seqlra import (
    Backprop,
    Connection,
    FeedbackAlignment,
    Graph,
    Input,
    LRADiff,
    LRAFeedback,
    SeqlraError,
    Subgraph,
    elman,
    update,
)
from seqlra.engine.reference import compute_update_direction
from seqlra.rules.backward import BackwardPass

STEPS = 5
GRAPHS: dict[str, Any] = {
    "one layer": lambda: elman(5, [7], 3, STEPS, across_time=True),
    "two layers": lambda: elman(5, [7, 6], 3, STEPS, across_time=True),
    "binary": lambda: elman(5, [7, 6], 3, STEPS, "tanh", "sign", across_time=True),
    "by hand": lambda: chain_over_time(STEPS, across=True),
}


@pytest.mark.parametrize("carry", ["derivative", "error"])
@pytest.mark.parametrize("window", [0, 1, 2, STEPS - 1, STEPS + 3, None])
@pytest.mark.parametrize("nodes", GRAPHS.values(), ids=GRAPHS.keys())
@pytest.mark.parametrize("kind", [LRAFeedback, LRADiff])
def test_the_engine_gives_the_updates_of_the_reference(
    kind: Any, nodes: Any, window: int | None, carry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = filled(nodes())
    inputs, targets = batch_for(graph)
    for settings in ({}, {"c2": 0.4, "c2_per": "batch", "c1": 0.3}, {"epsilon": 0.01}, {"epsilon": 0.01, "skip": True}):
        rule = kind(beta=0.3, window=window, carry=carry, **{"c2": 0.5, **settings})
        if settings.get("c2_per") == "batch" and settings.get("skip"):
            continue
        expected = compute_update_direction(graph, rule, inputs, targets)
        for rows_at_once in (256, 4):
            monkeypatch.setattr(BackwardPass, "ROWS_AT_ONCE", rows_at_once)
            update(graph, rule, as_rows(inputs), as_rows(targets))
            assert_same(updates(graph), expected)


@pytest.mark.parametrize("nodes", GRAPHS.values(), ids=GRAPHS.keys())
@pytest.mark.parametrize(
    "rule",
    [LRAFeedback(), LRAFeedback(carry="error"), LRADiff(carry="error"), FeedbackAlignment(), Backprop()],
    ids=lambda rule: f"{rule.name} {getattr(rule, 'carry', '')}",
)
def test_a_window_of_all_steps_is_the_whole_walk(rule: Any, nodes: Any) -> None:
    graph = filled(nodes())
    inputs, targets = batch_for(graph)
    update(graph, rule, as_rows(inputs), as_rows(targets))
    whole = {name: grad.clone() for name, grad in updates(graph).items()}
    for window in (STEPS - 1, STEPS):
        update(graph, replace(rule, window=window), as_rows(inputs), as_rows(targets))
        assert_same(updates(graph), whole)
    update(graph, replace(rule, window=STEPS - 2), as_rows(inputs), as_rows(targets))
    assert any((updates(graph)[name] - whole[name]).abs().max() > 1e-13 for name in whole)


def cut_gradients(
    graph: Graph, inputs: dict[str, Tensor], targets: dict[str, Tensor], window: int
) -> dict[str, Tensor]:
    """Autograd, one step's loss after another, with all states constant from more than ``window`` steps before it."""
    own = {name: p.detach().clone().requires_grad_() for name, p in graph.named_parameters()}
    layers = sum(name.startswith("weights.V") for name in own)
    names = [""] if layers == 1 else [str(number + 1) for number in range(layers)]

    def advance(states: list[Tensor], t: int) -> list[Tensor]:
        below, after = inputs[f"x[{t}]"], []
        for n, state in zip(names, states, strict=True):
            h = below @ own[f"weights.W{n}"] + state @ own[f"weights.V{n}"] + own[f"biases.b{n}"]
            after.append(h.tanh())
            below = after[-1]
        return after

    states = [[inputs[f"hidden{n}[0]"] for n in names]]
    for t in range(1, STEPS + 1):
        states.append([state.detach() for state in advance(states[-1], t)])
    loss = torch.zeros(())
    for t in range(1, STEPS + 1):
        first = max(1, t - window)
        now = states[first - 1]
        for step in range(first, t + 1):
            now = advance(now, step)
        output = now[-1] @ own["weights.U"] + own["biases.c"]
        loss = loss + cross_entropy(output, targets[f"output[{t}]"], reduction="sum")
    return dict(zip(own, torch.autograd.grad(loss, list(own.values())), strict=True))


@pytest.mark.parametrize("window", [0, 1, 2, 3, STEPS - 1])
@pytest.mark.parametrize("hidden", [[7], [7, 6]], ids=["one layer", "two layers"])
def test_backprop_in_a_window_is_autograd_with_the_graph_cut(hidden: list[int], window: int) -> None:
    graph = filled(elman(5, hidden, 3, STEPS, across_time=True))
    inputs, targets = batch_for(graph)
    update(graph, Backprop(window=window, reduction="sum"), as_rows(inputs), as_rows(targets))
    assert_same(updates(graph), cut_gradients(graph, inputs, targets, window))


@pytest.mark.parametrize("window", [0, 2, None])
def test_with_exact_feedback_and_linear_units_lra_goes_where_bptt_goes(window: int | None) -> None:
    graph = filled(elman(5, [7, 6], 3, STEPS, "identity", across_time=True))
    for e, w in (("E1", "W2"), ("E2", "U"), ("F1", "V1"), ("F2", "V2")):
        graph.feedback[e] = graph.weights[w].detach().mT.clone()
    inputs, targets = batch_for(graph)
    update(graph, Backprop(window=window), as_rows(inputs), as_rows(targets))
    exact = {name: grad.clone() for name, grad in updates(graph).items()}
    update(graph, LRAFeedback(beta=1e-3, c2=None, window=window, carry="error"), as_rows(inputs), as_rows(targets))
    assert_same(updates(graph), exact, 1e-9)


def first_step_apart(labeled: tuple[int, ...]) -> list[Input | Subgraph]:
    """The first step reads its input alone, so it is a layer of its own; outputs at some steps."""
    nodes = [n for n in chain_over_time(STEPS, across=True) if n.name != "hidden[0]"]
    nodes = [n for n in nodes if not n.name.startswith("output") or n.name in {f"output[{t}]" for t in labeled}]
    alone = Subgraph("hidden[1]", 8, [Connection("x[1]", "W")], "tanh", None, "l2", bias="b")
    return [alone if node.name == "hidden[1]" else node for node in nodes]


@pytest.mark.parametrize("carry", ["derivative", "error"])
@pytest.mark.parametrize("window", [0, 1, 2, STEPS - 2, STEPS - 1])
@pytest.mark.parametrize("labeled", [(1, 2, 3, 4, 5), (2, 5), (5,)])
def test_a_subgraph_in_several_layers_has_one_window(labeled: tuple[int, ...], window: int, carry: Any) -> None:
    graph = filled(first_step_apart(labeled))
    assert [layer.steps for layer in graph.layers if layer.name == "hidden"] == [1, STEPS - 1]
    inputs, targets = batch_for(graph)
    rule = LRAFeedback(beta=0.3, c2=0.5, window=window, carry=carry)
    update(graph, rule, as_rows(inputs), as_rows(targets))
    assert_same(updates(graph), compute_update_direction(graph, rule, inputs, targets))


def test_without_a_window_no_error_crosses_time() -> None:
    alone, across = filled(chain_over_time(STEPS)), filled(chain_over_time(STEPS, across=True))
    across.load_state_dict({**across.state_dict(), **alone.state_dict()})
    inputs, targets = batch_for(alone)
    for graph in (alone, across):
        update(graph, LRAFeedback(window=0), as_rows(inputs), as_rows(targets))
    assert_same(updates(across), updates(alone))


def test_an_output_at_the_last_step_teaches_as_far_back_as_the_window() -> None:
    nodes = [
        n for n in elman(5, [7], 3, STEPS, across_time=True) if n.name not in {f"output[{t}]" for t in range(1, 5)}
    ]
    graph = filled(nodes)
    inputs, targets = batch_for(graph)
    for window in range(STEPS):
        step = update(graph, LRAFeedback(window=window, carry="error"), as_rows(inputs), as_rows(targets))
        d = step.backward.all_rows(0)
        assert d is not None
        taught = d.view(STEPS, 6, 7).abs().amax((1, 2)) > 0
        assert taught.tolist() == [t >= STEPS - 1 - window for t in range(STEPS)]


def test_a_window_of_a_feedforward_network_changes_nothing() -> None:
    graph = filled([Input("x", 5), Subgraph("a", 7, ["x"]), Subgraph("out", 3, ["a"], loss="cross-entropy")])
    inputs, targets = batch_for(graph)
    update(graph, LRAFeedback(), inputs, targets)
    before = {name: grad.clone() for name, grad in updates(graph).items()}
    update(graph, LRAFeedback(window=3), inputs, targets)
    assert all(torch.equal(before[name], grad) for name, grad in updates(graph).items())


def test_what_is_carried_over_several_steps_is_the_derivative() -> None:
    with pytest.raises(SeqlraError, match="carry error goes with one step"):
        LRADiff(carry="error", steps=3)


def test_settings_that_make_no_sense() -> None:
    for make in (lambda: Backprop(window=-1), lambda: LRADiff(window=2, steps=3), lambda: LRAFeedback(carry="e")):
        with pytest.raises(SeqlraError, match=r"window|carry"):
            make()
