"""A rule whose code changes between the start of a run and its end; warnings as lines of the command line."""

from __future__ import annotations

import importlib
import json
import linecache
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import Run

from seqlra import Backprop, LRADiff, LRAFeedback
from seqlra.rules import Rule, rule
from seqlra.training.fingerprint import fingerprint, settings_fingerprint
from seqlra.training.reading import read_config
from seqlra.training.run_directory import RunDirectory

RULE = """
from dataclasses import dataclass
import torch
import seqlra

def changed(error):
    return error * 0.5

@dataclass(frozen=True)
class Own(seqlra.Backprop):
    def error(self, layer, incoming):
        return changed(super().error(layer, incoming))
"""


BEFORE = {
    "task": "rnn",
    "data": {
        "dataset": "text-sample",
        "data_dir": None,
        "text": None,
        "valid_text": None,
        "test_text": None,
        "tokens": "chars",
        "lowercase": False,
        "max_words": 10000,
        "streams": 64,
        "unroll": 50,
    },
    "network": {
        "hidden": [12],
        "activation": "tanh",
        "discretizer": None,
        "block_size": 4,
        "loss": "l2",
        "leak": 1.0,
        "weight_init": "reservoir",
        "weight_std": 0.05,
        "across_time": True,
        "feedback_init": "mirror",
        "mirror_vectors": 100000,
        "feedback_std": 1.0,
        "init_from": None,
    },
    "rule": {
        "name": "lra-fdbk",
        "reduction": "mean",
        "feedback": "learned",
        "feedback_decay": 0.0,
        "window": None,
        "beta": 0.1,
        "c1": None,
        "c2": None,
        "c2_per": "sample",
        "epsilon": 0.0,
        "epsilon_output": None,
        "epsilon_per": "sample",
        "skip": False,
        "carry": "error",
    },
    "optimization": {
        "optimizer": "adam",
        "lr": 0.01,
        "momentum": 0.0,
        "weight_decay": None,
        "schedule": "linear",
        "batch_size": None,
        "epochs": None,
        "steps": 400,
    },
    "seed": 0,
    "diagnose": 100,
    "compile": False,
    "precision": "float32",
    "device": "cpu",
    "threads": 1,
    "versions": {"seqlra": "0.1.0"},
}
"""``config.json`` of a run from before units had a recurrence, texts a column, and trainings a log."""
HASH_BEFORE = "15ef4ad1b4c1c53c"
"""What its checkpoint has, written by the code of that time."""


@pytest.fixture(autouse=True)
def own_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a file of the same second would be taken for the old one
    monkeypatch.syspath_prepend(str(tmp_path))
    write(tmp_path, RULE)


def write(folder: Path, code: str) -> None:
    (folder / "written_rules.py").write_text(code)
    sys.modules.pop("written_rules", None)
    importlib.invalidate_caches()
    linecache.clearcache()


def own() -> Rule:
    return rule("written_rules:Own")


def test_it_changes_with_the_code_and_not_with_its_layout(tmp_path: Path) -> None:
    before = fingerprint(own())
    write(tmp_path, RULE.replace("import torch\n", "import torch  # which is not used\n\n\n"))
    assert fingerprint(own()) == before
    write(tmp_path, RULE.replace("0.5", "0.6"))  # in a function that the class calls
    assert fingerprint(own()) not in ("", before)
    assert len({fingerprint(each) for each in (LRAFeedback(), LRADiff(), Backprop())}) == 3
    assert fingerprint(LRAFeedback(beta=0.3)) == fingerprint(LRAFeedback())


def test_a_run_that_continues_with_other_code_says_so(tmp_path: Path, seqlra: Run) -> None:
    options = "--hidden 4 --valid 14000 --epochs 1 --out run"
    assert seqlra(f"train mlp --rule written_rules:Own {options}").returncode == 0
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["versions"]["rule"] == fingerprint(own())

    def again() -> str:
        (tmp_path / "run/result.json").unlink()
        done = seqlra("train mlp --resume run --import written_rules")
        assert done.returncode == 0
        return str(done.stderr)

    says = "warning: the code of the rule Own has changed since the run began"
    assert says not in again()
    write(tmp_path, RULE.replace("0.5", "0.6"))
    assert again().count(says) == 1
    del config["versions"]["rule"]  # of a run from before it was recorded
    (tmp_path / "run/config.json").write_text(json.dumps(config))
    assert says not in again()


def test_a_rule_that_leaves_torch_is_a_line_of_the_command_line(tmp_path: Path, seqlra: Run) -> None:
    write(tmp_path, RULE.replace("error * 0.5", "torch.from_numpy(error.numpy())"))
    done = seqlra("train mlp --rule written_rules:Own --hidden 4 --valid 14000 --steps 8 --out run")
    assert done.returncode == 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert len(lines) == 1
    assert "Tensor.numpy takes numbers out of torch" in lines[0]
    assert "written_rules.py, line 7" in lines[0]


def test_a_network_that_learns_nothing_is_a_line_of_the_command_line(seqlra: Run) -> None:
    done = seqlra("train mlp --lr 1e-30 --hidden 4 --valid 14000 --epochs 2 --out run")
    assert done.stderr.count("warning: after the first epoch the network is no better than guessing") == 1


def test_a_run_goes_on_after_settings_were_added(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.write_json(run.config, BEFORE)
    config = read_config(run)
    assert settings_fingerprint([config], [run]) == HASH_BEFORE
    assert "recurrence" in config.to_dict()["network"]  # or this could not fail
    assert settings_fingerprint([replace(config, seed=1)], [run]) != HASH_BEFORE
