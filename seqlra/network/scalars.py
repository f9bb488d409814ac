"""Numbers as operands: constants of fused operations such as ``torch.addcmul``, made once; settings of each model."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor


def scalar(value: float, like: Tensor) -> Tensor:
    """``value`` as a tensor ``()`` of the type and on the device of ``like``; not to be written to."""
    return _scalar(value, like.dtype, like.device)


@cache
def _scalar(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(value, dtype=dtype, device=device)


def vector(values: tuple[float, ...], like: Tensor) -> Tensor:
    """Numbers as a tensor ``(len(values),)`` of the type and on the device of ``like``; not to be written to."""
    return _vector(values, like.dtype, like.device)


@lru_cache(maxsize=64)
def _vector(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device)


def ones(rows: int, like: Tensor) -> Tensor:
    """A column ``(rows, 1)`` of ones of the type and on the device of ``like``; not to be written to."""
    return _ones(rows, like.dtype, like.device)


@lru_cache(maxsize=64)  # runs have few batch sizes; those of a long session would pile up
def _ones(rows: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.ones(rows, 1, dtype=dtype, device=device)


def per_model(setting: float | Tensor | None, axes: int) -> Any:
    """A setting that is one number for all models, or off, as it is; one for each, ``(models, 1, 1)``, with so many
    axes behind that of the models."""
    return setting.reshape(-1, *[1] * axes) if isinstance(setting, Tensor) else setting
