"""Oracles: autograd and central differences for every f', and the formulas of the paper (Section 2.3.2, eqs. 7, 8)."""

from __future__ import annotations

from math import log

import pytest
import torch
from torch import Tensor

from seqlra import SeqlraError, Subgraph
from seqlra.network.units import ACTIVATIONS, DISCRETIZERS, Discretizer, activation, discretizer

KINKS = {"relu": (0.0,), "relu6": (0.0, 6.0), "hard-tanh": (-1.0, 1.0)}
RANDOM = {"bernoulli", "slwta-sampled"}


def smooth_points(name: str) -> Tensor:
    """Pre-activations on both sides of every kink, but none within 0.01 of one."""
    h = torch.linspace(-7.03, 7.01, 113)
    for kink in KINKS.get(name, ()):
        h = h[(h - kink).abs() > 0.01]
    return h


def named(name: str, block: int = 4) -> Discretizer:
    made = discretizer(name, block)
    assert made is not None
    return made


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_derivative_of_an_activation_is_that_of_autograd(name: str) -> None:
    unit, h = ACTIVATIONS[name], smooth_points(name).requires_grad_()
    z = unit.f(h)
    (expected,) = torch.autograd.grad(z.sum(), h)
    torch.testing.assert_close(unit.derivative(h, z).detach(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_derivative_of_an_activation_is_its_difference_quotient(name: str) -> None:
    unit, h, step = ACTIVATIONS[name], smooth_points(name), 1e-5
    expected = (unit.f(h + step) - unit.f(h - step)) / (2 * step)
    torch.testing.assert_close(unit.derivative(h, unit.f(h)), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "kink", "slope"),
    [("relu", 0.0, 1.0), ("relu6", 0.0, 1.0), ("relu6", 6.0, 0.0), ("hard-tanh", -1.0, 1.0), ("hard-tanh", 1.0, 0.0)],
)
def test_at_a_kink_the_right_hand_derivative_is_meant(name: str, kink: float, slope: float) -> None:
    unit, h = ACTIVATIONS[name], torch.tensor([kink])
    step = 2.0**-20  # a power of two, so that the quotient is exact
    assert ((unit.f(h + step) - unit.f(h)) / step).item() == slope
    assert unit.derivative(h, unit.f(h)).item() == slope


@pytest.mark.parametrize(
    ("name", "h", "z"),
    [
        ("identity", -3.5, -3.5),
        ("sigmoid", log(3), 0.75),  # 1 / (1 + 1/3)
        ("sigmoid", 0.0, 0.5),
        ("tanh", log(2), 0.6),  # (4 - 1) / (4 + 1)
        ("hard-tanh", 0.3, 0.3),
        ("hard-tanh", -7.0, -1.0),
        ("hard-tanh", 1.5, 1.0),
        ("relu", -2.0, 0.0),
        ("relu", 8.5, 8.5),
        ("relu6", -1.0, 0.0),
        ("relu6", 4.25, 4.25),
        ("relu6", 6.5, 6.0),
        ("softplus", log(3), log(4)),
        ("softplus", 0.0, log(2)),
        ("softsign", 3.0, 0.75),
        ("softsign", -1.0, -0.5),
    ],
)
def test_an_activation_has_its_closed_form(name: str, h: float, z: float) -> None:
    assert ACTIVATIONS[name].f(torch.tensor([h])).item() == pytest.approx(z, abs=1e-15)


def test_tanh_in_single_precision_is_within_2e_7_of_the_true_one() -> None:
    h = torch.cat([torch.linspace(-12, 12, 40_001), torch.logspace(-9, 0, 1_001), torch.tensor([-1e30, 0.0, 1e30])])
    h, before = h.float(), h.float()
    z = ACTIVATIONS["tanh"].f(h)
    assert z.dtype == torch.float32
    assert torch.equal(h, before)
    assert (z.double() - h.double().tanh()).abs().max() < 2e-7
    assert z.abs().max() <= 1  # else 1 - z^2 is a slope below 0
    assert z[-2] == 0


def test_every_activation_is_held_to_a_closed_form() -> None:
    marks = test_an_activation_has_its_closed_form.pytestmark  # type: ignore[attr-defined]
    assert {case[0] for case in marks[0].args[1]} == set(ACTIVATIONS)


def test_sign_is_minus_one_zero_or_one() -> None:
    z = torch.tensor([-0.7, -1e-9, 0.0, 1e-9, 2.0])
    assert named("sign").g(z).tolist() == [-1, -1, 0, 1, 1]


def test_heaviside_is_one_from_zero_on() -> None:
    z = torch.tensor([-0.7, -1e-9, 0.0, 1e-9, 2.0])
    assert named("heaviside").g(z).tolist() == [0, 0, 1, 1, 1]


def test_lwta_keeps_the_largest_of_each_block_and_the_first_of_equals() -> None:
    z = torch.tensor([1.0, 3.0, 3.0, 2.0, -4.0, -1.0, -2.0, -1.0, 5.0, 5.0, 5.0, 5.0])
    assert named("lwta").g(z).tolist() == [0, 3, 0, 0, 0, -1, 0, 0, 5, 0, 0, 0]


def test_lwta_competes_in_blocks_of_the_size_asked_for() -> None:
    z = torch.tensor([1.0, 3.0, 4.0, -2.0, -4.0, -1.0])
    assert named("lwta", 2).g(z).tolist() == [0, 3, 4, 0, 0, -1]
    assert named("lwta", 3).g(z).tolist() == [0, 0, 4, 0, 0, -1]


def test_slwta_is_the_softmax_within_each_block() -> None:
    z = torch.randn(5, 12) * 3
    shares = named("slwta").g(z)
    for row, out in zip(z, shares, strict=True):
        for first in (0, 4, 8):
            expected = row[first : first + 4].exp() / row[first : first + 4].exp().sum()  # eq. 8
            torch.testing.assert_close(out[first : first + 4], expected)
            assert out[first : first + 4].sum().item() == pytest.approx(1)


def test_slwta_competes_in_blocks_of_the_size_asked_for() -> None:
    shares = named("slwta", 2).g(torch.tensor([log(1), log(3), log(2), log(2)]))
    assert shares.tolist() == pytest.approx([0.25, 0.75, 0.5, 0.5])


def test_sampled_slwta_draws_one_unit_of_each_block_as_often_as_its_share() -> None:
    draws = 20_000
    shares = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.7, 0.1, 0.15, 0.05])
    z = shares.log() + torch.tensor([1.0] * 4 + [-2.0] * 4)  # a softmax does not see a shift of its block
    drawn = named("slwta-sampled").g(z.expand(draws, 8))
    assert set(drawn.unique().tolist()) == {0, 1}
    assert (drawn.view(draws, 2, 4).sum(-1) == 1).all()
    standard_error = (shares * (1 - shares) / draws).sqrt()
    assert ((drawn.mean(0) - shares).abs() < 4.5 * standard_error).all()


