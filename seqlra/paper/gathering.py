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
    """Take over the finished runs of a source, except those that the store has finished itself. A run that is only
    begun there gives way.

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
    taken = [each for each in runs if RunDirectory(store / each["run"]).outcome() is None]
    half = store / ".half"  # a run that is not whole yet must not look finished
    for each in taken:
        run, final = RunDirectory(half / each["run"]), store / each["run"]
        try:
            shutil.rmtree(half, ignore_errors=True)
            if source.is_dir():
                shutil.copytree(source / each["run"], run.path)
            else:
                run.path.mkdir(parents=True)
                run.write_json(run.config, each["config"])
                run.write_json(run.failed if each["result"]["diverged"] else run.result, each["result"])
            if final.exists():  # begun, and not finished
                shutil.rmtree(final)
            run.path.rename(final)
            half.rmdir()
        except OSError as error:
            raise SeqlraError(f"cannot write to {final}: {error.strerror or error}") from error
    return len(taken)


def _published(path: Path) -> list[dict[str, Any]]:
    """The lines of a ``runs.jsonl``."""
    try:
        runs = [json.loads(line) for line in path.read_text().splitlines()]
        whole = all(isinstance(run["config"], dict) and isinstance(run["result"]["diverged"], bool) for run in runs)
        names = [run["run"] for run in runs]
        whole = whole and all(Path(name).name == name and "-seed" in name for name in names)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SeqlraError(f"cannot read {path} as a runs.jsonl of seqlra reproduce publish: {error!r}") from error
    if not whole:
        raise SeqlraError(f"cannot read {path} as a runs.jsonl of seqlra reproduce publish: a line is no run")
    return runs
