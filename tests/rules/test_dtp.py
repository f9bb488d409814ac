"""Oracles of DTP: what theory says of exact inverses, autograd for how inverses learn, ``torch.optim.RMSprop``."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import assert_same, chain_over_time, filled, skip_net, small_mlp, updates
from torch import Tensor

from seqlra import (
    Backprop,
    DifferenceTargetPropagation,
    Graph,
    Input,
    SeqlraError,
    Step,
    Subgraph,
    initialize,
    mlp,
    update,
)

DTP = DifferenceTargetPropagation


def equipped(nodes: Any, rule: DTP, stack: int | None = None) -> Graph:
    seeds = 1 if stack is None else [1 + s for s in range(stack)]
    return initialize(filled(nodes, stack=stack), seeds, "gaussian", std=0.6, feedback_std=0.8, rule=rule)


def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(6, 5), torch.randint(3, (6,))


def test_with_exact_inverses_of_an_orthogonal_linear_net_hidden_updates_are_steps_of_backprop() -> None:
    """Each layer widens with orthonormal rows, W W^T = 1, so that E = W^T inverts it. Then the differences carry
    ``y - z`` down as W^T does: every target is ``target_step`` times the gradient away, as the first one is."""
    rule = DTP(target_step=0.37)
    graph = equipped(mlp(5, [6, 8, 11], 3, "identity"), rule)
    for layer in (2, 3):
        weight = graph.weights[f"W{layer}"]
        weight.data.copy_(torch.linalg.qr(weight.detach().mT)[0].mT)
        graph.feedback[f"E{layer}"].copy_(weight.detach().mT)
    x, t = batch()
    update(graph, Backprop(), x, t)
    exact = {name: grad.clone() for name, grad in updates(graph).items()}
    step = update(graph, rule, x, t)
    expected = {name: grad * (1 if name.endswith("4") else 0.37) for name, grad in exact.items()}
    assert_same(updates(graph), expected)
    assert (step.backward.targets[0] - step.forward.z[0]).abs().max() > 1e-3


def test_targets_follow_the_difference_through_the_inverse() -> None:
    rule = DTP(target_step=0.7)
    graph = equipped(mlp(5, [12, 8, 4], 3, "tanh"), rule)
    graph.rule_state["E2 bias"].normal_()
    before = {name: tensor.clone() for name, tensor in graph.state_dict().items()}
    step = update(graph, rule, *batch())
    z, error = step.forward.z, step.backward.errors[3]
    assert error is not None
    y3 = z[2] - 0.7 * error @ graph.weights["W4"].detach().mT
    y2 = z[1] + torch.tanh(y3 @ before["feedback.E3"]) - torch.tanh(z[2] @ before["feedback.E3"])
    c = before["rule_state.E2 bias"]
    y1 = z[0] + torch.tanh(y2 @ before["feedback.E2"] + c) - torch.tanh(z[1] @ before["feedback.E2"] + c)
    for layer, y in enumerate((y1, y2, y3)):
        torch.testing.assert_close(step.backward.targets[layer], y)
        torch.testing.assert_close(step.backward.errors[layer], (z[layer] - y) * (1 - z[layer] ** 2))


def test_without_an_error_at_the_top_no_layer_moves_whatever_the_inverses() -> None:
    rule = DTP()
    graph = equipped(mlp(5, [12, 8], 3, "tanh", output="gaussian"), rule)
    x, _ = batch()
    step = update(graph, rule, x, torch.zeros(6, 3))
    update(graph, rule, x, step.output)  # its target is its output
    assert all(grad.abs().max() < 1e-14 for grad in updates(graph).values())


def reconstruction(graph: Graph, u: Tensor, weight: Tensor, bias: Tensor, f: Any, g: Any) -> Tensor:
    """Half the squared reconstruction error of the inverse of layer 2 at u, under autograd; the mean over rows."""
    z = f(g(u) @ graph.weights["W2"].detach() + graph.biases["b2"].detach())
    return 0.5 * (f(z @ weight + bias) - u).square().sum(-1).mean()


@pytest.mark.parametrize(
    ("f", "g", "torch_f", "torch_g"),
    [
        ("tanh", None, torch.tanh, lambda u: u),
        ("sigmoid", None, torch.sigmoid, lambda u: u),
        ("tanh", "sign", torch.tanh, torch.sign),
    ],
    ids=["tanh", "sigmoid", "binary"],
)
def test_an_inverse_descends_its_reconstruction_loss(f: str, g: str | None, torch_f: Any, torch_g: Any) -> None:
    rule = DTP()
    graph = equipped(mlp(5, [12, 8, 4], 3, f, g), rule)
    graph.rule_state["E2 bias"].normal_()
    step = update(graph, DTP(inverse_steps=0), *batch())
    (reader,) = graph.layers[0].out_of
    u = torch.randn(6, 12)
    weight, bias = graph.feedback["E2"].clone().requires_grad_(), graph.rule_state["E2 bias"].clone().requires_grad_()
    grads = torch.autograd.grad(reconstruction(graph, u, weight, bias, torch_f, torch_g), [weight, bias])
    for ours, theirs in zip(rule.inverse_gradient(step.backward.view(0), reader, u), grads, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_inner_optimizer_is_rmsprop() -> None:
    rule = DTP(noise=0, inverse_lr=0.01, inverse_decay=0.9, inverse_steps=2)
    graph = equipped(mlp(5, [12, 8, 4], 3, "tanh"), rule)
    weight, bias = graph.feedback["E2"].clone().requires_grad_(), graph.rule_state["E2 bias"].clone().requires_grad_()
    optimizer = torch.optim.RMSprop([weight, bias], lr=0.01, alpha=0.9, eps=1e-8)
    for _ in range(2):
        step = update(graph, rule, *batch())
        for _ in range(2):
            optimizer.zero_grad()
            reconstruction(graph, step.forward.z[0], weight, bias, torch.tanh, lambda u: u).backward()
            optimizer.step()
    torch.testing.assert_close(graph.feedback["E2"], weight.detach())
    torch.testing.assert_close(graph.rule_state["E2 bias"], bias.detach())


def test_inverses_are_learned_at_noisy_inputs() -> None:
    """The statistics show the noise: with it the step differs from the one without, and differs at every draw."""
    taught = []
    for noise, seed in ((0.0, 1), (0.0, 2), (0.5, 1), (0.5, 2)):
        rule = DTP(noise=noise)
        graph = equipped(small_mlp(), rule)
        x, t = torch.ones(6, 5), torch.zeros(6, dtype=torch.long)
        torch.manual_seed(seed)
        update(graph, rule, x, t)
        taught.append(graph.rule_state["E2 mean square"].clone())
    assert torch.equal(taught[0], taught[1])
    assert not torch.allclose(taught[2], taught[0])
    assert not torch.allclose(taught[2], taught[3])


def test_what_is_learned_is_saved_and_loaded_with_the_graph() -> None:
    rule = DTP()
    graph = equipped(small_mlp(), rule)
    for _ in range(3):
        update(graph, rule, *batch())
    again = equipped(small_mlp(), rule)
    again.load_state_dict(graph.state_dict())
    x, t = batch()
    steps: list[Step] = []
    for g in (graph, again):
        torch.manual_seed(5)
        steps.append(update(g, rule, x, t))
    assert_same(updates(again), updates(graph), 0.5e-16)
    assert all(torch.equal(graph.rule_state[name], again.rule_state[name]) for name in graph.rule_state)


def test_each_model_of_a_stack_is_the_model_alone() -> None:
    rule = DTP(noise=0)
    stacked = equipped(small_mlp(), rule, stack=3)
    alone = [initialize(Graph(small_mlp()).double(), 1 + s, "gaussian", 0.6, 0.8, rule=rule) for s in range(3)]
    for _ in range(3):
        x, t = batch()
        for graph in (stacked, *alone):
            update(graph, rule, x, t)
    for s in range(3):
        assert_same(updates(alone[s]), {name: grad[s] for name, grad in updates(stacked).items()})


def read_twice() -> list[Input | Subgraph]:
    readers = [Subgraph(name, 3, ["a"], loss="cross-entropy") for name in ("one", "two")]
    return [Input("x", 5), Subgraph("a", 7, ["x"]), *readers]


@pytest.mark.parametrize("nodes", [skip_net, chain_over_time, read_twice], ids=["skips", "over time", "read twice"])
def test_only_chains_have_inverses(nodes: Any) -> None:
    with pytest.raises(SeqlraError, match="chains of layers"):
        equipped(nodes(), DTP())


def test_it_asks_to_be_initialized_for() -> None:
    with pytest.raises(SeqlraError, match="initialize"):
        update(filled(small_mlp()), DTP(), *batch())
