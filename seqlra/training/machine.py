"""The machine of a run: the versions of the software, the device, the number of threads."""

from __future__ import annotations

import platform

import torch

from seqlra import __version__
from seqlra.errors import SeqlraError

MOST_THREADS = 1024


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    return {"seqlra": __version__, "torch": torch.__version__, "python": platform.python_version()}


def pick_device(name: str) -> torch.device:
    """The device of that name; ``auto`` is CUDA where there is one.

    Raises:
        SeqlraError: CUDA is asked for and there is none, or an unknown device.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise SeqlraError(f"unknown device {name!r}; known: auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise SeqlraError("there is no CUDA device here; accepted: --device cpu, or auto to take what there is")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def set_threads(threads: int | None) -> int:
    """Let torch use this many CPU threads (None: its own number); return the number.

    Raises:
        SeqlraError: less than one, or very many, with which torch crashes.
    """
    if threads is not None:
        if not 1 <= threads <= MOST_THREADS:
            raise SeqlraError(f"threads must be from 1 to {MOST_THREADS}, not {threads}")
        torch.set_num_threads(threads)
    return torch.get_num_threads()
