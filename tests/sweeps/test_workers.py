"""Runs trained by other processes: the same results, in an order that keeps sources first, through stops and kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from helpers import Run

from seqlra import SeqlraError
from seqlra.sweeps import workers
from seqlra.sweeps.comparison import Comparison
from seqlra.sweeps.run_store import RunSpec, RunStore, groups
from seqlra.sweeps.workers import STOP, Done, Workers, train_all, train_in_worker
from seqlra.training.configure import configure
from seqlra.training.trainer import Stopped

OWN_RULE = """
from dataclasses import dataclass
from seqlra import Backprop

@dataclass(frozen=True)
class Mine(Backprop):
    name = "mine"
"""


def spec(label: str, images: Path, **options: Any) -> RunSpec:
    given = {"data_dir": images, "dataset": "mnist", "hidden": (7, 5), "valid": 40, "batch_size": 30, "epochs": 2}
    return RunSpec(label, configure("mlp", **{"rule": "backprop", "threads": 1, "diagnose": 0, **given, **options}))


def results_of(folder: Path, label: str) -> dict[str, Any]:
    found = json.loads((folder / f"{label}-seed0/result.json").read_text())
    return {name: value for name, value in found.items() if "second" not in name and "per_update" not in name}


def test_two_processes_come_to_the_results_of_one(seqlra: Run, images: Path, tmp_path: Path) -> None:
    Path("my_rules.py").write_text(OWN_RULE)
    base = f"compare mlp --rules lra-fdbk,mine=my_rules:Mine --data-dir {images} --dataset mnist --hidden 7,5"
    base += " --valid 40 --batch-size 30 --epochs 2 --threads 1 --no-stack --import my_rules"
    assert seqlra(f"{base} --out one").returncode == 0
    done = seqlra(f"{base} --jobs 2 --out two")
    assert done.returncode == 0, done.stderr
    assert "2 of 2, mine, seed 0: test error" in done.stderr
    for label in ("lra-fdbk", "mine"):
        assert results_of(Path("two"), label) == results_of(Path("one"), label)
    assert not Path("two", STOP).exists()


def test_runs_wait_for_those_whose_weights_they_start_from(images: Path, tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    first = spec("first", images)
    second = spec("second", images, init_from=str(tmp_path / first.folder))
    third = spec("third", images, rule="fa")
    order = [[group.name for group in ready] for ready in workers._in_order(store, groups([second, first, third]))]
    assert order == [["first", "third"], ["second"]] or order == [["third", "first"], ["second"]]
    done = [each[0].label for each in train_all(store, groups([second, first]), Workers())]
    assert done == ["first", "second"]


def test_one_that_fails_does_not_end_the_others(images: Path, tmp_path: Path) -> None:
    store, done = RunStore(tmp_path), []
    wrong = spec("wrong", images, init_from=str(tmp_path / "nowhere"))
    with pytest.raises(SeqlraError, match=r"^wrong-seed0: .*nowhere"):
        done.extend(train_all(store, groups([wrong, spec("right", images)]), Workers(), stacked=False))
    assert [each[0].label for each in done] == ["right"]


def test_what_is_done_is_not_run_again(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = spec("one", images)
    assert train_in_worker(tmp_path, "one", (one,), True) == Done((one,))
    monkeypatch.setattr(RunStore, "train", lambda *_: pytest.fail("it is done"))
    assert train_in_worker(tmp_path, "one", (one,), True) == Done((one,))


def test_a_file_asks_workers_to_stop_and_the_rest_goes_on_from_the_checkpoint(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, alone = spec("one", images, epochs=30), spec("one", images, epochs=30)
    (tmp_path / "cut").mkdir()
    (tmp_path / "alone").mkdir()

    def stop_soon(specs: Sequence[RunSpec], stop: Path) -> Any:
        stop.touch()
        return telling(specs, stop)

    telling = workers._telling
    monkeypatch.setattr(workers, "_telling", stop_soon)
    assert train_in_worker(tmp_path / "cut", "one", (one,), True).stopped
    assert (tmp_path / "cut/one-seed0/checkpoint.pt").exists()
    assert train_in_worker(tmp_path / "cut", "one", (one,), True).stopped  # it does not even begin
    monkeypatch.setattr(workers, "_telling", telling)
    list(train_all(RunStore(tmp_path / "cut"), groups([one]), Workers()))  # what stopped others is gone
    train_in_worker(tmp_path / "alone", "one", (alone,), True)
    assert results_of(tmp_path / "cut", "one") == results_of(tmp_path / "alone", "one")


def test_ctrl_c_stops_all(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two runs is not begun, and the first is stopped as by a worker that saw the file."""
    seen: list[str] = []

    def interrupted(path: Path, group: str, specs: tuple[RunSpec, ...], stacked: bool) -> Done:
        seen.append(specs[0].label)
        os.kill(os.getpid(), signal.SIGINT)
        assert (path / STOP).exists()
        return Done(specs, stopped=True)

    monkeypatch.setattr(workers, "train_in_worker", interrupted)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Stopped):
        list(train_all(RunStore(tmp_path), groups([spec("one", images)]), Workers()))
    assert seen == ["one"]
    assert not (tmp_path / STOP).exists()
    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--jobs 0", "jobs must be at least 1"),
        ("--jobs 2 --cluster tcp://localhost:1", "do not go together"),
        ("--cluster nowhere", "no scheduler of Dask at 'nowhere'"),
    ],
)
def test_workers_that_cannot_be(
    options: str, says: str, seqlra: Run, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "SECONDS", 0.2)
    done = seqlra(f"compare mlp --rules fa --data-dir {images} --dataset mnist --hidden 7 --valid 40 {options} --out x")
    assert done.returncode == 1
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def killed(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_is_one_line_that_says_how_to_go_on() -> None:
    with pytest.raises(SeqlraError, match=r"was killed at its work .*go on with --resume"):
        list(Workers(jobs=2).map(killed, iter([(0,)])))


def test_without_dask_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SeqlraError, match=r"pip install 'seqlra\[cluster\]'"):
        list(Workers(cluster="tcp://localhost:1").map(print, iter([(1,)])))


