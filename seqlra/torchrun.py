"""Which of the processes of ``torchrun`` this is, from its environment; without torchrun there is one."""

from __future__ import annotations

import os


def processes() -> int:
    """How many there are."""
    return _number("WORLD_SIZE", 1)


def rank() -> int:
    """The number of this one, from 0 on; 0 writes files and prints."""
    return _number("RANK", 0)


def local_rank() -> int:
    """Its number on this machine, which is that of its GPU."""
    return _number("LOCAL_RANK", 0)


def _number(name: str, alone: int) -> int:
    # other launchers set variables of these names, too
    return int(os.environ.get(name, alone)) if "TORCHELASTIC_RUN_ID" in os.environ else alone
