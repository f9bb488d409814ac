"""Oracles: the example of the docstring, the uninterrupted run, and the same checkpoint in the older format."""

from __future__ import annotations

import doctest
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from seqlra import SeqlraError
from seqlra.analysis import plotting
from seqlra.sweeps import comparison
from seqlra.training import checkpoint, runs
from seqlra.training.configure import configure
from seqlra.training.run_directory import RunDirectory, StackDirectory, TrainingDirectory
from seqlra.training.runs import resume_runs, train_runs
from seqlra.training.settings import Config
from seqlra.training.trainer import Stopped, Trainer


def small(images: Path, **given: Any) -> Config:
    """A run of 18 updates."""
    options = {"hidden": (12, 8), "valid": 70, "batch_size": 20, "epochs": 2, "dataset": "mnist"}
    return configure("mlp", **{**options, "data_dir": str(images), "device": "cpu", "threads": 1, **given})


def stop(trainer: Trainer) -> None:
    if trainer.step == 8:
        os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(autouse=True)
def single_precision(double_precision: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Training runs as a command does, in float32; pictures would take longer than the training here."""
    monkeypatch.setattr(runs, "save_pictures", lambda *_: None)
    monkeypatch.setattr(plotting, "save_curves", lambda *_: None)
    torch.set_default_dtype(torch.float32)
    monkeypatch.setattr(Trainer, "CHECK_EVERY", 4)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("module", "name"), [(runs, "train_runs"), (comparison, "Comparison")], ids=["train_runs", "Comparison"]
)
def test_the_example_of_the_docstring_holds(module: Any, name: str) -> None:
    (example,) = doctest.DocTestFinder(recurse=False).find(getattr(module, name), name, globs={})
    assert len(example.examples) > 5
    assert doctest.DocTestRunner().run(example).failed == 0


def without_times(result: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if name not in ("train_seconds", "samples_per_second")}


@pytest.mark.parametrize("models", [1, 2])
def test_a_stopped_training_goes_on_from_python_bit_for_bit(models: int, images: Path) -> None:
    configs = [small(images, seed=seed) for seed in range(models)]
    whole = train_runs(configs, Path("whole"))
    with pytest.raises(Stopped):
        train_runs(configs, Path("cut"), stop)
    assert checkpoint.load(Path("cut/checkpoint.pt"))["step"] == 9
    torch.manual_seed(99)  # what happens in between must not matter
    assert [*map(without_times, resume_runs(Path("cut")))] == [*map(without_times, whole)]
    for one, other in zip(*(TrainingDirectory.open(Path(name)).runs for name in ("cut", "whole")), strict=True):
        states = [checkpoint.load(run.checkpoint) for run in (one, other)]
        assert all(torch.equal(tensor, states[1]["graph"][name]) for name, tensor in states[0]["graph"].items())


def test_the_directories_of_one_and_of_many(images: Path) -> None:
    base = small(images, epochs=1)
    train_runs([base], Path("one"))
    assert isinstance(TrainingDirectory.open(Path("one")), RunDirectory)
    for configs, folders in (
        ([base, small(images, epochs=1, seed=5)], ("seed0", "seed5")),
        ([base] * 2, ("model0", "model1")),
    ):
        train_runs(configs, Path(folders[0]))
        directory = TrainingDirectory.open(Path(folders[0]))
        assert isinstance(directory, StackDirectory)
        assert directory.folders == folders
        assert all(run.outcome() for run in directory.runs)
    with pytest.raises(SeqlraError, match="exists already"):
        train_runs([base], Path("one"))
    with pytest.raises(SeqlraError, match="at least one model"):
        train_runs([], Path("none"))


def as_format_1(state: dict[str, Any], alone: bool) -> dict[str, Any]:
    """As version 1 wrote it: the record of a single model bare, those of a stack as lists of their parts."""
    parts = {name: [record[name] for record in state["records"]] for name in ("history", "score", "epoch", "diverged")}
    if alone:
        parts = {name: values[0] for name, values in parts.items()}
    best = {"score": parts.pop("score"), "epoch": parts.pop("epoch"), **state["best"]}
    return {**{name: value for name, value in state.items() if name != "records"}, **parts, "best": best, "format": 1}


@pytest.mark.parametrize("models", [1, 2])
def test_a_checkpoint_of_format_1_goes_on_bit_for_bit(models: int, images: Path) -> None:
    configs = [small(images, seed=seed, diagnose=0) for seed in range(models)]
    whole = train_runs(configs, Path("whole"))
    with pytest.raises(Stopped):
        train_runs(configs, Path("cut"), lambda trainer: stop(trainer) if trainer.step < 17 else None)
    path = Path("cut/checkpoint.pt")
    torch.save(as_format_1(torch.load(path, weights_only=True), models == 1), path)
    assert [*map(without_times, resume_runs(Path("cut")))] == [*map(without_times, whole)]
