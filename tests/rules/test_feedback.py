"""Oracles of FA and DFA: backprop where E is W^T, autograd through layers whose backward is E, the formula."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import as_rows, assert_same, batch_for, chain_over_time, filled, skip_net, small_mlp, updates
from torch import Tensor
from torch.nn.functional import cross_entropy

from seqlra import (
    Backprop,
    DirectFeedbackAlignment,
    FeedbackAlignment,
    Graph,
    Input,
    SeqlraError,
    Subgraph,
    elman,
    initialize,
    mlp,
    update,
)


def two_outputs(first: bool = True) -> list[Input | Subgraph]:
    """The output ``one`` reads a alone, ``two`` reads b, which reads a; ``one`` may come before b or after ``two``."""
    one = Subgraph("one", 3, ["a"], loss="cross-entropy")
    return [
        Input("x", 5),
        Subgraph("a", 7, ["x"], "sigmoid"),
        *([one] if first else []),
        Subgraph("b", 4, ["a", "x"], bias=None),
        Subgraph("two", 2, ["b"], loss="cross-entropy"),
        *([] if first else [one]),
    ]


def align(graph: Graph) -> None:
    """E = W^T on every connection that has both."""
    for subgraph in graph.subgraphs:
        for read in subgraph.reads:
            if read.feedback in graph.feedback:
                graph.feedback[read.feedback].copy_(graph.weights[read.weight].detach().mT)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize(
    "nodes",
    [small_mlp, lambda: small_mlp(g="sign"), skip_net, lambda: chain_over_time(5, across=True), two_outputs],
    ids=["mlp", "mlp with g", "skips", "over time", "two outputs"],
)
def test_fa_with_the_transposed_weights_is_backprop(nodes: Any, reduction: Any) -> None:
    graph = filled(nodes())
    align(graph)
    inputs, targets = map(as_rows, batch_for(graph))
    update(graph, Backprop(reduction=reduction), inputs, targets)
    expected = {name: grad.clone() for name, grad in updates(graph).items()}
    update(graph, FeedbackAlignment(reduction=reduction), inputs, targets)
    assert_same(updates(graph), expected)


class Aligned(torch.autograd.Function):
    """``x @ W``, whose backward pass sends errors down through E."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, feedback: Tensor) -> Tensor:
        ctx.save_for_backward(x, feedback)
        return x @ weight

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        x, feedback = ctx.saved_tensors
        return d @ feedback, x.mT @ d, None


def test_fa_is_autograd_with_another_backward() -> None:
    graph = filled(mlp(5, [12, 8, 4], 3, "tanh"))
    x, t = torch.randn(6, 5), torch.randint(3, (6,))
    own = {name: p.detach().clone().requires_grad_() for name, p in graph.named_parameters()}
    z = x
    for layer in (1, 2, 3, 4):
        feedback = torch.zeros(12, 5) if layer == 1 else graph.feedback[f"E{layer}"]
        h = Aligned.apply(z, own[f"weights.W{layer}"], feedback) + own[f"biases.b{layer}"]
        z = h.tanh()
    grads = torch.autograd.grad(cross_entropy(h, t), list(own.values()))
    update(graph, FeedbackAlignment(), x, t)
    assert_same(updates(graph), dict(zip(own, grads, strict=True)))


def equipped(nodes: list[Input | Subgraph], stack: int | None = None) -> Graph:
    graph = filled(nodes, stack=stack)
    seeds = 1 if stack is None else [1 + s for s in range(stack)]
    return initialize(graph, seeds, "gaussian", std=0.6, feedback_std=0.8, rule=DirectFeedbackAlignment())


def test_dfa_on_one_hidden_layer_with_the_transposed_weights_is_backprop() -> None:
    graph = equipped(mlp(5, [7], 3))
    graph.feedback["B-output-layer1"].copy_(graph.weights["W2"].detach().mT)
    x, t = torch.randn(6, 5), torch.randint(3, (6,))
    update(graph, Backprop(), x, t)
    expected = {name: grad.clone() for name, grad in updates(graph).items()}
    update(graph, DirectFeedbackAlignment(), x, t)
    assert_same(updates(graph), expected)


def test_dfa_takes_the_output_error_straight_to_every_layer() -> None:
    graph = equipped(mlp(5, [12, 8, 4], 3, "sigmoid"))
    x, t = torch.randn(6, 5), torch.randint(3, (6,))
    step = update(graph, DirectFeedbackAlignment(reduction="sum"), x, t)
    error = step.output - torch.nn.functional.one_hot(t, 3)
    source, expected = x, {}
    for layer in (1, 2, 3):
        z = torch.sigmoid(source @ graph.weights[f"W{layer}"].detach() + graph.biases[f"b{layer}"].detach())
        d = error @ graph.feedback[f"B-output-layer{layer}"] * z * (1 - z)
        expected |= {f"weights.W{layer}": source.mT @ d, f"biases.b{layer}": d.sum(0)}
        source = z
    expected |= {"weights.W4": source.mT @ error, "biases.b4": error.sum(0)}
    assert_same(updates(graph), expected)


