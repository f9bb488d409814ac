"""The runs in a folder of several: a stack, or a comparison."""

from __future__ import annotations

from pathlib import Path

from seqlra.errors import SeqlraError
from seqlra.sweeps.comparison import Comparison
from seqlra.training.run_directory import RunDirectory, StackDirectory


def runs_in(path: Path) -> list[RunDirectory] | None:
    """The runs of a stack or a comparison that have weights to measure; None: it is neither.

    Raises:
        SeqlraError: none has, or the folder is damaged.
    """
    if StackDirectory(path).about.is_file():
        runs = StackDirectory.open(path).runs
    elif Comparison(path).about.is_file():
        comparison = Comparison.open(path)
        runs = [comparison.run_of(spec) for spec in comparison.specs]
    else:
        return None
    begun = [run for run in runs if run.config.is_file() and run.checkpoint.is_file()]
    if not begun:
        raise SeqlraError(f"no run in {path} has a checkpoint yet")
    return begun
