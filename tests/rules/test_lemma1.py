"""Oracle: Lemma 1. LRA-diff with L2 losses, one step of beta 1, no Normalize and targets that need not be reached is
back-propagation, so its updates are the gradients that autograd finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers import as_rows, assert_same, batch_for, chain_over_time, filled, skip_net, updates
from torch import Tensor
from torch.nn.functional import cross_entropy, softplus, softsign

from seqlra import Graph, LRADiff, mlp, update

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": softplus,
    "softsign": softsign,
    "identity": lambda h: h,
}
REDUCTIONS = ["sum", "mean"]


def lemma1(**settings: Any) -> LRADiff:
    """The rule of the lemma, with what a test changes about it."""
    return LRADiff(**{"beta": 1.0, "c2": None, "form": "post", **settings})


def four_layers(f: str = "tanh", loss: str = "l2", output: str = "cross-entropy") -> Graph:
    return filled(mlp(5, [7, 4, 6], 3, f, loss=loss, output=output))


def by_autograd(graph: Graph, f: str, x: Tensor, t: Tensor, reduction: str) -> dict[str, Tensor]:
    """The gradients of the output loss of `four_layers`, written out in plain torch."""
    own = {name: p.detach().clone().requires_grad_() for name, p in graph.named_parameters()}
    z = x
    for layer in (1, 2, 3):
        z = FUNCTIONS[f](z @ own[f"weights.W{layer}"] + own[f"biases.b{layer}"])
    top = z @ own["weights.W4"] + own["biases.b4"]
    loss = 0.5 * (top - t).square().sum() if t.is_floating_point() else cross_entropy(top, t, reduction="sum")
    grads = torch.autograd.grad(loss / (len(x) if reduction == "mean" else 1), list(own.values()))
    return dict(zip(own, grads, strict=True))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("f", FUNCTIONS)
def test_lemma_1_gives_the_gradient_of_the_cross_entropy(f: str, reduction: str) -> None:
    graph, x, t = four_layers(f), torch.randn(6, 5), torch.randint(3, (6,))
    update(graph, lemma1(reduction=reduction), x, t)
    assert_same(updates(graph), by_autograd(graph, f, x, t, reduction))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("f", FUNCTIONS)
def test_lemma_1_gives_the_gradient_of_the_gaussian_loss(f: str, reduction: str) -> None:
    graph, x, t = four_layers(f, output="gaussian"), torch.randn(6, 5), torch.randn(6, 3)
    update(graph, lemma1(reduction=reduction), x, t)
    assert_same(updates(graph), by_autograd(graph, f, x, t, reduction))


@pytest.mark.parametrize(
    ("change", "loss"),
    [({"form": "pre"}, "l2"), ({"beta": 0.5}, "l2"), ({"c2": 0.01}, "l2"), ({}, "log-penalty"), ({}, "l1")],
    ids=["pre-activation form", "another beta", "Normalize", "log-penalty", "l1"],
)
def test_nothing_of_the_lemma_can_be_left_out(change: dict[str, Any], loss: str) -> None:
    graph, x, t = four_layers(loss=loss), torch.randn(6, 5), torch.randint(3, (6,))
    update(graph, lemma1(**change), x, t)
    found, expected = updates(graph), by_autograd(graph, "tanh", x, t, "mean")
    assert_same({"W4": found["weights.W4"]}, {"W4": expected["weights.W4"]})  # the top has the true error either way
    for below in ("weights.W1", "weights.W2", "weights.W3", "biases.b1"):
        assert (found[below] - expected[below]).norm() > 0.01 * expected[below].norm(), below


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_lemma_1_holds_across_skips_and_shared_weights(reduction: str) -> None:
    graph = filled(skip_net(loss="l2"))
    inputs, targets = batch_for(graph)
    update(graph, lemma1(reduction=reduction), inputs, targets)
    w = {name: p.detach().clone().requires_grad_() for name, p in graph.named_parameters()}
    x, bias_a = inputs["x"], w["biases.a"]
    a = torch.tanh(x @ w["weights.x-a"] + bias_a)
    b = torch.tanh(a @ w["weights.a-b"] + x @ w["weights.x-b"] + w["biases.b"])
    c = torch.tanh(x @ w["weights.x-a"] + b @ w["weights.b-c"] + bias_a)
    top = c @ w["weights.c-out"] + a @ w["weights.a-out"] + w["biases.out"]
    torch.testing.assert_close(graph(inputs), top.softmax(-1).detach())
    loss = cross_entropy(top, targets["out"], reduction=reduction)
    assert_same(updates(graph), dict(zip(w, torch.autograd.grad(loss, list(w.values())), strict=True)))


def test_lemma_1_holds_through_time_where_errors_cross_it() -> None:
    graph = filled(chain_over_time(across=True))
    inputs, targets = batch_for(graph)
    update(graph, lemma1(), as_rows(inputs), as_rows(targets))
    w = {name: p.detach().clone().requires_grad_() for name, p in graph.named_parameters()}
    state, losses = inputs["hidden[0]"], []
    for t in range(1, 5):
        state = torch.tanh(inputs[f"x[{t}]"] @ w["weights.W"] + state @ w["weights.V"] + w["biases.b"])
        losses.append(cross_entropy(state @ w["weights.U"] + w["biases.c"], targets[f"output[{t}]"]))
    grads = torch.autograd.grad(torch.stack(losses).mean(), list(w.values()))
    assert_same(updates(graph), dict(zip(w, grads, strict=True)))
