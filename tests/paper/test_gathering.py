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
    begun = tmp_path / "here/fashion_mnist-3x256-backprop-finetuned-3ep-seed0"
    begun.mkdir()
    (begun / "checkpoint.pt").touch()  # gives way to the finished run
    assert gather(there.path, tmp_path / "here") == 3
    assert errors(tmp_path / "here") == [12.0, 12.0, 12.0, 11.0]  # by name: backprop, then lra, fine-tuned first
    assert not (tmp_path / "here/begun-3ep-seed0").exists()
    assert not (begun / "checkpoint.pt").exists()
    assert not (tmp_path / "here/.half").exists()
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
    assert "other settings" not in done.stderr
    assert (tmp_path / "store/table4.md").exists()


def test_runs_of_other_settings_are_named(seqlra: Run, tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", 11.0, PHASES[:2])
    config = next(store.path.glob("*lra-finetuned*")) / "config.json"
    config.write_text(config.read_text().replace('"lr": 0.001', '"lr": 0.002'))
    done = seqlra("reproduce table4 --no-train --out store")
    assert f"table4 shows 1 runs with other settings than those of this version, such as {config.parent.name}" in (
        done.stderr
    )


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
        '{"run": "../a-seed0", "config": {"a": 1}, "result": {"diverged": false}}',
        '{"run": "..", "config": {}, "result": {"diverged": false}}',
        '{"run": "a-seed0", "config": {}, "result": {}}',
        '{"run": 1, "config": {}, "result": {"diverged": false}}',
    ],
)
def test_what_is_no_list_of_runs_is_refused_and_nothing_written(tmp_path: Path, lines: str) -> None:
    (tmp_path / "runs.jsonl").write_text(lines)
    with pytest.raises(SeqlraError, match=r"runs\.jsonl (has no finished run|as a runs\.jsonl of)"):
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
