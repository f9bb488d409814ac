"""Odd options, files and places under every command: an answer in one line, and nothing lost.

By default a part of the cases runs, drawn with a fixed seed; ``SEQLRA_FUZZ=all`` runs them all, and
``SEQLRA_FUZZ=500`` so many of each kind.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Run

from seqlra.training import checkpoint, runs
from seqlra.training.fields import settings_of

MANY = os.environ.get("SEQLRA_FUZZ", "15")

BASE = {
    "mlp": "--dataset mnist --data-dir IMAGES --valid 70 --hidden 7,5 --batch-size 20 --steps 4 --threads 1",
    "rnn": "--text SHORT --hidden 6 --unroll 9 --streams 5 --steps 4 --threads 1 --feedback fixed --diagnose 0",
}
NUMBERS = [
    "-1",
    "0",
    "1",
    "2",
    "1.5",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "1e-400",
    "1e-39",
    str(2**43),
    str(2**63),
    "9" * 40,
]
WORDS = [
    "",
    " ",
    "x",
    "None",
    "none",
    "off",
    "a,b",
    "../..",
    "$x^2$ $",
    "x" * 3000,
    "ü→😀",
    "--",
    "-",
    "a:b",
    "7x",
    "0x3,4",
]
PATHS = [
    "",
    ".",
    "nowhere",
    "nowhere/at/all",
    "file",
    "file/below",
    "loop",
    "fifo",
    "/dev/null",
    "/dev/full",
    "x" * 300,
]
PLAIN: list[Any] = [None, [], {}, "", "x", -1, 0, 1.5, True, 2**70, float("inf"), float("nan"), [1, "a"], {"a": 1}]
HUGE = {"hidden", "mirror_vectors", "steps", "epochs", "unroll", "threads", "seeds", "held_out", "length", "max_words"}
"""Settings whose large values are only work, or memory."""


def some(cases: list[Any]) -> list[Any]:
    """The cases of this run."""
    if MANY == "all" or len(cases) <= int(MANY):
        return cases
    return random.Random(0).sample(cases, int(MANY))


def options(task: str) -> Iterator[str]:
    """Every option of a task with odd values."""
    for name, known in settings_of(task).items():
        if known.option.flag and known.kind is not bool:
            odd = PATHS if known.kind is Path else NUMBERS + WORDS
            if name in HUGE:
                odd = [value for value in odd if len(value) < 5]
            for value in odd:
                yield f"--{name.replace('_', '-')} {shlex.quote(value)}"
    for value in ("--seed 4611686018427387903", "--seed 9007199254740993", f"--threads {2**43}", "--threads 100000"):
        yield value
    for value in ("steps=1.5", "epsilon=off", "name=fa", "beta=", "=1", "beta=inf", "c2=-1", "noise=1", "beta=[1]"):
        yield f"--set {shlex.quote(value)}"
    for option in ("--out", "--resume", "--config", "--init-from"):
        for value in PATHS:
            yield f"{option} {shlex.quote(value)}"


FAULTS: list[str] = []
"""What went wrong in the test in hand."""


@pytest.fixture(autouse=True)
def no_faults() -> Iterator[None]:
    """A test runs all its cases, and fails with all that went wrong."""
    FAULTS.clear()
    yield
    assert not FAULTS, f"{len(FAULTS)}\n" + "\n".join(FAULTS)


def checked(seqlra: Run, command: str, about: object = "") -> Any:
    """Run a command; it must end well, or with one line about what was wrong."""
    done = seqlra(command)
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    wrong = "Traceback" in done.stderr or "mistake of seqlra" in done.stderr or done.returncode not in (0, 1, 2)
    if wrong or (done.returncode == 1 and (len(said) != 1 or len(said[0]) > 4000)):
        FAULTS.append(f"{command[-200:]} {about!s:.200}: {done.stderr[-300:]}")
    return done


@pytest.fixture
def places(seqlra: Run, images: Path, short_text: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The console script in a folder with odd things in it; most of the time of short runs would go into pictures."""
    monkeypatch.setattr(runs, "save_pictures", lambda *_: None)
    Path("file").write_text("no folder")
    Path("loop").symlink_to("loop")
    os.mkfifo("fifo")
    return lambda arguments: seqlra(arguments.replace("IMAGES", str(images)).replace("SHORT", str(short_text)))


