"""Atomic writes: a file is complete or absent."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from seqlra.errors import SeqlraError

TEMPORARY = ".*.*.half"
"""The pattern of files that are not whole yet."""


def demand_file(path: Path) -> None:
    """Raise `SeqlraError` where a path is there and is no ordinary file: reading a pipe may wait forever, and a run
    that goes on reads its files again."""
    try:
        if path.exists() and not path.is_file():
            raise SeqlraError(f"{path} is {'a folder' if path.is_dir() else 'a pipe or a device'}, not a file")
    except OSError as error:
        raise SeqlraError(f"cannot read {path}: {error.strerror}") from error


def write_atomically(path: Path, write: Any) -> None:
    """Call ``write(temporary_path)`` for a file next to ``path``, and move it to ``path`` in one step.

    Raises:
        SeqlraError: the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.half")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise SeqlraError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
