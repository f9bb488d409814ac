"""Reading runs: several at once, longer ones, sweeps, and what stands on a terminal."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from helpers import Run
from rich.console import Console

from seqlra.training import progress
from seqlra.training.run_directory import RunDirectory

SHORT = "--dataset mnist --data-dir IMAGES --valid 70 --hidden 7,5 --batch-size 20 --threads 1"


@pytest.fixture
def seqlra(seqlra: Run, images: Path) -> Run:
    """The console script, which knows the images."""
    return lambda arguments: seqlra(arguments.replace("IMAGES", str(images)))


@pytest.mark.parametrize(
    ("command", "folder", "runs"),
    [
        (f"train mlp {SHORT} --epochs 2 --seeds 2", "many", ["seed0", "seed1"]),
        (f"compare mlp {SHORT} --epochs 2 --rules fa,dfa", "many", ["fa-seed0", "dfa-seed0"]),
    ],
)
def test_several_runs_are_measured_at_once(command: str, folder: str, runs: list[str], seqlra: Run) -> None:
    assert seqlra(f"{command} --out {folder}").returncode == 0
    found = json.loads(seqlra(f"evaluate {folder} --json").stdout)
    results = [json.loads(Path(folder, run, "result.json").read_text()) for run in runs]
    assert [Path(each["run"]).name for each in found["members"]] == runs
    assert [each["test_error"] for each in found["members"]] == [each["test_error"] for each in results]
    assert found["test_error"]["mean"] == pytest.approx(sum(each["test_error"] for each in results) / 2)
    assert ("\nall" in seqlra(f"evaluate {folder}").stdout) == (runs[0] == "seed0")
    assert "holds several" in seqlra(f"evaluate {folder} --samples 1 --out x").stderr


def test_a_finished_run_may_be_made_longer(seqlra: Run) -> None:
    assert seqlra(f"train mlp {SHORT} --epochs 4 --out whole").returncode == 0
    assert seqlra(f"train mlp {SHORT} --epochs 2 --out run").returncode == 0
    assert "add --epochs N" in seqlra("train mlp --resume run").stderr
    for wrong, message in (
        ("--epochs 2", "has had 2 epochs already"),
        ("--steps 3", "has had 12 steps already"),
        ("--epochs 4 --steps 30", "give one of them"),
        ("--epochs 4 --lr 2", "--lr does not go with --resume"),
    ):
        done = seqlra(f"train mlp --resume run {wrong}")
        assert done.returncode == 1
        assert message in done.stderr
        assert Path("run/result.json").exists()
    whole = Path("run/checkpoint.pt").read_bytes()
    Path("run/checkpoint.pt").write_bytes(whole[:99])
    assert "is damaged" in seqlra("train mlp --resume run --epochs 4").stderr
    assert Path("run/result.json").exists()
    Path("run/checkpoint.pt").write_bytes(whole)
    assert seqlra("train mlp --resume run --epochs 4").returncode == 0
    left_alone, run = (RunDirectory(Path(name)).read_metrics() for name in ("whole", "run"))
    # the step size is constant: as if it had been so long from the start
    for one, other in zip(left_alone, run, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    assert seqlra(f"train mlp {SHORT} --epochs 1 --seeds 2 --out many").returncode == 0
    assert "cannot be made longer" in seqlra("train mlp --resume many --epochs 2").stderr


def test_a_sweep_is_a_grid(seqlra: Run) -> None:
    command = f"compare mlp {SHORT} --epochs 1 --rules lra-fdbk --sweep beta=0.01,0.1 --sweep c2=1,off --seeds 2"
    assert seqlra(f"{command} --out many").returncode == 0
    found = {path.parent.name: json.loads(path.read_text())["rule"] for path in Path("many").glob("*/config.json")}
    assert len(found) == 8
    for beta in (0.01, 0.1):
        for c2, text in ((1.0, "1"), (None, "off")):
            rule = found[f"lra-fdbk-beta{beta}-c2{text}-seed1"]
            assert (rule["beta"], rule["c2"]) == (beta, c2)
    assert seqlra(f"compare mlp {SHORT} --epochs 1 --rules dtp --sweep noise=0.1,0.2 --out noise").returncode == 0
    assert json.loads(Path("noise/dtp-noise0.2-seed0/config.json").read_text())["rule"]["noise"] == 0.2


@pytest.mark.parametrize(
    "text", ["beta", "beta=", "=1", "beta=1,", "beta=1,1", "seed=1,2", "rule=fa,dfa", "nothing=1,2"]
)
def test_what_is_no_sweep_is_one_line(text: str, seqlra: Run) -> None:
    done = seqlra(f"compare mlp {SHORT} --rules lra-fdbk --sweep {text} --out never")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert not Path("never").exists()


def test_epochs_have_four_diagnosed_updates(seqlra: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from seqlra.training import callbacks

    seen: list[int] = []
    diagnose = callbacks.diagnose
    monkeypatch.setattr(callbacks, "diagnose", lambda step: (seen.append(0), diagnose(step))[1])
    assert seqlra(f"train mlp {SHORT} --epochs 3 --out run").returncode == 0
    assert len(seen) == 3 * 6  # of 6 updates each: every one is a quarter's
    seen.clear()
    assert seqlra(f"train mlp {SHORT.replace('20', '5')} --epochs 2 --out other").returncode == 0
    assert len(seen) == 2 * 4


def test_epochs_stay_on_a_terminal(seqlra: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda stderr: Console(file=shown, force_terminal=True, width=200))
    assert seqlra(f"train mlp {SHORT} --epochs 3 --out run").returncode == 0
    for epoch in (1, 2, 3):
        assert f"epoch {epoch} (step {6 * epoch}): train loss" in shown.getvalue()


def test_figures_of_random_units_say_of_how_many_draws(seqlra: Run) -> None:
    assert seqlra(f"train mlp {SHORT} --epochs 1 --discretizer bernoulli --out run").returncode == 0
    assert json.loads(Path("run/result.json").read_text())["draws"] == 1
    assert json.loads(seqlra("evaluate run --json").stdout)["draws"] == 1
    assert seqlra(f"train mlp {SHORT} --epochs 1 --out other").returncode == 0
    assert "draws" not in json.loads(Path("other/result.json").read_text())
