"""Oracles: Algorithm 2 and eqs. 12 to 16 of the paper, worked by hand in numpy, and what a step of descent must do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers import as_rows, assert_same, batch_for, chain_over_time, filled, small_mlp, updates
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from seqlra import (
    Backprop,
    Connection,
    Graph,
    Input,
    LRADiff,
    LRAFeedback,
    SeqlraError,
    Subgraph,
    initialize,
    mlp,
    update,
)
from seqlra.network.losses import LOCAL_LOSSES
from seqlra.rules import BackwardPass

Array = NDArray[np.float64]

# 2 inputs, 3 hidden units, 2 outputs, 3 samples; row-major as in the graph: h = x W + b, displacement = d E
W1 = np.array([[0.5, -0.3, 0.8], [-0.7, 0.2, 0.1]])
B1 = np.array([0.1, -0.2, 0.3])
W2 = np.array([[0.4, -0.6], [-0.9, 0.5], [0.3, 0.7]])
B2 = np.array([-0.1, 0.2])
E2 = np.array([[1.2, -0.4, 0.9], [-0.5, 0.8, -1.1]])
X = np.array([[1.0, -0.5], [0.2, 0.9], [-1.3, 0.4]])
CLASSES = [1, 0, 1]


def tiny(g: str | None = None) -> Graph:
    graph = Graph(mlp(2, [3], 2, "tanh", g, "log-penalty")).double()
    values = {"weights.W1": W1, "biases.b1": B1, "weights.W2": W2, "biases.b2": B2, "feedback.E2": E2}
    graph.load_state_dict({name: torch.from_numpy(value) for name, value in values.items()})
    return graph


def clipped(delta: Array, c: float) -> Array:
    """Eq. 1."""
    norm = np.sqrt((delta**2).sum())
    return c / norm * delta if norm >= c else delta


def algorithm_2(beta: float, c1: float, c2: float, mean: bool, g: Any = lambda z: z) -> tuple[dict[str, Array], Array]:
    """Algorithm 2 on the tiny net, sample after sample, and the norms of the displacements before Normalize."""
    total = {"weights.W1": 0 * W1, "biases.b1": 0 * B1, "weights.W2": 0 * W2, "biases.b2": 0 * B2}
    norms = []
    for x, label in zip(X, CLASSES, strict=True):
        h1 = x @ W1 + B1
        z1 = np.tanh(h1)
        z1_star = g(z1)
        h2 = z1_star @ W2 + B2
        z2 = np.exp(h2) / np.exp(h2).sum()
        d2 = z2.copy()
        d2[label] -= 1  # softmax with cross-entropy
        total["weights.W2"] += np.outer(z1_star, d2)
        total["biases.b2"] += d2
        displacement = d2 @ E2
        norms.append(np.sqrt((displacement**2).sum()))
        y1 = np.tanh(h1 - beta * clipped(displacement, c2))
        gap = z1 - y1
        d1 = 2 * gap / (1 + gap**2) * (1 - z1**2)  # eq. 4, then tanh'
        total["weights.W1"] += np.outer(x, d1)
        total["biases.b1"] += d1
    share = 1 / len(X) if mean else 1
    return {name: clipped(share * update, c1) for name, update in total.items()}, np.array(norms)


def assert_by_hand(graph: Graph, expected: dict[str, Array]) -> None:
    assert_same(updates(graph), {name: torch.from_numpy(update) for name, update in expected.items()}, 1e-13)


@pytest.mark.parametrize("setting", ["beta", "c1", "c2"])
def test_a_setting_beyond_single_precision_is_refused(setting: str) -> None:
    with pytest.raises(SeqlraError, match=f"^{setting} must be from -1e"):
        LRAFeedback(**{setting: 1e39})
    LRAFeedback(**{setting: 1e37})


@pytest.mark.parametrize("g", [None, "sign", "heaviside"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_algorithm_2_by_hand_on_a_tiny_net(reduction: str, g: str | None) -> None:
    graph = tiny(g)
    by_hand = {None: lambda z: z, "sign": np.sign, "heaviside": lambda z: 1.0 * (z >= 0)}[g]
    beta, c1, c2 = 0.7, 0.25 if reduction == "mean" else 0.75, 1.1
    expected, norms = algorithm_2(beta, c1, c2, reduction == "mean", by_hand)
    lengths = [np.linalg.norm(update) for update in expected.values()]
    assert norms.min() < c2 < norms.max()  # c2 cuts one sample's displacement and leaves another's
    assert min(lengths) < c1 * 0.999 < max(lengths)  # and so does c1 with the updates

    rule = LRAFeedback(beta=beta, c1=c1, c2=c2, reduction=reduction)  # type: ignore[arg-type]
    update(graph, rule, torch.from_numpy(X), torch.tensor(CLASSES))
    assert_by_hand(graph, expected)


def test_a_bound_for_the_whole_batch_shrinks_every_displacement_alike() -> None:
    graph, beta, c2 = tiny(), 0.7, 0.9
    h1 = X @ W1 + B1
    z1 = np.tanh(h1)
    h2 = z1 @ W2 + B2
    d2 = np.exp(h2) / np.exp(h2).sum(1, keepdims=True) - np.eye(2)[CLASSES]
    y1 = np.tanh(h1 - beta * clipped(d2 @ E2, c2))  # the norm of the matrix with a row a sample
    d1 = 2 * (z1 - y1) / (1 + (z1 - y1) ** 2) * (1 - z1**2)
    rule = LRAFeedback(beta=beta, c2=c2, c2_per="batch", reduction="sum")
    update(graph, rule, torch.from_numpy(X), torch.tensor(CLASSES))
    assert np.linalg.norm(d2 @ E2) > c2
    assert_by_hand(
        graph, {"weights.W1": X.T @ d1, "biases.b1": d1.sum(0), "weights.W2": z1.T @ d2, "biases.b2": d2.sum(0)}
    )


def elman_without_biases(steps: int) -> list[Input | Subgraph]:
    """Eq. 12, with the null state z_0 as an input: 2 inputs, 4 hidden units, 2 linear outputs."""
    nodes: list[Input | Subgraph] = [Input("hidden[0]", 4)]
    for t in range(1, steps + 1):
        reads = [Connection(f"x[{t}]", "W"), Connection(f"hidden[{t - 1}]", "V")]
        nodes += [
            Input(f"x[{t}]", 3),
            Subgraph(f"hidden[{t}]", 4, reads, "tanh", loss="l2", bias=None),
            Subgraph(f"output[{t}]", 2, [Connection(f"hidden[{t}]", "U", "E")], loss="gaussian", bias=None),
        ]
    return nodes


@pytest.mark.parametrize("z_0", [0.0, 0.6], ids=["null state", "state carried in"])
def test_eq_16_by_hand_over_three_steps(z_0: float) -> None:
    steps, batch, beta = 3, 2, 0.3
    draw = np.random.default_rng(4)
    w, v, u = draw.normal(size=(4, 3)), draw.normal(size=(4, 4)), draw.normal(size=(2, 4))  # column-major: W x
    e = draw.normal(size=(4, 2))
    x, y = draw.normal(size=(steps, batch, 3)), draw.normal(size=(steps, batch, 2))
    start = z_0 * draw.normal(size=(batch, 4))
    delta_w, delta_v, delta_u = 0 * w, 0 * v, 0 * u
    for sample in range(batch):
        z_before = start[sample]
        for t in range(steps):
            h1 = w @ x[t, sample] + v @ z_before  # eq. 12
            z1 = np.tanh(h1)
            z2 = u @ z1
            e2 = -(y[t, sample] - z2)  # eq. 13
            y1 = np.tanh(h1 - beta * (e @ e2))  # eq. 15
            e1 = -(y1 - z1)  # eq. 14
            delta_u += np.outer(e2, z1)  # eq. 16
            delta_v += np.outer(e1 * (1 - z1**2), z_before)
            delta_w += np.outer(e1 * (1 - z1**2), x[t, sample])
            z_before = z1

    graph = Graph(elman_without_biases(steps)).double()
    theirs = {"weights.W": w, "weights.V": v, "weights.U": u, "feedback.E": e}
    graph.load_state_dict({name: torch.from_numpy(matrix.T) for name, matrix in theirs.items()})
    inputs = {"x": torch.from_numpy(x).flatten(0, 1), "hidden": torch.from_numpy(start)}
    rule = LRAFeedback(beta=beta, c1=None, c2=None, reduction="sum")
    update(graph, rule, inputs, torch.from_numpy(y).flatten(0, 1))
    assert_by_hand(graph, {"weights.W": delta_w.T, "weights.V": delta_v.T, "weights.U": delta_u.T})


def test_the_mean_over_time_is_over_all_predictions() -> None:
    graph = filled(elman_without_biases(3))
    x, y = torch.randn(6, 3), torch.randn(6, 2)
    given = {"x": x, "hidden": torch.zeros(2, 4)}
    update(graph, LRAFeedback(reduction="sum"), given, y)
    summed = {name: grad.clone() for name, grad in updates(graph).items()}
    update(graph, LRAFeedback(reduction="mean"), given, y)
    assert_same(updates(graph), {name: grad / 6 for name, grad in summed.items()})


@pytest.mark.parametrize("c2", [None, 0.05], ids=["free", "bounded"])
@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("loss", ["l2", "log-penalty"])
def test_a_target_brings_the_subgraph_above_closer_to_its_own(loss: str, steps: int, c2: float | None) -> None:
    graph = filled(small_mlp(loss=loss))
    inputs, targets = batch_for(graph)
    backward = update(graph, LRADiff(beta=1e-3, steps=steps, c2=c2), inputs, targets).backward
    for layer in (1, 2, 3):
        weight, bias = graph.weights[f"W{layer + 1}"], graph.biases[f"b{layer + 1}"]
        before = _loss_above(layer, backward.forward.z[layer - 1] @ weight + bias, backward.targets[layer], loss)
        after = _loss_above(layer, backward.targets[layer - 1] @ weight + bias, backward.targets[layer], loss)
        assert (after < before).all(), f"layer {layer}"


def _loss_above(layer: int, h: Tensor, y: Tensor, loss: str) -> Tensor:
    if layer == 3:
        return cross_entropy(h, y, reduction="none")
    return LOCAL_LOSSES[loss].value(torch.tanh(h), y)


@pytest.mark.parametrize("rule", [LRAFeedback(beta=0.01, c2=None), LRADiff(beta=0.01, c2=None)], ids=["fdbk", "diff"])
def test_a_step_against_the_update_lowers_the_output_loss(rule: Any) -> None:
    # With E = W^T a fdbk displacement, too, goes down the loss; one hidden layer, so that no target is second-hand.
    graph = filled(mlp(5, [7], 3))
    with torch.no_grad():
        graph.feedback["E2"].copy_(graph.weights["W2"].T)
    inputs, targets = batch_for(graph)
    for name, p in graph.named_parameters():
        before = update(graph, rule, inputs, targets).loss
        with torch.no_grad():
            p -= 1e-3 * p.grad
        assert update(graph, rule, inputs, targets).loss < before, name


@pytest.mark.parametrize("rule", [LRAFeedback, LRADiff])
@pytest.mark.parametrize("nodes", [small_mlp, chain_over_time], ids=["mlp", "over time"])
def test_c1_is_the_norm_of_every_update_that_would_be_longer(nodes: Any, rule: Any) -> None:
    graph = filled(nodes())
    inputs, targets = batch_for(graph)
    update(graph, rule(reduction="sum"), as_rows(inputs), as_rows(targets))
    free = {name: grad.clone() for name, grad in updates(graph).items()}
    c1 = float(torch.stack([grad.norm() for grad in free.values()]).median()) * 1.01
    update(graph, rule(reduction="sum", c1=c1), as_rows(inputs), as_rows(targets))
    assert_same(updates(graph), {name: grad * min(1.0, c1 / float(grad.norm())) for name, grad in free.items()})
    assert max(float(grad.norm()) for grad in updates(graph).values()) == pytest.approx(c1)


def test_from_null_weights_feedback_moves_what_backprop_leaves() -> None:
    # Section 3.3: x^T d1 is not 0, for d1 comes through E; the outputs of the hidden layers, though, still are
    graph = initialize(Graph(mlp(5, [7, 4], 3)), 1, "zeros")
    x, t = torch.randn(6, 5), torch.tensor([0, 0, 0, 1, 1, 2])
    moved = {}
    for rule in (LRAFeedback(), Backprop()):
        update(graph, rule, x, t)
        moved[rule.name] = {name for name, grad in updates(graph).items() if grad.abs().max() > 0}
    assert moved["lra-fdbk"] == {"weights.W1", "biases.b1", "biases.b2", "biases.b3"}
    assert moved["backprop"] == {"biases.b3"}


def one_sample_nearly_right() -> tuple[Graph, Tensor, Tensor, float]:
    """Four samples with output losses far above an epsilon, a fifth with one far below it; and that epsilon."""
    graph = filled(mlp(5, [7, 4], 3))
    with torch.no_grad():
        graph.biases["b3"].copy_(torch.tensor([25.0, 0.0, 0.0]))
    x, t = torch.randn(5, 5), torch.tensor([1, 2, 1, 0, 2])
    losses = -graph(x)[range(5), t].log()
    assert (losses < 1e-6).tolist() == [False, False, False, True, False]
    return graph, x, t, 1e-5


@pytest.mark.parametrize("rule", [LRAFeedback, LRADiff])
def test_a_sample_whose_loss_is_under_epsilon_contributes_nothing(rule: Any) -> None:
    graph, x, t, epsilon = one_sample_nearly_right()
    rest = torch.tensor([0, 1, 2, 4])
    settings: dict[str, Any] = {"beta": 1.0, "c2": None, "reduction": "sum"}
    depth = update(graph, rule(epsilon=epsilon, **settings), x, t).depth
    with_it = {name: grad.clone() for name, grad in updates(graph).items()}
    assert float(depth) == pytest.approx(3 * 4 / 5)  # the other four went all the way down
    update(graph, rule(epsilon=0.0, **settings), x[rest], t[rest])
    assert_same(with_it, updates(graph))


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("rule", [LRAFeedback, LRADiff])
def test_an_epsilon_of_the_outputs_leaves_the_other_samples_alone(rule: Any, skip: bool) -> None:
    graph, x, t, epsilon = one_sample_nearly_right()
    rest = torch.tensor([0, 1, 2, 4])
    settings: dict[str, Any] = {"beta": 1e-3, "reduction": "sum"}  # the losses of the hidden are far under it, too
    depth = update(graph, rule(epsilon_output=epsilon, skip=skip, **settings), x, t).depth
    with_it = {name: grad.clone() for name, grad in updates(graph).items()}
    assert float(depth) == pytest.approx(3 * 4 / 5)
    update(graph, rule(**settings), x[rest], t[rest])
    assert_same(with_it, updates(graph))


@pytest.mark.parametrize("rule", [LRAFeedback, LRADiff])
def test_per_batch_the_mean_loss_decides_for_all(rule: Any) -> None:
    graph, x, t, epsilon = one_sample_nearly_right()
    settings: dict[str, Any] = {"beta": 1.0, "c2": None, "epsilon_per": "batch"}
    mean = float(-graph(x)[range(5), t].log().mean())
    update(graph, rule(beta=1.0, c2=None), x, t)
    free = {name: grad.clone() for name, grad in updates(graph).items()}
    update(graph, rule(epsilon=epsilon, **settings), x, t)
    assert_same(updates(graph), free)
    assert update(graph, rule(epsilon=mean * 1.001, **settings), x, t).depth == 0
    assert all(grad.eq(0).all() for grad in updates(graph).values())
    assert update(graph, rule(epsilon=mean * 0.999, **settings), x, t).depth >= 1


@pytest.mark.parametrize("rule", [LRAFeedback, LRADiff])
def test_a_hidden_layer_that_met_its_target_stops_the_pass(rule: Any) -> None:
    graph, x, t, epsilon = one_sample_nearly_right()
    near, rows = rule(beta=1e-8, epsilon=epsilon, reduction="sum"), torch.tensor([0, 1, 2, 4])
    assert float(update(graph, near, x[rows], t[rows]).depth) == 1
    halted = {name: grad.clone() for name, grad in updates(graph).items()}
    update(graph, rule(beta=1e-8, reduction="sum"), x[rows], t[rows])
    free = updates(graph)
    for name in free:
        is_top = name in ("weights.W3", "biases.b3")
        assert torch.equal(halted[name], free[name] if is_top else 0 * free[name]), name
        assert free[name].abs().max() > 0


@pytest.mark.parametrize("rule", [LRAFeedback, LRADiff])
def test_a_sample_that_is_skipped_contributes_nothing(rule: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BackwardPass, "WORTH_IT", 1.0)
    graph, x, t, epsilon = one_sample_nearly_right()
    settings: dict[str, Any] = {"beta": 1.0, "c2": None, "reduction": "sum"}
    step = update(graph, rule(epsilon=epsilon, skip=True, **settings), x, t)
    with_it = {name: grad.clone() for name, grad in updates(graph).items()}
    assert [len(d) for d in step.backward.errors if d is not None] == [4, 4, 4]
    rest = torch.tensor([0, 1, 2, 4])
    update(graph, rule(**settings), x[rest], t[rest])
    assert_same(with_it, updates(graph))


def test_feedback_weights_decide_for_lra_fdbk_alone() -> None:
    graph = filled(small_mlp())
    inputs, targets = batch_for(graph)
    seen: dict[str, list[Tensor]] = {}
    for _ in range(2):
        for rule in (LRAFeedback(), LRADiff(), Backprop()):
            update(graph, rule, inputs, targets)
            seen.setdefault(rule.name, []).append(updates(graph)["weights.W1"].clone())
        for e in graph.feedback.values():
            e.normal_()
    assert {name for name, (one, other) in seen.items() if not torch.equal(one, other)} == {"lra-fdbk"}


@pytest.mark.parametrize(
    ("rule", "settings", "says"),
    [
        (LRAFeedback, {"beta": 0.0}, "beta must be above 0"),
        (LRAFeedback, {"beta": float("nan")}, "beta must be above 0"),
        (LRAFeedback, {"c1": 0.0}, "c1 must be above 0"),
        (LRAFeedback, {"c2": -1.0}, "c2 must be above 0"),
        (LRAFeedback, {"epsilon": -0.1}, "epsilon must not be negative"),
        (LRAFeedback, {"epsilon_output": -0.1}, "epsilon_output must not be negative"),
        (LRAFeedback, {"skip": True}, "give an epsilon above 0"),
        (LRAFeedback, {"skip": True, "epsilon_output": 0.0}, "give an epsilon above 0"),
        (LRAFeedback, {"c2_per": "row"}, "c2_per must be sample or batch, not 'row'"),
        (LRAFeedback, {"epsilon_per": "row"}, "epsilon_per must be sample or batch, not 'row'"),
        (LRAFeedback, {"reduction": "max"}, "reduction must be sum or mean, not 'max'"),
        (LRADiff, {"steps": 0}, "at least 1"),
        (LRADiff, {"form": "mid"}, "form must be pre or post, not 'mid'"),
        (LRADiff, {"form": "post", "steps": 2}, "has one step"),
    ],
)
def test_settings_that_make_no_sense_are_refused(rule: Any, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SeqlraError, match=says):
        rule(**settings)
