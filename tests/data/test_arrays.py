"""Your own sequences. Oracle: plain loops over the given arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqlra import SeqlraError
from seqlra.data.arrays import Sequences, SequenceSplits, pixel_sequences, sequences_from_arrays, split_sequences
from seqlra.data.images import load_images

N, T, F, UNITS = 6, 5, 3, 2
LENGTHS = [5, 2, 3, 5, 4, 3]
RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((N, T, F)).astype(np.float32)
TOKENS = RANDOM.integers(0, 7, (N, T))


def test_one_class_a_sequence_is_asked_at_its_last_step() -> None:
    got = sequences_from_arrays(X, np.arange(N) % 4, LENGTHS)
    assert got.steps == range(2, 6)  # no sequence ends at the first step
    assert got.masked
    for n, length in enumerate(LENGTHS):
        expected = [n % 4 if step == length else -100 for step in got.steps]
        assert got.t[n].tolist() == expected
        assert got.x[n, :length].tolist() == X[n, :length].tolist()
        assert got.x[n, length:].eq(0).all()


def test_sequences_of_one_length_have_one_output() -> None:
    got = sequences_from_arrays(TOKENS, RANDOM.standard_normal((N, UNITS)))
    assert (got.steps, got.masked, got.x.dtype, got.t.shape) == (range(5, 6), False, torch.int64, (N, 1, UNITS))


def test_one_target_at_each_step_counts_up_to_the_length() -> None:
    vectors = RANDOM.standard_normal((N, T, UNITS))
    got = sequences_from_arrays(TOKENS, vectors, LENGTHS)
    assert got.steps == range(1, 6)
    for n, length in enumerate(LENGTHS):
        assert got.t[n, :length].tolist() == vectors[n, :length].tolist()
        assert got.t[n, length:].isnan().all()


def test_a_mask_says_at_which_steps_a_target_is_asked() -> None:
    mask = RANDOM.random((N, T)) < 0.5
    mask[:, [0, 4]] = False
    mask[0, 1] = mask[1, 3] = True
    classes = RANDOM.integers(0, 4, (N, T))
    got = sequences_from_arrays(X, classes, [5, 4, 3, 2, 5, 5], mask)
    assert got.steps == range(2, 5)
    for n, length in enumerate([5, 4, 3, 2, 5, 5]):
        for step in got.steps:
            there = mask[n, step - 1] and step <= length
            assert got.t[n, step - 2] == (classes[n, step - 1] if there else -100)


def test_padding_may_hold_anything() -> None:
    x, tokens = X.copy(), TOKENS.copy()
    x[1, 2:], tokens[1, 2:] = np.nan, -1
    assert sequences_from_arrays(x, np.zeros(N, int), LENGTHS).x.isfinite().all()
    assert sequences_from_arrays(tokens, np.zeros(N, int), LENGTHS).x.min() >= 0
    with pytest.raises(SeqlraError, match="tokens are from 0"):
        sequences_from_arrays(tokens, np.zeros(N, int))


def test_rows_are_step_after_step() -> None:
    got = sequences_from_arrays(X, RANDOM.integers(0, 4, (N, T)))
    x, t = got.take(torch.tensor([4, 1])).rows()
    assert x.tolist() == [X[n, step].tolist() for step in range(T) for n in (4, 1)]
    assert t.tolist() == [int(got.t[n, step]) for step in range(T) for n in (4, 1)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X[0], [0] * T), "x is .sequences, time, features."),
        ((X[..., :0], [0] * N), "not empty"),
        ((X, [0] * (N - 1)), "6 sequences of 5 steps take"),
        ((X, np.zeros(N)), "6 sequences of 5 steps take"),
        ((X, np.zeros((N, T + 1), int)), "6 sequences of 5 steps take"),
        ((X, [0] * N, [5] * 5), "6 integers from 1 to 5"),
        ((X, [0] * N, [0, 5, 5, 5, 5, 5]), "6 integers from 1 to 5"),
        ((X, [0] * N, [6, 5, 5, 5, 5, 5]), "6 integers from 1 to 5"),
        ((X, [0] * N, None, np.ones((N, T), bool)), "beside a target at each step"),
        ((X, np.zeros((N, T), int), None, np.ones((N, T))), "a mask is bool"),
        ((X, np.zeros((N, T), int), None, np.zeros((N, T), bool)), "no sequence is asked"),
        ((X, [-1] * N), "classes are from 0"),
        ((X, ["a"] * N), "not an array of numbers"),
    ],
)
def test_what_does_not_fit_together_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(SeqlraError, match=message):
        sequences_from_arrays(*arguments)


class TestSplits:
    def test_every_sequence_is_in_one_split(self) -> None:
        tokens = np.arange(30).reshape(10, 3)
        splits = split_sequences(sequences_from_arrays(tokens, np.arange(10) % 4), 3, 2, seed=1)
        parts = [splits.part(name).x[:, 0].tolist() for name in ("train", "valid", "test")]
        assert [len(part) for part in parts] == [5, 3, 2]
        assert sorted(first for part in parts for first in part) == tokens[:, 0].tolist()
        assert (splits.inputs, splits.outputs, splits.loss, splits.masked) == (30, 4, "cross-entropy", False)
        for part in (splits.train, splits.valid, splits.test):
            assert (part.t[:, 0] == part.x[:, 0] // 3 % 4).all()

    def test_another_seed_is_another_split_of_its_own_sizes(self) -> None:
        whole = sequences_from_arrays(np.arange(60).reshape(20, 3), np.arange(20) % 4)
        one, other = (split_sequences(whole, 3, 2, seed) for seed in (1, 2))
        assert (len(one.train), len(one.valid), len(one.test)) == (15, 3, 2)
        assert not one.train.x.equal(other.train.x)

    def test_one_split_in_which_targets_are_missing_is_enough(self) -> None:
        whole, cut = (sequences_from_arrays(X, np.zeros((N, T), int), lengths) for lengths in (None, LENGTHS))
        assert [whole.masked, cut.masked] == [False, True]
        assert SequenceSplits(whole, whole, cut, F, 1).masked
        assert not SequenceSplits(whole, whole, whole, F, 1).masked

    def test_vectors_have_as_many_outputs_as_units(self) -> None:
        splits = split_sequences(sequences_from_arrays(X, np.zeros((N, T, UNITS)), LENGTHS), 2, 2, seed=1)
        assert (splits.inputs, splits.outputs, splits.loss, splits.masked) == (F, UNITS, "gaussian", True)

    def test_splits_that_do_not_fit_together_are_refused(self) -> None:
        part = sequences_from_arrays(X, [0] * N)
        with pytest.raises(SeqlraError, match="each needs one"):
            split_sequences(part, 4, 2, seed=1)
        other = Sequences(part.x[:, 1:], part.t, part.steps)
        with pytest.raises(SeqlraError, match="must have one length"):
            SequenceSplits(part, other, part, F, 1)


def test_pixels_come_in_reading_order(images: Path) -> None:
    data = load_images("mnist", images, valid=40)
    for features in (data.width, 1):
        splits = pixel_sequences(data, features)
        steps = data.pixels // features
        assert (splits.time, splits.steps, splits.inputs, splits.outputs) == (
            steps,
            range(steps, steps + 1),
            features,
            10,
        )
        for name in ("train", "valid", "test"):
            split, part = data.part(name), splits.part(name)
            assert len(part) == len(split)
            for n in (0, len(part) - 1):
                pixels = [pixel for step in range(steps) for pixel in part.x[n, step].tolist()]
                assert pixels == split.x[n].tolist()
                assert part.t[n].tolist() == [int(split.t[n])]
    with pytest.raises(SeqlraError, match="30 pixels cannot be cut into steps of 4"):
        pixel_sequences(data, 4)
    with pytest.raises(SeqlraError, match="one seed"):
        pixel_sequences(load_images("mnist", images, [0, 1], valid=40), 1)
