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
    if settings.optimizer not in OPTIMIZERS:
        raise unknown("optimizer", settings.optimizer, OPTIMIZERS)
    lr, momentum = settings.lr, settings.momentum
    match settings.optimizer:
        case "sgd":
            return torch.optim.SGD(parameters, lr=lr, momentum=momentum)
        case "adam":
            return torch.optim.Adam(parameters, lr=lr)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, lr=lr, momentum=momentum)
        case "adamw":
            return torch.optim.AdamW(parameters, lr=lr)
    return torch.optim.NAdam(parameters, lr=lr)


def lr_at(step: int, total: int, settings: Optimisation) -> float:
    """The step size of update ``step`` (from 0) of ``total``."""
    return settings.lr * (1 - step / total) if settings.schedule == "linear" else settings.lr
