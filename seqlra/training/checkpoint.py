"""Checkpoints: written whole or not at all, checked when read, and never executed.

A checkpoint is what ``torch.save`` writes of plain containers, numbers, strings and tensors. It is read with
``weights_only=True``, which builds those and runs no pickled code.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from seqlra.errors import SeqlraError, first_line
from seqlra.files import write_atomically

FORMAT = 1
"""Raised whenever a checkpoint of an older version can no longer be continued."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` (containers, numbers, strings, tensors) to ``path``, replacing what was there in one move."""
    write_atomically(path, lambda temporary: torch.save({"format": FORMAT, **state}, temporary))


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint, its tensors moved to ``device``.

    Raises:
        SeqlraError: there is none, it is damaged, or it is of another version.
    """
    if not path.exists():
        raise SeqlraError(f"there is no checkpoint {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            if (bad := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"wrong checksum of {bad}")
        state = torch.load(path, map_location=device, weights_only=True)
        version = state["format"]
    except Exception as error:  # whatever a damaged file makes the readers raise
        raise SeqlraError(f"the checkpoint {path} is damaged ({first_line(error)})") from error
    if version != FORMAT:
        raise SeqlraError(f"the checkpoint {path} has format {version}; this version of seqlra reads format {FORMAT}")
    return dict(state)
