"""Whether a training may go on: checkpoints by other hands, changed settings and data, other processes, kills."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Killed, Run

from seqlra.data.idx import write_idx
from seqlra.errors import SeqlraError
from seqlra.training import checkpoint, runs
from seqlra.training.run_directory import Directory, StackDirectory

State = dict[str, Any]


@pytest.fixture
def stopped(seqlra: Run, images: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Starts a training of 12 updates and stops it after 6; returns its directory."""
    monkeypatch.setattr(runs, "save_pictures", lambda *_: None)

    def begin(options: str = "", name: str = "run") -> Path:
        shutil.copytree(images, "data", dirs_exist_ok=True)
        short = "--dataset mnist --data-dir data --valid 70 --hidden 7,5 --batch-size 20 --epochs 2 --threads 1"
        assert seqlra(f"train mlp {short} {options} --out {name}").returncode == 0
        run = Path(name)
        (run / "result.json").unlink()
        return run

    return begin


def damaged(state: State, path: str, value: Any) -> State:
    """The state with another value at a path such as ``best/weights/W1``; a function makes it of the old one."""
    *folders, last = path.split("/")
    held: Any = state
    for folder in folders:
        held = held[int(folder)] if folder.isdigit() else held[folder]
    key: Any = int(last) if last.isdigit() else last
    if value is KeyError:
        del held[key]
    else:
        held[key] = value(held[key]) if callable(value) else value
    return state


CASES: dict[str, tuple[str, Any]] = {
    "weights of another shape": ("graph/weights.W1", lambda w: w[:, :-1].clone()),
    "weights of another type": ("graph/weights.W1", lambda w: w.double()),
    "weights as text": ("graph/weights.W1", "w"),
    "weights missing": ("graph/weights.W1", KeyError),
    "graph a list": ("graph", [1, 2]),
    "best of another shape": ("best/weights/weights.W2", lambda w: w.T.clone()),
    "best missing": ("best", {}),
    "best a number": ("best", 3),
    "moments of another shape": ("optimizer/state/0/exp_avg", lambda m: m[:1].clone()),
    "moments of another type": ("optimizer/state/0/exp_avg_sq", lambda m: m.to(torch.int32)),
    "moments missing": ("optimizer/state/0/exp_avg", KeyError),
    "moments of a parameter missing": ("optimizer/state/1", KeyError),
    "steps as text": ("optimizer/state/0/step", "3"),
    "optimizer a list": ("optimizer", []),
    "betas as text": ("optimizer/param_groups/0/betas", "often"),
    "lr not a number": ("optimizer/param_groups/0/lr", float("nan")),
    "lr missing": ("optimizer/param_groups/0/lr", KeyError),
    "parameters in another order": ("optimizer/param_groups/0/params", lambda p: p[::-1]),
    "step negative": ("step", -1),
    "step beyond the end": ("step", 13),
    "step a fraction": ("step", 2.5),
    "step missing": ("step", KeyError),
    "seconds as text": ("seconds", "long"),
    "log of another length": ("log", lambda log: log[:2].clone()),
    "log gone": ("log", None),
    "random of another length": ("random", lambda r: r[:9].clone()),
    "records gone": ("records", []),
    "records of numbers": ("records", [1]),
    "history as text": ("records/0/history", "none"),
    "history of numbers": ("records/0/history", [1, 2]),
    "score as text": ("records/0/score", "good"),
    "diverged a number": ("records/0/diverged", 3),
    "diagnostics a list": ("diagnostics", [1]),
    "task of another state": ("task", {"x": torch.zeros(2)}),
}


