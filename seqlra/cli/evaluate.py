"""``seqlra evaluate``."""

from __future__ import annotations

import sys
from dataclasses import asdict, astuple
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from seqlra.cli.options import DataDir, Device, Imports, Json
from seqlra.errors import SeqlraError

if TYPE_CHECKING:
    from seqlra.analysis.evaluation import Evaluation
    from seqlra.network.graph import Graph
    from seqlra.tasks.classification import Classification
    from seqlra.tasks.prediction import Prediction
    from seqlra.tasks.sequences import LabeledSequences
    from seqlra.training.run_directory import RunDirectory

    Measured = Classification | Prediction | LabeledSequences


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run directory, a stack of runs, or a comparison.")],
    split: Annotated[Literal["train", "valid", "test"], typer.Option(help="What to measure on.")] = "test",
    text: Annotated[
        Path | None, typer.Option(help="Measure an RNN on this UTF-8 text instead.", show_default=False)
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(help="Average the probabilities of N passes of stochastic units.", show_default="one pass"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where --samples writes.", show_default="RUN/evaluation-SPLIT")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the draws of --samples.", show_default="the run's")] = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    imports: Imports = None,
    json: Json = False,
) -> None:
    """Measure the network of a run, with the weights that validation chose.

    Stochastic units: --samples 100 averages 100 passes, and compares with one draw and the mean field.
    It writes posterior.json and .npz, reliability.png and, for images, certainty.png.

    Of a stack or a comparison it measures every run that has a checkpoint.

    Tokens of a text that training never saw are read as the unknown token; it reports how many.
    """
    from seqlra.cli.show import json_line
    from seqlra.cli.train import import_all
    from seqlra.sweeps.several import runs_in
    from seqlra.training.run_directory import RunDirectory

    if text is not None and data_dir is not None:
        raise SeqlraError("--text and --data-dir do not go together: both say what to measure on")
    if samples is None and (out is not None or seed is not None):
        raise SeqlraError("--out and --seed are about the files and the draws of --samples; give that, too")
    if seed is not None and not 0 <= seed < 2**62:
        raise SeqlraError(f"seed must be from 0 to 2**62, not {seed}")
    import_all(imports)
    measure = partial(_measure, split=split, text=text, samples=samples, seed=seed, device=device, data_dir=data_dir)
    if (several := runs_in(run)) is not None:
        if out is not None:
            raise SeqlraError(f"--out is the folder of one run, and {run} holds several; each has its own")
        result = _of_several(run, [measure(each) for each in several], to_stderr=json)
    else:
        result = measure(RunDirectory.open(run), out=out, show=True, to_stderr=json)
    if json:
        json_line(result)


def _measure(
    run: RunDirectory,
    *,
    split: str,
    text: Path | None,
    samples: int | None,
    seed: int | None,
    device: str,
    data_dir: Path | None,
    out: Path | None = None,
    show: bool = False,
    to_stderr: bool = False,
) -> dict[str, Any]:
    """The metrics of one run, for JSON; shown as tables, too, if that is asked for."""
    from seqlra.cli.show import result_rows, table

    graph, task, subject = _loaded(run, split, text, device, data_dir)
    part, prefix = (split, f"{split}_") if text is None else ("text", "")
    result: dict[str, Any] = {"run": str(run.path), **subject}
    if samples is None:
        (metrics,) = task.evaluate(graph, part)
        result |= {"draws": 1} if graph.draws else {}
        result |= {prefix + name: value for name, value in metrics.items()}
        if show:
            table(f"run {run.path}", result_rows(result), to_stderr=to_stderr)
        return result
    folder, seed = out or run.path / f"evaluation-{part}", task.seed if seed is None else seed
    found = _sampled(graph, task, part, samples, seed, folder)
    result |= {"samples": samples, "seed": seed, "out": str(folder), **_plain(found, prefix)}
    _write(folder, result, found, task, part)
    if show:
        _show(f"run {run.path}, {part}: {samples} samples, seed {seed}", found, to_stderr)
    files = ["posterior.json", "posterior.npz", *sorted(path.name for path in folder.glob("*.png"))]
    print(f"{', '.join(files)}: {folder}", file=sys.stderr)
    return result


