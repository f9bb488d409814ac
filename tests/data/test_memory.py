"""Generated tasks. Oracles: the definitions of the tasks, followed symbol by symbol in plain Python."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from torch import Generator, Tensor

from seqlra import SeqlraError
from seqlra.data.memory import MEMORY_TASKS, SOLVED, TEST, TRAIN, VALID, GeneratedSequences

COUNT = 4_000
SLACK = 5  # standard deviations that a frequency may be off


def drawn(name: str, steps: int, count: int = COUNT) -> tuple[list[list[float]], list[list[float]]]:
    x, t = MEMORY_TASKS[name].generate(count, steps, Generator().manual_seed(1))
    return x.tolist(), t.tolist()


def is_share(count: int, share: float, total: int = COUNT) -> bool:
    return abs(count / total - share) < SLACK * math.sqrt(share * (1 - share) / total)


@pytest.mark.parametrize("steps", [10, 47, 50])
@pytest.mark.parametrize(
    ("name", "windows"),
    [
        ("temporal-order", [(0.1, 0.2), (0.5, 0.6)]),
        ("temporal-order-3", [(0.1, 0.2), (0.3, 0.4), (0.6, 0.7)]),
    ],
)
def test_signals_stand_in_their_windows_and_are_the_bits_of_the_class(
    name: str, windows: list[tuple[float, float]], steps: int
) -> None:
    x, t = drawn(name, steps)
    places: list[Counter[int]] = [Counter() for _ in windows]
    symbols: Counter[int] = Counter()
    for sequence, target in zip(x, t, strict=True):
        signals = [(step, symbol) for step, symbol in enumerate(sequence) if symbol in (0, 1)]
        assert len(signals) == len(windows)
        assert target == [sum(symbol * 2**nth for nth, (_, symbol) in enumerate(signals))]
        for counter, (step, _) in zip(places, signals, strict=True):
            counter[step] += 1
        symbols.update(symbol for symbol in sequence if symbol not in (0, 1))
    assert len(x[0]) == steps
    for counter, (low, high) in zip(places, windows, strict=True):
        # T = 47 has no whole tenths: both ends are rounded down
        window = range(math.floor(low * steps + 1e-9), math.floor(high * steps + 1e-9))
        assert set(counter) == set(window)
        assert all(is_share(counter[step], 1 / len(window)) for step in window if len(window) > 1)
    classes = Counter(target[0] for target in t)
    assert set(classes) == set(range(2 ** len(windows)))
    assert all(is_share(count, 1 / len(classes)) for count in classes.values())
    assert set(symbols) == {2, 3, 4, 5}
    assert all(is_share(count, 0.25, symbols.total()) for count in symbols.values())


@pytest.mark.parametrize("steps", [10, 30, 47])
def test_the_target_of_adding_is_half_the_sum_of_the_marked_numbers(steps: int) -> None:
    x, t = MEMORY_TASKS["adding"].generate(COUNT, steps, Generator().manual_seed(1))
    first, second = Counter(), Counter()
    for sequence, target in zip(x.tolist(), t.tolist(), strict=True):
        marked = [step for step, (mark, _) in enumerate(sequence) if mark == 1]
        assert all(mark in (0, 1) and 0 <= number < 1 for mark, number in sequence)
        assert len(marked) == 2
        first[marked[0]] += 1
        second[marked[1]] += 1
        assert target[0][0] == pytest.approx((sequence[marked[0]][1] + sequence[marked[1]][1]) / 2, abs=1e-6)
    assert set(first) == set(range(int(steps * 0.1)))
    assert set(second) == set(range(int(steps * 0.1), int(steps * 0.5)))
    numbers = x[..., 1].double().flatten()
    assert abs(numbers.mean().item() - 1 / 2) < SLACK / math.sqrt(12 * len(numbers))
    assert abs(numbers.square().mean().item() - 1 / 3) < SLACK / math.sqrt(len(numbers))


def test_adding_is_wrong_if_the_squared_error_is_over_four_hundredths() -> None:
    output = torch.tensor([0.5, 0.69, 0.71, 0.31, 0.29]).unsqueeze(-1)
    wrong = MEMORY_TASKS["adding"].wrong(output, torch.full((5, 1), 0.5))
    assert wrong.tolist() == [False, False, True, False, True]


@pytest.mark.parametrize("steps", [2, 30])
def test_a_permutation_asks_for_its_first_symbol(steps: int) -> None:
    x, t = drawn("permutation", steps)
    assert all(target == [sequence[0]] for sequence, target in zip(x, t, strict=True))
    assert is_share(sum(sequence[0] == 1 for sequence in x), 0.5)
    rest = Counter(symbol for sequence in x for symbol in sequence[1:])
    assert set(rest) == set(range(2, 100))
    assert all(is_share(count, 1 / 98, rest.total()) for count in rest.values())


@pytest.mark.parametrize("steps", [21, 40])
def test_copy_shows_a_pattern_then_silence_then_a_stop_bit_and_asks_at_the_last_ten_steps(steps: int) -> None:
    x, t = MEMORY_TASKS["copy"].generate(500, steps, Generator().manual_seed(1))
    for sequence, pattern in zip(x.tolist(), t.tolist(), strict=True):
        assert [step[:7] for step in sequence[:10]] == pattern
        assert all(step[:7] == [0] * 7 for step in sequence[10:])
        assert [nth for nth, step in enumerate(sequence) if step[7] == 1] == [steps - 11]
    assert set(t.flatten().tolist()) == {0, 1}
    assert is_share(int(t.sum()), 0.5, t.numel())
    assert list(GeneratedSequences("copy", steps).steps) == list(range(steps - 9, steps + 1))


def test_copy_is_wrong_if_any_bit_is() -> None:
    pattern = torch.tensor([[1.0, 0, 1, 0, 0, 1, 1]]).repeat(3, 1)
    output = pattern + torch.tensor([[0.0] * 7, [0.4, -0.4] * 3 + [-0.4], [0.0] * 6 + [-0.6]])
    assert MEMORY_TASKS["copy"].wrong(output, pattern).tolist() == [False, False, True]


@pytest.mark.parametrize("name", MEMORY_TASKS)
class TestGeneratedSequences:
    def test_what_is_drawn_fits_what_the_registry_says(self, name: str) -> None:
        task = MEMORY_TASKS[name]
        data = GeneratedSequences(name, 31, dtype=torch.float64)
        part = data.draw(6, 0)
        tokens = not part.x.dtype.is_floating_point
        assert part.x.shape == ((6, 31) if tokens else (6, 31, task.inputs))
        assert part.x.dtype == (torch.int64 if tokens else torch.float64)
        classes = task.loss == "cross-entropy"
        assert part.t.shape == ((6, len(data.steps)) if classes else (6, len(data.steps), task.outputs))
        assert len(data.steps) == task.asked
        assert data.steps[-1] == data.time == part.time == 31
        if tokens:
            assert part.x.max() < task.inputs
        if classes:
            assert part.t.max() < task.outputs
        assert not part.masked

    def test_a_mini_batch_follows_from_the_seed_and_its_number(self, name: str) -> None:
        def of(seed: int, number: int, stream: int = TRAIN) -> Tensor:
            return GeneratedSequences(name, 30, seed).draw(4, number, stream).x

        data = GeneratedSequences(name, 30, 5)
        data.draw(4, 7)
        assert data.draw(4, 3).x.equal(of(5, 3))  # whatever was drawn before
        others = [of(5, 4), of(6, 3), of(3, 5), of(5, 3, VALID), of(5, 3, TEST)]
        assert not any(of(5, 3).equal(other) for other in others)

    def test_held_out_sequences_stay_the_same(self, name: str) -> None:
        data = GeneratedSequences(name, 30, 5, held_out=50)
        valid, test = data.part("valid"), data.part("test")
        assert len(valid) == len(test) == 50
        assert not valid.x.equal(test.x)
        assert data.part("valid").x.equal(GeneratedSequences(name, 30, 5, held_out=50).part("valid").x)
        fewer = GeneratedSequences(name, 30, 5, held_out=50, valid=7)
        assert (len(fewer.part("valid")), len(fewer.part("test"))) == (7, 50)
        assert fewer.part("test").x.equal(test.x)
        with pytest.raises(SeqlraError, match="new at every update; accepted: valid or test"):
            data.part("train")

    def test_too_short_sequences_are_refused(self, name: str) -> None:
        shortest = MEMORY_TASKS[name].shortest
        assert len(GeneratedSequences(name, shortest).draw(3, 0)) == 3
        with pytest.raises(SeqlraError, match=f"at least {shortest} steps, not {shortest - 1}"):
            GeneratedSequences(name, shortest - 1)


def test_an_unknown_task_is_answered_with_the_known_ones() -> None:
    with pytest.raises(SeqlraError, match="temporal-order"):
        GeneratedSequences("temporal", 30)
    with pytest.raises(SeqlraError, match="at least one sequence must be held out"):
        GeneratedSequences("adding", 30, held_out=0)


def test_solved_is_less_than_one_wrong_in_ten_thousand() -> None:
    assert 100 * 0 / 10_000 < SOLVED <= 100 * 1 / 10_000
