"""Oracle: the uninterrupted run. A run that was stopped or killed and resumed equals it bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seqlra import SeqlraError
from seqlra.errors import Diverged
from seqlra.training import checkpoint, runs
from seqlra.training.configure import configure
from seqlra.training.experiment import prepare
from seqlra.training.loading import load_best
from seqlra.training.reading import read_config
from seqlra.training.run_directory import RunDirectory
from seqlra.training.runs import train
from seqlra.training.settings import Config
from seqlra.training.trainer import Stopped, Trainer

TIMES = {"train_seconds", "samples_per_second", "tokens_per_second", "seconds"}


@pytest.fixture(autouse=True)
def single_precision(double_precision: None) -> None:
    """Training runs as a command does, in float32."""
    torch.set_default_dtype(torch.float32)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take longer than the training here."""
    monkeypatch.setattr(runs, "save_pictures", lambda *_: None)


def small(settings: dict[str, Any] | None = None, **given: Any) -> Config:
    """A run of a few hundred updates on the embedded sample."""
    options = {"hidden": (20, 12), "valid": 13_000, "epochs": 4} | given
    return configure("mlp", settings=settings, **options, device="cpu", threads=1)


def start(path: Path, config: Config) -> tuple[Any, RunDirectory]:
    run = RunDirectory.create(path)
    run.write_json(run.config, config.to_dict())
    return prepare([config]), run


def without_times(result: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if name not in TIMES}


def same_outcome(one: RunDirectory, other: RunDirectory) -> None:
    assert without_times(one.read_json(one.result)) == without_times(other.read_json(other.result))
    rows = [[without_times(row) for row in run.read_metrics()] for run in (one, other)]
    assert rows[0] == rows[1]
    states = [checkpoint.load(run.checkpoint) for run in (one, other)]
    for name, tensor in states[0]["graph"].items():
        assert torch.equal(tensor, states[1]["graph"][name]), name
    moments = [[v for s in state["optimizer"]["state"].values() for v in s.values()] for state in states]
    assert all(torch.equal(a, b) for a, b in zip(*moments, strict=True) if isinstance(a, Tensor))


def stop_after(updates: int) -> Any:
    """A watcher that asks the trainer to stop, as Ctrl-C does, at the first look after so many updates."""

    def watch(trainer: Trainer) -> None:
        if trainer.step >= updates:
            os.kill(os.getpid(), signal.SIGINT)

    return watch


@pytest.mark.parametrize(
    "config",
    [
        small(),
        small(optimizer="sgd", momentum=0.9, schedule="linear"),
        small(activation="sigmoid", discretizer="bernoulli"),
        small({"epsilon": 0.01}),
        configure("rnn", hidden=(12,), streams=2000, unroll=11, epochs=3, device="cpu", threads=1),
        configure("rnn", rule="e-prop", online=True, leak=0.5, hidden=(5,), streams=400, steps=90, threads=1),
    ],
    ids=["adam", "momentum, schedule", "bernoulli units", "epsilon", "rnn", "traces"],
)
def test_a_stopped_and_resumed_run_equals_the_one_left_alone(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "CHECK_EVERY", 7)
    alone, run_alone = start(tmp_path / "alone", config)
    train(alone, run_alone)
    stopped, run = start(tmp_path / "stopped", config)
    with pytest.raises(Stopped):
        train(stopped, run, watch=stop_after(60))  # in the middle of the second epoch of 40 updates
    assert not run.result.exists()
    torch.manual_seed(99)  # what happens in between must not matter
    train(prepare([read_config(run)]), run)
    same_outcome(run_alone, run)


@pytest.mark.parametrize("updates", [40, 120], ids=["an epoch", "the run"])
def test_a_stop_at_the_end_of_an_epoch_loses_no_row(
    updates: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "CHECK_EVERY", 1)
    config = small(epochs=3)
    alone, run_alone = start(tmp_path / "alone", config)
    train(alone, run_alone)
    stopped, run = start(tmp_path / "stopped", config)

    def stop_before_the_last(trainer: Trainer) -> None:
        if trainer.step == updates - 1:
            os.kill(os.getpid(), signal.SIGINT)

    try:  # at the end of the run there is nothing left to stop
        train(stopped, run, watch=stop_before_the_last)
    except Stopped:
        train(prepare([read_config(run)]), run)
    same_outcome(run_alone, run)


