"""Oracle: the dummy estimators of scikit-learn on the same targets."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from helpers import filled
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import log_loss

from seqlra import elman, mlp
from seqlra.data.arrays import sequences_from_arrays, split_sequences
from seqlra.data.images import load_images
from seqlra.errors import SeqlraError, SeqlraWarning
from seqlra.tasks.classification import Classification
from seqlra.tasks.guessing import guessing, warn_if_guessing
from seqlra.tasks.prediction import Prediction
from seqlra.tasks.sequences import LabeledSequences


def test_classes_are_guessed_as_by_the_dummy() -> None:
    t = torch.tensor([4, 0, 2, 2, 2, 4, 0, 2])
    x = np.zeros((8, 1))
    dummy = DummyClassifier(strategy="prior").fit(x, t.numpy())
    found = guessing(t)
    assert found["error"] == pytest.approx(100 * (1 - dummy.score(x, t.numpy())))
    assert found["loss"] == pytest.approx(log_loss(t.numpy(), dummy.predict_proba(x)))
    gaps = torch.cat([t, torch.full((5,), -100)])
    assert guessing(gaps) == found


def test_vectors_are_guessed_as_by_the_dummy() -> None:
    t = torch.randn(9, 3)
    mean = DummyRegressor().fit(np.zeros((9, 1)), t.numpy()).predict(np.zeros((9, 1)))
    assert guessing(t) == {"loss": pytest.approx(0.5 * ((t.numpy() - mean) ** 2).sum(-1).mean())}
    assert guessing(torch.cat([t, torch.full((2, 3), float("nan"))])) == guessing(t)


def test_every_task_guesses_in_its_own_metrics() -> None:
    images = Classification(load_images("mnist-sample", valid=200), 10, 0)
    assert images.guess() == guessing(images.images.valid.t)
    tokens = torch.randint(5, (90, 2))
    series = {"valid": [tokens, tokens[:7, :1]]}
    unigram = guessing(torch.cat([tokens[1:].flatten(), tokens[1:7, 0]]))
    chars = Prediction(tokens, series, lambda steps: elman(5, [4], 5, steps), 10).guess()
    assert chars == {"bpc": pytest.approx(unigram["loss"] / np.log(2)), "error": unigram["error"]}
    words = Prediction(tokens, series, lambda steps: elman(5, [4], 5, steps), 10, "words").guess()
    assert words["perplexity"] == pytest.approx(np.exp(unigram["loss"]))
    labels = torch.randint(3, (30, 4))
    splits = split_sequences(sequences_from_arrays(torch.randn(30, 4, 2), labels), 10, 5, seed=1)
    assert LabeledSequences(splits, 5).guess() == guessing(splits.valid.t)


def test_a_network_that_guesses_is_said_once_and_one_that_learned_is_not() -> None:
    task = Classification(load_images("mnist-sample", valid=200), 10, 0)
    guess = task.guess()
    with pytest.warns(SeqlraWarning, match="the network is no better than guessing .valid loss 2.4;"):
        warn_if_guessing(task, [{"error": 0.95 * guess["error"], "loss": 2.4}])
    with pytest.warns(SeqlraWarning, match="1 of 2 networks are"):
        warn_if_guessing(task, [{"error": 95.0, "loss": 2.4}, {"error": 10.0, "loss": 0.4}])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for learned in ({"error": 50.0, "loss": 2.4}, {"error": guess["error"], "loss": 0.9 * guess["loss"]}):
            warn_if_guessing(task, [learned])


def test_the_best_constant_network_is_at_the_level_of_guessing() -> None:
    """Its bias is the logarithm of the frequencies, and its weights are 0."""
    task = Classification(load_images("mnist-sample", valid=500), 10, 0)
    graph = filled(mlp(784, [3], 10)).float()
    with torch.no_grad():
        graph.weights["W2"].zero_()
        graph.biases["b2"].copy_((task.images.valid.t.bincount() / 500).log())
    (found,) = task.evaluate(graph, "valid")
    assert found == pytest.approx(task.guess(), rel=1e-5)


def test_inputs_that_are_not_finite_are_refused_with_the_data() -> None:
    x = torch.randn(30, 4, 2)
    x[17, 2, 1] = float("nan")
    with pytest.raises(SeqlraError, match="inputs of sequences have NaN"):
        split_sequences(sequences_from_arrays(x, torch.randint(3, (30, 4))), 10, 5, seed=1)
    series = torch.randn(50, 2, 3)
    series[3, 1, 2] = float("inf")
    with pytest.raises(SeqlraError, match="the train series have NaN or infinity"):
        Prediction(series, {"valid": [series]}, lambda steps: elman(3, [4], 3, steps), 10, "vectors")
