"""Oracle: eq. 1 of the paper: a vector under the norm c is left alone, a longer one is brought to that norm."""

from __future__ import annotations

import pytest
import torch

from seqlra.rules.normalize import norm_from, normalize


def test_three_four_five() -> None:
    delta = torch.tensor([3.0, 4.0])
    assert normalize(delta, 2.5).tolist() == [1.5, 2.0]
    assert normalize(delta, 5).tolist() == [3, 4]
    assert normalize(delta, 10).tolist() == [3, 4]


@pytest.mark.parametrize("c", [1e-3, 0.7, 1.0, 30.0])
def test_no_norm_is_over_the_bound_and_a_longer_one_meets_it(c: float) -> None:
    delta = torch.randn(200, 7) * torch.logspace(-4, 4, 200).unsqueeze(-1)
    before, after = delta.norm(dim=-1), normalize(delta, c).norm(dim=-1)
    assert (before < c).any()
    assert (before > c).any()
    torch.testing.assert_close(after, before.clamp(max=c), rtol=1e-12, atol=0)


def test_the_direction_does_not_change() -> None:
    delta = torch.randn(50, 7) * 10
    torch.testing.assert_close(
        torch.nn.functional.normalize(normalize(delta, 0.5)), torch.nn.functional.normalize(delta), rtol=1e-12, atol=0
    )


def test_what_is_within_the_bound_is_left_exactly_as_it_was() -> None:
    delta = torch.randn(50, 7)
    assert torch.equal(normalize(delta, 1e3), delta)


def test_doing_it_twice_is_doing_it_once() -> None:
    once = normalize(torch.randn(50, 7) * 10, 0.5)
    torch.testing.assert_close(normalize(once, 0.5), once, rtol=1e-14, atol=0)


def test_a_zero_vector_stays_zero() -> None:
    delta = torch.tensor([[0.0, 0.0], [30.0, 40.0]])
    assert normalize(delta, 5).tolist() == [[0, 0], [3, 4]]
    assert normalize(delta * 0, 5, (-2, -1)).eq(0).all()


@pytest.mark.parametrize("exponent", [-300, -8, 0, 8, 150])
def test_what_is_divided_by_is_at_least_the_bound(exponent: int) -> None:
    # 1e-300: the square of the norm underflows
    assert norm_from(torch.tensor([3.0, 4.0]) * 10.0**exponent, 1.0, -1).item() >= 1


def test_each_row_has_a_bound_of_its_own() -> None:
    delta = torch.tensor([[3.0, 4.0], [0.3, 0.4], [6.0, 8.0]])
    expected = torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.6, 0.8]])
    torch.testing.assert_close(normalize(delta, 1.0), expected)
    assert norm_from(delta, 1.0, -1).flatten().tolist() == pytest.approx([5, 1, 10])


def test_a_matrix_as_a_whole_has_one_bound() -> None:
    delta = torch.tensor([[1.0, 2.0], [4.0, 2.0], [0.0, 0.0]])  # its norm is 5
    torch.testing.assert_close(normalize(delta, 2.5, (-2, -1)), delta / 2)
    stack = torch.stack([delta, delta / 100])
    torch.testing.assert_close(normalize(stack, 2.5, (-2, -1)), torch.stack([delta / 2, delta / 100]))


def test_no_bound_changes_nothing() -> None:
    delta = torch.randn(3, 4) * 1e9
    assert normalize(delta, None) is delta
