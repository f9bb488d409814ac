"""Oracles: eqs. 2 to 4 of the paper, autograd, and ``torch.nn.functional.cross_entropy``."""

from __future__ import annotations

from math import log, nan

import pytest
import torch
from torch.nn.functional import cross_entropy, one_hot

from seqlra import SeqlraError
from seqlra.network.losses import LOCAL_LOSSES, NOT_ASKED, OUTPUT_LOSSES, asked, local_loss, masked, output_loss

GAPS = (1.0, -2.0, 0.5)  # z - y


@pytest.mark.parametrize(
    ("name", "value", "gradient"),
    [
        ("l2", (1 + 4 + 0.25) / 2, (1, -2, 0.5)),  # eq. 2
        ("l1", 1 + 2 + 0.5, (1, -1, 1)),  # eq. 3
        ("log-penalty", log(2) + log(5) + log(1.25), (2 / 2, -4 / 5, 1 / 1.25)),  # eq. 4; 2 gap / (1 + gap^2)
    ],
)
def test_a_local_loss_has_its_closed_form(name: str, value: float, gradient: tuple[float, ...]) -> None:
    y = torch.tensor([0.3, -0.2, 4.0])
    z = y + torch.tensor(GAPS)
    assert LOCAL_LOSSES[name].value(z, y).item() == pytest.approx(value, abs=1e-14)
    assert LOCAL_LOSSES[name].gradient(z, y).tolist() == pytest.approx(gradient, abs=1e-14)


