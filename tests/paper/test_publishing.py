"""Oracle: the folder that is published, file by file."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
from helpers import finished

from seqlra.paper.cells import Machine
from seqlra.paper.exhibit import write
from seqlra.paper.reproduction import Reproduction
from seqlra.paper.table4 import Table4, cell

SCRIPT = Path(__file__).parents[2] / "scripts" / "publish_results.py"


def publish(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", [SCRIPT.name, *arguments])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def test_pages_are_copied_and_runs_are_told_without_where_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Reproduction(tmp_path / "store", Machine("cpu", 1, "/somewhere"))
    cells = [cell("lra", phase) for phase in ("pretrained", "finetuned")]
    for each in cells:
        finished(store, each, 3, [11.0])
        member = store.member(each, 3, 0)
        store.write_json(store.run_of(member).config, member.config.to_dict())
    assert write(Table4(), store) is not None
    publish(monkeypatch, str(store.path), "--results", str(tmp_path / "results"))
    assert {path.name for path in (tmp_path / "results").iterdir()} == {"table4.md", "table4.json", "runs.jsonl"}
    for name in ("table4.md", "table4.json"):
        assert (tmp_path / "results" / name).read_text() == (store.path / name).read_text()
    shown = [json.loads(line) for line in (tmp_path / "results/runs.jsonl").read_text().splitlines()]
    tuned, before = (each["config"] for each in shown)
    assert (tuned["data"]["data_dir"], tuned["optimization"]["lr"]) == (None, 0.001)
    assert tuned["network"]["init_from"] == shown[1]["run"] == "fashion_mnist-3x256-lra-pretrained-3ep-seed0"
    assert before["network"]["init_from"] is None
    assert shown[0]["result"]["test_error"] == 11.0


def test_a_folder_without_pages_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        publish(monkeypatch, str(tmp_path), "--results", str(tmp_path / "results"))
    assert "has no page" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
