"""A weight mirror. Oracle: W^T, of which it is an unbiased estimate with a known variance."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch

from seqlra import DirectFeedbackAlignment, Graph, LRAFeedback, SeqlraError, elman, initialize, mlp
from seqlra.engine import mirror as mirror_module
from seqlra.engine.mirror import VECTORS, mirror
from seqlra.network.subgraph import Subgraph
from seqlra.training.settings import Network


def cosine(e: torch.Tensor, w: torch.Tensor) -> float:
    return float((e * w.mT).sum() / e.norm() / w.norm())


@pytest.mark.parametrize(
    ("f", "g"), [("tanh", None), ("tanh", "sign"), ("sigmoid", "bernoulli"), ("tanh", "heaviside")]
)
def test_it_comes_to_be_the_transpose(f: str, g: str | None) -> None:
    weight = torch.randn(9, 6, generator=torch.Generator().manual_seed(1))
    source = Subgraph("a", 9, ["x"], f, g)
    few, many = (mirror(weight, source, n, torch.Generator().manual_seed(2)) for n in (200, 200_000))
    assert many.shape == (6, 9)
    assert cosine(many, weight) > 0.999
    assert cosine(few, weight) < cosine(many, weight)
    torch.testing.assert_close(many, weight.mT, rtol=0, atol=0.03)  # the size, too


@pytest.mark.parametrize("g", [None, "sign"])
def test_a_square_one_is_the_transpose_too(g: str | None) -> None:
    weight = torch.randn(6, 6, generator=torch.Generator().manual_seed(1))
    found = mirror(weight, Subgraph("a", 6, ["x"], "tanh", g), 50_000, torch.Generator().manual_seed(2))
    torch.testing.assert_close(found, weight.mT, rtol=0, atol=0.1)
    assert (weight - weight.mT).abs().max() > 1


def test_its_error_is_that_of_a_mean() -> None:
    weight = torch.randn(9, 6, generator=torch.Generator().manual_seed(1))
    n, draws = 50, 4_000
    source = Subgraph("a", 9, ["x"])
    each = torch.stack([mirror(weight, source, n, torch.Generator().manual_seed(s)) for s in range(draws)])
    # of (x W)_i x_j the variance is |W_i|^2 + W_ji^2 for normal x
    variance = (weight.square().sum(0)[:, None] + weight.mT.square()) / n
    error = (each.mean(0) - weight.mT).abs() / (variance / draws).sqrt()
    assert error.max() < 4.5
    torch.testing.assert_close(each.var(0), variance, rtol=0.25, atol=0)


def test_initialize_mirrors_every_connection_with_feedback() -> None:
    rule = LRAFeedback(feedback="learned")
    graph = initialize(
        Graph(elman(5, [17, 14], 6, 3, across_time=True)), 4, "gaussian", 0.3, feedback="mirror", rule=rule
    )
    for e, w in (("E1", "W2"), ("E2", "U"), ("F1", "V1"), ("F2", "V2")):
        assert cosine(graph.feedback[e].detach(), graph.weights[w].detach()) > 0.99


@pytest.mark.parametrize("units", [("tanh", None), ("sigmoid", "bernoulli")])
def test_model_s_of_a_stack_is_the_model_of_its_seed(units: Any) -> None:
    before = torch.random.get_rng_state()
    settings: dict[str, Any] = {"weights": "gaussian", "std": 0.3, "feedback": "mirror", "mirror_vectors": 50}
    stack = initialize(Graph(mlp(5, [8, 4], 3, *units), stack=2), [3, 4], **settings)
    alone = initialize(Graph(mlp(5, [8, 4], 3, *units)), 4, **settings)
    assert torch.equal(stack.feedback["E3"][1], alone.feedback["E3"])
    assert torch.equal(before, torch.random.get_rng_state())


def test_what_units_draw_follows_from_the_generator() -> None:
    weight, source, found = torch.randn(9, 6), Subgraph("a", 9, ["x"], "sigmoid", "bernoulli"), []
    for global_seed, seed in ((1, 2), (5, 2), (5, 3)):
        torch.manual_seed(global_seed)
        found.append(mirror(weight, source, 50, torch.Generator().manual_seed(seed)))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[1], found[2])


def test_what_cannot_be_mirrored() -> None:
    graph = Graph(mlp(5, [8], 3))
    with pytest.raises(SeqlraError, match="B-output-layer1 belongs to no connection"):
        initialize(graph, 0, feedback="mirror", rule=DirectFeedbackAlignment())
    with pytest.raises(SeqlraError, match="at least one vector"):
        initialize(graph, 0, feedback="mirror", mirror_vectors=0)


def test_many_vectors_align_better_than_few_and_are_the_mean_of_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The angle to W^T is about sqrt(units / vectors) radians, however the vectors are split."""
    weight = torch.randn(30, 20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for at_once in (10_000, 900):
        monkeypatch.setattr(mirror_module, "AT_ONCE", at_once)
        for vectors in (1_000, 9_500):
            E = mirror(weight, Subgraph("a", 30, ["x"]), vectors, torch.Generator().manual_seed(2))
            angle = torch.arccos((E * weight.mT).sum() / E.norm() / weight.norm())
            assert float(angle) == pytest.approx((30 / vectors) ** 0.5, rel=0.2)


def test_the_command_line_has_the_default_of_the_library() -> None:
    assert inspect.signature(Network).parameters["mirror_vectors"].default == VECTORS
