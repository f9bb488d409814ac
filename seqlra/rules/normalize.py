"""``Normalize`` (eq. 1), which bounds the norm of every displacement and of every update."""

from __future__ import annotations

import torch
from torch import Tensor


def norm_from(delta: Tensor, c: float | Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """The norm of ``delta`` over the axes ``dim``, which become 1, or ``c`` if that is larger: ``c * delta`` divided by
    it has a norm of at most ``c``.

    It returns the divisor, because the backward pass divides inside a sum that it computes anyway.
    """
    return torch.linalg.vector_norm(delta, 2, dim, True).clamp_min_(c)


def normalize(delta: Tensor, c: float | Tensor | None, dim: int | tuple[int, ...] = -1) -> Tensor:
    """``Normalize(delta, c)``: ``delta`` where its norm over ``dim`` is under ``c``, else scaled to that norm.

    Eq. 1 of the paper (re-projection, Pascanu et al. 2013). ``c`` None returns ``delta`` as it is.
    """
    return delta if c is None else delta * (c / norm_from(delta, c, dim))