@pytest.mark.parametrize("task", ["mlp", "rnn"])
def test_options(task: str, places: Run) -> None:
    for option in some(list(options(task))):
        checked(places, f"train {task} {BASE[task]} {option}")
        shutil.rmtree("runs", ignore_errors=True)


@pytest.mark.parametrize(
    "command", ["evaluate run", "sample text", "evaluate text", "bench mlp", "compare", "reproduce", "tune", "report"]
)
def test_options_of_other_commands(command: str, places: Run) -> None:
    runs_of(places)
    name = command.split()[0]
    words = {
        "evaluate": ["--samples", "--seed", "--split", "--device", "--out", "--text", "--data-dir", "--import"],
        "sample": ["--length", "--temperature", "--seed", "--device", "--prompt", "--import"],
        "bench": ["--threads", "--device", "--rounds"],
        "compare": ["--rules", "--own", "--seeds", "--seed", "--out", "--resume", "--import"],
        "reproduce": ["--scale", "--only", "--out", "--to", "--seeds", "--epochs", "--data-dir"],
        "tune": ["--rules", "--own", "--space", "--trials", "--pruner", "--storage", "--seed", "--out", "--resume"],
        "report": ["", "--out", "--title", "--import"],
    }[name]
    given = {
        "compare": f"mlp {BASE['mlp']} --rules fa",
        "reproduce": "list",
        "bench": "--hidden",
        "tune": f"mlp {BASE['mlp']} --rules fa --trials 1",
        "report": "run many",
    }.get(name, "")
    for word in words:
        odd = NUMBERS + WORDS + PATHS
        if word in ("--length", "--samples", "--seeds", "--rounds", "--threads", "--epochs", "--trials"):
            odd = [value for value in odd if len(value) < 5]
        for value in some(odd)[: None if MANY == "all" else 8]:
            if name == "compare" and word == "--rules":
                checked(places, f"compare mlp {BASE['mlp']} --rules {shlex.quote(value)}")
            else:
                checked(places, f"{command} {given} {word} {shlex.quote(value)}")
        shutil.rmtree("runs", ignore_errors=True)


def runs_of(places: Run) -> None:
    """A run of each task, and a comparison."""
    assert places(f"train mlp {BASE['mlp']} --out run").returncode == 0
    assert places(f"train rnn {BASE['rnn']} --out text").returncode == 0
    assert places(f"compare mlp {BASE['mlp']} --rules fa --seeds 2 --out many").returncode == 0


