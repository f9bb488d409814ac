"""Your own files through the command line: trained, measured again, stopped and resumed, loaded without the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import Run

from seqlra import load, predict

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(120, 4))
Q = RANDOM.normal(size=(120, 5, 3))
LENGTHS = RANDOM.integers(2, 6, 120)
SMALL = "--hidden 6 --epochs 2 --batch-size 20 --threads 1 --device cpu --json"


@pytest.mark.parametrize("kind", ["classes", "values", "labels", "series"])
def test_a_run_on_a_file(kind: str, seqlra: Run) -> None:
    arrays, options, x = {
        "classes": ({"x": X, "t": (X[:, 0] > 0).astype(np.uint8)}, "mlp", X[:3]),
        "values": ({"x": X, "t": X[:, :2]}, "mlp --targets values", X[:3]),
        "labels": ({"x": Q, "t": (Q[:, 0, 0] > 0).astype(int), "lengths": LENGTHS}, "rnn", Q[:3]),
        "series": ({"series": X}, "rnn --targets values --length 3", X[None]),
    }[kind]
    np.savez("own.npz", **arrays)
    metric = "test_loss" if "values" in options else "test_error"
    done = seqlra(f"train {options} --data own.npz {SMALL} --out run")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    measured = json.loads(seqlra("evaluate run --json").stdout.splitlines()[-1])
    assert measured[metric] == result[metric]
    assert (Path("run/curve.png")).stat().st_size > 0
    runs = ["run"]
    if kind == "labels":
        both = seqlra(f"train {options} --data own.npz {SMALL} --seeds 2 --out many")
        assert json.loads(both.stdout.splitlines()[-1])[metric]["all"][0] == pytest.approx(result[metric], rel=1e-4)
        runs.append("many/seed0")
    if kind == "values":
        again = seqlra(f"train {options} --data own.npz {SMALL} --weight-decay 0 --print-config")
        Path("own.toml").write_text(again.stdout)
        repeated = seqlra(f"train {options.split()[0]} --config own.toml --json --out again")
        assert json.loads(repeated.stdout.splitlines()[-1])[metric] == result[metric], repeated.stderr
    Path("own.npz").unlink()
    for run in runs:
        assert len(predict(load(run), x)) == len(x)
    assert seqlra("evaluate run").stderr.startswith("error: cannot read ")


def test_options_that_do_not_go_with_a_file(seqlra: Run) -> None:
    np.savez("own.npz", x=X, t=(X[:, 0] > 0).astype(int))
    wrong = {
        "train mlp --data own.npz --dataset mnist": "dataset does not go with data",
        "train mlp --data own.npz --data-dir .": "data-dir does not go with",
        "train mlp --targets values": "targets does not go with mnist-sample",
        "train rnn --data own.npz --streams 4": "streams does not go with",
        "train mlp --data own.npz --targets labels": "known: classes, values",
    }
    for command, message in wrong.items():
        assert message in seqlra(command).stderr, command
