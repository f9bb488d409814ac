"""Random draws of a measurement, separate from those of training, and the order of mini-batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Start torch's random numbers from ``seed``, and restore their state at the end."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def order_of(seed: int, epoch: int, samples: int) -> Tensor:
    """The order of the samples in an epoch, ``(samples,)``: so any mini-batch can be made again from its number."""
    return torch.randperm(samples, generator=torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63))
