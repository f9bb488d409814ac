"""What the estimators have in common: their parameters, and training with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from seqlra.analysis.predicting import predict
from seqlra.engine.initialization import initialize
from seqlra.errors import SeqlraError
from seqlra.network.builders import mlp
from seqlra.network.graph import Graph
from seqlra.network.subgraph import Input, Subgraph
from seqlra.network.units import Activation, Discretizer
from seqlra.rules import Rule, rule, rule_class
from seqlra.training.callback import Callback
from seqlra.training.callbacks import EarlyStopping
from seqlra.training.fitting import fit
from seqlra.training.optimizers import make
from seqlra.training.progress import Progress


class Perceptron(BaseEstimator, ABC):  # type: ignore[misc]
    """A multilayer perceptron, whose parameters `LRAClassifier` explains."""

    _output = ""
    _task = "mlp"

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
        learns, suited = self._learner()
        nodes = self._nodes(X, hidden, self._units(targets), learns)
        self.graph_ = Graph(nodes).to(self.device)
        feedback = suited.feedback_init if self.feedback_init is None else self.feedback_init
        initialize(self.graph_, self._seed, self.weight_init, feedback=feedback, rule=learns)
        self._rule = learns
        lr = suited.lr if self.learning_rate_init is None else self.learning_rate_init
        self._optimizer = make(self.optimizer, self.graph_.parameters(), lr)
        self.loss_curve_: list[float] = []
        self.n_iter_ = 0

    def _nodes(self, X: NDArray[Any], hidden: Sequence[int], units: int, learns: Rule) -> list[Input | Subgraph]:
        """The network for samples like these."""
        return mlp(X.shape[1], hidden, units, self.activation, self.discretizer, self.loss, self._output)

    def _settings(self) -> dict[str, Any]:
        """The settings of the rule that were given."""
        return {**(self.rule_settings or {}), **({} if self.beta is None else {"beta": self.beta})}

    def _learner(self) -> tuple[Rule, Any]:
        """The rule with its settings, and what suits it."""
        settings = self._settings()
        name = self.activation if isinstance(self.activation, str) else self.activation.name
        if isinstance(self.rule, Rule):
            if settings:
                raise SeqlraError("beta, rule_settings and the like go with the name of a rule; an object has its own")
            return self.rule, type(self.rule).suited(self._task, name, self.optimizer, {})
        suited = rule_class(self.rule).suited(self._task, name, self.optimizer, settings)
        return rule(self.rule, **{**suited.settings, **settings}), suited

    def _train(self, X: NDArray[Any], targets: NDArray[Any], epochs: int) -> None:
        valid, callbacks = None, list[Callback]()
        if self.early_stopping:
            parts = train_test_split(X, targets, test_size=self.validation_fraction, random_state=self._seed)
            X, valid_x, targets, valid_t = parts
            valid = self._data(valid_x, valid_t)
            callbacks.append(EarlyStopping(self.n_iter_no_change, min_delta=self.tol))
        if self.verbose:
            callbacks.append(Progress())
        self.history_ = fit(
            self.graph_,
            self._rule,
            self._data(X, targets),
            epochs=epochs,
            batch_size=self.batch_size,
            optimizer=self._optimizer,
            valid=valid,
            seed=self._seed + self.n_iter_,  # another order, and other draws, where training goes on
            callbacks=callbacks,
        )
        self.n_iter_ += len(self.history_)
        self.loss_curve_ += [row["train_loss"] for row in self.history_]

    def _data(self, X: NDArray[Any], targets: NDArray[Any]) -> tuple[Any, ...]:
        """Samples and targets as `seqlra.fit` takes them."""
        return X, targets

    def _outputs(self, X: Any) -> NDArray[Any]:
        check_is_fitted(self, "graph_")
        X = validate_data(self, X, dtype=np.float64, reset=False)
        # in double precision, because products of other sizes round otherwise
        return np.asarray(predict(deepcopy(self.graph_).double(), X, seed=self._seed))

    @abstractmethod
    def _checked(self, X: Any, y: Any, reset: bool) -> tuple[NDArray[Any], NDArray[Any]]:
        """Samples as float32, and targets as the network takes them."""

    @abstractmethod
    def _units(self, targets: NDArray[Any]) -> int:
        """The number of outputs."""
