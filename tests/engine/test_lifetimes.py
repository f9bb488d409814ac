"""A list of operations replayed with values computed in place of copies, against the same operations run by torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from seqlra.engine.replay import Replay, record

Operations = Callable[[Tensor, Tensor], Sequence[Tensor]]


def store(a: Tensor) -> Tensor:
    return a.new_zeros(2 * len(a), a.shape[1])


def into_a_part(a: Tensor, b: Tensor) -> Sequence[Tensor]:
    r = store(a)
    r[3:].copy_(a * 2)
    r[:3].copy_(b - r[3:])
    return [r]


def the_place_is_read_before(a: Tensor, b: Tensor) -> Sequence[Tensor]:
    r = store(a)
    x = a * 2
    before = r.sum()
    r[:3].copy_(x)
    return [r, before]


def the_place_is_written_after(a: Tensor, b: Tensor) -> Sequence[Tensor]:
    r = store(a)
    x = a * 2
    r[:3].copy_(x)
    r.mul_(3)
    return [r, x + b]


def the_value_is_written_after(a: Tensor, b: Tensor) -> Sequence[Tensor]:
    r = store(a)
    x = a * 2
    r[:3].copy_(x)
    x.add_(1)
    return [r, x]


def a_view_of_the_value_is_written_after(a: Tensor, b: Tensor) -> Sequence[Tensor]:
    r = store(a)
    x = a * 2
    v = x[1]
    r[:3].copy_(x)
    v.add_(1)
    return [r, x]


def the_value_is_written_before(a: Tensor, b: Tensor) -> Sequence[Tensor]:
    r = store(a)
    x = a * 2
    x.add_(b)
    r[3:].copy_(x)
    return [r]


def two_values_one_place(a: Tensor, b: Tensor) -> Sequence[Tensor]:
    r = store(a)
    x, y = a * 2, b * 3
    r[:3].copy_(x)
    first = r.sum()
    r[:3].copy_(y)
    return [r, first, x * 1]


def a_second_value_while_the_first_is_read(a: Tensor, b: Tensor) -> Sequence[Tensor]:
    r = store(a)
    x = a * 2
    r[:3].copy_(x)
    y = b * 3
    late = x + 1
    r[:3].copy_(y)
    return [r, late]


def two_places_one_value(a: Tensor, b: Tensor) -> Sequence[Tensor]:
    r, q = store(a), store(b)
    x = a * 2
    r[:3].copy_(x)
    q[3:].copy_(x)
    r.add_(1)
    return [r, q]


def the_value_reads_the_place(a: Tensor, b: Tensor) -> Sequence[Tensor]:
    r = store(a)
    r[:3].copy_(a)
    r[1:4].copy_(r[:3] * b)
    r[:3].copy_(a.mm(b.mT).mm(r[:3]))
    r[3:].copy_(r[:3] * b)
    return [r]


def the_place_comes_after_the_value(a: Tensor, b: Tensor) -> Sequence[Tensor]:
    x = a * 2
    r = x + b
    r.copy_(x)
    return [r]


def the_place_is_written_on_the_way(a: Tensor, b: Tensor) -> Sequence[Tensor]:
    r = store(a)
    x = a * 2
    r.add_(b.repeat(2, 1))[:3].copy_(x)
    return [r]


def a_place_with_gaps(a: Tensor, b: Tensor) -> Sequence[Tensor]:
    r = torch.zeros_like(a).repeat(1, 2)
    r[:, ::2].copy_(a.mm(b.mT).mm(a))
    r[:, 1::2].copy_(a.exp())
    return [r]


def another_shape_or_dtype(a: Tensor, b: Tensor) -> Sequence[Tensor]:
    r, q = store(a), store(a).double()
    r.copy_(a[0] * 2)
    q[:3].copy_(a * 2)
    return [r, q]


def returned_itself(a: Tensor, b: Tensor) -> Sequence[Tensor]:
    r = store(a)
    x = a * 2
    r[:3].copy_(x)
    return [x, r.sum()]


def read_when_the_place_is_not(a: Tensor, b: Tensor) -> Sequence[Tensor]:
    r = torch.zeros_like(a)
    x = a * 2
    r.copy_(x)
    total = r.sum()
    other = b * 3  # has the form of r, so it would take its memory
    return [x + other + total]


def into_an_argument(a: Tensor, b: Tensor) -> Sequence[Tensor]:
    x = a * 2
    c = a + b
    a.copy_(x)
    return [c + a]


@pytest.mark.parametrize(
    "operations",
    [
        into_a_part,
        the_place_is_read_before,
        the_place_is_written_after,
        the_value_is_written_after,
        a_view_of_the_value_is_written_after,
        the_value_is_written_before,
        two_values_one_place,
        a_second_value_while_the_first_is_read,
        two_places_one_value,
        the_value_reads_the_place,
        the_place_comes_after_the_value,
        the_place_is_written_on_the_way,
        a_place_with_gaps,
        another_shape_or_dtype,
        returned_itself,
        read_when_the_place_is_not,
        into_an_argument,
    ],
)
def test_replayed_operations_are_those_that_were_traced(operations: Operations) -> None:
    torch.manual_seed(0)
    traced, wanted = torch.rand(2, 3, 4), torch.rand(2, 2, 3, 4)
    arguments = [torch.rand(3, 4), torch.rand(3, 4)]
    replay = record(make_fx(operations)(*traced), arguments)
    for given in wanted:
        for place, tensor in zip(arguments, given, strict=True):
            place.copy_(tensor)
        run(replay)
        right = operations(*given)
        assert all(torch.equal(one, other) for one, other in zip(replay.results, right, strict=True))
        assert all(torch.equal(one, other) for one, other in zip(arguments, given, strict=True))


def test_what_is_copied_is_computed_where_it_goes() -> None:
    """A call for the zeros and one for each operation; none for a copy."""
    replay = record(make_fx(into_a_part)(torch.rand(3, 4), torch.rand(3, 4)), [torch.rand(3, 4), torch.rand(3, 4)])
    assert len(replay.update) + len(replay.outcome) == 3


def test_what_nothing_reads_is_left_out_but_draws_stay() -> None:
    def unread(a: Tensor, b: Tensor) -> Sequence[Tensor]:
        r = store(a)
        r[:3].copy_(a * 2)
        torch.rand_like(a)
        return [a + torch.rand_like(b)]

    replay = record(make_fx(unread)(torch.rand(3, 4), torch.rand(3, 4)), [torch.zeros(3, 4), torch.zeros(3, 4)])
    torch.manual_seed(0)
    run(replay)
    torch.manual_seed(0)
    torch.rand(3, 4)
    assert torch.equal(replay.results[0], torch.rand(3, 4))
    assert len(replay.update) + len(replay.outcome) == 3  # two draws and a sum


def run(replay: Replay) -> None:
    for call in (*replay.update, *replay.outcome):
        call()
