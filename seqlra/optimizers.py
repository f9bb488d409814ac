"""The optimisers on offer, all of ``torch.optim``, and the schedule of their step size."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from seqlra.config import Optimisation
from seqlra.errors import unknown

OPTIMIZERS: dict[str, str] = {
    "sgd": "gradient descent, with momentum if given (the paper's Table 1)",
    "adam": "Adam, Kingma and Ba 2014 (the paper's Tables 2 and 4)",
    "rmsprop": "RMSprop",
    "adamw": "Adam with decoupled weight decay at torch's default",
    "nadam": "Adam with Nesterov momentum",
}


def optimizer(parameters: Iterable[nn.Parameter], settings: Optimisation) -> torch.optim.Optimizer:
    """The optimiser that these settings name.

    Raises:
        SeqlraError: an unknown name.
    """
    return make(settings.optimizer, parameters, settings.lr, settings.momentum)


def make(name: str, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.0) -> torch.optim.Optimizer:
    """The optimiser of that name; torch's fused implementation where it has one: the same steps up to rounding, in
    one pass over memory.

    Raises:
        SeqlraError: an unknown name.
    """
    if name not in OPTIMIZERS:
        raise unknown("optimizer", name, OPTIMIZERS)
    match name:
        case "sgd":
            return torch.optim.SGD(parameters, lr=lr, momentum=momentum, fused=True)
        case "adam":
            return torch.optim.Adam(parameters, lr=lr, fused=True)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, lr=lr, momentum=momentum)
        case "adamw":
            return torch.optim.AdamW(parameters, lr=lr, fused=True)
    return torch.optim.NAdam(parameters, lr=lr)


def lr_at(step: int, total: int, settings: Optimisation) -> float:
    """The step size of update ``step`` (from 0) of ``total``."""
    return settings.lr * (1 - step / total) if settings.schedule == "linear" else settings.lr
