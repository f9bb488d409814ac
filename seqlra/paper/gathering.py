"""Gathering of finished runs that lie in several folders, so that one table shows all of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from seqlra.errors import SeqlraError
from seqlra.paper.publishing import finished_runs
from seqlra.training.run_directory import RunDirectory


def gather(source: Path, store: Path) -> int:
    """Take over the finished runs of a source, except those that the store has finished itself.

    Args:
        source: the folder of another `Reproduction`, or a ``runs.jsonl`` of `publish`: that has configurations and
            results, but no curves and no weights.
        store: the folder of a `Reproduction`; made where it is not there yet.

    Returns:
        How many runs were taken over.

    Raises:
        SeqlraError: the source has no finished run, or is damaged; the store cannot be written.
    """
    runs = _published(source) if source.is_file() else finished_runs(source)
    if not runs:
        raise SeqlraError(f"{source} has no finished run of seqlra reproduce; accepted: its --out, or a runs.jsonl")
    taken = 0
    for each in runs:
        run = RunDirectory(store / each["run"])
        if run.outcome() is not None:
            continue
        try:
            if source.is_file():
                run.path.mkdir(parents=True, exist_ok=True)
                run.write_json(run.config, each["config"])
                run.write_json(run.failed if each["result"]["diverged"] else run.result, each["result"])
            else:
                shutil.copytree(source / each["run"], run.path, dirs_exist_ok=True)
        except OSError as error:
            raise SeqlraError(f"cannot write to {run.path}: {error.strerror or error}") from error
        taken += 1
    return taken


def _published(path: Path) -> list[dict[str, Any]]:
    """The lines of a ``runs.jsonl``."""
    try:
        runs = [json.loads(line) for line in path.read_text().splitlines()]
        wrong = [run for run in runs if Path(run["run"]).name != run["run"] or not run["config"] | run["result"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SeqlraError(f"{path} is damaged, or no runs.jsonl of seqlra reproduce publish: {error!r}") from error
    if wrong:
        raise SeqlraError(f"{path} is damaged: {wrong[0]['run']!r} names no run")
    return runs