def leaves(plain: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values, containers too."""
    yield path
    if isinstance(plain, dict):
        for name, value in plain.items():
            yield from leaves(value, (*path, name))
    elif isinstance(plain, list) and plain and isinstance(plain[0], dict):
        yield from leaves(plain[0], (*path, 0))


def replaced(plain: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value there."""
    if not path:
        return value
    copy = dict(plain) if isinstance(plain, dict) else list(plain)
    copy[path[0]] = replaced(plain[path[0]], path[1:], value)
    return copy


@pytest.mark.parametrize(
    ("file", "commands"),
    [
        ("run/config.json", ["evaluate run", "train mlp --resume run"]),
        ("text/config.json", ["sample text --length 3", "train rnn --resume text"]),
        ("text/vocabulary.json", ["sample text --length 3", "evaluate text"]),
        ("many/compare.json", ["compare --resume many"]),
        ("many/fa-seed0/result.json", ["compare --resume many"]),
        ("run/result.json", ["evaluate run", "train mlp --resume run"]),
    ],
)
def test_json_by_other_hands(file: str, commands: list[str], places: Run) -> None:
    runs_of(places)
    whole = Path(file).read_text()
    plain = json.loads(whole)
    cases = [
        json.dumps(replaced(plain, path, value))
        for path in leaves(plain)
        for value in PLAIN
        if value != 2**70 or (path and path[-1]) not in HUGE
    ]
    for text in some([*cases, "", "{", "[1]", "null", "\x00", "\ufeff{}", "[" * 5000]):
        for command in commands:
            if "resume" in command and file.endswith("config.json"):
                (Path(file).parent / "result.json").unlink(missing_ok=True)
            Path(file).write_text(text)
            kept = (Path(file).parent / "checkpoint.pt").read_bytes() if file.endswith("config.json") else b""
            done = checked(places, command, text)
            if done.returncode and kept:
                assert (Path(file).parent / "checkpoint.pt").read_bytes() == kept, text
    Path(file).write_text(whole)


@pytest.mark.parametrize(
    "text", ["", "\n", "{}", "[]", "nonsense", '{"epoch": "x"}\n', '{"valid_error": null}\n', "\x00"]
)
def test_metrics_by_other_hands(text: str, places: Run) -> None:
    runs_of(places)
    for file in ("run/metrics.jsonl", "many/fa-seed0/metrics.jsonl"):
        Path(file).write_text(text)
    checked(places, "evaluate run")
    checked(places, "compare --resume many")
    Path("run/result.json").unlink()
    checked(places, "train mlp --resume run")


@pytest.mark.parametrize("size", [0, 1, 100, 5000])
def test_checkpoints_that_are_cut(size: int, places: Run) -> None:
    runs_of(places)
    for file in ("run/checkpoint.pt", "text/checkpoint.pt"):
        Path(file).write_bytes(Path(file).read_bytes()[:size])
        Path(file).with_name("result.json").unlink()
    for command in ("evaluate run", "train mlp --resume run", "sample text", "train rnn --resume text"):
        assert checked(places, command).returncode == 1


def test_checkpoints_with_other_values(places: Run) -> None:
    runs_of(places)
    Path("run/result.json").unlink()
    whole = torch.load("run/checkpoint.pt", weights_only=True)
    before = Path("run/metrics.jsonl").read_bytes()
    cases = [(path, value) for path in leaves(whole) if path for value in (*PLAIN, torch.zeros(2), torch.zeros(0))]
    for path, value in some(cases):
        torch.save(replaced(whole, path, value), "run/checkpoint.pt")
        done = checked(places, "train mlp --resume run", path)
        if done.returncode:
            assert Path("run/metrics.jsonl").read_bytes() == before, path
        Path("run/result.json").unlink(missing_ok=True)
        checked(places, "evaluate run")
    assert whole["format"] == checkpoint.FORMAT


@pytest.mark.parametrize(
    "option",
    [
        "--momentum 0.5",
        "--weight-init fan-in --weight-std 0.3",
        "--block-size 2",
        "--beta 0.3 --set beta=0.2",
        "--feedback-init fan-out --mirror-vectors 20",
        "--max-words 7",
        "--train-leak",
        "--dataset text-sample",
        "--data-dir .",
    ],
)
def test_options_that_would_be_ignored_are_refused(option: str, places: Run) -> None:
    task = "rnn" if any(word in option for word in ("words", "data", "leak")) else "mlp"
    done = checked(places, f"train {task} {BASE[task]} {option} --out never")
    assert done.returncode == 1
    assert not Path("never").exists()


def in_a_shell(command: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from seqlra.cli import main; main()", *shlex.split(command)],
        capture_output=True,
        text=True,
        timeout=60,
        **more,
    )


def test_a_full_disk_is_one_line_and_the_run_goes_on(places: Run, images: Path) -> None:
    base = BASE["mlp"].replace("IMAGES", str(images)).replace("--steps 4", "--epochs 2")

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, resource.RLIM_INFINITY))

    done = in_a_shell(f"train mlp {base} --out run", preexec_fn=small_files)
    assert done.returncode == 1
    assert "cannot write run/checkpoint.pt" in done.stderr
    assert "Traceback" not in done.stderr
    assert places("train mlp --resume run").returncode == 0


def test_other_machines(places: Run, images: Path) -> None:
    base = BASE["mlp"].replace("IMAGES", str(images))
    odd = {"MPLBACKEND": "nonsense", "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "COLUMNS": "1"}
    done = in_a_shell(f"train mlp {base} --out run", env={**os.environ, **odd})
    assert done.returncode == 0, done.stderr
    assert Path("run/curve.png").exists()
    Path("gone").mkdir()
    code = "import os; os.chdir('gone'); os.rmdir('../gone'); from seqlra.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *shlex.split(f"train mlp {base}")], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


@pytest.mark.draws
def test_a_dollar_in_a_name(seqlra: Run, short_text: Path) -> None:
    shutil.copyfile(short_text, "a$b^$.txt")
    base = BASE["rnn"].replace("SHORT", "'a$b^$.txt'")
    assert checked(seqlra, f"train rnn {base} --out 'x$y_$'").returncode == 0
    assert Path("x$y_$/curve.png").exists()
