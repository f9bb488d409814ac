"""Oracle: the folder that is published, file by file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import Run, finished

from seqlra import SeqlraError
from seqlra.paper.cells import Machine
from seqlra.paper.exhibit import write
from seqlra.paper.publishing import publish
from seqlra.paper.reproduction import Reproduction
from seqlra.paper.table4 import Table4, cell


def test_pages_are_copied_and_runs_are_listed_without_where_they_were(seqlra: Run, tmp_path: Path) -> None:
    store = Reproduction(tmp_path / "store", Machine("cpu", 1, "/somewhere"))
    cells = [cell("lra", phase) for phase in ("pretrained", "finetuned")]
    for each in cells:
        finished(store, each, 3, [11.0])
        member = store.member(each, 3, 0)
        store.write_json(store.run_of(member).config, member.config.to_dict())
    (store.path / "begun-3ep-seed0").mkdir()  # a run that is not finished
    assert write(Table4(), store) is not None
    done = seqlra("reproduce publish --out store --to results/new --json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"to": "results/new", "runs": 2})
    to = tmp_path / "results/new"
    assert {path.name for path in to.iterdir()} == {"table4.md", "table4.json", "runs.jsonl"}
    for name in ("table4.md", "table4.json"):
        assert (to / name).read_text() == (store.path / name).read_text()
    runs = [json.loads(line) for line in (to / "runs.jsonl").read_text().splitlines()]
    tuned, before = (each["config"] for each in runs)
    assert (tuned["data"]["data_dir"], tuned["optimization"]["lr"]) == (None, 0.001)
    assert tuned["network"]["init_from"] == runs[1]["run"] == "fashion_mnist-3x256-lra-pretrained-3ep-seed0"
    assert before["network"]["init_from"] is None
    assert runs[0]["result"]["test_error"] == 11.0


def test_a_folder_without_pages_is_refused(seqlra: Run, tmp_path: Path) -> None:
    refused = seqlra("reproduce publish --out nothing --to results")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: nothing has no page of seqlra reproduce")
    assert len(refused.stderr.splitlines()) == 1
    assert not (tmp_path / "results").exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "table1.md").write_text("a page")
    (tmp_path / "file").touch()
    with pytest.raises(SeqlraError, match=r"cannot write to .*file/results"):
        publish(tmp_path, tmp_path / "file/results")
