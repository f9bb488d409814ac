"""Values from rows of features."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils.validation import validate_data

from seqlra.sklearn.base import Perceptron


class LRARegressor(RegressorMixin, Perceptron):  # type: ignore[misc]
    """A multilayer perceptron with a linear output for values, trained by a rule of seqlra. Targets should be about as
    large as 1; `sklearn.compose.TransformedTargetRegressor` scales them.

    Parameters and attributes are those of `LRAClassifier`.
    """

    _output = "gaussian"

    def partial_fit(self, X: Any, y: Any) -> Self:
        """One epoch over some samples."""
        first = not hasattr(self, "graph_")
        X, targets = self._checked(X, y, reset=first)
        if first:
            self._begin(X, targets)
        self._train(X, targets, 1)
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """The values of each sample, ``(n,)``, or ``(n, targets)`` where it was trained on several."""
        outputs = self._outputs(X)
        return outputs[:, 0] if self._one else outputs

    def _checked(self, X: Any, y: Any, reset: bool) -> tuple[NDArray[Any], NDArray[Any]]:
        X, y = validate_data(self, X, y, dtype=np.float32, multi_output=True, y_numeric=True, reset=reset)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        self._one = y.ndim == 1
        return X, y.astype(np.float32).reshape(len(y), -1)

    def _units(self, targets: NDArray[Any]) -> int:
        return int(targets.shape[1])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
