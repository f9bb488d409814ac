"""``Normalize`` (eq. 1), which bounds the norm of every displacement and of every update."""

from __future__ import annotations

import torch
from torch import Tensor


def scale_within(delta: Tensor, c: float, dim: int | tuple[int, ...]) -> Tensor:
    """The factor in (0, 1] that brings ``delta`` within the norm ``c``, its axes ``dim`` kept as 1.

    A factor rather than the product, because the walk multiplies it into a sum that it computes anyway.
    """
    norm = torch.linalg.vector_norm(delta, dim=dim, keepdim=True)
    return (c / norm).clamp(max=1)  # a norm of 0 gives infinity, cut to 1


def normalize(delta: Tensor, c: float | None, dim: int | tuple[int, ...] = -1) -> Tensor:
    """``Normalize(delta, c)``: ``delta`` where its norm over ``dim`` is under ``c``, else scaled to that norm.

    Eq. 1 of the paper (re-projection, Pascanu et al. 2013). ``c`` None returns ``delta`` as it is.
    """
    return delta if c is None else delta * scale_within(delta, c, dim)
