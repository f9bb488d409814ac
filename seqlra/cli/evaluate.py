"""``seqlra evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from seqlra.cli.options import DataDir, Device, Json
from seqlra.errors import SeqlraError


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    split: Annotated[Literal["train", "valid", "test"], typer.Option(help="What to measure on.")] = "test",
    text: Annotated[
        Path | None, typer.Option(help="Measure an RNN on this UTF-8 text instead.", show_default=False)
    ] = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Measure the network of a run, with the weights that validation chose.

    Tokens of a text that training never saw are read as the unknown token; how many is told.
    """
    from seqlra.cli.show import json_line, result_rows, table
    from seqlra.rundir import RunDirectory

    run_directory = RunDirectory.open(run)
    result: dict[str, Any] = {"run": str(run)}
    if text is None:
        from seqlra.experiments import load_best

        experiment = load_best(run_directory, device, data_dir)
        metrics = experiment.task.evaluate(experiment.graph, split)
        result |= {"split": split, **{f"{split}_{name}": value for name, value in metrics.items()}}
    else:
        from seqlra.experiments import evaluate_text

        if data_dir is not None:
            raise SeqlraError("--text and --data-dir do not go together: both say what to measure on")
        result |= {"text": str(text), **evaluate_text(run_directory, text, device)}
    table(f"run {run}", result_rows(result), to_stderr=json)
    if json:
        json_line(result)
