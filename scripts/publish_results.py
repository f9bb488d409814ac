"""Copy what ``seqlra reproduce`` made into ``results/``: tables, figures, and what was run.

    python scripts/publish_results.py runs/paper

copies NAME.md, NAME.json and NAME.png, and writes ``runs.jsonl``: for each finished run its folder, its whole
configuration and its result, so that any cell can be run again. Weights stay behind.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from seqlra.paper.exhibits import EXHIBITS
from seqlra.training.run_directory import RunDirectory

RESULTS = Path(__file__).parents[1] / "results" / "paper"


def runs(shelf: Path) -> list[dict[str, Any]]:
    """What was run, in the order of the folders' names."""
    told = []
    for path in sorted(shelf.glob("*-seed*")):
        run = RunDirectory(path)
        if (outcome := run.outcome()) is not None:
            config = run.read_json(run.config)
            config["data"]["data_dir"] = None  # where it was on one machine
            if config["network"]["init_from"] is not None:
                config["network"]["init_from"] = Path(config["network"]["init_from"]).name
            told.append({"run": path.name, "config": config, "result": outcome})
    return told


def main() -> None:
    """Copy and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("shelf", type=Path, help="the --out of seqlra reproduce")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where to (default results/paper)")
    given = parser.parse_args()
    if not any(given.shelf.glob("*.md")):
        parser.error(f"{given.shelf} has no page that seqlra reproduce made")
    given.results.mkdir(parents=True, exist_ok=True)
    for name in EXHIBITS:
        for ending in ("md", "json", "png"):
            if (made := given.shelf / f"{name}.{ending}").exists():
                shutil.copyfile(made, given.results / made.name)
    lines = [json.dumps(each) for each in runs(given.shelf)]
    (given.results / "runs.jsonl").write_text("".join(f"{line}\n" for line in lines))
    print(f"{len(lines)} runs: {given.results}")


if __name__ == "__main__":
    main()
