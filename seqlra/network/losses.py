"""Local losses, which compare a subgraph's output with its target, and output losses.

All work on the last axis: ``value`` maps ``(..., units)`` to ``(...)``, one loss a sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from seqlra import own
from seqlra.errors import unknown
from seqlra.network.pickling import by_name
from seqlra.network.scalars import scalar


@dataclass(frozen=True)
class LocalLoss:
    """``L(z, y)`` of an output ``z`` and its target ``y``, with ``gradient`` = dL/dz; ``y`` is a constant."""

    name: str
    value: Callable[[Tensor, Tensor], Tensor]
    gradient: Callable[[Tensor, Tensor], Tensor]
    about: str = "a local loss of your own"

    def __reduce__(self) -> Any:
        return by_name(self, LOCAL_LOSSES.get(self.name) is self, local_loss, self.name)


@dataclass(frozen=True)
class OutputLoss:
    """The loss of a subgraph whose target is given by the data; it owns that subgraph's ``f``.

    ``f(h)`` makes the output, ``value(h, t)`` the loss of a sample, and ``error(z, t)`` its derivative
    dL/dh. Both pairings here are canonical, so the error is ``z - t`` (eq. 13). ``classes`` says whether targets may be
    class indices; vectors always may. ``masks`` says whether some targets may be missing, see `masked`.
    """

    name: str
    f: Callable[[Tensor], Tensor]
    value: Callable[[Tensor, Tensor], Tensor]
    error: Callable[[Tensor, Tensor], Tensor]
    about: str = "an output loss of your own"
    classes: bool = False
    masks: bool = False

    def __reduce__(self) -> Any:
        if self.masks and (inner := OUTPUT_LOSSES.get(self.name.removeprefix("masked "))) is not None:
            return masked, (inner.name,)
        return by_name(self, OUTPUT_LOSSES.get(self.name) is self, output_loss, self.name)


def _log_penalty_gradient(z: Tensor, y: Tensor) -> Tensor:
    gap = z - y  # 2 gap / (1 + gap^2), in three operations
    return gap.div_(torch.addcmul(scalar(0.5, gap), gap, gap, value=0.5))


LOCAL_LOSSES: dict[str, LocalLoss] = {
    loss.name: loss
    for loss in (
        LocalLoss(
            "l2", lambda z, y: 0.5 * (z - y).square().sum(-1), lambda z, y: z - y, "half the squared gap (eq. 2)"
        ),
        LocalLoss("l1", lambda z, y: (z - y).abs().sum(-1), lambda z, y: (z - y).sign(), "the absolute gap (eq. 3)"),
        LocalLoss(
            "log-penalty",
            lambda z, y: (z - y).square().log1p().sum(-1),
            _log_penalty_gradient,
            "log(1 + gap^2), from the Cauchy distribution (eq. 4)",
        ),
    )
}


def _class_loss(h: Tensor, t: Tensor) -> Tensor:
    if t.dtype.is_floating_point:  # a distribution over classes for each sample
        return -(t * h.log_softmax(-1)).sum(-1)
    t = t.expand(h.shape[:-1])
    return cross_entropy(h.flatten(0, -2), t.flatten(), reduction="none").view(t.shape)


def _class_error(z: Tensor, t: Tensor) -> Tensor:
    if t.dtype.is_floating_point:
        return z - t
    index = t.expand(z.shape[:-1]).unsqueeze(-1)
    return z.scatter_add(-1, index, scalar(-1.0, z).expand(index.shape))


OUTPUT_LOSSES: dict[str, OutputLoss] = {
    loss.name: loss
    for loss in (
        OutputLoss(
            "cross-entropy",
            lambda h: h.softmax(-1),
            _class_loss,
            _class_error,
            "softmax output; targets are class indices (or distributions)",
            classes=True,
        ),
        OutputLoss(
            "gaussian",
            lambda h: h,
            lambda h, t: 0.5 * (h - t).square().sum(-1),
            lambda z, t: z - t,
            "linear output, variance 1 (eq. 13); targets are vectors",
        ),
    )
}


def local_loss(loss: str | LocalLoss) -> LocalLoss:
    """The local loss of that name, or of your own: a `LocalLoss`, or ``module:name`` of one."""
    if isinstance(loss, LocalLoss):
        return loss
    if own.is_own(loss):
        return own.find(loss, LocalLoss, "a local loss")
    if loss not in LOCAL_LOSSES:
        raise unknown("local loss", loss, LOCAL_LOSSES)
    return LOCAL_LOSSES[loss]


def output_loss(loss: str | OutputLoss) -> OutputLoss:
    """The output loss of that name, or of your own: an `OutputLoss`, or ``module:name`` of one."""
    if isinstance(loss, OutputLoss):
        return loss
    if own.is_own(loss):
        return own.find(loss, OutputLoss, "an output loss")
    if loss not in OUTPUT_LOSSES:
        raise unknown("output loss", loss, OUTPUT_LOSSES)
    return OUTPUT_LOSSES[loss]


NOT_ASKED = -100
"""The class index where no prediction is asked, as ``ignore_index`` of torch's cross-entropy."""


def asked(t: Tensor) -> Tensor:
    """Which targets are there, bool ``(...)``: class indices ``(...)`` other than `NOT_ASKED`, or vectors
    ``(..., units)`` without NaN."""
    return ~t.isnan().any(-1) if t.dtype.is_floating_point else t != NOT_ASKED


@cache
def masked(loss: str | OutputLoss) -> OutputLoss:
    """The same loss for targets some of which are missing: -100 for a class index, NaN for a vector.

    A prediction without a target has loss 0 and error 0, and a mean is over the predictions with one. This is for
    sequences of different lengths. The plain loss skips these checks, because most tasks have a target everywhere.

    Raises:
        SeqlraError: an unknown name.
    """
    inner = output_loss(loss)

    def value(h: Tensor, t: Tensor) -> Tensor:
        return inner.value(h, _filled(t)).masked_fill(~asked(t), 0.0)

    def error(z: Tensor, t: Tensor) -> Tensor:
        return inner.error(z, _filled(t)).masked_fill(~asked(t).unsqueeze(-1), 0.0)

    about = f"{inner.about}; targets may be missing"
    return OutputLoss(f"masked {inner.name}", inner.f, value, error, about, inner.classes, masks=True)


def _filled(t: Tensor) -> Tensor:
    """The targets, with 0 in place of missing ones."""
    return t.nan_to_num(nan=0.0) if t.dtype.is_floating_point else t.masked_fill(t == NOT_ASKED, 0)
