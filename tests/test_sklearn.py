"""The scikit-learn estimators, under scikit-learn's own checks."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from seqlra import LRADiff, SeqlraError
from seqlra.sklearn import LRAClassifier, LRARegressor, LRASequenceClassifier


@pytest.fixture(autouse=True)
def single_precision() -> None:
    torch.set_default_dtype(torch.float32)


@parametrize_with_checks(
    [
        LRAClassifier((30,), max_iter=40, batch_size=10),
        LRARegressor((30,), max_iter=40, batch_size=10),
        LRASequenceClassifier((12,), max_iter=12, batch_size=10, learning_rate_init=0.02),
    ]
)
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def digits() -> tuple[np.ndarray, np.ndarray]:
    x, y = load_digits(return_X_y=True)
    return x / 16, y


def test_a_grid_in_a_pipeline() -> None:
    x, y = digits()
    model = make_pipeline(StandardScaler(), LRAClassifier((20,), max_iter=25, random_state=0))
    search = GridSearchCV(model, {"lraclassifier__beta": [0.01, 0.1, 1.0]}, cv=3).fit(x[:900], y[:900])
    assert search.best_score_ > 0.8
    assert search.score(x[900:], y[900:]) > 0.75


@pytest.mark.parametrize("rule", ["lra-fdbk", "lra-diff", "backprop", "fa", "dfa", "dtp", LRADiff(beta=0.3)])
def test_every_rule_learns(rule: Any) -> None:
    x, y = digits()
    model = LRAClassifier((24, 16), rule=rule, max_iter=30, random_state=1).fit(x[:1000], y[:1000])
    assert model.score(x[1000:], y[1000:]) > 0.7
    assert len(model.loss_curve_) == model.n_iter_ == 30
    assert np.allclose(model.predict_proba(x[:9]).sum(1), 1)


def test_classes_are_given_back_as_they_were() -> None:
    x, y = digits()
    names = np.array([f"digit {number}" for number in range(10)])[y]
    model = LRAClassifier((20,), max_iter=3, random_state=0).fit(x, names)
    assert set(model.predict(x[:50])) <= set(names)
    assert list(model.classes_) == sorted(set(names))


def test_training_goes_on() -> None:
    x, y = digits()
    warm = LRAClassifier((20,), max_iter=2, random_state=0, warm_start=True)
    losses = [warm.fit(x, y).loss_curve_[-1] for _ in range(3)]
    assert losses == sorted(losses, reverse=True)
    assert warm.n_iter_ == 6
    parts = LRAClassifier((20,), random_state=0)
    for start in range(0, 1500, 500):
        parts.partial_fit(x[start : start + 500], y[start : start + 500], classes=range(10))
    assert parts.n_iter_ == 3
    with pytest.raises(ValueError, match=r"the classes \[11\] are new"):
        parts.partial_fit(x[:5], [11] * 5)


def test_early_stopping_keeps_the_best_epoch() -> None:
    x, y = digits()
    model = LRAClassifier((20,), max_iter=200, early_stopping=True, n_iter_no_change=2, random_state=0).fit(x, y)
    assert model.n_iter_ < 200
    errors = [row["valid_error"] for row in model.history_]
    assert model.history_.best_epoch == 1 + errors.index(min(errors))


def test_values_one_and_several() -> None:
    x, y = load_diabetes(return_X_y=True)
    x, y = StandardScaler().fit_transform(x), (y - y.mean()) / y.std()
    model = LRARegressor((20,), max_iter=30, random_state=0).fit(x[:300], y[:300])
    assert model.score(x[300:], y[300:]) > 0.3
    both = LRARegressor((20,), max_iter=30, random_state=0).fit(x[:300], np.stack([y, -y], 1)[:300])
    assert both.predict(x[300:]).shape == (len(x) - 300, 2)


def test_random_units_and_pickles() -> None:
    x, y = digits()
    model = LRAClassifier((24,), "sigmoid", discretizer="bernoulli", max_iter=3, random_state=0).fit(x, y)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(model.predict_proba(x[:20]), again.predict_proba(x[:20]))
    assert np.array_equal(model.predict(x), clone(model).fit(x, y).predict(x))


def test_settings_of_an_object_are_its_own() -> None:
    x, y = digits()
    with pytest.raises(SeqlraError, match="an object has its own"):
        LRAClassifier(rule=LRADiff(), beta=0.1).fit(x, y)


def test_beta_is_that_of_the_rule() -> None:
    x, y = digits()
    one, same, other = (
        LRAClassifier((9,), max_iter=1, random_state=0, beta=beta, rule_settings=more).fit(x[:200], y[:200])
        for beta, more in ((0.3, None), (None, {"beta": 0.3}), (3.0, None))
    )
    assert np.array_equal(one.predict_proba(x), same.predict_proba(x))
    assert not np.array_equal(one.predict_proba(x), other.predict_proba(x))


def waves(count: int, shortest: int = 8, longest: int = 13) -> tuple[list[np.ndarray], np.ndarray]:
    """Slow and fast waves of unequal lengths, with a second feature that says nothing."""
    random = np.random.default_rng(0)
    y = random.integers(0, 2, count)
    steps = [np.arange(random.integers(shortest, longest)) for _ in y]
    x = [np.sin((1 + label) * t + random.uniform(0, 6)) for label, t in zip(y, steps, strict=True)]
    return [np.stack([each, random.normal(0, 0.1, len(each))], 1) for each in x], y


def recurrent(**given: Any) -> LRASequenceClassifier:
    return LRASequenceClassifier((12,), **{"max_iter": 20, "learning_rate_init": 0.02, "random_state": 0, **given})


@pytest.mark.parametrize("rule", ["lra-fdbk", "backprop"])
def test_sequences_of_unequal_lengths_are_each_asked_at_their_end(rule: str) -> None:
    x, y = waves(200)
    model = recurrent(rule=rule, max_iter=30, learning_rate_init=0.01).fit(x[:150], np.array(["slow", "fast"])[y[:150]])
    assert model.score(x[150:], np.array(["slow", "fast"])[y[150:]]) > 0.9
    alone = np.concatenate([model.predict_proba(each[None]) for each in x[150:160]])
    assert np.allclose(model.predict_proba(x[150:160]), alone, atol=1e-12)
    with pytest.raises(ValueError, match="X has 3 features"):
        model.predict(np.zeros((4, 9, 3)))
    with pytest.raises(ValueError, match="NaN or infinity"):
        model.predict([x[0], x[1] * np.nan])


@pytest.mark.parametrize(
    "given",
    [
        {"window": 0, "feedback": "fixed"},
        {"window": "full", "leak": 0.5},
        {"rule": "backprop", "window": 3},
        {"rule": "e-prop"},
        {"rule": "rflo", "leak": 0.5, "train_leak": True},
    ],
    ids=str,
)
def test_sequences_of_one_length_under_other_settings(given: dict[str, Any]) -> None:
    parts, y = waves(100, 8, 9)
    x = np.stack(parts)
    model = recurrent(**given, max_iter=8).fit(x, y)
    for name in ("window", "feedback"):
        if name in given:
            assert getattr(model._rule, name) == (None if given[name] == "full" else given[name])
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    moved = [name for name, logits in model.graph_.leaks.items() if logits.item() != 0]  # the logit of 0.5
    assert moved == (["a"] if "train_leak" in given else [])
    assert np.allclose(model.predict_proba(x).sum(1), 1)
    model.partial_fit(x[:60], y[:60])
    assert model.n_iter_ == 9
    with pytest.raises(ValueError, match="exactly 8 steps; these have up to 9"):
        model.partial_fit(np.zeros((4, 9, 2)), [0, 1, 0, 1])


def test_rows_are_sequences_of_one_feature() -> None:
    parts, y = waves(60, 8, 9)
    x = np.stack(parts)[:, :, :1]
    one, other = recurrent(max_iter=2).fit(x, y), recurrent(max_iter=2).fit(x[:, :, 0], y)
    assert np.array_equal(one.predict_proba(x), other.predict_proba(x[:, :, 0]))
