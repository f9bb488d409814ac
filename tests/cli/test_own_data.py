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


def test_three_files_are_the_splits(seqlra: Run, tmp_path: Path) -> None:
    """Of own text: a file to train on, one to validate and one to test on."""
    whole = "The cat sat on the mat. And the RAT ran? " * 60
    parts = {"train": whole[:1700], "valid": whole[1700:2000], "test": whole[2000:]}
    for name, part in parts.items():
        (tmp_path / f"{name}.txt").write_text(part)
    files = "--text train.txt --valid-text valid.txt --test-text test.txt"
    small = "--hidden 6 --unroll 9 --streams 5 --steps 4 --feedback fixed --threads 1"
    assert seqlra(f"train rnn {files} {small} --out run").returncode == 0
    result = json.loads(Path("run/result.json").read_text())
    found = json.loads(seqlra("evaluate run --text test.txt --json").stdout)
    assert found["bpc"] == pytest.approx(result["test_bpc"])
    for wrong in ("--valid-text valid.txt", "--text train.txt --test-text test.txt"):
        assert "go together" in seqlra(f"train rnn {wrong} {small} --out never").stderr
    (tmp_path / "test.txt").write_text("x")
    assert "too short" in seqlra(f"train rnn {files} {small} --out never").stderr


def test_lowercase_reads_capitals_as_small_letters(seqlra: Run, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("The Cat sat. " * 90)
    (tmp_path / "two.txt").write_text("the cat sat. " * 90)
    small = "--hidden 6 --unroll 9 --streams 5 --steps 4 --feedback fixed --threads 1"
    for tokens in ("chars", "words"):
        for name in ("one", "two"):
            options = f"--text {name}.txt --lowercase --tokens {tokens} {small} --out {name}-{tokens}"
            assert seqlra(f"train rnn {options}").returncode == 0
        one, two = (json.loads(Path(f"{name}-{tokens}/metrics.jsonl").read_text()) for name in ("one", "two"))
        assert one["train_loss"] == two["train_loss"]
        assert json.loads(Path(f"one-{tokens}/vocabulary.json").read_text())["lowercase"] is True
        assert json.loads(seqlra(f"sample one-{tokens} --prompt 'THE CAT' --json").stdout)["unknown_tokens"] == 0
    saved = json.loads(Path("one-words/vocabulary.json").read_text())
    Path("one-words/vocabulary.json").write_text(json.dumps({**saved, "pattern": "[a-z]+"}))
    assert "another pattern" in seqlra("sample one-words").stderr
