"""Networks as scikit-learn estimators: in pipelines, under `GridSearchCV`, for data frames.

    >>> from sklearn.datasets import load_digits
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from seqlra.sklearn import LRAClassifier
    >>> x, y = load_digits(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), LRAClassifier(max_iter=20, random_state=0)).fit(x[:1200], y[:1200])
    >>> bool(model.score(x[1200:], y[1200:]) > 0.8)
    True

Their parameters have the names of scikit-learn's own multilayer perceptrons where these have them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from seqlra.analysis.predicting import predict
from seqlra.engine.initialization import initialize
from seqlra.errors import SeqlraError
from seqlra.network.builders import mlp
from seqlra.network.graph import Graph
from seqlra.network.units import Activation, Discretizer
from seqlra.rules import Rule, rule, rule_class
from seqlra.training.callback import Callback
from seqlra.training.callbacks import EarlyStopping
from seqlra.training.fitting import fit
from seqlra.training.optimizers import make
from seqlra.training.progress import Progress


class _Perceptron(BaseEstimator):  # type: ignore[misc]
    """What classifiers and regressors have in common."""

    _output = ""

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (100,),
        activation: str | Activation = "tanh",
        *,
        rule: str | Rule = "lra-fdbk",
        beta: float | None = None,
        rule_settings: Mapping[str, Any] | None = None,
        discretizer: str | Discretizer | None = None,
        loss: str = "log-penalty",
        weight_init: str = "fan-in",
        feedback_init: str | None = None,
        optimizer: str = "adam",
        learning_rate_init: float | None = None,
        batch_size: int = 50,
        max_iter: int = 50,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 0.0,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
        device: str = "cpu",
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.rule = rule
        self.beta = beta
        self.rule_settings = rule_settings
        self.discretizer = discretizer
        self.loss = loss
        self.weight_init = weight_init
        self.feedback_init = feedback_init
        self.optimizer = optimizer
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.device = device

    def fit(self, X: Any, y: Any) -> Self:
        """Train on samples ``X (n, features)`` with their targets ``y``.

        Raises:
            ValueError: data that cannot be learned from.
            SeqlraError: parameters that make no sense.
            Diverged: the loss is no longer finite.
        """
        X, targets = self._checked(X, y, reset=not (self.warm_start and hasattr(self, "graph_")))
        if not (self.warm_start and hasattr(self, "graph_")):
            self._begin(X, targets)
        self._train(X, targets, self.max_iter)
        return self

    def _begin(self, X: NDArray[Any], targets: NDArray[Any]) -> None:
        """A new network and a new optimizer."""
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        sizes = self.hidden_layer_sizes
        hidden = [int(sizes)] if isinstance(sizes, (int, np.integer)) else [int(units) for units in sizes]
        nodes = mlp(
            X.shape[1], hidden, self._units(targets), self.activation, self.discretizer, self.loss, self._output
        )
        learns, suited = self._learner()
        self.graph_ = Graph(nodes).to(self.device)
        feedback = suited.feedback_init if self.feedback_init is None else self.feedback_init
        initialize(self.graph_, self._seed, self.weight_init, feedback=feedback, rule=learns)
        self._rule = learns
        lr = suited.lr if self.learning_rate_init is None else self.learning_rate_init
        self._optimizer = make(self.optimizer, self.graph_.parameters(), lr)
        self.loss_curve_: list[float] = []
        self.n_iter_ = 0

    def _learner(self) -> tuple[Rule, Any]:
        """The rule with its settings, and what suits it."""
        settings = {**(self.rule_settings or {}), **({} if self.beta is None else {"beta": self.beta})}
        name = self.activation if isinstance(self.activation, str) else self.activation.name
        if isinstance(self.rule, Rule):
            if settings:
                raise SeqlraError("beta and rule_settings go with the name of a rule; an object has its own")
            return self.rule, type(self.rule).suited("mlp", name, self.optimizer, {})
        suited = rule_class(self.rule).suited("mlp", name, self.optimizer, settings)
        return rule(self.rule, **{**suited.settings, **settings}), suited

    def _train(self, X: NDArray[Any], targets: NDArray[Any], epochs: int) -> None:
        valid, callbacks = None, list[Callback]()
        if self.early_stopping:
            parts = train_test_split(X, targets, test_size=self.validation_fraction, random_state=self._seed)
            X, valid_x, targets, valid_t = parts
            valid = (valid_x, valid_t)
            callbacks.append(EarlyStopping(self.n_iter_no_change, min_delta=self.tol))
        if self.verbose:
            callbacks.append(Progress())
        self.history_ = fit(
            self.graph_,
            self._rule,
            (X, targets),
            epochs=epochs,
            batch_size=self.batch_size,
            optimizer=self._optimizer,
            valid=valid,
            seed=self._seed + self.n_iter_,  # another order, and other draws, where training goes on
            callbacks=callbacks,
        )
        self.n_iter_ += len(self.history_)
        self.loss_curve_ += [row["train_loss"] for row in self.history_]

    def _outputs(self, X: Any) -> NDArray[Any]:
        check_is_fitted(self, "graph_")
        X = validate_data(self, X, dtype=np.float64, reset=False)
        # in double precision, because products of other sizes round otherwise
        return np.asarray(predict(deepcopy(self.graph_).double(), X, seed=self._seed))

    def _checked(self, X: Any, y: Any, reset: bool) -> tuple[NDArray[Any], NDArray[Any]]:
        """Samples as float32, and targets as the network takes them."""
        raise NotImplementedError

    def _units(self, targets: NDArray[Any]) -> int:
        """The number of outputs."""
        raise NotImplementedError


class LRAClassifier(ClassifierMixin, _Perceptron):  # type: ignore[misc]
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


class LRARegressor(RegressorMixin, _Perceptron):  # type: ignore[misc]
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
