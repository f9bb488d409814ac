"""Networks of stochastic units. Oracles: every binary state of a tiny network in turn, plain torch, cases by hand."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import filled
from matplotlib.image import imread
from torch import Tensor

from seqlra import Discretizer, Graph, SeqlraError, elman, mlp
from seqlra.analysis import evaluation
from seqlra.analysis.evaluation import Answers, Bin, Posterior, answers_over, mean_field, posterior
from seqlra.analysis.pictures import save_certainty, save_reliability
from seqlra.network.units import DISCRETIZERS, discretizer
from seqlra.tasks.prediction import measure

pytestmark = pytest.mark.draws

RANDOM = {"bernoulli", "slwta-sampled"}


def bernoulli_net() -> Graph:
    """3 + 2 Bernoulli units between 4 inputs and 3 classes: 32 states."""
    return filled(mlp(4, [3, 2], 3, "sigmoid", "bernoulli"))


def exact(graph: Graph, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean and variance of the class probabilities, the votes and the mean loss: the sum over all 32 states."""
    W, b = graph.weights, graph.biases
    p1 = torch.sigmoid(x @ W["W1"] + b["b1"])
    weights, outputs = [], []
    for state in product([0.0, 1.0], repeat=5):
        s1, s2 = torch.tensor(state[:3]), torch.tensor(state[3:])
        p2 = torch.sigmoid(s1 @ W["W2"] + b["b2"])
        chance1 = torch.where(s1 == 1, p1, 1 - p1).prod(-1)
        chance2 = torch.where(s2 == 1, p2, 1 - p2).prod(-1)
        weights.append(chance1 * chance2)
        outputs.append((s2 @ W["W3"] + b["b3"]).softmax(-1).expand(len(x), -1))
    chance, p = torch.stack(weights).unsqueeze(-1).detach(), torch.stack(outputs).detach()  # (32, rows, 1 or classes)
    assert torch.allclose(chance.sum(0), torch.ones(len(x), 1))
    mean = (chance * p).sum(0)
    variance = (chance * (p - mean).square()).sum(0)
    votes = (chance * torch.nn.functional.one_hot(p.argmax(-1), 3)).sum(0)
    return mean, variance, votes, -(chance * p.log()).sum(0)