def test_a_readable_checkpoint_that_does_not_fit_overwrites_nothing(
    stopped: Callable[[str], Path], seqlra: Run
) -> None:
    run = stopped()
    whole = (run / "checkpoint.pt").read_bytes()
    for case, (path, value) in CASES.items():
        (run / "checkpoint.pt").write_bytes(whole)
        state = damaged(torch.load(run / "checkpoint.pt", weights_only=True), path, value)
        torch.save(state, run / "checkpoint.pt")
        before = {file.name: file.read_bytes() for file in run.iterdir()}
        done = seqlra("train mlp --resume run")
        assert done.returncode == 1, case
        assert "does not fit this training" in done.stderr, case
        assert len(done.stderr.splitlines()) == 1, case
        assert {file.name: file.read_bytes() for file in run.iterdir()} == before, case
    (run / "checkpoint.pt").write_bytes(whole)
    assert seqlra("train mlp --resume run").returncode == 0


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "sgd --momentum 0.9", "rmsprop", "adamw", "nadam"])
def test_a_whole_one_fits(optimizer: str, stopped: Callable[[str], Path], seqlra: Run) -> None:
    stopped(f"--optimizer {optimizer} --lr 0.01")
    assert seqlra("train mlp --resume run").returncode == 0
    stopped("--optimizer torch.optim:Adagrad --lr 0.01", "own")
    assert seqlra("train mlp --resume own").returncode == 0


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("optimization", "batch_size", 10),
        ("optimization", "optimizer", "rmsprop"),
        ("optimization", "lr", 0.5),
        ("network", "activation", "sigmoid"),
        ("rule", "beta", 3.0),
        ("data", "valid", 60),
    ],
)
def test_changed_settings_are_noticed(
    part: str, name: str, value: Any, stopped: Callable[[str], Path], seqlra: Run
) -> None:
    run = stopped()
    plain = json.loads((run / "config.json").read_text())
    plain[part][name] = value
    (run / "config.json").write_text(json.dumps(plain))
    before = (run / "checkpoint.pt").read_bytes()
    done = seqlra("train mlp --resume run")
    assert done.returncode == 1
    assert "other settings than config.json" in done.stderr or "does not fit" in done.stderr
    assert (run / "checkpoint.pt").read_bytes() == before


def test_changed_data_are_noticed(stopped: Callable[[str], Path], seqlra: Run) -> None:
    run = stopped()
    file = Path("data/mnist/train-images-idx3-ubyte.gz")
    random = np.random.default_rng(1)
    file.unlink()
    write_idx(file, random.integers(0, 255, (190, 6, 5)).astype(np.uint8))
    before = (run / "checkpoint.pt").read_bytes()
    done = seqlra("train mlp --resume run")
    assert done.returncode == 1
    assert "mnist has changed since the run began" in done.stderr
    assert (run / "checkpoint.pt").read_bytes() == before
    assert "warning: mnist has changed since the run began" in seqlra("evaluate run").stderr


def test_a_text_in_another_order_is_noticed(seqlra: Run) -> None:
    text = "the cat sat on the mat and the rat ran. " * 100
    Path("text.txt").write_text(text)
    options = "--text text.txt --hidden 6 --unroll 9 --streams 5 --epochs 1 --feedback fixed --threads 1"
    assert seqlra(f"train rnn {options} --out run").returncode == 0
    Path("run/result.json").unlink()
    Path("text.txt").write_text(text[::-1])  # the same characters
    assert "text.txt has changed since the run began" in seqlra("train rnn --resume run").stderr


def test_a_training_whose_checkpoint_is_gone_does_not_begin_anew(stopped: Callable[[str], Path], seqlra: Run) -> None:
    run = stopped()
    (run / "checkpoint.pt").unlink()
    before = (run / "metrics.jsonl").read_bytes()
    done = seqlra("train mlp --resume run")
    assert done.returncode == 1
    assert "its checkpoint.pt is gone" in done.stderr
    assert (run / "metrics.jsonl").read_bytes() == before


def test_another_torch_is_a_warning(stopped: Callable[[str], Path], seqlra: Run) -> None:
    run = stopped()
    plain = json.loads((run / "config.json").read_text())
    plain["versions"]["torch"] = "1.0"
    (run / "config.json").write_text(json.dumps(plain))
    done = seqlra("train mlp --resume run")
    assert done.returncode == 0
    assert done.stderr.count("warning: the run began with torch 1.0") == 1


@pytest.mark.parametrize("folder", ["../other", "/tmp/other", "seed0/..", ".", "", "a/b", "link"])
def test_a_stack_names_only_folders_in_itself(folder: str, tmp_path: Path) -> None:
    (tmp_path / "stack" / "seed0").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "stack" / "link").symlink_to(tmp_path / "other")
    (tmp_path / "stack" / "stack.json").write_text(json.dumps({"runs": ["seed0", folder]}))
    with pytest.raises(SeqlraError, match="not a run in a folder of its own"):
        StackDirectory.open(tmp_path / "stack")


