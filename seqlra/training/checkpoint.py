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

FORMAT = 2
"""Increased whenever the content of a checkpoint changes; `load` also reads format 1."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` (containers, numbers, strings, tensors) to ``path``, replacing what was there in one move.

    Raises:
        SeqlraError: it cannot be written.
    """
    write_atomically(path, lambda temporary: _write({"format": FORMAT, **state}, temporary))


def _write(state: dict[str, Any], path: Path) -> None:
    try:
        torch.save(state, path)
    except RuntimeError as error:  # torch's word for a full disk, or a folder that is gone
        raise OSError(f"{first_line(error)} (is the disk full?)") from error


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint, its tensors moved to ``device``.

    Raises:
        SeqlraError: there is none, it is damaged, or its format is unknown.
    """
    if not path.exists():
        raise SeqlraError(f"there is no checkpoint {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            if (bad := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"wrong checksum of {bad}")
        state = torch.load(path, map_location=device, weights_only=True)
        version = state["format"]
        if version == 1:
            state, version = _from_format_1(state), FORMAT
    except Exception as error:  # whatever a damaged file makes the readers raise
        raise SeqlraError(f"the checkpoint {path} is damaged ({first_line(error)})") from error
    if version != FORMAT:
        raise SeqlraError(f"the checkpoint {path} has format {version}; this version of seqlra reads 1 to {FORMAT}")
    return dict(state)


def _from_format_1(state: dict[str, Any]) -> dict[str, Any]:
    """The same in format 2; format 1 had the record of a single model without a list around each part."""
    best, names = state["best"], ("history", "score", "epoch", "diverged")
    parts = [state["history"], best["score"], best["epoch"], state.get("diverged")]
    if not isinstance(best["score"], list):
        parts = [[part] for part in parts]
    records = [dict(zip(names, record, strict=True)) for record in zip(*parts, strict=True)]
    return {"diagnostics": {}, **state, "records": records, "best": {"weights": best["weights"]}}
