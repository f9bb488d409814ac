"""Tasks with memory from the command line: generated ones, and images step by step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Run

from seqlra.data.arrays import PIXEL_DATASETS
from seqlra.data.memory import MEMORY_TASKS
from seqlra.training import checkpoint
from seqlra.training.trainer import Trainer

OF_A_CLOCK = {"train_seconds", "samples_per_second", "seconds"}
SMALL = "--hidden 7 --rule backprop --batch-size 6 --diagnose 2 --threads 1"
FEW = "--valid 30 --held-out 40"


@pytest.fixture(autouse=True)
def no_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """They take longer than the training here; one test has them."""
    if "curve" not in request.node.name:
        monkeypatch.setattr("seqlra.training.runs.save_pictures", lambda *_: None)
        monkeypatch.setattr("seqlra.training.runs.save_stack_picture", lambda *_: None)


def words(dataset: str, images: Path) -> str:
    if dataset in MEMORY_TASKS:
        return f"train rnn --dataset {dataset} --length 22 {FEW} {SMALL}"
    valid, folder = (14_000, "") if "sample" in dataset else (40, f"--data-dir {images}")
    return f"train rnn --dataset {dataset} {folder} --valid {valid} {SMALL}"


def of(run: Path) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    """The result, the rows of metrics and the checkpoint of a run, without what a clock says."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    result, *rows = (
        {name: value for name, value in each.items() if name not in OF_A_CLOCK}
        for each in (json.loads((run / "result.json").read_text()), *rows)
    )
    return result, rows, checkpoint.load(run / "checkpoint.pt")


