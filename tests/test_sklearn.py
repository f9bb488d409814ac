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
from seqlra.sklearn import LRAClassifier, LRARegressor


@pytest.fixture(autouse=True)
def single_precision() -> None:
    torch.set_default_dtype(torch.float32)


@parametrize_with_checks([LRAClassifier(max_iter=40, batch_size=10), LRARegressor(max_iter=40, batch_size=10)])
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
