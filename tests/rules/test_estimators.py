"""Oracles of the estimators: autograd through a custom function, and every binary state of a small net."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from helpers import as_rows, assert_same, filled, updates
from torch import Tensor
from torch.nn.functional import cross_entropy

from seqlra import (
    Backprop,
    Graph,
    PassThroughSTE,
    Reinforce,
    Rule,
    SeqlraError,
    SigmoidAdjustedSTE,
    SlopeAnnealing,
    VarianceAdjustedReinforce,
    elman,
    initialize,
    mlp,
    update,
)


class Draw(torch.autograd.Function):
    """Returns what was drawn; passes the gradient on as it is."""

    @staticmethod
    def forward(ctx: Any, way_back: Tensor, drawn: Tensor) -> Tensor:
        return drawn.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return grad, None


def passed_through(h: Tensor, drawn: Tensor) -> Tensor:
    return Draw.apply(h, drawn)


def adjusted(h: Tensor, drawn: Tensor) -> Tensor:
    return Draw.apply(torch.sigmoid(h), drawn)


def of_slope_3(h: Tensor, drawn: Tensor) -> Tensor:
    return Draw.apply(torch.sigmoid(3 * h), drawn)


STES = {
    "pass-through": (PassThroughSTE(), passed_through),
    "sigmoid-adjusted": (SigmoidAdjustedSTE(), adjusted),
    "slope": (SlopeAnnealing(slope=5.0), of_slope_3),
}


@pytest.mark.parametrize(("rule", "unit"), STES.values(), ids=STES.keys())
def test_an_ste_is_autograd_through_a_draw_that_passes_gradients_on(rule: Rule, unit: Callable[..., Tensor]) -> None:
    graph = initialize(filled(mlp(5, [9, 7], 3, "sigmoid", "bernoulli")), 1, "gaussian", 0.6, rule=rule)
    rule.anneal(graph, 0.5)  # half way to a slope of 5 it is 3
    x, t = torch.randn(20, 5), torch.randint(3, (20,))
    step = update(graph, rule, x, t)
    own = {name: p.detach().clone().requires_grad_() for name, p in graph.named_parameters()}
    source = x
    for layer in (1, 2):
        h = source @ own[f"weights.W{layer}"] + own[f"biases.b{layer}"]
        source = unit(h, step.forward.output(layer - 1))
    loss = cross_entropy(source @ own["weights.W3"] + own["biases.b3"], t)
    assert_same(updates(graph), dict(zip(own, torch.autograd.grad(loss, list(own.values())), strict=True)))


@pytest.mark.parametrize(("rule", "unit"), STES.values(), ids=STES.keys())
def test_an_ste_over_time_is_autograd_too(rule: Rule, unit: Callable[..., Tensor]) -> None:
    graph = initialize(filled(elman(4, [6], 3, 3, "sigmoid", "bernoulli")), 1, "gaussian", 0.6, rule=rule)
    rule.anneal(graph, 0.5)
    x, t, state = torch.randn(3, 8, 4), torch.randint(3, (3, 8)), torch.randint(2, (8, 6)).double()
    step = update(graph, rule, {"x": x.flatten(0, 1), "hidden": state}, t.flatten())
    own = {name: p.detach().clone().requires_grad_() for name, p in graph.named_parameters()}
    drawn, loss = step.forward.output(0).unflatten(0, (3, 8)), torch.zeros(())
    for now in range(3):
        h = x[now] @ own["weights.W"] + state @ own["weights.V"] + own["biases.b"]
        state = unit(h, drawn[now])
        loss = loss + cross_entropy(state @ own["weights.U"] + own["biases.c"], t[now]) / 3
    assert_same(updates(graph), dict(zip(own, torch.autograd.grad(loss, list(own.values())), strict=True)))


def test_where_nothing_discretizes_the_pass_through_is_backprop() -> None:
    graph = filled(mlp(5, [9, 7], 3, "tanh"))
    x, t = torch.randn(6, 5), torch.randint(3, (6,))
    update(graph, Backprop(), x, t)
    expected = {name: grad.clone() for name, grad in updates(graph).items()}
    update(graph, PassThroughSTE(), x, t)
    assert_same(updates(graph), expected)


def test_a_network_runs_with_the_slope_that_it_has() -> None:
    rule = SlopeAnnealing(slope=4.0)
    graph = initialize(filled(mlp(5, [9], 3, "tanh")), 1, "gaussian", 0.6, rule=rule)
    own, x = {name: p.detach() for name, p in graph.named_parameters()}, torch.randn(6, 5)
    for progress, slope in ((0.0, 1.0), (0.5, 2.5), (1.0, 4.0)):
        rule.anneal(graph, progress)
        z = torch.tanh(slope * (x @ own["weights.W1"] + own["biases.b1"]))
        torch.testing.assert_close(graph(x), (z @ own["weights.W2"] + own["biases.b2"]).softmax(-1))
    shared = graph.sharing(mlp(5, [9], 3, "tanh"))
    torch.testing.assert_close(shared(x), graph(x))


def states(bits: int) -> Tensor:
    return torch.tensor(list(product([0.0, 1.0], repeat=bits)))


def chance(z: Tensor, drawn: Tensor) -> Tensor:
    """The probability of binary units of the last axis."""
    return (drawn * z + (1 - drawn) * (1 - z)).prod(-1)


def expected_loss_of_layers(own: dict[str, Tensor], x: Tensor, t: Tensor) -> Tensor:
    """The loss of a 3+2 net for one input, over all its 32 states, each with its probability."""
    total = torch.zeros(())
    z1 = torch.sigmoid(x @ own["weights.W1"] + own["biases.b1"])
    for first in states(3):
        z2 = torch.sigmoid(first @ own["weights.W2"] + own["biases.b2"])
        for second in states(2):
            loss = cross_entropy(second @ own["weights.W3"] + own["biases.b3"], t)
            total = total + chance(z1, first) * chance(z2, second) * loss
    return total


def expected_loss_over_time(own: dict[str, Tensor], x: Tensor, t: Tensor) -> Tensor:
    """The mean loss of two steps of a recurrent net of 2 units, over all its 16 states."""
    total = torch.zeros(())
    for first in states(2):
        z1 = torch.sigmoid(x[0] @ own["weights.W"] + own["biases.b"])
        one = cross_entropy(first @ own["weights.U"] + own["biases.c"], t[0])
        for second in states(2):
            z2 = torch.sigmoid(x[1] @ own["weights.W"] + first @ own["weights.V"] + own["biases.b"])
            two = cross_entropy(second @ own["weights.U"] + own["biases.c"], t[1])
            total = total + chance(z1, first) * chance(z2, second) * (one + two) / 2
    return total


ROWS, TIMES = 4_000, 50


def layers(rule: Rule) -> tuple[Graph, Callable[[], Any], Callable[[dict[str, Tensor]], Tensor]]:
    graph = initialize(filled(mlp(4, [3, 2], 3, "sigmoid", "bernoulli")), 3, "gaussian", 1.0, rule=rule)
    x, t = torch.randn(4), torch.tensor(1)
    one = lambda: update(graph, rule, x.expand(ROWS, 4), t.expand(ROWS))  # noqa: E731
    return graph, one, lambda own: expected_loss_of_layers(own, x, t)


def over_time(rule: Rule) -> tuple[Graph, Callable[[], Any], Callable[[dict[str, Tensor]], Tensor]]:
    graph = initialize(filled(elman(4, [2], 3, 2, "sigmoid", "bernoulli")), 3, "gaussian", 1.0, rule=rule)
    x, t = torch.randn(2, 4), torch.tensor([1, 0])
    rows = {"x": x.repeat_interleave(ROWS, 0), "hidden": torch.zeros(ROWS, 2)}
    one = lambda: update(graph, rule, rows, t.repeat_interleave(ROWS))  # noqa: E731
    return graph, one, lambda own: expected_loss_over_time(own, x, t)


def deviation(rule: Rule, net: Callable[[Rule], Any]) -> tuple[float, float]:
    """The largest distance of the mean update from the exact gradient in standard errors, and the largest of these."""
    graph, one, expected_loss = net(rule)
    own = {name: p.detach().clone().requires_grad_() for name, p in graph.named_parameters()}
    grads = torch.autograd.grad(expected_loss(own), list(own.values()))
    exact = torch.cat([grad.flatten() for grad in grads])
    seen = []
    for _ in range(TIMES):
        one()
        seen.append(torch.cat([updates(graph)[name].flatten() for name in own]))
    mean, error = torch.stack(seen).mean(0), torch.stack(seen).std(0) / TIMES**0.5
    assert error.max() < 0.05 * exact.abs().max()  # enough samples to see it
    return ((mean - exact).abs() / error.clamp(min=1e-12)).max().item(), error.max().item()


@pytest.mark.parametrize("net", [layers, over_time])
@pytest.mark.parametrize("rule", [Reinforce(), VarianceAdjustedReinforce()], ids=lambda rule: rule.name)
def test_reinforce_is_unbiased(rule: Rule, net: Callable[[Rule], Any]) -> None:
    standard_errors, _ = deviation(rule, net)
    assert standard_errors < 4.5  # of about 25 parameters


def test_the_sigmoid_adjusted_estimator_is_not() -> None:
    """The same measurement distinguishes a biased estimator from an unbiased one."""
    standard_errors, _ = deviation(SigmoidAdjustedSTE(), layers)
    assert standard_errors > 20


def test_the_baseline_takes_variance_away() -> None:
    assert deviation(VarianceAdjustedReinforce(), layers)[1] < 0.7 * deviation(Reinforce(), layers)[1]


def test_the_baseline_is_the_ratio_of_the_running_means_of_earlier_batches() -> None:
    rule = VarianceAdjustedReinforce(decay=0.75)
    graph = initialize(filled(mlp(4, [5], 3, "sigmoid", "bernoulli")), 3, "gaussian", 1.0, rule=rule)
    weighted, weight = torch.zeros(5), torch.zeros(5)
    for number in range(4):
        x, t = torch.randn(9, 4), torch.randint(3, (9,))
        step = update(graph, rule, x, t)
        loss = cross_entropy(step.forward.h[1], t, reduction="none").unsqueeze(-1)
        score = step.forward.output(0) - step.forward.z[0]
        baseline = weighted / weight if number else torch.zeros(5)
        torch.testing.assert_close(step.backward.errors[0], (loss - baseline) * score)
        weighted = 0.75 * weighted + 0.25 * (score.square() * loss).mean(0)
        weight = 0.75 * weight + 0.25 * score.square().mean(0)


@pytest.mark.parametrize("rule", [Reinforce(), VarianceAdjustedReinforce()], ids=lambda rule: rule.name)
def test_each_model_of_a_stack_is_the_model_alone(rule: Rule) -> None:
    nodes = mlp(4, [5, 3], 3, "sigmoid", "bernoulli")
    x, t = torch.randn(9, 4), torch.randint(3, (9,))
    stacked = initialize(Graph(nodes, stack=2).double(), [1, 2], "gaussian", 1.0, rule=rule)
    torch.manual_seed(0)
    step = update(stacked, rule, x, t)
    for s in range(2):
        for layer in range(2):  # with the same draws the score and the loss are those of the slice
            score = step.forward.output(layer)[s] - step.forward.z[layer][s]
            loss = cross_entropy(step.forward.h[2][s], t, reduction="none").unsqueeze(-1)
            torch.testing.assert_close(step.backward.errors[layer][s], loss * score)


@pytest.mark.parametrize("units", [("tanh", "sign"), ("sigmoid", None), ("tanh", None)])
@pytest.mark.parametrize("rule", [Reinforce(), VarianceAdjustedReinforce()], ids=lambda rule: rule.name)
def test_reinforce_is_for_units_that_draw(rule: Rule, units: tuple[str, str | None]) -> None:
    with pytest.raises(SeqlraError, match="Bernoulli units on sigmoid"):
        initialize(Graph(mlp(4, [5], 3, *units)), 0, rule=rule)


@pytest.mark.parametrize("rule", [SlopeAnnealing(), VarianceAdjustedReinforce()], ids=lambda rule: rule.name)
def test_what_a_rule_keeps_must_be_there(rule: Rule) -> None:
    graph = filled(mlp(4, [5], 3, "sigmoid", "bernoulli"))
    with pytest.raises(SeqlraError, match="initialize"):
        update(graph, rule, torch.randn(6, 4), torch.randint(3, (6,)))


def test_losses_of_earlier_steps_are_not_a_units_doing() -> None:
    """A unit of the last step gets the last loss only, a unit of the first step the sum of all losses."""
    graph = initialize(filled(elman(4, [5], 3, 3, "sigmoid", "bernoulli")), 3, rule=Reinforce())
    t = torch.randint(3, (18,))
    step = update(graph, Reinforce(), as_rows({"x": torch.randn(18, 4), "hidden": torch.zeros(6, 5)}), t)
    losses = cross_entropy(step.forward.h[1], t, reduction="none").view(3, 6)
    score = (step.forward.output(0) - step.forward.z[0]).view(3, 6, 5)
    for now in range(3):
        error = step.backward.errors[0].view(3, 6, 5)[now]
        torch.testing.assert_close(error, losses[now:].sum(0).unsqueeze(-1) * score[now])
