"""Several processes that train one model against one process."""

from __future__ import annotations

import os
import subprocess
import sys
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
        assert {**mine, "seconds": 0} == pytest.approx({**theirs, "seconds": 0}, rel=1e-3)
