"""Classes from rows of features."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from seqlra.sklearn.base import Perceptron


class LRAClassifier(ClassifierMixin, Perceptron):  # type: ignore[misc]
    """A multilayer perceptron that classifies, trained by a rule of seqlra.

    Args:
        hidden_layer_sizes: units of each hidden layer.
        activation, discretizer, loss: f, g and the local loss of hidden units; names, or objects of your own.
        rule: the name of a rule (``seqlra list rules``), or one as an object.
        beta, rule_settings: settings of a rule that is a name; what is left open suits it.
        weight_init, feedback_init: how W and E start.
        optimizer, learning_rate_init: the name of an optimizer and its step size; None: what suits the rule.
        batch_size, max_iter: samples in a mini-batch; epochs.
        early_stopping: whether ``validation_fraction`` of the samples are held out, training ends after
            ``n_iter_no_change`` epochs without a gain of ``tol``, and the best epoch's weights are kept.
        warm_start: whether ``fit`` goes on with the weights that there are.
        random_state: of the weights, the order of samples and random units.
        verbose: whether progress is shown.
        device: ``cpu`` or ``cuda``.

    Attributes:
        classes_: the classes.
        graph_: the network, a `seqlra.Graph`.
        history_: rows of metrics of the last training.
        loss_curve_, n_iter_: the training loss of each epoch so far, and how many there were.
    """

    _output = "cross-entropy"

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:
        """One epoch over some samples; the first call names all ``classes``.

        Raises:
            ValueError: data that cannot be learned from, classes that the first call did not name.
        """
        first = not hasattr(self, "graph_")
        if first and classes is not None:
            self.classes_ = np.unique(column_or_1d(classes))
        X, targets = self._checked(X, y, reset=first, known=hasattr(self, "classes_"))
        if first:
            self._begin(X, targets)
        self._train(X, targets, 1)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """The most likely class of each sample, ``(n,)``."""
        outputs = self._outputs(X)
        return self.classes_[outputs.argmax(1)]

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """The probabilities of the classes, ``(n, classes)``."""
        return self._outputs(X)

    def predict_log_proba(self, X: Any) -> NDArray[np.float64]:
        """Their logarithms."""
        return np.log(self.predict_proba(X))

    def _checked(self, X: Any, y: Any, reset: bool, known: bool = False) -> tuple[NDArray[Any], NDArray[Any]]:
        X, y = validate_data(self, X, y, dtype=np.float32, reset=reset)
        check_classification_targets(y)
        y = column_or_1d(y, warn=True)
        if known or not reset:
            if odd := set(np.unique(y).tolist()) - set(self.classes_.tolist()):
                raise ValueError(f"the classes {sorted(odd)} are new; those of the first call are {self.classes_}")
            return X, np.searchsorted(self.classes_, y)
        encoder = LabelEncoder().fit(y)
        self.classes_ = encoder.classes_
        return X, encoder.transform(y)

    def _units(self, targets: NDArray[Any]) -> int:
        return len(self.classes_)
