"""The page of sequences. Oracles: figures written by hand, straight lines, the commands of ``seqlra train rnn``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from helpers import Run, finished
from matplotlib.image import imread

from seqlra import SeqlraError
from seqlra.data.text import TEXTS
from seqlra.paper import sequence_memory, sequence_text, sequences
from seqlra.paper.cells import Cell, Machine
from seqlra.paper.exhibit import Page, write
from seqlra.paper.reproduction import Reproduction
from seqlra.paper.sequences import Sequences
from seqlra.paper.sequences_tuning import SequencesTuning
from seqlra.training.experiment import prepare

CPU = Machine("cpu", 1)


@pytest.fixture(autouse=True)
def untuned(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no step sizes were kept."""
    for module in (sequence_text, sequences):
        monkeypatch.setattr(module, "chosen", dict)


@pytest.fixture
def store(tmp_path: Path) -> Reproduction:
    return Reproduction(tmp_path, CPU)


def amend(store: Reproduction, cell: Cell, seed: int = 0, **result: Any) -> None:
    """Change the result of a finished run."""
    path = store.path / f"{cell.name}-{cell.epochs}ep-seed{seed}/result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **result}))


def page_of(store: Reproduction) -> tuple[Page, dict[str, list[list[str]]]]:
    page = Sequences().page(store)
    assert page is not None
    return page, {section.heading: [list(row) for row in section.rows] for section in page.sections}


def test_nothing_trained_is_no_page(store: Reproduction) -> None:
    for exhibit in (Sequences(), SequencesTuning()):
        assert write(exhibit, store) is None
    assert not list(store.path.iterdir())


def test_quick_leaves_out_cells_and_the_data_is_that_of_the_folder(tmp_path: Path) -> None:
    quick, paper = (Sequences().cells_at(scale, CPU) for scale in ("quick", "paper"))
    assert {cell.name for cell in quick} < {cell.name for cell in paper}
    assert len(quick) == 2 * 5 + 3 * 2 * 4 + 2
    assert len(paper) == 3 * 8 + (4 + 4 + 5 + 3 + 4) * 4 + 2
    assert {cell.options["dataset"] for cell in quick[:10]} == {"text-sample"}
    for folder in ("tiny_shakespeare", "mnist"):
        (tmp_path / folder).mkdir()
    here = Sequences().cells_at("paper", Machine("cpu", 1, str(tmp_path)))
    assert {cell.options["dataset"] for cell in here[:24]} == {"tiny_shakespeare"}
    assert [(cell.name, cell.options["dataset"]) for cell in here[24:27]] == [
        (f"sample-256-{rule}-lr{lr(rule):g}", "text-sample") for rule in ("full", "fixed", "bptt")
    ]  # a second text
    assert here[-1].options["dataset"] == "mnist-rows"


def lr(rule: str) -> float:
    return sequence_text.chosen().get((rule, 256), sequence_text.LR)


def test_rules_are_those_of_the_labels() -> None:
    def rule(cell: Cell) -> tuple[Any, ...]:
        config = cell.config(1, 0, CPU)
        return tuple(config.rule.get(key) for key in ("name", "feedback", "window", "carry"))

    texts = {name: rule(sequence_text.cell(name, 128)) for name in sequence_text.RULES}
    assert texts["full"] == ("lra-fdbk", "learned", None, "error")
    assert [texts[f"window{w}"][2] for w in (4, 2, 0)] == [4, 2, 0]
    assert texts["fixed"][:3] == ("lra-fdbk", "fixed", 0)
    assert texts["fa"][:3] == ("fa", "learned", None)
    memory = {name: rule(sequence_memory.cell("adding", 20, name)) for name in sequence_memory.RULES}
    assert memory["learned"] == ("lra-fdbk", "learned", None, "error")
    assert memory["random"] == ("lra-fdbk", "fixed", None, "error")
    assert memory["fixed"][:3] == ("lra-fdbk", "fixed", 0)
    config = sequence_memory.cell("adding", 20, "random").config(50, 0, CPU)
    assert config.optimization.epochs == 50
    assert config.optimization.steps is None
    assert config.network.across_time


def test_updates_end_in_the_epoch_that_the_folder_is_named_after() -> None:
    chunks = prepare([sequence_text.cell("bptt", 8).config(1, 0, CPU)]).task.steps_per_epoch
    assert sequence_text.CHUNKS["text-sample"] == chunks
    assert int(0.9 * 1_115_394) // 64 // 50 == sequence_text.CHUNKS["tiny_shakespeare"]
    assert set(sequence_text.CHUNKS) == set(TEXTS)
    assert sequence_text.cell("bptt", 128, updates=2 * chunks + 1).epochs == 3


