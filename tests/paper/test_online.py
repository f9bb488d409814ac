"""The page of every recurrent rule. Oracles: figures written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import finished

from seqlra.paper import online
from seqlra.paper.cells import Cell, Machine
from seqlra.paper.online import Online, memory_cell, text_cell
from seqlra.paper.reproduction import Reproduction

CPU = Machine("cpu", 1)


@pytest.fixture
def store(tmp_path: Path) -> Reproduction:
    return Reproduction(tmp_path, CPU)


def tables(store: Reproduction) -> dict[str, list[list[str]]]:
    page = Online().page(store)
    assert page is not None
    return {section.heading: [list(row) for row in section.rows] for section in page.sections}


def done(store: Reproduction, cell: Cell, figure: float, name: str, solved_at: int | None = None, **rows: Any) -> None:
    """A finished run whose figure on validation is that on test."""
    epochs = cell.epochs or 1
    finished(store, cell, epochs, [figure], name, **rows)
    path = store.path / f"{cell.name}-{epochs}ep-seed0/result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), f"valid_{name}": figure, "solved_at": solved_at}))


def test_every_rule_has_the_same_number_of_step_sizes_on_what_it_is_defined_for() -> None:
    for scale in ("quick", "paper"):
        cells = Online().cells_at(scale, CPU)
        assert len(cells) == 4 * 14 + 3 * 4 * 9
        assert len({cell.name for cell in cells}) == len(cells)
        names = {cell.config(1, 0, CPU).rule["name"] for cell in cells}
        assert names == {"backprop", "lra-fdbk", "rflo", "e-prop", "snap-1", "uoro", "dfa", "dni"}
        on_tasks = {cell.options["rule"] for cell in cells if cell.options["dataset"] in online.TASKS}
        assert not on_tasks & {"dfa", "dni"}
    leaks = {cell.config(1, 0, CPU).network.leak for cell in cells}
    assert leaks == {0.5, 0.1}


def test_the_best_step_size_on_validation_is_shown_once_all_are_there(store: Reproduction) -> None:
    assert Online().page(store) is None
    figures = dict(zip(online.TEXT_LRS, (3.5, 3.0, 2.5, 2.75), strict=True))
    for lr, figure in list(figures.items())[:3]:
        done(store, text_cell("bptt", lr), figure, "bpc")
    assert Online().page(store) is None
    done(store, text_cell("bptt", online.TEXT_LRS[3]), 2.75, "bpc")
    for lr, figure in figures.items():
        done(store, text_cell("rflo", lr), 2 * figure, "bpc", angle=[90.0] * 9 + [40.0])
    rows = tables(store)["Text: text-sample"]
    assert [row[:2] for row in rows[1:]] == [
        ["BPTT (and RTRL, whose gradient it is)", "0.03"],
        ["RFLO, random E", "0.03"],
    ]
    assert rows[2][3].startswith("5.000")
    assert rows[2][4] == "+100.0%"
    assert rows[2][6] == "40°"


def test_tasks_have_a_table_each(store: Reproduction) -> None:
    for lr, error in zip(online.MEMORY_LRS, (60.0, 50.0, 70.0, 80.0), strict=True):
        done(store, memory_cell("copy", "uoro", lr), error, "error")
    found = tables(store)
    assert list(found) == ["copy, length 22"]
    assert found["copy, length 22"][1][:5] == ["UORO", "0.003", "not solved", "-", "50.0"]


def test_the_step_size_of_a_task_is_that_which_solves_it_first(store: Reproduction) -> None:
    for lr, error, at in zip(online.MEMORY_LRS, (0.0, 0.5, 0.25, 0.0), (900, 600, None, 700), strict=True):
        done(store, memory_cell("adding", "bptt", lr), error, "error", at)
    (row,) = tables(store)["adding, length 20"][1:]
    steps, seconds = 100 * online.EPOCHS["paper"], 30
    assert row[:3] == ["BPTT (and RTRL, whose gradient it is)", "0.003", "solved at 600 updates"]
    assert float(row[3]) == pytest.approx(600 * seconds / steps, abs=0.05)