@pytest.mark.parametrize(("samples", "rows"), [(20_000, 1), (20_000, 70_000)])
def test_the_posterior_is_the_sum_over_all_states(samples: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows run at once."""
    monkeypatch.setattr(evaluation, "ROWS", rows)
    graph, x = bernoulli_net(), torch.randn(7, 4)
    found, (mean, variance, votes, surprise) = posterior(graph, x, samples, seed=3), exact(graph, x)
    assert found.mean.shape == found.variance.shape == (7, 3)
    assert ((found.mean - mean).abs() < 4.5 * (variance / samples).sqrt()).all()
    assert ((found.votes - votes).abs() <= 4.5 * (votes * (1 - votes) / samples).sqrt()).all()
    torch.testing.assert_close(found.variance, variance, rtol=0.05, atol=1e-6)
    torch.testing.assert_close(found.surprise, surprise, rtol=0.02, atol=0)


def test_the_variance_is_that_of_the_samples_themselves() -> None:
    p = torch.tensor([[[0.2, 0.8], [0.6, 0.4], [0.7, 0.3]]])  # one row, three samples, two classes
    found = Posterior.of(p)
    torch.testing.assert_close(found.mean, torch.tensor([[0.5, 0.5]]))
    torch.testing.assert_close(found.variance, torch.full((1, 2), (0.09 + 0.01 + 0.04) / 3))
    torch.testing.assert_close(found.votes, torch.tensor([[2 / 3, 1 / 3]]))
    torch.testing.assert_close(found.surprise[0, 0], -(torch.tensor(0.2 * 0.6 * 0.7).log() / 3))
    assert Posterior.of(p[:, :1]).variance.tolist() == [[0, 0]]


def test_however_many_rows_run_at_once_every_row_is_answered_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a unit that claims to draw, but always draws the same."""
    fixed = Discretizer("loaded dice", lambda z: (z > 0.5).to(z.dtype), mean=lambda z: z)
    graph, x = filled(mlp(4, [3, 2], 3, "sigmoid", fixed)), torch.randn(7, 4)
    monkeypatch.setattr(evaluation, "ROWS", 13)  # 2 rows at a time
    progress: list[tuple[int, int]] = []
    found = posterior(graph, x, 6, watch=lambda done, total: progress.append((done, total)))
    W, b, z = graph.weights, graph.biases, x
    for layer in ("1", "2"):
        z = (torch.sigmoid(z @ W[f"W{layer}"] + b[f"b{layer}"]) > 0.5).double()
    torch.testing.assert_close(found.mean, (z @ W["W3"] + b["b3"]).softmax(-1).detach())
    assert found.variance.max() < 1e-30
    assert progress == [(2, 7), (4, 7), (6, 7), (7, 7)]


def test_the_mean_field_pass_is_plain_torch_with_sigmoid() -> None:
    graph, x = bernoulli_net(), torch.randn(7, 4)
    W, b = graph.weights, graph.biases
    z = torch.sigmoid(torch.sigmoid(x @ W["W1"] + b["b1"]) @ W["W2"] + b["b2"])
    found = posterior(graph.sharing(mean_field(graph.nodes)), x, 1)
    torch.testing.assert_close(found.mean, (z @ W["W3"] + b["b3"]).softmax(-1).detach())
    assert found.variance.max() == 0


def test_only_what_draws_is_replaced_by_its_mean() -> None:
    z = torch.rand(5, 8)
    for name in DISCRETIZERS:
        g = discretizer(name)
        assert g is not None
        hidden = mean_field(mlp(4, [8], 3, "sigmoid", g))[1]
        assert (hidden.g is g) == (name not in RANDOM)  # type: ignore[union-attr]
        assert torch.equal(hidden.g.g(z), g.mean(z) if g.mean else g.g(z))  # type: ignore[union-attr]


def test_the_same_seed_gives_the_same_and_training_goes_on_as_if_nothing_had_been_drawn() -> None:
    graph, x = bernoulli_net(), torch.randn(7, 4)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, other, third = (posterior(graph, x, 4, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(one.mean, other.mean)
    assert not torch.equal(one.mean, third.mean)


@pytest.mark.parametrize("g", [None, "sign", "slwta"])
def test_samples_of_what_draws_nothing_are_refused(g: str | None) -> None:
    graph = filled(mlp(4, [8], 3, "sigmoid", g))
    with pytest.raises(SeqlraError, match=r"draws nothing.*: bernoulli, slwta-sampled$"):
        posterior(graph, torch.randn(2, 4), 2)
    assert posterior(graph, torch.randn(2, 4), 1).variance.max() == 0  # one pass is no more than it says


@pytest.mark.parametrize("samples", [0, -1, 1_000_000_000])
def test_a_number_of_samples_that_makes_no_sense_is_refused(samples: int) -> None:
    with pytest.raises(SeqlraError, match=f"samples must be from 1 to 100000, not {samples}"):
        posterior(bernoulli_net(), torch.randn(2, 4), samples)


def test_an_output_without_classes_is_refused() -> None:
    graph = filled(mlp(4, [3], 3, "sigmoid", "bernoulli", output="gaussian"))
    with pytest.raises(SeqlraError, match="the output of this network is gaussian"):
        posterior(graph, torch.randn(2, 4), 2)


# -- what it answers ---------------------------------------------------------------------------------------------------


def by_hand() -> Answers:
    """Four rows over two samples; the classes that are chosen are 0, 0, 1, 1 and the true ones 0, 1, 1, 0."""
    first = torch.tensor([[0.7, 0.3], [0.9, 0.1], [0.0, 1.0], [0.45, 0.55]])
    second = torch.tensor([[0.5, 0.5], [0.3, 0.7], [0.4, 0.6], [0.35, 0.65]])
    return Posterior.of(torch.stack([first, second], 1)).answers(torch.tensor([0, 1, 1, 0]))


def test_answers_of_a_case_by_hand() -> None:
    answers = by_hand()
    assert answers.chosen.tolist() == [0, 0, 1, 1]
    torch.testing.assert_close(answers.confidence, torch.tensor([0.6, 0.6, 0.8, 0.6]))
    torch.testing.assert_close(answers.spread, torch.tensor([0.1, 0.3, 0.2, 0.05]))
    torch.testing.assert_close(answers.probability, torch.tensor([0.6, 0.4, 0.8, 0.4]))
    torch.testing.assert_close(answers.variance, torch.tensor([0.01, 0.09, 0.04, 0.0025]))
    assert answers.votes.tolist() == [1, 0.5, 1, 0]  # the first of equals wins
    metrics, one = answers.metrics(), answers.one_draw()
    assert (metrics["error"], one["error"]) == (50, 37.5)
    assert metrics["loss"] == pytest.approx(-torch.tensor(0.6 * 0.4 * 0.8 * 0.4).log() / 4)
    assert one["loss"] == pytest.approx(-torch.tensor(0.7 * 0.5 * 0.1 * 0.7 * 1.0 * 0.6 * 0.45 * 0.35).log() / 8)


def test_classes_of_a_case_by_hand() -> None:
    zero, one = by_hand().by_class()
    assert (zero.label, zero.count, zero.error, one.label, one.count, one.error) == (0, 2, 50, 1, 2, 50)
    assert (zero.probability, zero.variance) == pytest.approx((0.5, 0.00625))
    assert (one.probability, one.variance) == pytest.approx((0.6, 0.065))


def test_the_calibration_error_of_a_case_by_hand() -> None:
    """Confidences 0.55 and 0.65 (one of two right), 0.95 (right), 1 (right), and 0.8, which is an edge (wrong)."""
    confidence = torch.tensor([0.55, 0.65, 0.95, 1.0, 0.8])
    wrong = torch.tensor([1, 0, 0, 0, 1])
    nothing = torch.zeros(5)
    answers = Answers(wrong, torch.zeros(5, dtype=torch.long), confidence, *([nothing] * 5))
    bins = answers.reliability(5)
    assert [(bin.low, bin.high, bin.count) for bin in bins] == [
        (0.0, 0.2, 0),
        (0.2, 0.4, 0),
        (0.4, 0.6, 1),
        (0.6, 0.8, 2),  # (low, high]: 0.8 is in it
        (0.8, 1.0, 2),
    ]
    assert (bins[0].confidence, bins[0].accuracy, bins[0].gap) == (None, None, 0)
    assert (bins[3].confidence, bins[3].accuracy) == pytest.approx((0.725, 0.5))
    assert (bins[4].confidence, bins[4].accuracy) == pytest.approx((0.975, 1))
    # 15 bins: 0.55 and 0.65 in one of their own each, 0.8 in (0.733, 0.8], 0.95 and 1 in (0.933, 1]
    gaps = 0.55 + 0.35 + 0.8 + 2 * (1 - 0.975)
    assert answers.metrics()["calibration_error"] == pytest.approx(100 * gaps / 5)


# -- over time ---------------------------------------------------------------------------------------------------------


def bernoulli_rnn(steps: int) -> list:
    return elman(4, [3], 4, steps, "sigmoid", "bernoulli")


def streams() -> list[Tensor]:
    """Tokens in two series: three streams, then one that goes on where the last of them ended."""
    return [torch.randint(4, (6, 3)), torch.randint(4, (4, 1))]


def enumerated(graph: Graph, tokens: list[int]) -> Tensor:
    """The exact predictive distribution after each token: the chance of every binary state, carried on."""
    W, b = graph.weights, graph.biases
    states = torch.tensor(list(product([0.0, 1.0], repeat=3)))  # (8, 3)
    outputs = (states @ W["U"] + b["c"]).softmax(-1)
    chance = torch.zeros(8)
    chance[0] = 1  # the null state
    predicted = []
    for token in tokens:
        p = torch.sigmoid(W["W"][token] + states @ W["V"] + b["b"])  # (from, 3)
        moves = torch.where(states[None] == 1, p[:, None], 1 - p[:, None]).prod(-1)  # (from, to)
        chance = chance @ moves
        predicted.append(chance @ outputs)
    return torch.stack(predicted).detach()


@pytest.mark.parametrize("numbers", [1, 4_000_000])
def test_over_time_the_posterior_is_the_sum_over_all_trajectories(
    numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many steps run at once; the state goes on from chunk to chunk and from series to series."""
    monkeypatch.setattr(evaluation, "NUMBERS", numbers)
    graph, series = filled(bernoulli_rnn(5)), streams()
    answers = answers_over(graph, series, bernoulli_rnn, 2, samples=20_000, seed=4)
    exact: dict[int, Tensor] = {}
    for stream in range(3):
        exact[stream] = enumerated(graph, series[0][:-1, stream].tolist())
    goes_on = enumerated(graph, [*series[0][:-1, 2].tolist(), *series[1][:-1, 0].tolist()])[5:]
    p = torch.cat([torch.stack([exact[0], exact[1], exact[2]], 1).flatten(0, 1), goes_on])
    truth = torch.cat([series[0][1:].flatten(), series[1][1:, 0]])
    assert torch.equal(answers.truth, truth)
    expected = p.gather(-1, truth[:, None])[:, 0]
    assert ((answers.probability - expected).abs() < 4.5 * (answers.variance / 20_000).sqrt()).all()
    assert answers.metrics()["loss"] == pytest.approx(-expected.log().mean().item(), rel=0.01)


def test_one_sample_of_a_sequence_is_what_is_measured_anyway() -> None:
    def tanh_rnn(steps: int) -> list:
        return elman(4, [3, 5], 4, steps)

    graph, series = filled(tanh_rnn(3)), streams()
    metrics = answers_over(graph, series, tanh_rnn, 2, samples=1).metrics()
    (measured,) = measure(graph, series, tanh_rnn, 3, "words")
    assert metrics["error"] == pytest.approx(measured["error"])
    assert torch.tensor(metrics["loss"]).exp().item() == pytest.approx(measured["perplexity"])


def test_the_mean_field_over_time_is_plain_torch_with_sigmoid() -> None:
    graph, series = filled(bernoulli_rnn(5)), [torch.randint(4, (6, 2))]
    W, b = graph.weights, graph.biases
    z, losses = torch.zeros(2, 3), []
    for now, after in zip(series[0][:-1], series[0][1:], strict=True):
        z = torch.sigmoid(W["W"][now] + z @ W["V"] + b["b"])
        losses.append(torch.nn.functional.cross_entropy(z @ W["U"] + b["c"], after))
    answers = answers_over(graph, series, lambda steps: mean_field(bernoulli_rnn(steps)), 2, samples=1)
    assert answers.metrics()["loss"] == pytest.approx(torch.stack(losses).mean().item())


# -- pictures ----------------------------------------------------------------------------------------------------------


def answers_of(confidence: Tensor, wrong: Tensor) -> Answers:
    nothing = torch.zeros(len(confidence))
    return Answers(wrong.long(), torch.zeros(len(confidence), dtype=torch.long), confidence, *([nothing] * 5))


def black_halves(path: Path) -> list[float]:
    """The share of black in the upper and in the lower half of a picture."""
    picture = imread(path)[..., :3].mean(-1)
    return [(half < 0.05).mean() for half in np.array_split(picture, 2)]


@pytest.mark.parametrize("count", [1, 5, 40])
def test_the_most_certain_images_are_shown_above_and_the_least_certain_below(count: int, tmp_path: Path) -> None:
    confidence = torch.linspace(0.2, 1, count)[torch.randperm(count)]
    answers = answers_of(confidence, confidence < 0.5)
    order, shown = confidence.argsort(), min(count, 12)
    shares = []
    for black in (order[:0], order[-shown:], order[:shown], order):  # none, the most certain, the least certain, all
        images = torch.zeros(count, 4, 6)
        images[black] = 1
        save_certainty(tmp_path / "certainty.png", images, answers, "title")
        shares.append(black_halves(tmp_path / "certainty.png"))
    writing, full = shares[0], shares[3]
    assert all(0.02 * shown < after - before < 0.05 * shown for before, after in zip(writing, full, strict=True))
    if count > 24:
        assert shares[1] == pytest.approx([full[0], writing[1]])
        assert shares[2] == pytest.approx([writing[0], full[1]])


def test_the_reliability_of_all_bins_is_drawn_and_of_none_that_is_empty(tmp_path: Path) -> None:
    """Bars of accuracy 1 in the right half alone fill that half."""
    confidence = torch.linspace(0.54, 1, 100)
    answers = answers_of(confidence, torch.zeros(100))
    save_reliability(tmp_path / "r.png", answers, answers, "title")
    picture = imread(tmp_path / "r.png")[..., :3]
    blue = (picture[..., 2] - picture[..., 0]) > 0.2
    left, right = np.array_split(blue, 2, axis=1)
    assert right.mean() > 0.4
    assert left.mean() < 0.05


def test_the_interval_of_an_accuracy_is_that_of_wilson() -> None:
    """The roots p of (k/n - p)^2 = z^2 p (1 - p) / n."""
    low, high = Bin(0.5, 0.6, 20, 0.55, 0.7).interval
    for p in (low, high):
        assert (0.7 - p) ** 2 == pytest.approx(1.959964**2 * p * (1 - p) / 20, rel=1e-5)
    assert low < 0.7 < high
    assert Bin(0.5, 0.6, 0, None, None).interval == (0, 1)


def test_the_mean_field_pass_has_a_line_of_its_own(tmp_path: Path) -> None:
    """A line down to accuracy 0, where nothing else of this color is."""
    right, wrong = (answers_of(torch.linspace(0.54, 1, 100), torch.full((100,), w)) for w in (0.0, 1.0))
    orange = []
    for mean in (right, wrong):
        save_reliability(tmp_path / "r.png", right, mean, "title")
        picture = imread(tmp_path / "r.png")[..., :3]
        rows = ((picture[..., 0] > 0.9) & (picture[..., 2] < 0.3)).any(1).nonzero()[0]
        orange.append(rows[rows < 0.85 * len(picture)].max() / len(picture))  # above the legend
    assert orange[0] < 0.3
    assert orange[1] > 0.6
