"""What is in a log. Oracle: the files of the run, beside what the readers of the real libraries find, without a server.

One stack of two models is stopped and goes on, under all three loggers; the tests look at what it left.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Run, filled, small_mlp
from matplotlib.figure import Figure

import seqlra
from seqlra import SeqlraError
from seqlra.errors import SeqlraWarning
from seqlra.training.configure import configure
from seqlra.training.logger import Logger, Memory, numbers
from seqlra.training.loggers import LIBRARIES
from seqlra.training.option import LOGS, log_names
from seqlra.training.runs import resume_runs, train_runs
from seqlra.training.trainer import Stopped, Trainer

OFFLINE = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_MODE": "offline",
}
X, T = torch.randn(40, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64), torch.arange(40) % 3


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No library of logs may call home."""
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def logged(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a stack that logged everywhere, was stopped in its second epoch, and went on."""
    folder = tmp_path_factory.mktemp("logged")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in OFFLINE.items():
            patch.setenv(name, value)
        patch.setattr(Figure, "savefig", lambda figure, path, **options: Path(path).write_bytes(b"a picture"))
        patch.setattr(Trainer, "CHECK_EVERY", 4)
        torch.set_default_dtype(torch.float32)
        options = {"hidden": (7, 5), "valid": 70, "batch_size": 20, "epochs": 3, "dataset": "mnist", "threads": 1}
        options |= {"data_dir": str(images), "device": "cpu", "diagnose": 3, "log": LOGS}
        configs = [configure("mlp", **options, seed=seed) for seed in (0, 4)]

        def stop(trainer: Trainer) -> None:
            if trainer.step == 8:
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(Stopped):
            train_runs(configs, folder / "stack", stop)
        resume_runs(folder / "stack")
        torch.set_default_dtype(torch.float64)
    return folder / "stack"


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def points_of(run: Path) -> dict[str, list[tuple[int, float]]]:
    """The points of each metric, read off ``metrics.jsonl`` by hand."""
    points: dict[str, list[tuple[int, float]]] = {}
    for row in rows_of(run):
        step = row.pop("step")
        for name, value in row.items():
            for inner, number in value.items() if isinstance(value, dict) else [(None, value)]:
                if number is not None:
                    points.setdefault(f"{name}/{inner}" if inner else name, []).append((step, number))
    return points


@pytest.mark.parametrize("seed", [0, 4])
def test_tensorboard_has_every_row_once(logged: Path, seed: int) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = logged / f"seed{seed}"
    assert len(list((run / "tensorboard").iterdir())) == 2  # before and after it was stopped
    read = EventAccumulator(str(run / "tensorboard"))
    read.Reload()
    expected = points_of(run)
    assert len(rows_of(run)) == 3
    assert {"train_loss", "valid_error", "depth", "angle", "angle_layers/layer1"} <= expected.keys()
    names = {name for name in read.Tags()["scalars"] if not name.startswith("result/")}
    assert names == {name.replace(">", "_") for name in expected}
    for name, points in expected.items():
        found = [(each.step, each.value) for each in read.Scalars(name)]
        assert found == [(step, pytest.approx(value, rel=1e-6)) for step, value in points], name
    result = json.loads((run / "result.json").read_text())
    assert read.Scalars("result/test_error")[-1].value == pytest.approx(result["test_error"])
    assert "_hparams_/session_start_info" in read.Tags()["tensors"] + list(read.summary_metadata)


@pytest.mark.parametrize("seed", [0, 4])
def test_mlflow_has_every_row_once(logged: Path, seed: int) -> None:
    from mlflow import MlflowClient

    run = logged / f"seed{seed}"
    client = MlflowClient(tracking_uri=f"sqlite:///{logged / 'mlflow.db'}")
    number = json.loads((run / "mlflow.json").read_text())["id"]
    found = client.get_run(number)
    assert found.info.status == "FINISHED"
    assert (found.data.params["optimization/lr"], found.data.params["seed"]) == ("0.001", str(seed))
    for name, points in points_of(run).items():
        history = client.get_metric_history(number, name)
        assert [(each.step, each.value) for each in history] == points, name
    result = json.loads((run / "result.json").read_text())
    assert found.data.metrics["result/test_error"] == result["test_error"]
    assert found.data.tags["dataset"] == "mnist"
    assert len(client.search_runs([found.info.experiment_id])) == 2


def records_in(file: Path) -> Iterator[bytes]:
    """The records of a file of wandb: LevelDB's format of logs, behind a header of 7 bytes."""
    data, at, whole = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:  # a record's header does not cross blocks
            at += left
            continue
        size, kind = struct.unpack_from("<HB", data, at + 4)
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # a whole record, or the last part of one
            yield whole
            whole = b""


@pytest.mark.parametrize("seed", [0, 4])
def test_wandb_has_every_row_once(logged: Path, seed: int) -> None:
    from wandb.proto import wandb_internal_pb2

    run = logged / f"seed{seed}"
    known = json.loads((run / "wandb.json").read_text())
    points: dict[str, list[tuple[int, float]]] = {}
    config, summary = {}, {}
    files = sorted(run.glob("wandb/offline-run-*/*.wandb"))
    assert [file.stem for file in files] == [f"run-{known['id']}"] * 2
    for file in files:
        for data in records_in(file):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            config |= {each.key: json.loads(each.value_json) for each in record.run.config.update}
            summary |= {"/".join(each.nested_key) or each.key: each.value_json for each in record.summary.update}
            row = {"/".join(each.nested_key) or each.key: each.value_json for each in record.history.item}
            for name in row.keys() - {"_step", "_runtime", "_timestamp"}:
                points.setdefault(name, []).append((int(row["_step"]), json.loads(row[name])))
    assert points == points_of(run)
    assert (config["optimization/lr"], config["seed"]) == (0.001, seed)
    result = json.loads((run / "result.json").read_text())
    assert json.loads(summary["result/test_error"]) == result["test_error"]
    assert known["step"] == rows_of(run)[-1]["step"]


def test_what_tensorboard_has_beyond_a_checkpoint_is_replaced(tmp_path: Path) -> None:
    """As after a kill between the row of an epoch and its checkpoint."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = seqlra.TensorBoard(tmp_path)
    for from_step, rows in ((0, {2: 0.5, 4: 0.25}), (2, {4: 0.125, 6: 2.0})):
        log.open(from_step)
        assert log.logged == from_step
        for step, value in rows.items():
            log.write(step, {"loss": value})
        log.close(True)
    read = EventAccumulator(str(tmp_path))
    read.Reload()
    assert [(each.step, each.value) for each in read.Scalars("loss")] == [(2, 0.5), (4, 0.125), (6, 2.0)]


def test_mlflow_goes_on_with_the_run_it_noted_unless_a_training_begins(logged: Path, tmp_path: Path) -> None:
    log = seqlra.MLflow(f"sqlite:///{logged / 'mlflow.db'}", "other", tmp_path)

    def opened(step: int) -> tuple[str, int]:
        log.open(step)
        return json.loads((tmp_path / "mlflow.json").read_text())["id"], log.logged

    first, last = opened(0)
    assert (opened(0), last) == ((first, 0), 0)  # it was stopped before its first row
    log.write(3, {"epoch": 1.0, "a>b": 2.0})
    assert opened(2) == (first, 3)
    second, last = opened(0)
    assert (second != first, last) == (True, 0)


class Failing(Logger):
    """A log whose server is away now and then."""

    LIBRARY, TITLE = "json", "Nowhere"

    def __init__(self, away: set[int]) -> None:
        super().__init__()
        self.away, self.rows, self.ends, self.asked = away, list[int](), list[bool](), 0

    def open(self, step: int) -> None:
        self._ask()

    def write(self, step: int, metrics: Any) -> None:
        self._ask()
        self.rows.append(step)

    def summarize(self, result: Any) -> None:
        self._ask()

    def close(self, whole: bool) -> None:
        self.ends.append(whole)

    def _ask(self) -> None:
        self.asked += 1
        if self.asked - 1 in self.away:
            raise ConnectionError("no route\nto the server")


def test_a_log_that_fails_warns_once_and_gets_its_rows_later() -> None:
    log = Failing({2, 3})
    with pytest.warns(SeqlraWarning, match=r"^cannot log to Nowhere: no route; the training goes on$") as warned:
        history = seqlra.fit(filled(small_mlp()), "backprop", (X, T), epochs=4, batch_size=20, callbacks=[log])
    assert len([each for each in warned if "Nowhere" in str(each.message)]) == 1
    assert [row["step"] for row in history] == log.rows == [2, 4, 6, 8]
    assert log.ends == [True]


def test_a_log_that_cannot_be_opened_is_left_alone() -> None:
    log = Failing({0})
    with pytest.warns(SeqlraWarning, match="Nowhere"):
        seqlra.fit(filled(small_mlp()), "backprop", (X, T), epochs=3, batch_size=20, callbacks=[log])
    assert (log.asked, log.rows, log.ends) == (1, [], [])


def test_a_missing_library_is_one_line_before_anything_is_written(
    seqlra: Run, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = f"train mlp --dataset mnist --data-dir {images} --valid 70 --hidden 6,5 --steps 2 --threads 1"
    for name in LOGS:
        monkeypatch.setitem(sys.modules, LIBRARIES[name].LIBRARY, None)
        done = seqlra(f"{words} --log {name} --out run")
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: --log {name} needs {LIBRARIES[name].LIBRARY}: pip install")
        assert done.stderr.endswith("pip install 'seqlra[log]'\n")
        assert not (tmp_path / "run").exists()


def test_the_names_of_logs() -> None:
    assert log_names(["wandb, tensorboard", "wandb"]) == ("wandb", "tensorboard")
    assert (log_names(None), log_names("mlflow")) == ((), ("mlflow",))
    for wrong in ("tensorbord", "wandb,", 3, ["wandb", ""]):
        with pytest.raises(SeqlraError, match=r"unknown log .*; known: tensorboard, wandb, mlflow"):
            log_names(wrong)  # type: ignore[arg-type]
    assert LIBRARIES.keys() == set(LOGS)


def test_the_numbers_of_a_row() -> None:
    row = {"step": 4, "loss": 0.5, "none": None, "word": "a", "nan": float("nan"), "yes": True}
    row |= {"layers": {"a": 1, "b": None}, "steps": [3.0, None, 5.0]}
    assert numbers(row) == {"loss": 0.5, "layers/a": 1, "steps/0": 3.0, "steps/2": 5.0}


def test_a_damaged_note_is_no_note(tmp_path: Path) -> None:
    note = Memory(tmp_path / "new" / "note.json")
    assert note.read() == {}
    note.write({"id": "a"})
    assert note.read() == {"id": "a"}
    for damaged in ("[1]", "{"):
        (tmp_path / "new/note.json").write_text(damaged)
        assert note.read() == {}
