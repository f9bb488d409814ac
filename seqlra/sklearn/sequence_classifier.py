"""Classes of sequences."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted, validate_data

from seqlra.analysis.predicting import predict
from seqlra.network.builders import elman
from seqlra.network.losses import masked
from seqlra.network.subgraph import Input, Subgraph
from seqlra.network.units import Activation, Discretizer
from seqlra.rules import Rule
from seqlra.sklearn.classifier import LRAClassifier


class LRASequenceClassifier(LRAClassifier):
    """An Elman network that reads sequences and names the class of each at its end, trained by a rule of seqlra.

    Samples are ``X (n, time, features)``; ``(n, time)``, a number a step; or a list of sequences ``(time, features)``
    or ``(time,)`` of unequal lengths. Training that goes on takes none longer than the first call had. Parameters and
    attributes that are not named here are those of `LRAClassifier`.

    Args:
        hidden_layer_sizes: units of each recurrent layer.
        window: how many steps errors go back over recurrent connections, or ``"full"``; None: what suits the rule.
        feedback: whether error weights are ``"fixed"`` or ``"learned"``; None: what suits the rule.
        leak: None, or the share of a new state, in (0, 1], of leaky units.
        train_leak: whether the leak is trained, one for each layer, from ``leak`` on.
        loss, weight_init: the local loss and the first weights, by default those that suit recurrent networks.

    Attributes:
        n_steps_: the steps of the longest sequence, for which the network is unrolled.
    """

    _task = "rnn"

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (100,),
        activation: str | Activation = "tanh",
        *,
        rule: str | Rule = "lra-fdbk",
        window: int | str | None = None,
        feedback: str | None = None,
        leak: float | None = None,
        train_leak: bool = False,
        beta: float | None = None,
        rule_settings: Any = None,
        discretizer: str | Discretizer | None = None,
        loss: str = "l2",
        weight_init: str = "reservoir",
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
        super().__init__(
            hidden_layer_sizes,
            activation,
            rule=rule,
            beta=beta,
            rule_settings=rule_settings,
            discretizer=discretizer,
            loss=loss,
            weight_init=weight_init,
            feedback_init=feedback_init,
            optimizer=optimizer,
            learning_rate_init=learning_rate_init,
            batch_size=batch_size,
            max_iter=max_iter,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            tol=tol,
            warm_start=warm_start,
            random_state=random_state,
            verbose=verbose,
            device=device,
        )
        self.window = window
        self.feedback = feedback
        self.leak = leak
        self.train_leak = train_leak

    def _settings(self) -> dict[str, Any]:
        given = {"feedback": self.feedback, "window": self.window}
        own = {name: value for name, value in given.items() if value is not None}
        return {**super()._settings(), **own, **({"window": None} if self.window == "full" else {})}

    def _learner(self) -> tuple[Rule, Any]:
        learns, suited = super()._learner()
        return learns, replace(suited, lr=suited.lr / 10)  # a constant step size; see `seqlra.fit`

    def _nodes(self, X: NDArray[Any], hidden: Sequence[int], units: int, learns: Rule) -> list[Input | Subgraph]:
        self.n_steps_ = X.shape[1]
        self._ragged = bool(np.isnan(X).any())
        return elman(
            X.shape[2],
            hidden,
            units,
            self.n_steps_,
            self.activation,
            self.discretizer,
            self.loss,
            masked("cross-entropy") if self._ragged else "cross-entropy",
            across_time=getattr(learns, "window", None) != 0,
            outputs_at=None if self._ragged else [self.n_steps_],
            leak=self.leak,
            train_leak=self.train_leak,
        )

    def _data(self, X: NDArray[Any], targets: NDArray[Any]) -> tuple[Any, ...]:
        if not self._ragged:
            return X, targets
        return np.nan_to_num(X), targets, lengths_of(X)

    def _checked(self, X: Any, y: Any, reset: bool, known: bool = False) -> tuple[NDArray[Any], NDArray[Any]]:
        if _is_plain(X):
            X, targets = super()._checked(X, y, reset, known)
            X = X[:, :, None]
        else:
            X = as_sequences(X)
            if y is None or len(X) != len(y):
                raise ValueError(f"there are {len(X)} sequences and {0 if y is None else len(y)} classes")
            _, targets = super()._checked(np.zeros((len(X), X.shape[2])), y, reset, known)  # their features are counted
        if hasattr(self, "graph_") and not reset:
            X = self._fitted_to(X)
        return X.astype(np.float32), targets

    def _fitted_to(self, X: NDArray[Any]) -> NDArray[Any]:
        """More samples, as long as those of the first call."""
        unequal = X.shape[1] != self.n_steps_ or np.isnan(X).any()
        if X.shape[1] > self.n_steps_ or (unequal and not self._ragged):
            accepted = f"{'at most' if self._ragged else 'exactly'} {self.n_steps_} steps"
            raise ValueError(f"the first call had sequences of {accepted}; these have up to {X.shape[1]}")
        return np.pad(X, ((0, 0), (0, self.n_steps_ - X.shape[1]), (0, 0)), constant_values=np.nan)

    def _outputs(self, X: Any) -> NDArray[Any]:
        """The probabilities at the end of each sequence; those of one length run together."""
        check_is_fitted(self, "graph_")
        if _is_plain(X):
            sequences = validate_data(self, X, dtype=np.float64, reset=False)[:, :, None]
        else:
            sequences = as_sequences(X)
            validate_data(self, np.zeros((len(sequences), sequences.shape[2])), reset=False)
        lengths, graph = lengths_of(sequences), deepcopy(self.graph_).double()
        outputs = np.empty((len(sequences), len(self.classes_)))
        for length in np.unique(lengths):
            here = lengths == length
            found = np.asarray(predict(graph, sequences[here, :length], seed=self._seed))
            outputs[here] = found[:, -1] if found.ndim == 3 else found
        return outputs


def as_sequences(X: Any) -> NDArray[np.float64]:
    """Sequences as ``(n, time, features)``, with NaN behind the end of each.

    Raises:
        ValueError: sequences without a step, with NaN or infinity, or with other features than the first.
    """
    parts = [np.asarray(each, dtype=np.float64) for each in X]
    parts = [each[:, None] if each.ndim == 1 else each for each in parts]
    if not parts or any(each.ndim != 2 or not each.size or each.shape[1] != parts[0].shape[1] for each in parts):
        shapes = sorted({each.shape for each in parts})[:4]
        raise ValueError(f"sequences are (time, features) with as many features each, and not empty; found {shapes}")
    if not all(np.isfinite(each).all() for each in parts):
        raise ValueError("the sequences have NaN or infinity in them")
    padded = np.full((len(parts), max(map(len, parts)), parts[0].shape[1]), np.nan)
    for row, each in zip(padded, parts, strict=True):
        row[: len(each)] = each
    return padded


def lengths_of(X: NDArray[Any]) -> NDArray[np.int64]:
    """The steps of each sequence ``(n, time, features)`` before its padding with NaN."""
    return (~np.isnan(X[:, :, 0])).sum(1)


def _is_plain(X: Any) -> bool:
    """Whether samples are anything else than 3-D arrays and lists of sequences: then scikit-learn checks them."""
    if hasattr(X, "ndim"):
        return X.ndim != 3
    return not (isinstance(X, list | tuple) and len(X) > 0 and all(np.ndim(each) in (1, 2) for each in X)) or (
        np.ndim(X[0]) == 1 and len({len(each) for each in X}) == 1
    )
