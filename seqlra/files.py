"""Atomic writes: a file is complete or absent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from seqlra.errors import SeqlraError


def write_atomically(path: Path, write: Any) -> None:
    """Call ``write(temporary_path)`` for a file next to ``path``, and move it to ``path`` in one step.

    Raises:
        SeqlraError: the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise SeqlraError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