def test_a_killed_run_resumes_to_the_same_result(tmp_path: Path) -> None:
    arguments = ["train", "mlp", "--hidden", "20,12", "--valid", "13000", "--epochs", "12", "--threads", "1"]
    command = [sys.executable, "-c", "from seqlra.cli import main; main()", *arguments]
    subprocess.run([*command, "--out", tmp_path / "alone"], check=True, capture_output=True)
    process = subprocess.Popen([*command, "--out", tmp_path / "killed"], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while not process.stderr.readline().startswith("epoch 3 "):
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert not (tmp_path / "killed" / "result.json").exists()
    resume = [*command[:3], "train", "mlp", "--resume", tmp_path / "killed"]
    subprocess.run(resume, check=True, capture_output=True)
    same_outcome(RunDirectory.open(tmp_path / "alone"), RunDirectory.open(tmp_path / "killed"))


def test_ctrl_c_keeps_a_checkpoint_and_says_how_to_go_on(tmp_path: Path) -> None:
    arguments = f"train mlp --epochs 1000 --out {tmp_path / 'run'}".split()
    command = [sys.executable, "-c", "from seqlra.cli import main; main()", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("epoch 1 ")
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    says = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert f"seqlra train mlp --resume {tmp_path / 'run'}" in says
    assert "Traceback" not in says
    assert checkpoint.load(tmp_path / "run" / "checkpoint.pt")["step"] > 250


def test_validation_chooses_the_weights_that_are_tested(tmp_path: Path) -> None:
    experiment, run = start(tmp_path / "run", small(lr=0.02, epochs=6))
    (result,) = train(experiment, run)
    errors = [row["valid_error"] for row in run.read_metrics()]
    assert result["best_epoch"] == 1 + errors.index(min(errors))
    assert result["valid_error"] == min(errors)
    best = load_best(run)
    (metrics,) = best.task.evaluate(best.graph, "test")
    assert metrics["error"] == result["test_error"]


def test_the_same_seed_is_the_same_run_and_another_seed_another(tmp_path: Path) -> None:
    results = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        experiment, run = start(tmp_path / name, small(seed=seed, epochs=1))
        results += map(without_times, train(experiment, run))
    assert results[0] == results[1]
    assert results[0]["test_loss"] != results[2]["test_loss"]


def test_steps_take_the_place_of_epochs(tmp_path: Path) -> None:
    experiment, run = start(tmp_path / "run", small(steps=50))
    (result,) = train(experiment, run)
    assert result["steps"] == 50
    assert [row["step"] for row in run.read_metrics()] == [40, 50]


def test_a_diverging_run_stops_names_the_step_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    config = small(rule="backprop", activation="identity", optimizer="sgd", lr=1e4)
    experiment, run = start(tmp_path / "run", config)
    with pytest.raises(Diverged, match=r"diverged at step \d+: .*lr 10000"):
        train(experiment, run)
    state = checkpoint.load(run.checkpoint)
    assert all(tensor.isfinite().all() for tensor in state["graph"].values())
    assert not run.result.exists()
    assert "diverged at step" in run.read_json(run.failed)["message"]
    with pytest.raises(Diverged):  # a second attempt goes on from that checkpoint, to the same end
        train(prepare([config]), run)


def test_the_step_at_which_a_run_diverged_is_the_first_bad_one(tmp_path: Path) -> None:
    experiment, run = start(tmp_path / "run", small())
    original = experiment.task.batch

    def poisoned(step: int) -> Any:
        x, t = original(step)
        return (x * float("nan") if step == 46 else x), t

    experiment.task.batch = poisoned
    with pytest.raises(Diverged, match="at step 47:"):
        train(experiment, run)
    assert checkpoint.load(run.checkpoint)["step"] == 40


def test_depth_falls_with_epsilon_and_is_recorded_each_epoch(tmp_path: Path) -> None:
    experiment, run = start(tmp_path / "run", small({"epsilon": 0.03}, epochs=6))
    train(experiment, run)
    depths = [row["depth"] for row in run.read_metrics()]
    assert 0 < depths[-1] < depths[0] <= 3


class TestCheckpoints:
    @pytest.fixture
    def finished(self, tmp_path: Path) -> RunDirectory:
        experiment, run = start(tmp_path / "run", small(epochs=1))
        train(experiment, run)
        return run

    def test_a_cut_one_is_refused(self, finished: RunDirectory) -> None:
        content = finished.checkpoint.read_bytes()
        finished.checkpoint.write_bytes(content[: len(content) // 2])
        with pytest.raises(SeqlraError, match="damaged"):
            load_best(finished)

    def test_one_wrong_byte_is_noticed(self, finished: RunDirectory) -> None:
        content = bytearray(finished.checkpoint.read_bytes())
        weights = checkpoint.load(finished.checkpoint)["graph"]["weights.W1"].numpy().tobytes()[:64]
        content[bytes(content).index(weights) + 5] ^= 1
        finished.checkpoint.write_bytes(content)
        with pytest.raises(SeqlraError, match="damaged"):
            load_best(finished)

    def test_one_of_another_version_is_refused(self, finished: RunDirectory) -> None:
        state = torch.load(finished.checkpoint, weights_only=True)
        torch.save(state | {"format": 999}, finished.checkpoint)
        with pytest.raises(SeqlraError, match="format 999"):
            load_best(finished)

    def test_pickled_code_is_not_run(self, finished: RunDirectory, tmp_path: Path) -> None:
        class Bomb:
            def __reduce__(self) -> Any:
                return (Path.touch, (tmp_path / "exploded",))

        torch.save({"format": checkpoint.FORMAT, "best": Bomb()}, finished.checkpoint)
        with pytest.raises(SeqlraError, match="damaged"):
            load_best(finished)
        assert not (tmp_path / "exploded").exists()

    def test_one_of_another_network_is_refused(self, finished: RunDirectory) -> None:
        plain = json.loads(finished.config.read_text())
        plain["network"]["hidden"] = [7]
        finished.config.write_text(json.dumps(plain))
        with pytest.raises(SeqlraError, match="does not fit"):
            load_best(finished)

    def test_a_failed_write_leaves_the_old_one(self, tmp_path: Path) -> None:
        path = tmp_path / "checkpoint.pt"
        checkpoint.save(path, {"step": 1})

        def broken(temporary: Path) -> None:
            temporary.write_bytes(b"half")
            raise OSError(28, "No space left on device")

        with pytest.raises(SeqlraError, match="No space left"):
            checkpoint.write_atomically(path, broken)
        assert checkpoint.load(path)["step"] == 1
        assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]