def test_a_comparison_writes_through_no_link(seqlra: Run, images: Path) -> None:
    short = f"--dataset mnist --data-dir {images} --valid 70 --hidden 7 --batch-size 20 --epochs 1 --threads 1"
    assert seqlra(f"compare mlp --rules fa,dfa {short} --out many").returncode == 0
    assert seqlra(f"train mlp {short} --out precious").returncode == 0
    shutil.rmtree("many/fa-seed0")
    Path("many/fa-seed0").symlink_to(Path("precious").resolve())
    Path("precious/result.json").unlink()
    before = {file.name: file.read_bytes() for file in Path("precious").iterdir()}
    done = seqlra("compare --resume many")
    assert done.returncode == 1
    assert "is a link" in done.stderr
    assert {file.name: file.read_bytes() for file in Path("precious").iterdir()} == before


def test_two_processes_do_not_train_in_one_directory(stopped: Callable[[str], Path], seqlra: Run) -> None:
    run = stopped()
    held = os.open(run, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    done = seqlra("train mlp --resume run")
    assert done.returncode == 1
    assert "another process is training in run" in done.stderr
    os.close(held)
    assert seqlra("train mlp --resume run").returncode == 0


def test_two_processes_do_not_run_one_comparison(seqlra: Run, images: Path) -> None:
    short = f"--dataset mnist --data-dir {images} --valid 70 --hidden 7 --batch-size 20 --epochs 1 --threads 1"
    assert seqlra(f"compare mlp --rules fa {short} --out many").returncode == 0
    held = os.open("many", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    assert "another process is training in many" in seqlra("compare --resume many").stderr
    os.close(held)


def test_a_start_that_was_cut_short_may_be_made_again(tmp_path: Path) -> None:
    cut = Directory.create(tmp_path / "run")
    (cut.path / "vocabulary.json").write_text("{}")
    (cut.path / "seed0").mkdir()
    again = Directory.create(tmp_path / "run")
    assert [file.name for file in again.path.iterdir()] == [Directory.STARTING]
    again.started()
    (again.path / "config.json").write_text("{}")
    with pytest.raises(SeqlraError, match="exists already"):
        Directory.create(tmp_path / "run")


def test_a_kill_while_pictures_are_drawn_loses_none(seqlra: Run, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any) -> None:
        raise Killed

    short = f"--dataset mnist --data-dir {images} --valid 70 --hidden 7 --batch-size 20 --epochs 1 --threads 1"
    with monkeypatch.context() as patched:
        patched.setattr(runs, "save_pictures", killed)
        with pytest.raises(Killed):
            seqlra(f"train mlp {short} --out run")
    (Path("run") / ".checkpoint.pt.1.half").write_text("left by a kill")
    assert seqlra("train mlp --resume run").returncode == 0
    assert {file.name for file in Path("run").iterdir()} == {
        *("config.json", "metrics.jsonl", "result.json", "checkpoint.pt", "curve.png", "diagnostics.png")
    }


def test_weights_of_other_units_or_another_text_are_refused(seqlra: Run) -> None:
    Path("one.txt").write_text("abcd efgh. " * 200)
    Path("two.txt").write_text("ijkl mnop. " * 200)
    options = "--hidden 6 --unroll 9 --streams 5 --epochs 1 --feedback fixed --threads 1"
    assert seqlra(f"train rnn --text one.txt {options} --out first").returncode == 0
    for more, message in (
        ("--text two.txt", "another vocabulary"),
        ("--text one.txt --activation relu6", "activation tanh there and relu6 here"),
        ("--text one.txt --discretizer sign", "discretizer none there and sign here"),
    ):
        done = seqlra(f"train rnn {more} {options} --init-from first --out second")
        assert done.returncode == 1
        assert message in done.stderr
        assert not Path("second").exists()
    assert seqlra(f"train rnn --text one.txt {options} --init-from first --out second").returncode == 0


def test_a_folder_that_is_gone_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SeqlraError, match="cannot write"):
        checkpoint.save(tmp_path / "nowhere" / "checkpoint.pt", {"x": torch.zeros(3)})