def _of_several(path: Path, results: list[dict[str, Any]], to_stderr: bool) -> dict[str, Any]:
    """One table of all, and their means with the range."""
    from seqlra.cli.show import table
    from seqlra.training.results import spread, spread_text
    from seqlra.training.run_directory import StackDirectory

    names = [name for name, value in results[0].items() if isinstance(value, float)]
    spreads = {name: spread(each.get(name) for each in results) for name in names}
    rows = [(Path(each["run"]).name, *(f"{each[name]:.4g}" for name in names)) for each in results]
    if StackDirectory(path).about.is_file():  # runs of one setting; those of a comparison differ
        rows.append(("all", *(spread_text(spreads[name]) for name in names)))
    header = ("", *(name.replace("_", " ") for name in names))
    table(f"the {len(results)} runs in {path}", rows, header, to_stderr)
    return {"run": str(path), **spreads, "members": results}


def _loaded(
    run: RunDirectory, split: str, text: Path | None, device: str, data_dir: Path | None
) -> tuple[Graph, Measured, dict[str, Any]]:
    """The chosen network, what to measure it on, and what to say of that."""
    if text is None:
        from seqlra.training.loading import load_best

        experiment = load_best(run, device, data_dir)
        return experiment.graph, experiment.task, {"split": split}
    from seqlra.training.loading import load_on_text

    graph, task, counts = load_on_text(run, text, device)
    return graph, task, {"text": str(text), **counts}


def _sampled(graph: Graph, task: Measured, part: str, samples: int, seed: int, folder: Path) -> Evaluation:
    """The evaluation; what cannot be sampled, and a folder that cannot be made, are refused before the work starts."""
    from seqlra.analysis import evaluation
    from seqlra.cli.show import progress
    from seqlra.tasks.sequences import LabeledSequences

    if isinstance(task, LabeledSequences):
        raise SeqlraError("--samples is about images and texts; sequences are measured in one pass")
    evaluation.check_samples(graph, samples)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SeqlraError(f"cannot write to {folder}: {error.strerror}") from error
    with progress(f"{samples} samples of each", "rows") as watch:
        return evaluation.evaluate(graph, task, part, samples, seed, watch)


def _plain(found: Evaluation, prefix: str) -> dict[str, Any]:
    """The evaluation for JSON; the metrics of the posterior have the same names as the metrics of one pass."""
    from seqlra.training.machine import versions

    metrics = found.metrics()
    posterior = metrics.pop("posterior")
    return {
        **{prefix + name: value for name, value in posterior.items()},
        **metrics,
        "classes": [asdict(row) for row in found.classes()],
        "reliability": [asdict(bin) for bin in found.answers.reliability()],
        "versions": versions(),
    }


def _write(folder: Path, result: dict[str, Any], found: Evaluation, task: Measured, part: str) -> None:
    """``posterior.json``, ``posterior.npz`` and the pictures, each whole or not at all."""
    from seqlra.optional import can_draw
    from seqlra.tasks.classification import Classification
    from seqlra.training.run_directory import RunDirectory

    title = f"{Path(result['run']).name}, {part}: posterior of {result['samples']} samples"
    RunDirectory(folder).write_json(folder / "posterior.json", result)
    found.save(folder / "posterior.npz")
    if not can_draw():
        return
    from seqlra.analysis.pictures import save_certainty, save_reliability

    save_reliability(folder / "reliability.png", found.answers, found.mean_field, title)
    if isinstance(task, Classification):
        images = task.images.part(part).x.unflatten(-1, (task.images.height, task.images.width))
        save_certainty(folder / "certainty.png", images, found.answers, title)


def _show(title: str, found: Evaluation, to_stderr: bool) -> None:
    from seqlra.cli.show import table

    metrics = found.metrics()
    names = list(metrics["posterior"])
    rows = [
        (way.replace("_", " "), *(f"{values[name]:.4g}" if name in values else "-" for name in names))
        for way, values in metrics.items()
    ]
    units = {"error": "error (%)", "loss": "loss (nats)", "calibration_error": "calibration error (%)"}
    table(title, rows, ("", *(units.get(name, name) for name in names)), to_stderr)
    if classes := found.classes():
        by_class = [tuple(f"{v:.4g}" if isinstance(v, float) else str(v) for v in astuple(row)) for row in classes]
        header = ("class", "images", "error (%)", "mean probability", "mean variance")
        table("by true class", by_class, header, to_stderr)
