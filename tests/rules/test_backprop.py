"""Oracle: autograd, over torch's own functions and modules (``torch.nn.RNN``), with the graph's weights copied."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import as_rows, assert_same, batch_for, chain_over_time, filled, skip_net, small_mlp, updates
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss
from twin import FUNCTIONS, Twin

from seqlra import Backprop, Connection, Graph, Input, Subgraph, initialize, mlp, update

REDUCTIONS = ["sum", "mean"]


def with_gaussian_outputs(nodes: list[Input | Subgraph]) -> list[Input | Subgraph]:
    return [
        Subgraph(n.name, n.units, n.reads, loss="gaussian", bias=n.bias)
        if isinstance(n, Subgraph) and n.is_output
        else n
        for n in nodes
    ]


GRAPHS: dict[str, Any] = {
    **{f"mlp, {f}": (lambda f=f: small_mlp(f)) for f in FUNCTIONS},
    "mlp with g": lambda: small_mlp("tanh", "lwta"),
    "skips, shared weights": skip_net,
    "skips with g": lambda: skip_net(g="sign"),
    "over time": chain_over_time,
    "over time with g": lambda: chain_over_time(g="sign"),
    "over time, with feedback across": lambda: chain_over_time(across=True),
    "two outputs": lambda: [
        Input("x", 5),
        Subgraph("a", 7, ["x"], "sigmoid"),
        Subgraph("one", 3, ["a"], loss="cross-entropy"),
        Subgraph("b", 4, ["a", "x"], bias=None),
        Subgraph("two", 2, ["b"], loss="cross-entropy"),
    ],
}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("nodes", GRAPHS.values(), ids=GRAPHS.keys())
def test_backprop_gives_the_gradients_of_autograd(nodes: Any, reduction: str) -> None:
    graph = filled(nodes())
    inputs, targets = batch_for(graph)
    update(graph, Backprop(reduction=reduction), as_rows(inputs), as_rows(targets))  # type: ignore[arg-type]
    assert_same(updates(graph), Twin(graph).updates(inputs, targets, reduction))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("nodes", [small_mlp, skip_net, chain_over_time], ids=["mlp", "skips", "over time"])
def test_backprop_from_a_gaussian_output_gives_the_gradients_of_autograd(nodes: Any, reduction: str) -> None:
    graph = filled(with_gaussian_outputs(nodes()))
    inputs, _ = batch_for(graph)
    targets = {node.name: torch.randn(6, node.units) for node in graph.outputs}
    update(graph, Backprop(reduction=reduction), as_rows(inputs), as_rows(targets))  # type: ignore[arg-type]
    assert_same(updates(graph), Twin(graph).updates(inputs, targets, reduction))


def torch_rnn(graph: Graph) -> nn.ModuleDict:
    """``torch.nn.RNN`` and a linear output with the weights of `chain_over_time`: torch keeps theirs transposed."""
    net = nn.ModuleDict({"hidden": nn.RNN(5, 8, nonlinearity="tanh"), "output": nn.Linear(8, 3)})
    theirs = {
        "hidden.weight_ih_l0": graph.weights["W"].T,
        "hidden.weight_hh_l0": graph.weights["V"].T,
        "hidden.bias_ih_l0": graph.biases["b"],
        "hidden.bias_hh_l0": torch.zeros(8),
        "output.weight": graph.weights["U"].T,
        "output.bias": graph.biases["c"],
    }
    net.load_state_dict(theirs)
    return net


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("output", ["cross-entropy", "gaussian"])
@pytest.mark.parametrize("across", [False, True], ids=["E at the output only", "E across time"])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_backprop_over_time_is_that_of_torch_rnn(steps: int, across: bool, output: str, reduction: str) -> None:
    nodes = chain_over_time(steps, across)
    graph = filled(with_gaussian_outputs(nodes) if output == "gaussian" else nodes)
    x, state = torch.randn(steps, 6, 5), torch.randn(6, 8)
    t = torch.randn(steps, 6, 3) if output == "gaussian" else torch.randint(3, (steps, 6))
    step = update(graph, Backprop(reduction=reduction), {"x": x.flatten(0, 1), "hidden": state}, t.flatten(0, 1))  # type: ignore[arg-type]

    net = torch_rnn(graph)
    hidden, last = net["hidden"](x, state.unsqueeze(0))
    h = net["output"](hidden).flatten(0, 1)
    t = t.flatten(0, 1)
    loss = 0.5 * mse_loss(h, t, reduction="sum") if output == "gaussian" else cross_entropy(h, t, reduction="sum")
    (loss / (len(h) if reduction == "mean" else 1)).backward()
    theirs = {name: p.grad for name, p in net.named_parameters()}
    expected = {
        "weights.W": theirs["hidden.weight_ih_l0"].T,
        "weights.V": theirs["hidden.weight_hh_l0"].T,
        "weights.U": theirs["output.weight"].T,
        "biases.b": theirs["hidden.bias_ih_l0"],
        "biases.c": theirs["output.bias"],
    }
    assert_same(updates(graph), expected)
    torch.testing.assert_close(step.forward.carried()["hidden"], last[0].detach())
    torch.testing.assert_close(step.loss, loss.detach() / len(h))


def test_errors_do_reach_the_first_step() -> None:
    # W learns from x[1] alone here, so an error cut off anywhere on the way back would show
    graph = filled(chain_over_time(5))
    inputs, targets = batch_for(graph)
    for t in range(2, 6):
        inputs[f"x[{t}]"].zero_()
    update(graph, Backprop(), as_rows(inputs), as_rows(targets))
    assert_same(updates(graph), Twin(graph).updates(inputs, targets, "mean"))
    assert updates(graph)["weights.W"].abs().max() > 0


def test_backprop_needs_no_feedback_weights() -> None:
    nodes = [
        Input("x", 5),
        Subgraph("a", 4, [Connection("x", "W1")]),
        Subgraph("out", 3, [Connection("a", "W2")], loss="cross-entropy"),
    ]
    graph = filled(nodes)
    inputs, targets = batch_for(graph)
    update(graph, Backprop(), inputs, targets)
    assert_same(updates(graph), Twin(graph).updates(inputs, targets, "mean"))
    assert updates(graph)["weights.W1"].abs().max() > 0


def test_the_loss_of_a_step_is_the_mean_over_its_predictions() -> None:
    for nodes in (small_mlp(), chain_over_time()):
        graph = filled(nodes)
        inputs, targets = batch_for(graph)
        step = update(graph, Backprop(), as_rows(inputs), as_rows(targets))
        rows = sum(len(target) for target in targets.values())
        torch.testing.assert_close(step.loss, Twin(graph).loss(inputs, targets).detach() / rows)


def test_class_probabilities_are_the_softmax_of_the_output() -> None:
    graph, x = filled(mlp(5, [7], 3)), torch.randn(6, 5)
    own = dict(graph.named_parameters())
    h = torch.tanh(x @ own["weights.W1"] + own["biases.b1"]) @ own["weights.W2"] + own["biases.b2"]
    torch.testing.assert_close(graph(x), h.softmax(-1).detach())


def test_from_null_weights_backprop_moves_the_top_alone() -> None:
    # why Section 3.3 cannot start backprop from zeros: W^T is 0 on the way down, and so is every hidden output
    graph = initialize(Graph(mlp(5, [7, 4], 3)), 1, "zeros")
    update(graph, Backprop(), torch.randn(6, 5), torch.tensor([0, 0, 0, 1, 1, 2]))
    moved = {name for name, grad in updates(graph).items() if grad.abs().max() > 0}
    assert moved == {"biases.b3"}