@pytest.mark.parametrize("name", LOCAL_LOSSES)
def test_the_gradient_of_a_local_loss_is_that_of_autograd(name: str) -> None:
    loss, z, y = LOCAL_LOSSES[name], torch.randn(2, 3, 5, requires_grad=True), torch.randn(2, 3, 5)
    (expected,) = torch.autograd.grad(loss.value(z, y).sum(), z)
    torch.testing.assert_close(loss.gradient(z, y).detach(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", LOCAL_LOSSES)
def test_a_unit_that_met_its_target_is_not_pushed(name: str) -> None:
    z = torch.randn(4, 5)
    assert LOCAL_LOSSES[name].value(z, z).eq(0).all()
    assert LOCAL_LOSSES[name].gradient(z, z).eq(0).all()


@pytest.mark.parametrize("name", LOCAL_LOSSES)
def test_a_local_loss_is_one_number_a_sample_whatever_stands_before_it(name: str) -> None:
    loss, z, y = LOCAL_LOSSES[name], torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    alone = torch.stack([torch.stack([loss.value(z[s, b], y[s, b]) for b in range(3)]) for s in range(2)])
    torch.testing.assert_close(loss.value(z, y), alone)


def test_cross_entropy_is_that_of_torch_for_class_indices() -> None:
    loss, h, t = OUTPUT_LOSSES["cross-entropy"], torch.randn(6, 4, requires_grad=True) * 3, torch.arange(6) % 4
    value = cross_entropy(h, t, reduction="none")
    torch.testing.assert_close(loss.value(h, t), value)
    (expected,) = torch.autograd.grad(value.sum(), h)
    torch.testing.assert_close(loss.error(loss.f(h), t).detach(), expected, rtol=0, atol=1e-12)


def test_cross_entropy_is_that_of_torch_for_distributions() -> None:
    loss, h = OUTPUT_LOSSES["cross-entropy"], torch.randn(6, 4, requires_grad=True)
    t = torch.rand(6, 4).softmax(-1)
    value = cross_entropy(h, t, reduction="none")
    torch.testing.assert_close(loss.value(h, t), value)
    (expected,) = torch.autograd.grad(value.sum(), h)
    torch.testing.assert_close(loss.error(loss.f(h), t).detach(), expected, rtol=0, atol=1e-12)


def test_class_indices_and_their_one_hot_distributions_agree() -> None:
    loss, h, t = OUTPUT_LOSSES["cross-entropy"], torch.randn(6, 4), torch.arange(6) % 4
    spelt_out = one_hot(t, 4).double()
    torch.testing.assert_close(loss.value(h, t), loss.value(h, spelt_out))
    torch.testing.assert_close(loss.error(loss.f(h), t), loss.error(loss.f(h), spelt_out))


def test_cross_entropy_stays_finite_where_the_softmax_is_saturated() -> None:
    loss, h = OUTPUT_LOSSES["cross-entropy"], torch.tensor([[1000.0, 0.0]])
    assert loss.value(h, torch.tensor([1])).item() == 1000
    assert loss.value(h, torch.tensor([[0.0, 1.0]])).item() == 1000
    assert loss.error(loss.f(h), torch.tensor([1])).tolist() == [[1, -1]]


def test_the_error_of_cross_entropy_leaves_the_output_as_it_was() -> None:
    loss = OUTPUT_LOSSES["cross-entropy"]
    z = loss.f(torch.randn(6, 4))
    before = z.clone()
    loss.error(z, torch.arange(6) % 4)
    assert torch.equal(z, before)


def test_gaussian_is_half_the_squared_gap_and_linear() -> None:
    loss, h = OUTPUT_LOSSES["gaussian"], torch.randn(6, 4, requires_grad=True)
    t = torch.randn(6, 4)
    value = 0.5 * ((h - t) ** 2).sum(-1)
    torch.testing.assert_close(loss.f(h), h)
    torch.testing.assert_close(loss.value(h, t), value)
    (expected,) = torch.autograd.grad(value.sum(), h)
    torch.testing.assert_close(loss.error(loss.f(h), t).detach(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("cross-entropy", "shared indices"), ("cross-entropy", "own indices")]
    + [(name, kind) for name in OUTPUT_LOSSES for kind in ("shared vectors", "own vectors")],
)
def test_each_model_of_a_stack_has_the_loss_it_has_alone(name: str, kind: str) -> None:
    loss, h = OUTPUT_LOSSES[name], torch.randn(2, 6, 4)
    rows = (2, 6) if "own" in kind else (6,)
    t = torch.randint(4, rows) if "indices" in kind else torch.randn(*rows, 4).softmax(-1)
    value, error = loss.value(h, t), loss.error(loss.f(h), t)
    assert value.shape == (2, 6)
    for s in range(2):
        mine = t[s] if "own" in kind else t
        torch.testing.assert_close(value[s], loss.value(h[s], mine))
        torch.testing.assert_close(error[s], loss.error(loss.f(h[s]), mine))


class TestMasked:
    """Targets some of which are missing. Oracle: the plain loss of the others, and 0."""

    @pytest.mark.parametrize("kind", ["classes", "distributions", "gaussian"])
    def test_it_is_the_plain_loss_where_something_is_asked_and_0_elsewhere(self, kind: str) -> None:
        plain = output_loss("gaussian" if kind == "gaussian" else "cross-entropy")
        h, there = torch.randn(6, 4), torch.tensor([True, False, True, True, False, True])
        t = torch.arange(6) % 4 if kind == "classes" else torch.randn(6, 4).softmax(-1)
        given = t.clone()
        if kind == "classes":
            given[~there] = NOT_ASKED
        else:
            given[1], given[4, 2] = nan, nan  # one unit that is missing is enough
        loss = masked(plain)
        assert loss.masks
        assert torch.equal(asked(given), there)
        value, error = loss.value(h, given), loss.error(loss.f(h), given)
        assert torch.equal(value, plain.value(h, t) * there)
        assert torch.equal(error, plain.error(plain.f(h), t) * there[:, None])
        assert value[there].min() > 0


def test_unknown_losses_are_answered_with_the_known() -> None:
    with pytest.raises(SeqlraError, match="'l3'; known: l2, l1, log-penalty"):
        local_loss("l3")
    with pytest.raises(SeqlraError, match="'hinge'; known: cross-entropy, gaussian"):
        output_loss("hinge")


def test_a_loss_of_ones_own_passes_through() -> None:
    assert local_loss(LOCAL_LOSSES["l1"]) is LOCAL_LOSSES["l1"]
    assert output_loss(OUTPUT_LOSSES["gaussian"]) is OUTPUT_LOSSES["gaussian"]