def test_sampled_slwta_draws_its_blocks_independently() -> None:
    draws = 20_000
    drawn = named("slwta-sampled", 2).g(torch.zeros(draws, 4))
    both = (drawn[:, 0] * drawn[:, 2]).mean().item()
    assert abs(both - 1 / 4) < 4.5 * (3 / 16 / draws) ** 0.5


def test_bernoulli_is_one_as_often_as_z_says() -> None:
    draws, z = 20_000, torch.tensor([0.0, 0.03, 0.4, 0.5, 0.9, 1.0])
    drawn = named("bernoulli").g(z.expand(draws, 6))
    assert set(drawn.unique().tolist()) == {0, 1}
    standard_error = (z * (1 - z) / draws).sqrt()
    assert ((drawn.mean(0) - z).abs() <= 4.5 * standard_error).all()  # z of 0 and 1 leave nothing to chance


@pytest.mark.parametrize("name", DISCRETIZERS)
def test_what_draws_knows_its_mean_and_what_does_not_has_none(name: str) -> None:
    g, draws = named(name), 20_000
    assert (g.mean is not None) == (name in RANDOM)
    if g.mean is not None:
        z = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0, 0.3, -0.2, 1.4])
        mean = g.mean(z)
        standard_error = (mean * (1 - mean) / draws).sqrt()  # every draw is 0 or 1
        assert ((g.g(z.expand(draws, 8)).mean(0) - mean).abs() <= 4.5 * standard_error).all()


