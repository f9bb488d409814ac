"""Numbers as tensors without axes, made once: operands of fused operations such as ``torch.addcmul``."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


def scalar(value: float, like: Tensor) -> Tensor:
    """``value`` as a tensor ``()`` of the type and on the device of ``like``; not to be written to."""
    return _scalar(value, like.dtype, like.device)


@cache
def _scalar(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(value, dtype=dtype, device=device)