@pytest.mark.parametrize("dataset", [*MEMORY_TASKS, *PIXEL_DATASETS])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(
    dataset: str, seqlra: Run, tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = seqlra(f"{words(dataset, images)} --steps 2 --out whole --json")
    assert whole.returncode == 0, whole.stderr
    with monkeypatch.context() as patch:
        original = Trainer._one_update

        def one_and_stop(self: Trainer) -> None:
            original(self)
            self.interrupted = True

        patch.setattr(Trainer, "_one_update", one_and_stop)
        stopped = seqlra(f"{words(dataset, images)} --steps 2 --out halves")
    assert "go on with: seqlra train rnn --resume halves" in stopped.stderr
    assert not (tmp_path / "halves/result.json").exists()
    assert seqlra("train rnn --resume halves").returncode == 0
    (result, rows, state), (other, other_rows, other_state) = of(tmp_path / "whole"), of(tmp_path / "halves")
    assert (result, rows) == (other, other_rows)
    for name, tensor in state["graph"].items():
        assert torch.equal(tensor, other_state["graph"][name]), name
    assert (result["task"], result["dataset"], result["steps"]) == ("rnn", dataset, 2)
    assert result.keys() >= {"test_error", "valid_error", "test_loss", "valid_loss"}
    assert ("train_error" in result) == (dataset not in ("adding", "copy"))  # vectors have no class
    assert ("solved_at" in result) == (dataset in MEMORY_TASKS)
    assert json.loads(seqlra("evaluate whole --json").stdout)["test_error"] == result["test_error"]


@pytest.mark.draws
def test_backprop_solves_temporal_order_and_leaves_a_curve(seqlra: Run, tmp_path: Path) -> None:
    options = "--rule backprop --hidden 40 --threads 1 --held-out 3000 --valid 1000"
    done = seqlra(f"train rnn --dataset temporal-order --length 10 {options} --out run --json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["valid_error"] == 0
    assert result["test_error"] < 0.2
    assert result["solved_at"] == result["steps"] == 100 * result["epochs"] < 5000
    assert len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) == result["epochs"]
    assert (tmp_path / "run/curve.png").read_bytes().startswith(b"\x89PNG")
    assert "text needs one of train rnn on a text" in seqlra("sample run").stderr


def test_models_of_a_stack_are_solved_as_they_are_alone(seqlra: Run, tmp_path: Path) -> None:
    """Their seeds solve the task at different updates; each has the result of its own."""
    options = "--rule backprop --hidden 6 --threads 1 --held-out 300 --valid 100 --lr 0.003 --diagnose 0"
    task = f"train rnn --dataset temporal-order --length 10 {options} --steps 1500"
    together = seqlra(f"{task} --seeds 3 --out stack --json")
    assert together.returncode == 0, together.stderr
    summary = json.loads(together.stdout)
    assert len(set(summary["solved_at"])) > 1
    for seed, solved in enumerate(summary["solved_at"]):
        assert seqlra(f"{task} --seed {seed} --out alone{seed}").returncode == 0
        (alone, rows, state), (member, own_rows, own_state) = (
            of(tmp_path / f"alone{seed}"),
            of(tmp_path / f"stack/seed{seed}"),
        )
        assert alone["solved_at"] == member["solved_at"] == solved == member["steps"] == rows[-1]["step"]
        assert [row["epoch"] for row in rows] == [row["epoch"] for row in own_rows]
        assert member["test_loss"] == pytest.approx(alone["test_loss"], rel=1e-3)
        for name, tensor in state["best"]["weights"].items():
            torch.testing.assert_close(own_state["best"]["weights"][name], tensor, rtol=1e-3, atol=1e-4)


def test_what_is_not_solved_says_so(seqlra: Run) -> None:
    done = seqlra(f"train rnn --dataset adding {FEW} {SMALL} --steps 3 --json")
    assert json.loads(done.stdout)["solved_at"] is None
    assert "solved at update" not in done.stderr


def test_rules_are_compared_on_a_generated_task(seqlra: Run, tmp_path: Path) -> None:
    options = f"--dataset copy --length 21 {FEW} --hidden 7 --batch-size 6 --steps 2 --threads 1"
    done = seqlra(f"compare rnn --rules lra-fdbk,backprop --seeds 2 {options} --out cmp --json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [(row["label"], row["seeds"]) for row in rows] == [("lra-fdbk", [0, 1]), ("backprop", [0, 1])]
    assert all(row["test_error"]["mean"] > 50 for row in rows)
    assert (tmp_path / "cmp/curves.png").exists()


def test_datasets_are_listed(seqlra: Run) -> None:
    assert set(seqlra("list datasets").stdout.split()) >= {*MEMORY_TASKS, *PIXEL_DATASETS, "mnist", "text-sample"}


BAD = {
    "--length 5": "length does not go with text-sample, whose own options are dataset, data-dir, column",
    "--batch-size 5": "batch-size does not go with text-sample",
    "--dataset adding --unroll 3": "unroll does not go with adding, whose own options are dataset, length, held-out",
    "--dataset adding --tokens words": "tokens does not go with adding",
    "--dataset adding --data-dir .": "data-dir does not go with adding",
    "--dataset mnist-rows --length 4": "length does not go with mnist-rows",
    "--dataset mnist-rows --data-dir .": "mnist",
    "--dataset copy --length 4": "copy needs sequences of at least 21 steps, not 4",
    "--dataset adding --held-out 0": "held-out must be at least 1, not 0",
    "--dataset temporal": "unknown dataset 'temporal'; known: text-sample, tiny_shakespeare, temporal-order",
    "--dataset adding --rule dtp": "dtp is defined for chains",
}


@pytest.mark.parametrize("given", BAD)
def test_what_does_not_go_together_is_one_clear_line(given: str, seqlra: Run, tmp_path: Path) -> None:
    done = seqlra(f"train rnn {given}")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1), done.stderr
    assert BAD[given] in done.stderr
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_measured_is_one_clear_line(seqlra: Run) -> None:
    assert seqlra(f"train rnn --dataset adding {FEW} {SMALL} --steps 1 --out run").returncode == 0
    for given, says in {
        "--split train": "new at every update; accepted: valid or test",
        "--data-dir .": "adding is generated, so --data-dir does not go with it",
        "--samples 3": "sequences are measured in one pass",
        "--text run/config.json": "text needs one of train rnn on a text",
    }.items():
        done = seqlra(f"evaluate run {given}")
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1), given
        assert says in done.stderr