@pytest.mark.parametrize("name", sorted(RANDOM))
def test_draws_come_from_the_global_generator(name: str) -> None:
    z, g = torch.full((50, 8), 0.5), named(name).g
    torch.manual_seed(5)
    first, second = g(z), g(z)
    assert not torch.equal(first, second)
    torch.manual_seed(5)
    assert torch.equal(g(z), first)


@pytest.mark.parametrize("name", [name for name in DISCRETIZERS if name not in RANDOM])
def test_a_discretizer_works_on_each_row_of_any_leading_axes(name: str) -> None:
    z, g = torch.randn(2, 3, 8), named(name).g
    assert torch.equal(g(z), torch.stack([torch.stack([g(row) for row in model]) for model in z]))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_works_elementwise_on_any_leading_axes(name: str) -> None:
    h, unit = torch.randn(2, 3, 5) * 3, ACTIVATIONS[name]
    z = unit.f(h)
    one_by_one = [(unit.f(value), unit.derivative(value, unit.f(value))) for value in h.flatten()]
    torch.testing.assert_close(z, torch.stack([f for f, _ in one_by_one]).view(2, 3, 5))
    torch.testing.assert_close(unit.derivative(h, z), torch.stack([slope for _, slope in one_by_one]).view(2, 3, 5))


@pytest.mark.parametrize("name", DISCRETIZERS)
def test_a_discretizer_keeps_shape_and_type(name: str) -> None:
    z = torch.rand(2, 3, 8, dtype=torch.float32)
    out = named(name).g(z)
    assert (out.shape, out.dtype) == (z.shape, z.dtype)


def test_a_discretizer_does_not_write_into_what_it_is_given() -> None:
    z = torch.rand(3, 8)
    before = z.clone()
    for name in DISCRETIZERS:
        named(name).g(z)
        assert torch.equal(z, before), name


@pytest.mark.parametrize("name", ["lwta", "slwta", "slwta-sampled"])
def test_blocks_that_do_not_divide_the_layer_are_refused(name: str) -> None:
    named(name).check(12)
    with pytest.raises(SeqlraError, match=r"blocks of 4.* 10 units"):
        named(name).check(10)
    with pytest.raises(SeqlraError, match=r"blocks of 3.* 8 units"):
        named(name, 3).check(8)
    with pytest.raises(SeqlraError, match="blocks of 0"):
        named(name, 0).check(8)
    with pytest.raises(SeqlraError, match=r"blocks of 4.* 10 units"):
        Subgraph("a", 10, ["x"], g=name)


@pytest.mark.parametrize("name", ["sign", "heaviside", "bernoulli"])
def test_units_that_do_not_compete_fit_every_layer(name: str) -> None:
    named(name).check(7)


def test_an_unknown_activation_is_answered_with_the_known() -> None:
    with pytest.raises(SeqlraError) as refused:
        activation("tahn")
    assert "'tahn'" in str(refused.value)
    assert all(name in str(refused.value) for name in ACTIVATIONS)


def test_an_unknown_discretizer_is_answered_with_the_known() -> None:
    with pytest.raises(SeqlraError) as refused:
        discretizer("sgin")
    assert "'sgin'" in str(refused.value)
    assert all(name in str(refused.value) for name in ["none", *DISCRETIZERS])


def test_no_discretizer_has_two_spellings() -> None:
    assert discretizer(None) is None
    assert discretizer("none") is None


def test_a_unit_of_ones_own_passes_through() -> None:
    own_f, own_g = ACTIVATIONS["tanh"], Discretizer("half", lambda z: z / 2)
    assert activation(own_f) is own_f
    assert discretizer(own_g) is own_g
