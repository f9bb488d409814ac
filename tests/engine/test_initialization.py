"""Oracles: eq. 5 of the paper, the moments of the Gaussian and the uniform distribution, and what a seed promises."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import chain_over_time, skip_net, small_mlp
from torch import Tensor

from seqlra import Graph, SeqlraError, initialize, mlp
from seqlra.engine.initialization import WEIGHT_INITS
from seqlra.network.builders import elman

WIDE = (300, [200, 120], 50)  # unequal sizes, and enough numbers for their moments


def wide(**settings: Any) -> Graph:
    return initialize(Graph(mlp(*WIDE)), **{"seed": 3, **settings})


def assert_gaussian(drawn: Tensor, std: float) -> None:
    """Moments within 4.5 standard errors, and the share that a Gaussian has within one standard deviation."""
    n = drawn.numel()
    assert abs(drawn.mean()) < 4.5 * std / n**0.5
    assert abs(drawn.var() / std**2 - 1) < 4.5 * (2 / n) ** 0.5
    assert abs((drawn.abs() < std).double().mean() - 0.6827) < 4.5 * (0.6827 * 0.3173 / n) ** 0.5


def test_null_weights_are_all_zero_and_their_feedback_is_not() -> None:
    graph = wide(weights="zeros")
    assert all(w.eq(0).all() for w in graph.weights.values())
    assert all(e.ne(0).all() for e in graph.feedback.values())


@pytest.mark.parametrize("std", [0.05, 2.0])
def test_gaussian_weights_have_the_standard_deviation_asked_for(std: float) -> None:
    for w in wide(weights="gaussian", std=std).weights.values():
        assert_gaussian(w.detach(), std)


def test_gaussian_weights_of_no_deviation_are_zero() -> None:
    assert all(w.eq(0).all() for w in wide(weights="gaussian", std=0.0).weights.values())


def test_fan_in_weights_are_uniform_up_to_one_over_the_root_of_what_is_read() -> None:
    graph = wide(weights="fan-in")
    for n_in, w in zip((300, 200, 120), graph.weights.values(), strict=True):
        bound, n = n_in**-0.5, w.numel()  # eq. 5
        assert w.abs().max() <= bound
        assert w.max() > 0.999 * bound
        assert w.min() < -0.999 * bound
        assert abs(w.mean()) < 4.5 * bound / (3 * n) ** 0.5
        # the variance of U[-a, a] is a^2 / 3, and that of a square a^4 * 4 / 45
        assert abs(w.square().mean() - bound**2 / 3) < 4.5 * bound**2 * (4 / 45 / n) ** 0.5


def test_a_reservoir_has_orthogonal_recurrent_and_gaussian_input_weights() -> None:
    graph = initialize(Graph(elman(300, [120, 80], 50, steps=3)), 3, "reservoir")
    for name, units in (("V1", 120), ("V2", 80)):
        v = graph.weights[name].detach()
        torch.testing.assert_close(v.T @ v, torch.eye(units), rtol=0, atol=1e-12)
    assert_gaussian(graph.weights["W1"].detach(), 1.0)
    for name, n_in in (("W2", 120), ("U", 80)):  # between layers and to the output as under fan-in
        assert 0.999 * n_in**-0.5 < graph.weights[name].abs().max() <= n_in**-0.5


def test_orthogonal_weights_have_inputs_by_fan_in() -> None:
    graph = initialize(Graph(elman(300, [120, 80], 50, steps=3)), 3, "orthogonal")
    for name, units in (("V1", 120), ("V2", 80)):
        v = graph.weights[name].detach()
        torch.testing.assert_close(v.T @ v, torch.eye(units), rtol=0, atol=1e-12)
    for name, n_in in (("W1", 300), ("W2", 120), ("U", 80)):
        assert 0.999 * n_in**-0.5 < graph.weights[name].abs().max() <= n_in**-0.5


@pytest.mark.parametrize("weights", WEIGHT_INITS)
@pytest.mark.parametrize("feedback_std", [1.0, 0.2])
def test_feedback_is_gaussian_with_a_deviation_of_its_own(weights: str, feedback_std: float) -> None:
    for e in wide(weights=weights, feedback_std=feedback_std, std=0.7).feedback.values():
        assert_gaussian(e, feedback_std)


def test_the_same_seed_gives_the_same_net_and_another_seed_another() -> None:
    for weights in ("gaussian", "fan-in"):
        one, again, other = (wide(weights=weights, seed=seed).state_dict() for seed in (3, 3, 4))
        for name, tensor in one.items():
            assert torch.equal(tensor, again[name])
            if not name.startswith("biases"):
                assert not torch.equal(tensor, other[name]), name


def test_a_seed_asks_nothing_of_the_global_generator() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    one = wide().state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert all(torch.equal(tensor, one[name]) for name, tensor in wide().state_dict().items())


def test_a_seed_gives_the_same_feedback_under_every_weight_initialization() -> None:
    seen = [wide(weights=weights).feedback for weights in WEIGHT_INITS]
    for name, e in seen[0].items():
        assert all(torch.equal(other[name], e) for other in seen[1:])


def test_no_number_is_drawn_twice() -> None:
    # neighboring seeds, weights and feedback: all streams of their own
    drawn = [
        tensor.flatten()
        for seed in (3, 4, 5)
        for name, tensor in wide(seed=seed, weights="gaussian", std=1.0).state_dict().items()
        if not name.startswith("biases")
    ]
    every = torch.cat(drawn)
    assert every.unique().numel() == every.numel()


def test_biases_start_at_zero_whatever_they_were() -> None:
    graph = Graph(small_mlp())
    with torch.no_grad():
        for tensor in graph.state_dict().values():
            tensor.fill_(7)
    for weights in WEIGHT_INITS:
        initialize(graph, 3, weights)
        assert all(b.eq(0).all() for b in graph.biases.values())
        assert all(tensor.ne(7).all() for tensor in graph.state_dict().values())
        with torch.no_grad():
            for b in graph.biases.values():
                b.fill_(7)


@pytest.mark.parametrize("nodes", [small_mlp, skip_net, chain_over_time], ids=["mlp", "skips", "over time"])
@pytest.mark.parametrize("weights", WEIGHT_INITS)
def test_a_stack_holds_the_nets_of_its_seeds(nodes: Any, weights: str) -> None:
    seeds = [7, 11, 12]
    stacked = initialize(Graph(nodes(), stack=3), seeds, weights).state_dict()
    for s, seed in enumerate(seeds):
        for name, tensor in initialize(Graph(nodes()), seed, weights).state_dict().items():
            assert torch.equal(stacked[name][s], tensor), name


def test_parameters_are_filled_in_place() -> None:
    # an optimizer that was made before still holds them
    graph = Graph(small_mlp())
    before = {name: id(tensor) for name, tensor in graph.named_parameters()}
    assert initialize(graph, 3) is graph
    assert {name: id(tensor) for name, tensor in graph.named_parameters()} == before
    assert all(p.requires_grad for p in graph.parameters())


@pytest.mark.parametrize(
    ("stack", "settings", "says"),
    [
        (None, {"seed": 1, "weights": "xavier"}, "'xavier'; known: zeros, gaussian, fan-in, reservoir"),
        (None, {"seed": 1, "std": -0.1}, "must not be negative"),
        (None, {"seed": 1, "feedback_std": -0.1}, "must not be negative"),
        (None, {"seed": [1, 2]}, "2 seeds were given for a stack of 1"),
        (3, {"seed": [1, 2]}, "2 seeds were given for a stack of 3"),
        (3, {"seed": 1}, "1 seeds were given for a stack of 3"),
    ],
)
def test_what_cannot_be_drawn_is_refused(stack: int | None, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SeqlraError, match=says):
        initialize(Graph(small_mlp(), stack=stack), **settings)