def test_a_worker_that_does_not_see_the_folder_says_so(images: Path, tmp_path: Path) -> None:
    assert "does not see" in train_in_worker(tmp_path / "gone", "one", (spec("one", images),), True).error


@contextmanager
def cluster(folder: Path, count: int) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and workers on this machine, each worker a process; its address, and the workers."""
    pytest.importorskip("distributed", reason="no Dask here")
    address = folder / "scheduler.json"
    path = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    quiet = {"cwd": folder, "env": path, "stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    scheduler = subprocess.Popen([*command, "--no-dashboard", "--scheduler-file", str(address)], **quiet)
    command = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(address), "--no-dashboard"]
    members = [subprocess.Popen([*command, "--no-nanny", "--nthreads", "1"], **quiet) for _ in range(count)]
    try:
        while not address.exists():
            assert scheduler.poll() is None
            time.sleep(0.05)
        yield json.loads(address.read_text())["address"], members
    finally:
        for process in (*members, scheduler):
            process.kill()
            process.wait()


def kill_in_the_middle(store: RunStore, worker: subprocess.Popen[bytes]) -> None:
    """Kill one of two workers when two runs have a checkpoint and no result: then it is in the middle of one."""
    while len([path for path in store.path.glob("*/checkpoint.pt") if not (path.parent / "result.json").exists()]) < 2:
        if len(list(store.path.glob("*/result.json"))) == 3:
            return  # too late; the test says so
        time.sleep(0.01)
    worker.kill()


def test_a_cluster_loses_nothing_with_a_worker_and_runs_nothing_twice(images: Path, tmp_path: Path) -> None:
    from distributed import Client

    torch.set_default_dtype(torch.float32)
    specs = [spec(f"run{n}", images, epochs=60, lr=0.001 * (n + 1)) for n in range(3)]
    comparison = Comparison.start(tmp_path / "many", specs, stacked=False)
    done: list[str] = []
    with cluster(tmp_path, 2) as (address, members):
        with Client(address) as client:
            client.wait_for_workers(2, timeout=60)
        killer = Thread(target=kill_in_the_middle, args=(comparison, members[0]))
        killer.start()
        comparison.run(
            workers=Workers(cluster=address), report=lambda finished: done.extend(each.label for each in finished)
        )
        killer.join()
        assert members[0].poll() == -signal.SIGKILL
    assert sorted(done) == ["run0", "run1", "run2"]
    alone = Comparison.start(tmp_path / "alone", specs, stacked=False)
    alone.run()
    for label in done:
        assert results_of(tmp_path / "many", label) == results_of(tmp_path / "alone", label)
        rows = (tmp_path / f"many/{label}-seed0/metrics.jsonl").read_text().splitlines()
        assert [json.loads(row)["epoch"] for row in rows] == list(range(1, 61))