def test_dfa_over_time_takes_the_error_of_the_same_step() -> None:
    """Which is what FA does where the recurrent connections have no error weights."""
    graph = equipped(chain_over_time(5))
    graph.feedback["B-output-hidden"].copy_(graph.feedback["E"])
    inputs, targets = map(as_rows, batch_for(graph))
    update(graph, FeedbackAlignment(), inputs, targets)
    expected = {name: grad.clone() for name, grad in updates(graph).items()}
    update(graph, DirectFeedbackAlignment(), inputs, targets)
    assert_same(updates(graph), expected)


def test_dfa_reaches_every_layer_of_a_deep_recurrent_network() -> None:
    graph = equipped(elman(5, [6, 7], 3, steps=4))
    inputs, targets = map(as_rows, batch_for(graph))
    step = update(graph, DirectFeedbackAlignment(reduction="sum"), inputs, targets)
    layers = {layer.name: i for i, layer in enumerate(graph.layers)}
    error = step.backward.errors[layers["output"]]
    for layer in ("hidden1", "hidden2"):
        z = step.forward.z[layers[layer]]
        torch.testing.assert_close(
            step.backward.errors[layers[layer]], error @ graph.feedback[f"B-output-{layer}"] * (1 - z * z)
        )


@pytest.mark.parametrize("first", [True, False])
def test_dfa_sums_the_errors_of_the_outputs_that_depend_on_a_subgraph(first: bool) -> None:
    graph = equipped(two_outputs(first))
    inputs, targets = batch_for(graph)
    step = update(graph, DirectFeedbackAlignment(), inputs, targets)
    layers = {layer.name: i for i, layer in enumerate(graph.layers)}
    one, two = (step.backward.errors[layers[name]] for name in ("one", "two"))
    z = step.forward.z[layers["a"]]
    expected = (one @ graph.feedback["B-one-a"] + two @ graph.feedback["B-two-a"]) * z * (1 - z)
    torch.testing.assert_close(step.backward.errors[layers["a"]], expected)
    z = step.forward.z[layers["b"]]
    torch.testing.assert_close(step.backward.errors[layers["b"]], two @ graph.feedback["B-two-b"] * (1 - z * z))


def test_dfa_needs_an_output_at_every_step() -> None:
    nodes = [node for node in chain_over_time(4) if not (node.name.startswith("output") and node.name != "output[4]")]
    with pytest.raises(SeqlraError, match=r"'hidden' has 4 steps, the output 'output' has 1"):
        equipped(nodes)


def test_dfa_asks_to_be_initialized_for() -> None:
    with pytest.raises(SeqlraError, match="initialize"):
        update(filled(small_mlp()), DirectFeedbackAlignment(), torch.randn(6, 5), torch.randint(3, (6,)))


def test_each_model_of_a_stack_under_dfa_is_the_model_alone() -> None:
    stacked = equipped(mlp(5, [12, 8], 3), stack=3)
    x, t = torch.randn(6, 5), torch.randint(3, (6,))
    update(stacked, DirectFeedbackAlignment(), x, t)
    for s in range(3):
        alone = initialize(
            Graph(mlp(5, [12, 8], 3)).double(), 1 + s, "gaussian", 0.6, 0.8, rule=DirectFeedbackAlignment()
        )
        update(alone, DirectFeedbackAlignment(), x, t)
        assert_same(updates(alone), {name: grad[s] for name, grad in updates(stacked).items()})


def test_direct_feedback_leaves_the_other_draws_of_a_seed_as_they_were() -> None:
    with_b = initialize(Graph(small_mlp()), 3, rule=DirectFeedbackAlignment()).state_dict()
    without = initialize(Graph(small_mlp()), 3).state_dict()
    assert with_b.keys() - without.keys() == {f"feedback.B-output-layer{layer}" for layer in (1, 2, 3)}
    for name, tensor in without.items():
        assert torch.equal(with_b[name], tensor)


def test_fan_out_feedback_is_uniform_within_its_bound() -> None:
    graph = initialize(Graph(mlp(50, [40, 30], 20)), 0, feedback="fan-out")
    drawn = graph.feedback["E3"]  # (20, 30): from 20 units to 30
    bound = 1 / 30**0.5
    assert drawn.abs().max() <= bound
    # the standard deviation of a uniform over +-bound, within four standard errors of 600 draws
    assert abs(drawn.std() - bound / 3**0.5) < 4 * bound / 3**0.5 * 0.45 / 600**0.5


@pytest.mark.parametrize("rule", [FeedbackAlignment(), DirectFeedbackAlignment()])
def test_from_null_weights_every_bias_moves(rule: Any) -> None:
    """Nøkland's zero start: the errors do not depend on W, so all layers learn at once (tanh' is 1 at 0)."""
    graph = initialize(Graph(mlp(5, [7, 4], 3)), 1, "zeros", feedback="fan-out", rule=rule)
    update(graph, rule, torch.randn(6, 5), torch.tensor([0, 0, 0, 1, 1, 2]))
    moved = {name for name, grad in updates(graph).items() if grad.abs().max() > 0}
    assert moved == {"biases.b1", "biases.b2", "biases.b3", "weights.W1"}
