"""``seqlra evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from seqlra.cli.options import DataDir, Device, Json


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    split: Annotated[Literal["train", "valid", "test"], typer.Option(help="What to measure on.")] = "test",
    data_dir: DataDir = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Measure the network of a run, with the weights that validation chose."""
    from seqlra.cli.show import json_line, result_rows, table
    from seqlra.experiments import load_best
    from seqlra.rundir import RunDirectory

    experiment = load_best(RunDirectory.open(run), device, data_dir)
    metrics = experiment.task.evaluate(experiment.graph, split)
    result = {"run": str(run), "split": split, **{f"{split}_{name}": value for name, value in metrics.items()}}
    table(experiment.title, result_rows(result), to_stderr=json)
    if json:
        json_line(result)
