"""Publishing of a store of runs: its pages, its pictures, and a list of the runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from seqlra.errors import SeqlraError
from seqlra.files import write_atomically
from seqlra.paper.exhibits import EXHIBITS
from seqlra.training.run_directory import RunDirectory


def publish(store: Path, to: Path) -> int:
    """Copy ``NAME.md``, ``NAME.json`` and ``NAME.png`` of every exhibit, and write ``runs.jsonl``.

    ``runs.jsonl`` has one line for each finished run: its folder, its whole configuration and its result, so that any
    cell can be run again. Weights stay behind.

    Args:
        store: the folder of `Reproduction`.
        to: the folder that is written; made where it is not there yet.

    Returns:
        How many runs there are.

    Raises:
        SeqlraError: the store has no page, a result in it is damaged, or ``to`` cannot be written.
    """
    pages = [
        page for name in EXHIBITS for ending in ("md", "json", "png") if (page := store / f"{name}.{ending}").exists()
    ]
    if not pages:
        raise SeqlraError(f"{store} has no page of seqlra reproduce; begin with: seqlra reproduce table1 --out {store}")
    lines = [json.dumps(each) + "\n" for each in finished_runs(store)]
    try:
        to.mkdir(parents=True, exist_ok=True)
        for page in pages:
            shutil.copyfile(page, to / page.name)
    except OSError as error:
        raise SeqlraError(f"cannot write to {to}: {error.strerror or error}") from error
    write_atomically(to / "runs.jsonl", lambda path: path.write_text("".join(lines)))
    return len(lines)


def finished_runs(store: Path) -> list[dict[str, Any]]:
    """Every finished run of a store, in the order of the folders' names.

    Raises:
        SeqlraError: a configuration or a result is damaged.
    """
    runs = []
    for path in sorted(store.glob("*-seed*")):
        run = RunDirectory(path)
        if (outcome := run.outcome()) is not None:
            config = run.read_json(run.config)
            if "data_dir" in config["data"]:
                config["data"]["data_dir"] = None  # where it was on one machine
            if config["network"]["init_from"] is not None:
                config["network"]["init_from"] = Path(config["network"]["init_from"]).name
            runs.append({"run": path.name, "config": config, "result": outcome})
    return runs
