"""DNI. Oracles: autograd over two chunks, with a predictor that is right; its own update from autograd's target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from helpers import alpha_of, as_rows, assert_same, batch_for, filled, updates
from torch import Tensor
from torch.nn.functional import cross_entropy

from seqlra import DNI, Backprop, FeedbackAlignment, Graph, Input, SeqlraError, Subgraph, elman, initialize, mlp, update
from seqlra.engine.recorded import RecordedUpdate
from seqlra.network.forward import null_state

STEPS, UNITS, BATCH = 4, 7, 5
LEAK = (0.2, 0.9, 0.5, 1.0, 0.35, 0.7, 0.05)
GRAPHS: dict[str, Any] = {
    "one layer": lambda steps: elman(4, [UNITS], 3, steps, across_time=True),
    "two layers": lambda steps: elman(4, [UNITS, UNITS], 3, steps, across_time=True),
    "leak": lambda steps: elman(4, [UNITS], 3, steps, across_time=True, leak=LEAK),
    "trained leaks": lambda steps: elman(4, [UNITS], 3, steps, across_time=True, leak=[0.4] * UNITS, train_leak=True),
    "one trained leak": lambda steps: elman(4, [UNITS], 3, steps, across_time=True, leak=0.4, train_leak=True),
}


def layers_of(graph: Graph) -> list[str]:
    """The names of the recurrent layers, the lowest first."""
    return [name for name, buffer in graph.layout.buffers.items() if buffer.inputs == (0,)]


def loss_of(
    graph: Graph, own: dict[str, Tensor], x: Sequence[Tensor], t: Sequence[Tensor], z: dict[str, Tensor]
) -> Any:
    """The summed loss over steps, and every state of the last step, by autograd."""
    total, alpha = torch.zeros(()), alpha_of(graph.subgraphs[0], own)
    for read, target in zip(x, t, strict=True):
        z = dict(z)
        for name in z:
            n = name.removeprefix("hidden")
            h = read @ own[f"weights.W{n}"] + z[name] @ own[f"weights.V{n}"] + own[f"biases.b{n}"]
            read = z[name] = (1 - alpha) * z[name] + alpha * h.tanh()
        total = total + cross_entropy(read @ own["weights.U"] + own["biases.c"], target, reduction="sum")
    return total, z


def stream(graph: Graph, steps: int) -> tuple[list[Tensor], list[Tensor], dict[str, Tensor]]:
    """Inputs and targets of so many steps, and states to start from."""
    x = [torch.randn(BATCH, 4) for _ in range(steps)]
    return x, [torch.randint(3, (BATCH,)) for _ in x], {name: torch.randn(BATCH, UNITS) for name in layers_of(graph)}


def own_of(graph: Graph) -> dict[str, Tensor]:
    """The parameters as leaves for autograd."""
    return {name: p.detach().clone().requires_grad_() for name, p in graph.named_parameters()}


@pytest.mark.parametrize("nodes", GRAPHS.values(), ids=GRAPHS.keys())
def test_with_a_perfect_predictor_a_chunk_gets_the_gradient_of_all_that_follows(nodes: Any) -> None:
    graph, rule = filled(nodes(STEPS)), DNI(reduction="sum")
    rule.setup(graph)
    x, t, start = stream(graph, 2 * STEPS)
    own = own_of(graph)
    first, z = loss_of(graph, own, x[:STEPS], t[:STEPS], start)
    held = {name: state.detach().requires_grad_() for name, state in z.items()}
    later = loss_of(graph, {name: p.detach() for name, p in own.items()}, x[STEPS:], t[STEPS:], held)[0]
    back = dict(zip(held, torch.autograd.grad(later, list(held.values())), strict=True))
    for name, state in held.items():  # fewer rows than units: one A fits them all
        graph.rule_state[f"{name} predictor"] = torch.linalg.pinv(state.detach()) @ back[name]
    through = first + sum((z[name] * back[name]).sum() for name in z)
    expected = torch.autograd.grad(through, list(own.values()))
    update(graph, rule, {"x": torch.cat(x[:STEPS]), **start}, torch.cat(t[:STEPS]))
    assert_same(updates(graph), dict(zip(own, expected, strict=True)))


@pytest.mark.parametrize("nodes", GRAPHS.values(), ids=GRAPHS.keys())
def test_the_predictor_learns_what_the_chunk_sends_back_with_its_own_prediction(nodes: Any) -> None:
    graph, rule = filled(nodes(STEPS)), DNI(predictor_lr=0.3)
    rule.setup(graph)
    x, t, start = stream(graph, STEPS)
    a = {name: torch.randn(UNITS, UNITS) for name in start}
    for name, matrix in a.items():
        graph.rule_state[f"{name} predictor"] = matrix.clone()
    given = {name: state.clone().requires_grad_() for name, state in start.items()}
    loss, z = loss_of(graph, {name: p.detach() for name, p in own_of(graph).items()}, x, t, given)
    total = loss + sum((z[name] * (z[name] @ a[name]).detach()).sum() for name in z)
    sent = dict(zip(given, torch.autograd.grad(total, list(given.values())), strict=True))
    update(graph, rule, {"x": torch.cat(x), **start}, torch.cat(t))
    for name, state in start.items():
        step = 0.3 * state.T @ (sent[name] - state @ a[name]) / state.square().sum()
        assert (graph.rule_state[f"{name} predictor"] - a[name] - step).abs().max() < 1e-12


@pytest.mark.parametrize("nodes", GRAPHS.values(), ids=GRAPHS.keys())
@pytest.mark.parametrize("feedback", ["exact", "fixed"])
def test_where_sequences_start_from_null_it_stays_bptt(nodes: Any, feedback: str) -> None:
    graph, rule = filled(nodes(STEPS)), DNI(feedback=feedback)  # type: ignore[arg-type]
    rule.setup(graph)
    inputs, targets = (as_rows(part) for part in batch_for(graph))
    for _ in range(2):
        update(graph, rule, {"x": inputs["x"], **null_state(graph, 6)}, targets)
        found = {name: p.clone() for name, p in updates(graph).items()}
    other = Backprop() if feedback == "exact" else FeedbackAlignment()
    update(graph, other, {"x": inputs["x"], **null_state(graph, 6)}, targets)
    assert_same(found, updates(graph))


def test_a_predictor_over_one_step_learns_the_gradient_of_a_linear_future() -> None:
    """Leaky units that nothing moves: dL/dz_0 is a matrix times z_0, for a loss of squares."""
    nodes = [
        Input("hidden[0]", 3),
        Input("x[1]", 2),
        Subgraph("hidden[1]", 3, elman(2, [3], 2, 1)[2].reads, leak=0.5, loss="l2", bias="b"),  # type: ignore[union-attr]
        Subgraph("output[1]", 3, elman(2, [3], 3, 1)[3].reads, loss="gaussian", bias="c"),  # type: ignore[union-attr]
    ]
    graph, rule = filled(nodes), DNI(predictor_lr=1.0)
    rule.setup(graph)
    with torch.no_grad():
        for p in graph.parameters():
            p.zero_()
        graph.weights["U"].copy_(torch.eye(3))
    for _ in range(400):
        z = torch.randn(20, 3)
        update(graph, rule, {"x": torch.zeros(20, 2), "hidden": z}, torch.zeros(20, 3))
    # L = sum_t |z_t|^2 / 2 with z_t = z_0 / 2^t: dL/dz_0 = sum_t z_0 / 4^t = z_0 / 3
    assert (graph.rule_state["hidden predictor"] - torch.eye(3) / 3).abs().max() < 1e-6


def test_models_of_a_stack_and_recorded_updates_learn_as_one_alone() -> None:
    stacked, rule = Graph(GRAPHS["leak"](STEPS), stack=2).double(), DNI(feedback="learned")
    initialize(stacked, [1, 2], "gaussian", std=0.6, rule=rule)
    alone = initialize(Graph(GRAPHS["leak"](STEPS)).double(), 2, "gaussian", std=0.6, rule=rule)
    recorded = RecordedUpdate(stacked, rule)
    for _ in range(4):
        x, t, start = stream(alone, STEPS)
        recorded({"x": torch.cat(x), **start}, torch.cat(t))
        update(alone, rule, {"x": torch.cat(x), **start}, torch.cat(t))
    assert_same({name: p[1] for name, p in updates(stacked).items()}, updates(alone))
    assert alone.rule_state["hidden predictor"].abs().max() > 0.01
    assert_same(*({"A": g.rule_state["hidden predictor"][i]} for g, i in ((stacked, 1), (alone, ...))))


def test_where_nothing_is_carried_it_is_refused() -> None:
    for nodes in (mlp(5, [6], 3), elman(4, [6], 3, STEPS, outputs_at=[2])):
        with pytest.raises(SeqlraError, match="dni is defined"):
            DNI().setup(Graph(nodes))
    for lr in (0, 2):
        with pytest.raises(SeqlraError, match="predictor_lr"):
            DNI(predictor_lr=lr)
    graph = filled(GRAPHS["leak"](STEPS))
    inputs, targets = batch_for(graph)
    with pytest.raises(SeqlraError, match="rule=the rule"):
        update(graph, DNI(), as_rows(inputs), as_rows(targets))
