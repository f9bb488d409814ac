"""Oracle: the folders that are gathered, file by file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import Run, finished

from seqlra import SeqlraError
from seqlra.paper import table4
from seqlra.paper.cells import Machine
from seqlra.paper.gathering import gather
from seqlra.paper.publishing import finished_runs
from seqlra.paper.reproduction import Reproduction

PHASES = [("lra", "pretrained"), ("lra", "finetuned"), ("backprop", "pretrained"), ("backprop", "finetuned")]


def store_of(path: Path, error: float, cells: list[tuple[str, str]]) -> Reproduction:
    store = Reproduction(path, Machine("cpu", 1))
    for each in (table4.cell(*names) for names in cells):
        finished(store, each, 3, [error])
        member = store.member(each, 3, 0)
        store.write_json(store.run_of(member).config, member.config.to_dict())
    return store


def errors(store: Path) -> list[float]:
    return [run["result"]["test_error"] for run in finished_runs(store)]


def test_two_folders_become_one_and_what_is_there_stays(tmp_path: Path) -> None:
    store_of(tmp_path / "here", 11.0, PHASES[:1])
    there = store_of(tmp_path / "there", 12.0, PHASES)
    (there.path / "begun-3ep-seed0").mkdir()
    assert gather(there.path, tmp_path / "here") == 3
    assert errors(tmp_path / "here") == [12.0, 12.0, 12.0, 11.0]  # by name: backprop, then lra, fine-tuned first
    assert not (tmp_path / "here/begun-3ep-seed0").exists()
    for run in (tmp_path / "here").glob("*backprop*"):
        assert (run / "metrics.jsonl").read_text() == (there.path / run.name / "metrics.jsonl").read_text()
    assert gather(there.path, tmp_path / "here") == 0


def test_published_runs_make_the_tables_that_need_no_curves(seqlra: Run, tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", 11.0, PHASES)
    failed = store.path / "fashion_mnist-3x256-backprop-finetuned-3ep-seed0"
    (failed / "result.json").rename(failed / "failed.json")
    (tmp_path / "runs.jsonl").write_text("".join(json.dumps(run) + "\n" for run in finished_runs(store.path)))
    done = seqlra("reproduce all --no-train --from runs.jsonl --out again --json")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("4 runs taken over from runs.jsonl\n")
    assert list(json.loads(done.stdout)["exhibits"]) == ["table4"]
    assert (tmp_path / "again" / failed.name / "failed.json").exists()
    assert finished_runs(tmp_path / "again") == finished_runs(store.path)
    assert "figure7 is left out: again/fashion_mnist-3x256-lra-pretrained-3ep-seed0 has no curves" in done.stderr
    alone = seqlra("reproduce figure7 --no-train --out again")
    assert (alone.returncode, alone.stderr.startswith("error: again/")) == (1, True)


def test_no_train_trains_nothing(seqlra: Run, tmp_path: Path) -> None:
    store_of(tmp_path / "store", 11.0, PHASES[:2])
    done = seqlra("reproduce table4 --no-train --out store")
    assert done.returncode == 0, done.stderr
    assert len(finished_runs(tmp_path / "store")) == 2
    assert (tmp_path / "store/table4.md").exists()


@pytest.mark.parametrize(("name", "given"), [("publish", "--from there"), ("list", "--no-train")])
def test_sources_go_with_tables(seqlra: Run, name: str, given: str) -> None:
    refused = seqlra(f"reproduce {name} {given}")
    assert refused.returncode == 1
    assert refused.stderr == f"error: --from and --no-train go with a table or figure, or with all, not with {name}\n"


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "no JSON",
        '{"run": "a"}',
        "[1]",
        '{"run": "../a", "config": {"a": 1}, "result": {"a": 1}}',
        '{"run": 1, "config": {}}',
    ],
)
def test_what_is_no_list_of_runs_is_refused_and_nothing_written(tmp_path: Path, lines: str) -> None:
    (tmp_path / "runs.jsonl").write_text(lines)
    with pytest.raises(SeqlraError, match=r"runs\.jsonl (has no finished run|is damaged)"):
        gather(tmp_path / "runs.jsonl", tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SeqlraError, match="has no finished run of seqlra reproduce"):
        gather(tmp_path / "nothing", tmp_path / "store")


def test_a_store_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    store_of(tmp_path / "there", 12.0, PHASES)
    (tmp_path / "file").touch()
    with pytest.raises(SeqlraError, match="cannot write to"):
        gather(tmp_path / "there", tmp_path / "file/store")