def test_text_has_its_gap_and_what_was_reached_in_the_time_of_bptt(store: Reproduction) -> None:
    bptt, full = (sequence_text.cell(rule, 128, updates=1000) for rule in ("bptt", "full"))
    finished(store, bptt, 4, [2.0], "bpc", seconds=[5.0, 10.0, 15.0, 20.0])
    finished(
        store, full, 4, [2.1, 2.3], "bpc", seconds=[16.0, 32.0, 48.0, 64.0], valid_bpc=[4.0, 3.0, 2.5, 2.2],
        alignment=[{"E": 9.0, "F": 12.0}, {"E": 8.0, "F": 7.0}, {"E": 5.0, "F": 6.0}, {"E": 2.0, "F": 3.0}],
    )  # fmt: skip
    amend(store, bptt, train_seconds=20.0)
    page, tables = page_of(store)
    _, first, second = tables["Text: text-sample"]
    assert first[:6] == [
        *("LRA, learned E and F, whole walk", "128", "400", "2.200 (2 seeds, 2.100 to 2.300)", "+10.0%"),
        "3.750 (2 seeds, 3.750 to 3.750)",  # a quarter of the way from 4 to 3
    ]
    assert second[3:] == ["2.000", "+0.0%", "5.000", "50.0", "20"]
    assert tables["Alignment of E with U^T and of F with V^T"][1:] == [
        ["text-sample, 128 units, LRA, learned E and F, whole walk", "E", "9.0°", "2.0°", "4"],
        ["text-sample, 128 units, LRA, learned E and F, whole walk", "F", "12.0°", "3.0°", "4"],
    ]
    notes = " ".join(page.notes)
    assert "sample-128-window4-lr0.01" in notes
    assert re.search(r", and \d+ more\.", notes)
    assert full.name not in notes
    amend(store, bptt, train_seconds=15.0)  # before the first epoch of the other
    assert page_of(store)[1]["Text: text-sample"][1][5] == "-"


def test_memory_says_what_was_solved_and_what_error_is_left(store: Reproduction) -> None:
    learned, bptt = (sequence_memory.cell("adding", 20, rule, 50) for rule in ("learned", "bptt"))
    finished(store, learned, 50, [0.0, 30.5])
    amend(store, learned, solved_at=1700)
    finished(store, bptt, 50, [0.0, 0.0])
    for seed, at in enumerate((900, 1200)):
        amend(store, bptt, seed, solved_at=at)
    finished(store, sequence_memory.row_cell("bptt", epochs=3), 3, [4.5])
    _, tables = page_of(store)
    assert tables["Tasks with memory"][1] == [
        *("adding", "20", "1 of 2 solved at 1,700 updates; else 30.5% wrong after 5,000", "-", "-"),
        "solved at 900 to 1,200 updates",
    ]
    assert tables["MNIST, a row of pixels at each step"][1][:4] == ["BPTT", "mnist-sample-rows", "3", "4.50"]


@pytest.mark.draws
def test_pictures_and_files_grow_with_what_there_is(store: Reproduction) -> None:
    finished(store, sequence_text.cell("bptt", 256), 10, [2.0], "bpc")
    assert Sequences().draw(store, store.path / "one.png")
    finished(store, sequence_memory.cell("copy", 50, "fixed"), 200, [30.0])
    assert write(Sequences(), store)
    one, two = imread(store.path / "one.png"), imread(store.path / "sequences.png")
    assert two.shape[0] == 2 * one.shape[0]
    assert [t["heading"] for t in json.loads((store.path / "sequences.json").read_text())["tables"]] == [
        "Text: text-sample",
        "Tasks with memory",
    ]
    assert "### Tasks with memory" in (store.path / "sequences.md").read_text()


def test_the_step_size_with_the_least_error_on_validation_is_kept_and_taken(
    store: Reproduction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for lr, bpc in ((0.01, 2.3), (0.02, 2.2), (0.04, 2.4)):
        finished(store, sequence_text.cell("fa", 128, updates=1000, lr=lr), 4, [bpc], "bpc")
    for size, lr in ((128, 0.01), (256, 0.005)):  # the others are not there
        finished(store, sequence_text.cell("diff", size, updates=1000, lr=lr), 4, [2.0], "bpc")
    page = write(SequencesTuning(), store)
    assert page is not None
    given = "--rule fa --feedback learned --mirror-vectors 10000"
    assert page.rows == [
        ("rule", "units", "lr 0.0025", "lr 0.005", "lr 0.01", "lr 0.02", "lr 0.04", "chosen", "options"),
        ("LRA-diff", "128", "-", "-", "3.000", "-", "-", "-", "--rule lra-diff"),
        ("FA, learned", "128", "-", "-", "3.300", "3.200", "3.400", "0.02", given),
        ("LRA-diff", "256", "-", "3.000", "-", "-", "-", "-", "--rule lra-diff"),
    ]
    monkeypatch.undo()
    kept = tmp_path / "sequences-tuning.json"
    assert sequence_text.chosen(kept) == {("fa", 128): 0.02}
    assert sequence_text.chosen(tmp_path / "none") == {}
    (tmp_path / "bad").write_text("[]")
    with pytest.raises(SeqlraError, match="damaged"):
        sequence_text.chosen(tmp_path / "bad")
    monkeypatch.setattr(sequence_text, "chosen", lambda: {("fa", 256): 0.02})
    assert sequence_text.cell("fa", 256).options["lr"] == 0.02
    assert sequence_text.cell("fa", 128).options["lr"] == sequence_text.LR
    assert sequence_text.cell("bptt", 256).options["lr"] == sequence_text.LR


def test_a_trained_cell_gives_the_page(seqlra: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sequence_memory.EPOCHS, "quick", 1)
    done = seqlra("reproduce sequences --only '*order-20-learned' --data-dir . --threads 1 --device cpu --out store")
    assert done.returncode == 0, done.stderr
    folder = Path("store/memory-temporal-order-20-learned-1ep-seed0")
    assert json.loads((folder / "result.json").read_text())["steps"] == 100
    assert "Tasks with memory" in Path("store/sequences.md").read_text()
    assert Path("store/sequences.png").exists()
    assert "Alignment" in done.stdout
    assert "no cell" in seqlra("reproduce sequences --only 'text-99-*' --out store").stderr
