"""`seqlra tune` and `seqlra compare --tuned` from the command line. Oracle: the options as they were written."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import Run

from seqlra import SeqlraError
from seqlra.cli import tune
from seqlra.rules.space import Choice, Range
from seqlra.sweeps import trying
from seqlra.sweeps.tuning import Tuning

SMALL = "--dataset mnist --valid 60 --hidden 7,5 --batch-size 10 --epochs 2 --threads 1"


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_a_study_and_the_runs_at_what_it_found(seqlra: Run, tmp_path: Path, images: Path) -> None:
    data = f"{SMALL} --data-dir {images}"
    done = seqlra(f"tune mlp --rules lra-fdbk,b=backprop --own 'b: --optimizer sgd' --trials 3 {data} --out t --json")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    results = read(tmp_path / "t/results.json")
    assert json.loads(done.stdout) == {**results, "out": "t"}
    lines = [line for line in done.stderr.splitlines() if ", trial " in line]
    assert [line.split(":")[0].rsplit(" of")[0] for line in lines] == [
        f"{label}, trial {number}" for label in ("lra-fdbk", "b") for number in (1, 2, 3)
    ]
    assert "b (backprop)" in done.stderr  # the table, where standard output belongs to JSON

    done = seqlra("compare --tuned t --epochs 1 --own 'b: --hidden 6' --seeds 1 --seed 1 --out cmp --json")
    assert done.returncode == 0, done.stderr
    assert [row["label"] for row in json.loads(done.stdout)["rows"]] == ["lra-fdbk", "b"]
    for row, hidden in zip(results["rows"], ([7, 5], [6]), strict=True):
        config = read(tmp_path / f"cmp/{row['label']}-seed1/config.json")
        held = {**config["rule"], "lr": config["optimization"]["lr"]}
        assert {name: held[name] for name in row["best"]["settings"]} == row["best"]["settings"]
        assert config["optimization"]["optimizer"] == ("sgd" if row["label"] == "b" else "adam")
        assert (config["optimization"]["epochs"], config["network"]["hidden"], config["seed"]) == (1, hidden, 1)
        assert config["data"]["data_dir"] == str(images)
        assert "test_error" in read(tmp_path / f"cmp/{row['label']}-seed1/result.json")


def test_options_ranges_and_the_seed_reach_the_study(seqlra: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []

    def start(path: Path, task: str, rules: Any, trials: int, seed: int, space: Any, *more: Any) -> Tuning:
        found.append((task, rules, trials, seed, space, more[:2]))
        raise SeqlraError("they would train")

    monkeypatch.setattr(Tuning, "start", start)
    spaces = "--space lr=1e-4:0.1:log --space 'k: inner-steps=1,3' --space beta=0:1 --space 'b: lr=0.5:1'"
    given = f"--rules k=lra-diff,b=backprop --own 'b: --momentum 0.5' --trials 7 --seed 4 --jobs 2 {spaces} --lr 0.5"
    done = seqlra(f"tune mlp {given} --pruner asha --storage sqlite:///x --data-dir data --set reduction=sum")
    assert done.stderr == "error: they would train\n"
    (task, rules, trials, seed, space, more) = found[0]
    assert (task, trials, seed, more) == ("mlp", 7, 4, ("asha", "sqlite:///x"))
    shared = {"lr": 0.5, "data_dir": str(Path("data").absolute()), "settings": {"reduction": "sum"}, "threads": 1}
    assert rules == {"k": {"rule": "lra-diff", **shared}, "b": {"rule": "backprop", "momentum": 0.5, **shared}}
    assert space == {
        "k": {"lr": Range(1e-4, 0.1, log=True), "inner_steps": Choice((1, 3)), "beta": Range(0, 1)},
        "b": {"lr": Range(0.5, 1)},
    }
    Path("all.toml").write_text("seed = 9\nseeds = 3\nlr = 0.25\n")
    assert seqlra("tune mlp --rules backprop --config all.toml").stderr == "error: they would train\n"
    assert found[1][1:4] == ({"backprop": {"lr": 0.25, "rule": "backprop", "settings": {}}}, 20, 9)


def test_ctrl_c_says_how_to_go_on(seqlra: Run, tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([3.0, None, 2.0, 4.0])

    def value_at(*given: Any) -> float:
        value = next(values)
        if value is None:
            raise KeyboardInterrupt
        return value

    monkeypatch.setattr(trying, "value_at", value_at)
    done = seqlra(f"tune mlp --rules backprop --trials 3 {SMALL} --data-dir {images} --out t")
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == "stopped; go on with: seqlra tune --resume t"
    done = seqlra("tune --resume t")
    assert done.returncode == 0, done.stderr
    assert "trial 1 of 3" not in done.stderr
    assert "trial 3 of 3: 4.00, best 2.00" in done.stderr
    assert read(tmp_path / "t/results.json")["rows"][0]["done"] == 3


BAD = {
    "tune mlp": "say what to tune: --rules lra-fdbk,backprop",
    "tune mlp --rules hebb": "unknown rule 'hebb'; known: lra-fdbk",
    "tune lstm --rules backprop": "unknown task 'lstm'; known: mlp, rnn",
    "tune mlp --rules a/b=backprop": "the label 'a/b' cannot name a folder",
    "tune mlp --rules backprop --trials 0": "at least one trial, not 0",
    "tune mlp --rules backprop --jobs 0": "jobs must be at least 1, not 0",
    "tune mlp --rules backprop --seed -1": "seed must be from 0",
    "tune mlp --rules backprop --pruner best": "unknown pruner 'best'; known: median, asha, none",
    "tune mlp --rules backprop --seeds 3": "compare --tuned DIR --seeds N",
    "tune mlp --rules backprop --rule dfa": "name the rules in --rules",
    "tune mlp --rules backprop --own 'backprop: --seed 3'": "--seed cannot be an option of one run in a study",
    "tune mlp --rules a=backprop,b=backprop --own 'a: --valid 50'": "b has another valid than a (60, not 50)",
    "tune mlp --rules backprop --lr 1": "nothing is left to tune: lr have values already",
    "tune mlp --rules backprop --space lr": "cannot read --space 'lr'; accepted: NAME=LOW:HIGH",
    "tune mlp --rules backprop --space lr=a:b": "cannot read --space 'lr=a:b'",
    "tune mlp --rules backprop --space lr=1:0.1": "a range goes from a number up to a greater one",
    "tune mlp --rules backprop --space lr=0:1:log": "begins above 0",
    "tune mlp --rules backprop --space lr=1:2:fast": "'fast' after the range; accepted: log",
    "tune mlp --rules backprop --space lr=1": "at least two values",
    "tune mlp --rules backprop --space beta=1:2": "none of backprop has a setting beta",
    "tune mlp --rules backprop --space 'dfa: lr=1:2'": "for 'dfa', which is not in --rules; there: backprop",
    "tune mlp --rules backprop --space lr=-1:1": "backprop: lr must be above 0",
    "tune mlp --rules backprop --storage nonsense": "cannot use the storage nonsense",
    "tune mlp --rules backprop --storage sqlite:////nowhere/x.db": "cannot use the storage sqlite:////nowhere/x.db",
    "tune mlp --rules backprop --out taken": "exists already",
    "tune --resume taken": "taken is not a study: it has no tune.json",
    "tune --resume taken --trials 5": "--trials does not go with --resume",
    "tune --resume taken --lr 5": "--lr does not go with --resume: a resumed study keeps",
    "compare --tuned taken": "taken is not a study: there is no taken/trials.jsonl",
}


@pytest.mark.parametrize("given", BAD)
def test_bad_input_is_one_clear_line_before_anything_trains(
    given: str, seqlra: Run, tmp_path: Path, images: Path
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/notes.txt").write_text("precious")
    done = seqlra(given if "taken" in given and "mlp" not in given else f"{given} {SMALL} --data-dir {images}")
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert BAD[given] in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_what_does_not_go_with_a_study(seqlra: Run, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trying, "value_at", lambda *given: 1.0)
    assert seqlra(f"tune mlp --rules backprop --trials 1 {SMALL} --data-dir {images} --out t").returncode == 0
    for words, answer in (
        ("--rules dfa", "--rules does not go with --tuned: the rules are those of the study, backprop"),
        ("rnn", "the study t is of mlp, not of rnn"),
    ):
        done = seqlra(f"compare --tuned t {words}")
        assert (done.returncode, answer in done.stderr) == (1, True), done.stderr
    assert "--storage does not go with it" in seqlra("tune --resume t --storage sqlite:///x").stderr
    monkeypatch.setitem(sys.modules, "optuna", None)
    done = seqlra("tune --resume t")
    assert done.stderr == "error: tuning needs optuna: pip install 'seqlra[tune]'\n"


def test_help_answers_without_torch_and_its_examples_are_studies(
    seqlra: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import sys; from seqlra.cli import main\n"
        "try: main()\n"
        "except SystemExit: print('LOADED', sorted({'torch', 'numpy', 'matplotlib', 'optuna'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, "tune", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"
    assert "seqlra tune --resume" in done.stdout

    def start(*given: Any) -> Tuning:
        raise SeqlraError("they would train")

    monkeypatch.setattr(Tuning, "start", start)
    commands = re.findall(r"^ +seqlra (tune mlp .*)$", str(tune.tune.__doc__), re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        assert seqlra(command).stderr == "error: they would train\n", command
