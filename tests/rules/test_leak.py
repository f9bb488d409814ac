"""Leaky units under every rule. Oracles: autograd through the leak, connections cut for a window; the reference."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import as_rows, assert_same, batch_for, filled, updates
from torch import Tensor
from torch.nn.functional import cross_entropy

from seqlra import (
    Backprop,
    Connection,
    DifferenceTargetPropagation,
    DirectFeedbackAlignment,
    FeedbackAlignment,
    Graph,
    Input,
    LRADiff,
    LRAFeedback,
    SeqlraError,
    Subgraph,
    elman,
    initialize,
    update,
)
from seqlra.engine.recorded import RecordedUpdate
from seqlra.engine.reference import compute_update_direction
from seqlra.network.forward import ForwardPass
from seqlra.rules.backward import BackwardPass

STEPS = 5
PER_UNIT = [0.2, 0.9, 0.5, 1.0, 0.35, 0.7, 0.05]


def without_recurrence(leak: Any = PER_UNIT) -> list[Input | Subgraph]:
    """Units that remember by their leak alone."""
    nodes: list[Input | Subgraph] = [Input("hidden[0]", 7)]
    for t in range(1, STEPS + 1):
        nodes += [
            Input(f"x[{t}]", 5),
            Subgraph(f"hidden[{t}]", 7, [Connection(f"x[{t}]", "W")], "tanh", None, "l2", "b", leak),
            Subgraph(f"output[{t}]", 3, [Connection(f"hidden[{t}]", "U", "E")], loss="cross-entropy", bias="c"),
        ]
    return nodes


def split() -> list[Input | Subgraph]:
    """The steps of ``hidden`` are three layers: the first reads no state, the last two have a bias of their own."""
    nodes = elman(5, [7], 3, STEPS, across_time=True, leak=PER_UNIT)
    changed = {
        "hidden[1]": Subgraph("hidden[1]", 7, [Connection("x[1]", "W")], "tanh", None, "l2", "b", PER_UNIT),
        **{
            f"hidden[{t}]": Subgraph(
                f"hidden[{t}]",
                7,
                [Connection(f"x[{t}]", "W"), Connection(f"hidden[{t - 1}]", "V", "F")],
                leak=PER_UNIT,
                loss="l2",
                bias="b2",
            )
            for t in (STEPS - 1, STEPS)
        },
    }
    return [changed.get(node.name, node) for node in nodes if node.name != f"output[{STEPS - 1}]"]


GRAPHS: dict[str, Any] = {
    "one layer": lambda: elman(5, [7], 3, STEPS, across_time=True, leak=0.3),
    "two layers": lambda: elman(5, [7, 7], 3, STEPS, across_time=True, leak=PER_UNIT),
    "last output": lambda: elman(5, [7], 3, STEPS, across_time=True, leak=PER_UNIT, outputs_at=[2, STEPS]),
    "no feedback over time": lambda: elman(5, [7, 6], 3, STEPS, leak=0.3),
    "no recurrence": without_recurrence,
    "two leaks": lambda: [*without_recurrence()[:7], *without_recurrence(0.4)[7:]],
    "split": split,
}


def by_autograd(
    graph: Graph, inputs: dict[str, Tensor], targets: dict[str, Tensor], window: int = STEPS
) -> dict[str, Tensor]:
    """The gradient of the summed loss where it crosses connections of a layer with itself ``window`` times at most.

    Every state is computed once for each number k of times that a gradient may still cross; with none left it is a
    constant over those connections.
    """
    own = {name: p.detach().clone().requires_grad_() for name, p in graph.named_parameters()}
    z = {(name, k): given for name, given in inputs.items() for k in range(-1, window + 1)}
    for node in graph.subgraphs:
        name, _, number = node.name[:-1].partition("[")
        for k in range(window + 1):
            lags = [int(read.source.startswith(f"{name}[")) for read in node.reads]
            pairs = zip(node.reads, lags, strict=True)
            h = sum(z[read.source, k - lag] @ own[f"weights.{read.weight}"] for read, lag in pairs)
            h = h + own[f"biases.{node.bias}"]
            if node.is_output or node.leak is None:
                z[node.name, k] = h if node.is_output else h.tanh()
            else:
                alpha = torch.tensor(node.leak)
                z[node.name, k] = (1 - alpha) * z[f"{name}[{int(number) - 1}]", k] + alpha * h.tanh()
        z[node.name, -1] = z[node.name, 0].detach()
    loss = sum(cross_entropy(z[name, window], target, reduction="sum") for name, target in targets.items())
    assert isinstance(loss, Tensor)
    grads = torch.autograd.grad(loss, list(own.values()), allow_unused=True)
    return {name: torch.zeros_like(p) if g is None else g for (name, p), g in zip(own.items(), grads, strict=True)}


@pytest.mark.parametrize("nodes", GRAPHS.values(), ids=GRAPHS.keys())
@pytest.mark.parametrize("window", [None, 0, 1, 3])
def test_backprop_is_autograd_through_the_leak(nodes: Any, window: int | None) -> None:
    graph = filled(nodes())
    inputs, targets = batch_for(graph)
    update(graph, Backprop(window=window, reduction="sum"), as_rows(inputs), as_rows(targets))
    if window is not None and window < STEPS - 1 and any(name.startswith("V") for name in graph.weights):
        whole = by_autograd(graph, inputs, targets)
        assert any((updates(graph)[name] - whole[name]).abs().max() > 1e-6 for name in whole)
    assert_same(updates(graph), by_autograd(graph, inputs, targets, STEPS if window is None else window))


@pytest.mark.parametrize("nodes", GRAPHS.values(), ids=GRAPHS.keys())
def test_the_forward_pass_leaks(nodes: Any) -> None:
    graph = filled(nodes())
    inputs, _ = batch_for(graph)
    z = dict(inputs)
    for node in graph.subgraphs:
        h = sum(z[read.source] @ graph.weights[read.weight] for read in node.reads) + graph.biases[node.bias]
        name, _, number = node.name[:-1].partition("[")
        u = h.softmax(-1) if node.is_output else h.tanh()
        alpha = 1 if node.leak is None else torch.tensor(node.leak)
        z[node.name] = u if node.is_output else (1 - alpha) * z[f"{name}[{int(number) - 1}]"] + alpha * u
    expected = torch.cat([z[node.name] for node in graph.outputs])
    assert (graph(as_rows(inputs)) - expected).abs().max() < 1e-12


@pytest.mark.parametrize("kind", [LRAFeedback, LRADiff])
@pytest.mark.parametrize("window", [0, 2, None])
@pytest.mark.parametrize("nodes", GRAPHS.values(), ids=GRAPHS.keys())
def test_the_engine_gives_the_updates_of_the_reference(
    kind: Any, nodes: Any, window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = filled(nodes())
    inputs, targets = batch_for(graph)
    for settings in (
        {},
        {"c2": 0.2, "carry": "error"},
        {"epsilon": 0.01, "c2_per": "batch"},
        {"epsilon": 0.01, "skip": True},
    ):
        rule = kind(beta=0.3, window=window, **{"c2": 0.5, **settings})
        for rows_at_once in (256, 4):
            monkeypatch.setattr(BackwardPass, "ROWS_AT_ONCE", rows_at_once)
            update(graph, rule, as_rows(inputs), as_rows(targets))
            assert_same(updates(graph), compute_update_direction(graph, rule, inputs, targets))


@pytest.mark.parametrize("window", [0, 2, None])
def test_with_exact_feedback_and_linear_units_lra_goes_where_bptt_goes(window: int | None) -> None:
    graph = filled(elman(5, [7], 3, STEPS, "identity", across_time=True, leak=0.3))
    graph.feedback["E"], graph.feedback["F"] = (graph.weights[w].detach().mT.clone() for w in ("U", "V"))
    inputs, targets = batch_for(graph)
    update(graph, Backprop(window=window), as_rows(inputs), as_rows(targets))
    exact = {name: grad.clone() for name, grad in updates(graph).items()}
    for name in ("weights.W", "weights.V", "biases.b"):  # the local loss has one factor dz/dh = leak of its own
        exact[name] *= 0.3
    update(graph, LRAFeedback(beta=1e-3, c2=None, window=window, carry="error"), as_rows(inputs), as_rows(targets))
    assert_same(updates(graph), exact, 1e-9)


@pytest.mark.parametrize("window", [0, 2, None])
def test_feedback_alignment_with_exact_feedback_is_backprop(window: int | None) -> None:
    graph = filled(elman(5, [7, 7], 3, STEPS, across_time=True, leak=PER_UNIT))
    for e, w in (("E1", "W2"), ("E2", "U"), ("F1", "V1"), ("F2", "V2")):
        graph.feedback[e] = graph.weights[w].detach().mT.clone()
    inputs, targets = batch_for(graph)
    update(graph, Backprop(window=window), as_rows(inputs), as_rows(targets))
    exact = {name: grad.clone() for name, grad in updates(graph).items()}
    update(graph, FeedbackAlignment(window=window), as_rows(inputs), as_rows(targets))
    assert_same(updates(graph), exact)


def test_dfa_sends_nothing_over_the_leak() -> None:
    graph = Graph(elman(5, [7], 3, STEPS, leak=PER_UNIT)).double()
    initialize(graph, 1, "gaussian", std=0.6, rule=DirectFeedbackAlignment())
    inputs, targets = batch_for(graph)
    step = update(graph, DirectFeedbackAlignment(), as_rows(inputs), as_rows(targets))
    d, h = step.backward.errors, step.forward.h
    expected = d[1] @ graph.feedback["B-output-hidden"] * torch.tensor(PER_UNIT) * (1 - h[0].tanh().square())
    assert (d[0] - expected).abs().max() < 1e-12


def test_an_output_at_the_last_step_teaches_every_step_over_the_leak() -> None:
    nodes = without_recurrence(0.4)
    graph = filled([n for n in nodes if not n.name.startswith("output") or n.name == f"output[{STEPS}]"])
    inputs, targets = batch_for(graph)
    step = update(graph, LRAFeedback(c2=None), as_rows(inputs), as_rows(targets))
    assert step.depth == STEPS + 1
    d = step.backward.errors[0]
    assert d is not None
    assert (d != 0).all()


@pytest.mark.parametrize("leak", [None, 1, 1.0, [1.0] * 7])
def test_a_leak_of_one_is_no_leak(leak: Any) -> None:
    leaky, plain = (filled(elman(5, [7], 3, STEPS, across_time=True, leak=each)) for each in (leak, None))
    assert leaky.nodes == plain.nodes
    assert leaky.layers == plain.layers


def test_models_of_a_stack_are_the_models_alone() -> None:
    stacked = filled(GRAPHS["two layers"](), stack=2)
    inputs, targets = batch_for(stacked)
    for rule in (LRAFeedback(carry="error"), LRAFeedback(window=1), Backprop()):
        update(stacked, rule, as_rows(inputs), as_rows(targets))
        together = updates(stacked)
        for s in range(2):
            alone = filled(GRAPHS["two layers"]())
            for name, p in alone.state_dict().items():
                p.copy_(stacked.state_dict()[name][s])
            update(alone, rule, as_rows(inputs), as_rows(targets))
            assert_same({name: grad[s] for name, grad in together.items()}, updates(alone))


@pytest.mark.parametrize("rule", [LRAFeedback(carry="error"), LRAFeedback(window=2), Backprop()])
def test_a_recorded_update_is_the_update(rule: Any) -> None:
    graph = filled(GRAPHS["two layers"]())
    recorded = RecordedUpdate(graph, rule)
    for _ in range(2):
        inputs, targets = batch_for(graph)
        recorded(as_rows(inputs), as_rows(targets))
        replayed = {name: grad.clone() for name, grad in updates(graph).items()}
        update(graph, rule, as_rows(inputs), as_rows(targets))
        assert all(torch.equal(replayed[name], grad) for name, grad in updates(graph).items())


def test_two_chunks_are_one_sequence() -> None:
    whole = filled(elman(5, [7, 7], 3, 2 * STEPS, leak=PER_UNIT))
    chunk = whole.sharing(elman(5, [7, 7], 3, STEPS, leak=PER_UNIT))
    rows, state = as_rows(batch_for(whole)[0]), {}
    x = rows.pop("x")
    state, found = rows, []
    for part in x.chunk(2):
        forward = ForwardPass(chunk, {**state, "x": part})
        state = forward.carried()
        found.append(forward.last_output)
    assert (torch.cat(found) - whole({**rows, "x": x})).abs().max() < 1e-12


def test_what_cannot_leak() -> None:
    with pytest.raises(SeqlraError, match=r"\(0, 1\]"):
        elman(5, [7], 3, STEPS, leak=0.0)
    with pytest.raises(SeqlraError, match=r"\(0, 1\]"):
        elman(5, [7], 3, STEPS, leak=[0.5, 0.5])
    with pytest.raises(SeqlraError, match="without a discretizer"):
        elman(5, [7], 3, STEPS, discretizer="sign", leak=0.5)
    with pytest.raises(SeqlraError, match=r"needs hidden\[0\]"):
        Graph([node for node in without_recurrence() if node.name != "hidden[0]"])
    with pytest.raises(SeqlraError, match="needs a step"):
        Graph([Input("x", 5), Subgraph("a", 7, ["x"], leak=0.5), Subgraph("out", 3, ["a"], loss="cross-entropy")])
    graph = filled(GRAPHS["one layer"]())
    inputs, targets = batch_for(graph)
    with pytest.raises(SeqlraError, match=r"one step \(K\)"):
        update(graph, LRADiff(steps=3), as_rows(inputs), as_rows(targets))
    one = filled([n for n in without_recurrence() if "[0]" in n.name or "[1]" in n.name])
    with pytest.raises(SeqlraError, match="chains"):
        DifferenceTargetPropagation().setup(one)
