"""Whether a network has learned anything: its metrics beside those of always giving the same answer.

The answers are those of ``DummyClassifier`` and ``DummyRegressor`` of scikit-learn: the most frequent class, the
frequencies of all classes, the mean.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from seqlra.errors import SeqlraWarning
from seqlra.network.losses import asked
from seqlra.tasks.task import Task

MARGIN, ERROR_MARGIN = 1e-3, 0.1
"""By which share a loss and an error in percent must be better to be called learning. Random weights alone get some
answers right, but no loss."""


def guessing(targets: Tensor) -> dict[str, float]:
    """The metrics of the best constant answer to these targets.

    Args:
        targets: class indices ``(...)`` or vectors ``(..., units)``; those that are missing do not count.

    Returns:
        The mean ``loss``, the cross-entropy in nats or half the squared distance; of classes also the ``error`` in
        percent.
    """
    there = targets[asked(targets)].double() if targets.is_floating_point() else targets[asked(targets)]
    if targets.is_floating_point():
        return {"loss": 0.5 * (there - there.mean(0)).square().sum(-1).mean().item()}
    shares = there.bincount().double() / there.numel()
    return {"error": 100 * (1 - shares.max().item()), "loss": -torch.special.xlogy(shares, shares).sum().item()}


def warn_if_guessing(task: Task, found: Sequence[Mapping[str, float]]) -> None:
    """Say it once, as a warning, where models are no better than a constant answer in any metric.

    Args:
        task: its ``guess()`` gives the metrics of the constant answer on validation; tasks of your own may do without.
        found: the metrics on validation, of each model.
    """
    guess = getattr(task, "guess", None)
    by_guess: dict[str, float] = {} if guess is None else guess()
    if not by_guess:
        return
    bounds = {name: (1 - (ERROR_MARGIN if name == "error" else MARGIN)) * value for name, value in by_guess.items()}
    stuck = [each for each in found if all(each[name] >= bound for name, bound in bounds.items())]
    if stuck:
        name = next(name for name in by_guess if name != "error")
        who = "the network is" if len(found) == 1 else f"{len(stuck)} of {len(found)} networks are"
        warnings.warn(
            f"after the first epoch {who} no better than guessing (valid {name} {stuck[0][name]:.4g}; "
            f"the best constant answer has {by_guess[name]:.4g}). With a long memory to learn that is normal; "
            "else look at the step size, the bounds and the data",
            SeqlraWarning,
            stacklevel=2,
        )
