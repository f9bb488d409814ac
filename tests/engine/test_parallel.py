"""Several processes that train one model against one process."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import launched
import pytest
import sharing
import torch
from helpers import Run, assert_same

from seqlra.engine.update import update
from seqlra.training.run_directory import RunDirectory

PROCESSES = 2


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each process came to."""
    folder = tmp_path_factory.mktemp("parallel")
    paths = os.pathsep.join([str(Path(sharing.__file__).parent), str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, sharing.__file__]
    running = [
        subprocess.Popen([*command, str(rank), str(PROCESSES), str(folder)], env=environment)
        for rank in range(PROCESSES)
    ]
    assert [each.wait(120) for each in running] == [0] * PROCESSES
    return [torch.load(folder / f"{rank}.pt") for rank in range(PROCESSES)]


@pytest.mark.parametrize("case", sharing.CASES)
def test_several_processes_equal_one(case: str, found: list[dict[str, Any]]) -> None:
    nodes, rule = sharing.CASES[case]
    alone = sharing.trained(nodes, rule, lambda graph, rule: partial(update, graph, rule))
    assert_same(found[0][case], alone)


@pytest.mark.parametrize("case", sharing.CASES)
def test_all_processes_have_the_same_bits(case: str, found: list[dict[str, Any]]) -> None:
    for other in found[1:]:
        assert all(torch.equal(tensor, other[case][name]) for name, tensor in found[0][case].items())


def test_one_that_says_so_is_enough(found: list[dict[str, Any]]) -> None:
    assert [each["any"] for each in found] == [(True, False)] * PROCESSES


RNN = "train rnn --hidden 8 --unroll 5 --streams 7 --feedback learned --steps 150 --threads 1"
MLP = "train mlp --hidden 8 --batch-size 51 --valid 13000 --steps 30 --threads 1"


def test_the_command_line_under_torchrun(seqlra: Run, short_text: Path) -> None:
    rnn = f"{RNN} --text {short_text}"
    assert seqlra(f"{rnn} --out one/rnn").returncode == seqlra(f"{MLP} --out one/mlp").returncode == 0
    commands = [f"{rnn} --out two/rnn", "train rnn --resume two/rnn", f"{MLP} --out two/mlp"]
    paths = os.pathsep.join([str(Path.cwd()), *sys.path])
    ran = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", launched.__file__, *commands],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        timeout=200,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("epoch 1 (step") == 2
    assert ran.stderr.count("stopped; go on with: seqlra train rnn --resume two/rnn") == 1
    assert ran.stdout.count("exit 130") == 1  # of the first process
    assert ran.stdout.count("parameters") == 2
    assert sorted(path.name for path in Path("two").iterdir()) == ["mlp", "rnn"]
    for run in ("rnn", "mlp"):
        one, two = (torch.load(Path(many, run, "checkpoint.pt")) for many in ("one", "two"))
        assert one["step"] == two["step"]
        for part in ("graph", "task"):
            assert_same(one[part], two[part], 1e-3)
        for name, mine in one["optimizer"]["state"].items():
            assert_same(mine, two["optimizer"]["state"][name], 1e-3)
        (mine,), (theirs,) = (RunDirectory(Path(many, run)).read_metrics() for many in ("one", "two"))
        assert mine.keys() == theirs.keys()
        names = [name for name, value in mine.items() if isinstance(value, float) and name != "seconds"]
        assert [mine[name] for name in names] == pytest.approx([theirs[name] for name in names], rel=1e-3)


@pytest.fixture
def of_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process seems to be the first of two."""
    for name, value in {"TORCHELASTIC_RUN_ID": "1", "RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr("seqlra.engine.parallel.joined", lambda cuda: nullcontext())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train mlp --seeds 2", "it does not go with --seeds"),
        ("train mlp --compile", "do not compile"),
        ("train mlp --rule ste --activation sigmoid --discretizer bernoulli", "random numbers differ"),
        ("train rnn --rule uoro", "random numbers differ"),
        ("train rnn --rule rflo --online", "do not carry traces"),
        ("train mlp --rule dtp", "dtp learns by itself"),
        ("train mlp --set c2_per=batch", "c2_per is over a whole mini-batch"),
        ("train mlp --batch-size 1", "a mini-batch of 1 cannot be shared by 2 processes"),
        ("compare mlp", "torchrun is for seqlra train"),
    ],
)
@pytest.mark.usefixtures("of_torchrun")
def test_what_processes_cannot_do_is_refused_before_training(arguments: str, message: str, seqlra: Run) -> None:
    small = " --hidden 8 --device cpu --threads 1 --out run" if arguments.startswith("train") else ""
    ran = seqlra(arguments + small)
    assert ran.returncode == 1
    assert message in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert not Path("run").exists()
