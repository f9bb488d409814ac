"""Oracles: the runs of ``seqlra train`` alone, the uninterrupted reproduction, and the paper's own numbers."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
import torch
from helpers import Run, finished, folder_of

from seqlra import SeqlraError
from seqlra.cli.reproduce import effort
from seqlra.network.builders import mlp
from seqlra.network.units import discretizer
from seqlra.paper import exhibits, published, table1, table2, table3, table4
from seqlra.paper.cells import Cell, Machine, Scale, with_sources
from seqlra.paper.exhibit import Entry, Exhibit, Page, entry, markdown, what_ran
from seqlra.paper.reproduction import Reproduction
from seqlra.training import checkpoint, progress
from seqlra.training.experiment import learner, shared
from seqlra.training.optimizers import OPTIMIZERS
from seqlra.training.trainer import Trainer

CPU = Machine("cpu", 1)
OF_A_CLOCK = ("train_seconds", "samples_per_second", "tokens_per_second", "versions")


def tiny(name: str, data: str = "mnist", **options: Any) -> Cell:
    given: dict[str, Any] = {"dataset": data, "hidden": (7, 5), "valid": 70, "batch_size": 20}
    return Cell(f"{data}-{name}", {**given, **options})


FIRST = tiny("lra", weight_init="gaussian", weight_std=0.3)
LATER = Cell("mnist-later", {**FIRST.options, "rule": "backprop"}, after=FIRST)
CELLS = [
    FIRST,
    tiny("null", weight_init="zeros"),  # differs from the first in how its weights start alone
    tiny("dfa", "fashion_mnist", rule="dfa"),
    LATER,
]


class Small(Exhibit):
    """An exhibit of its own, as small as it can be."""

    name, title = "small", "a test"
    quick, paper = Scale(2), Scale(3, seeds=2)

    def cells(self) -> list[Cell]:
        return list(CELLS)

    def page(self, reproduction: Reproduction) -> Page | None:
        found = {cell.name: reproduction.found(cell) for cell in CELLS}
        own = [entry(name, each, "test_error", 50.0) for name, each in found.items() if each]
        rows = [("cell", "error"), *((each.name, each.summary()) for each in own)]
        return Page(rows, own, [what_ran(found.values())]) if own else None


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(exhibits.EXHIBITS, "small", Small())


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def figures(path: Path) -> dict[str, Any]:
    return {name: value for name, value in read(path).items() if name not in OF_A_CLOCK}


def test_every_cell_is_the_run_alone(seqlra: Run, images: Path, tmp_path: Path) -> None:
    done = seqlra(f"reproduce small --data-dir {images} --out store --threads 1 --json")
    assert done.returncode == 0, done.stderr
    of = f"train mlp --data-dir {images} --hidden 7,5 --valid 70 --batch-size 20 --epochs 2 --threads 1 --diagnose 0"
    alone = {
        "mnist-lra": "--dataset mnist --weight-init gaussian --weight-std 0.3",
        "mnist-null": "--dataset mnist --weight-init zeros",
        "fashion_mnist-dfa": "--dataset fashion_mnist --rule dfa",
        "mnist-later": "--dataset mnist --rule backprop --init-from alone/mnist-lra",
    }
    assert list(alone) == [cell.name for cell in CELLS]
    for name, options in alone.items():
        assert seqlra(f"{of} {options} --out alone/{name}").returncode == 0
        one, other = figures(Path(f"store/{name}-2ep-seed0/result.json")), figures(Path(f"alone/{name}/result.json"))
        assert one.keys() == other.keys()
        for figure, value in other.items():
            # trained together with others it is the same up to rounding, which may turn an image or two
            near = pytest.approx(value, abs=3) if isinstance(value, float) else value
            assert one[figure] == near, figure
    printed = json.loads(done.stdout)
    entries = read(Path("store/small.json"))["entries"]
    assert printed == {"out": "store", "exhibits": {"small": entries}}
    for each, name in zip(entries, alone, strict=True):
        error = read(Path(f"store/{name}-2ep-seed0/result.json"))["test_error"]
        assert (each["name"], each["mean"], each["figures"]) == (name, error, [error])
        assert each["difference"] == pytest.approx(error - 50)
    page = Path("store/small.md").read_text()
    assert page.startswith("## Small: a test\n\n| cell | error |\n")
    assert "4 runs, 1 seed(s) a cell, 2 epochs" in page
    assert sorted(path.name for path in Path("store").iterdir() if path.is_file()) == ["small.json", "small.md"]
    assert not list(Path("store").glob("*.stack"))


def test_done_is_done_and_more_seeds_or_epochs_come_on_top(seqlra: Run, images: Path) -> None:
    command = f"reproduce small --data-dir {images} --out store --threads 1"
    assert seqlra(command).returncode == 0
    made = {path: path.stat().st_mtime_ns for path in Path("store").glob("*/checkpoint.pt")}
    assert len(made) == 4
    again = seqlra(command)
    assert again.returncode == 0
    assert " of " not in again.stderr.split("small: a test")[0]  # nothing is trained
    assert seqlra(f"{command} --seeds 2 --only mnist-null").returncode == 0
    assert seqlra(f"{command} --scale paper --only fashion*").returncode == 0
    assert {path: path.stat().st_mtime_ns for path in made} == made
    entries = {each["name"]: each for each in read(Path("store/small.json"))["entries"]}
    counts = {name: (each["epochs"], len(each["figures"])) for name, each in entries.items()}
    assert counts == {
        "mnist-lra": (2, 1),
        "mnist-null": (2, 2),
        "fashion_mnist-dfa": (3, 2),  # the longest runs, of as many seeds as they have
        "mnist-later": (2, 1),
    }


@pytest.mark.parametrize("folder", ["mnist-lra-2ep-and-1-more-seed0.stack", "mnist-later-2ep-seed0"])
def test_a_cell_stopped_in_the_middle_goes_on_to_the_same_figures(
    folder: str, seqlra: Run, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = f"reproduce small --data-dir {images} --threads 1"
    assert seqlra(f"{command} --out whole").returncode == 0

    class Stopping(progress.Progress):
        """A Ctrl-C in the middle of the second epoch."""

        def __call__(self, trainer: Trainer) -> None:
            if folder_of(trainer) == folder and trainer.step == 8:
                os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(progress, "Progress", Stopping)
        patch.setattr(Trainer, "CHECK_EVERY", 4)
        stopped = seqlra(f"{command} --out store")
    assert stopped.returncode == 130
    assert stopped.stderr.splitlines()[-1] == f"stopped; go on with: seqlra {command} --out store"
    assert checkpoint.load(Path("store") / folder / "checkpoint.pt")["step"] == 9
    torch.manual_seed(99)  # what happens in between must not matter
    assert seqlra(f"{command} --out store").returncode == 0
    assert read(Path("store/small.json"))["entries"] == read(Path("whole/small.json"))["entries"]


def test_what_differs_in_its_start_alone_is_trained_together_and_sources_come_first(images: Path) -> None:
    store = Reproduction(Path("nowhere"), Machine("cpu", 1, str(images)))
    groups = store.groups([LATER, *CELLS], Scale(2, seeds=2))
    assert [[member.folder for member in group.specs] for group in groups] == [
        ["mnist-lra-2ep-seed0", "mnist-null-2ep-seed0"],
        ["mnist-lra-2ep-seed1", "mnist-null-2ep-seed1"],
        ["mnist-later-2ep-seed0", "mnist-later-2ep-seed1"],
        ["fashion_mnist-dfa-2ep-seed0", "fashion_mnist-dfa-2ep-seed1"],
    ]
    assert len({group.name for group in groups}) == 4
    start = groups[2].specs[1].config.network.init_from
    assert start == str(Path("nowhere/mnist-lra-2ep-seed1").resolve())
    again = Cell("mnist-again", FIRST.options, after=FIRST)  # in all but its start the same as what it starts from
    assert [group.specs[0].label for group in store.groups([again], Scale(2))] == ["mnist-lra-2ep", "mnist-again-2ep"]
    fixed = Cell(FIRST.name, FIRST.options, epochs=2)
    assert [group.name for group in store.groups([fixed], Scale(5))] == ["mnist-lra-2ep"]
    (group,) = store.groups([FIRST, fixed], Scale(2))  # the scale's epochs are its own: one run, not two
    assert len(group.specs) == 1
    assert [(cell.name, cell.epochs) for cell in with_sources([FIRST, fixed, FIRST])] == [
        (FIRST.name, None),
        (FIRST.name, 2),
    ]


def test_a_run_with_other_settings_is_refused_and_left_alone(seqlra: Run, images: Path) -> None:
    command = f"reproduce small --data-dir {images} --out store --threads 1 --only mnist-null"
    assert seqlra(command).returncode == 0
    config = Path("store/mnist-null-2ep-seed0/config.json")
    changed = read(config)
    changed["optimization"]["lr"] = 0.5
    config.write_text(json.dumps(changed))
    refused = seqlra(command)
    assert refused.returncode == 1
    assert "mnist-null-2ep-seed0 was run with other settings" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert read(config) == changed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("table9", "unknown table or figure 'table9'; known: all, table1"),
        ("small --epochs 0", "epochs must be at least 1, not 0"),
        ("small --seeds 0", "seeds must be at least 1, not 0"),
        ("small --only nothing*", "no cell of small fits --only 'nothing*'"),
        ("small --data-dir nowhere", "nowhere"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(arguments: str, said: str, seqlra: Run) -> None:
    refused = seqlra(f"reproduce {arguments} --out store")
    assert refused.returncode == 1
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not list(Path("store").glob("*.json"))


def test_a_folder_that_cannot_be_or_has_nothing_to_show_is_reported(seqlra: Run, images: Path) -> None:
    Path("file").touch()
    refused = seqlra(f"reproduce small --data-dir {images} --out file/store --threads 1")
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("error: cannot write to file/store")
    nothing = seqlra("reproduce claims --out store")
    assert nothing.returncode == 1
    assert nothing.stderr == "error: store has no runs to show yet; begin with: seqlra reproduce table1\n"


def test_the_list_names_every_exhibit(seqlra: Run) -> None:
    shown = seqlra("reproduce list").stdout
    for name in ("table1", "table2", "table3", "table4", "sequences"):
        assert name in shown
    assert "mnist-8x128-sigmoid-lra-fdbk-std0" in shown


def test_mean_spread_and_difference() -> None:
    three = Entry("x", (2.0, 4.0, 3.0), 2.5, 10)
    assert (three.mean, three.spread) == (fmean(three.figures), pytest.approx(stdev(three.figures)))
    assert three.summary() == "**3.00** ± 1.00 (2.5, +0.50)"
    assert Entry("x", (2.0,), None, 1).summary() == "**2.00**"
    assert Entry("x", (2.0,), 2.25, 1).to_dict()["difference"] == -0.25
    page = Page([("a", "b"), ("1", "2")], [three], ["A note."])
    assert markdown(Small(), page, True) == (
        "## Small: a test\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n![a test](small.png)\n\nA note.\n"
    )


PAPER = (Path(__file__).parents[3] / "shared/paper").glob("*.txt")


def test_the_published_figures_are_those_of_the_paper() -> None:
    texts = [path.read_text() for path in PAPER]
    if not texts:
        pytest.skip("no text of the paper beside the checkout")
    lines = [line.replace("<i>", "").replace("</i>", "").split("\t") for line in texts[0].splitlines() if "\t" in line]
    printed = [[cell.strip() for cell in line] for line in lines]
    names = {"backprop": "Backprop", "fa": "FA", "dfa": "DFA", "dtp": "DTP", "lra-fdbk": "LRA-fdbk"}
    for rule, name in names.items():
        mnist, fashion = [row[1:9] for row in printed if row[0] == name][:2]
        for data, row in (("mnist", mnist), ("fashion_mnist", fashion)):
            own = [*published.TABLE1[data, "sigmoid", rule], *published.TABLE1[data, "tanh", rule]]
            assert [None if text == "X" else float(text) for text in row] == own, (rule, data)
    checked = 0
    for row in printed:
        kind = row[0].replace("LRA- ", "").strip("* ").lower()
        for (network, data), own in published.TABLE2.items():
            if network.lower() == kind and len(row) == 9:
                at = row[1:5] if data == "mnist" else row[5:9]
                assert [*map(float, at[:3]), *map(float, at[3].rstrip(")").split("("))] == list(own)
                checked += 1
    assert checked == len(published.TABLE2)
    assert {tuple(map(float, row[1:])) for row in printed if row[0][:3] in ("DTP", "ST-") and len(row) == 3} >= {
        (published.TABLE3[method, "mnist"], published.TABLE3[method, "fashion_mnist"]) for method in ("dtp", "ste")
    }
    for name, own in published.TABLE4.items():
        words = name.replace("lra", "LRA").replace("backprop", "Backprop").replace("-", ", ")
        assert [tuple(map(float, row[1:])) for row in printed if row[0] == words] == [own]


def shown_of(exhibit: Exhibit, store: Reproduction) -> tuple[dict[str, Entry], list[list[str]]]:
    page = exhibit.page(store)
    assert page is not None
    assert all(len(row) == len(page.rows[0]) for row in page.rows)
    return {each.name: each for each in page.entries}, [list(row) for row in page.rows]


def test_table1_sets_every_cell_beside_its_own_figure_of_the_paper(tmp_path: Path) -> None:
    store = Reproduction(tmp_path, CPU)
    assert table1.Table1().page(store) is None
    finished(store, table1.cell("fashion_mnist", "tanh", "dfa", 0.05), 3, [14.0, 16.0])
    finished(store, table1.cell("fashion_mnist", "tanh", "dfa", 0.1), 100, [13.0])
    finished(store, table1.cell("mnist", "sigmoid", "dtp", 0.0), 3, [80.0])
    entries, rows = shown_of(table1.Table1(), store)
    assert entries["fashion_mnist, tanh, dfa, std 0.05"].summary() == "**15.00** ± 1.41 (13.95, +1.05)"
    assert entries["fashion_mnist, tanh, dfa, std 0.1"].paper == 14.13
    assert rows[1] == ["mnist", "sigmoid", "dtp", "**80.00** (X)", "-", "-", "-", "3"]
    assert rows[2][:5] == ["fashion_mnist", "tanh", "dfa", "-", "-"]
    assert rows[2][-1] == "3, 100"


def test_table1_trains_what_the_paper_says() -> None:
    cells = table1.Table1().cells()
    assert len(cells) == len({cell.name for cell in cells}) == 80
    assert [cell.options["rule"] for cell in cells[:16]] == ["lra-fdbk"] * 16
    groups = Reproduction(Path("nowhere"), CPU).groups(cells, Scale(100))
    assert {len(group.specs) for group in groups} == {4}  # one for each standard deviation
    for cell in cells:
        config = cell.config(100, 0, CPU)
        assert (config.network.hidden, config.optimization.batch_size) == ((128,) * 8, 50)
        assert config.network.weight_init == ("zeros" if cell.name.endswith("std0") else "gaussian")
        assert cell.name.endswith("std0") or cell.name.endswith(f"std{config.network.weight_std:g}")
        assert config.network.feedback_init == ("gaussian" if "lra" in cell.name else "fan-out")


def test_table2_takes_epoch_one_from_a_run_of_one_epoch(tmp_path: Path) -> None:
    store = Reproduction(tmp_path, CPU)
    finished(store, table2.cell("relu6", "mnist"), 1, [9.0])
    entries, rows = shown_of(table2.Table2(), store)
    assert rows[1] == ["relu6", "mnist", "**9.00** (8.6, +0.40)", "9.00", "3.14", "-", "1 of 1 (69 of 100)"]
    finished(store, table2.cell("relu6", "mnist"), 4, [3.0])
    entries, rows = shown_of(table2.Table2(), store)
    assert entries["relu6, mnist, best"].summary() == "**3.00** (2.18, +0.82)"
    assert rows[1][2:5] == ["**9.00** (8.6, +0.40)", "6.00", "3.14"]
    cells = table2.Table2().cells()
    assert len(cells) == 32
    for cell in cells:
        network = cell.config(1, 0, CPU).network
        assert (network.hidden, network.weight_init) == ((800,) * 3, "zeros")


def test_table3_measures_the_posterior_once(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_default_dtype(torch.float32)
    store = Reproduction(tmp_path, Machine("cpu", 1, str(images)))
    cell = Cell(table3.cell("lra-fdbk", "mnist").name, {**table3.cell("lra-fdbk", "mnist").options, "valid": 70})
    for group in store.groups([cell], Scale(1)):
        store.train(group.name, group.specs, lambda members: progress.Progress())
    exhibit = table3.Table3()
    assert exhibit.page(store) is None  # trained, not measured
    exhibit.measure(store, [cell])
    posterior = tmp_path / f"{cell.name}-1ep-seed0/posterior.json"
    measured = read(posterior)
    assert measured["samples"] == 100
    entries, rows = shown_of(exhibit, store)
    own = entries["lra-fdbk, mnist"]
    assert own.mean == 100 - measured["posterior"]["error"]
    assert rows[1][3] == f"{measured['posterior']['error']:.2f}"
    assert own.paper == 98.28
    before = posterior.stat().st_mtime_ns
    exhibit.measure(store, [cell])
    assert posterior.stat().st_mtime_ns == before


def test_table4_starts_fine_tuning_from_what_pre_training_chose(tmp_path: Path) -> None:
    store = Reproduction(tmp_path, CPU)
    cells = table4.Table4().cells()
    assert [cell.after and cell.after.name for cell in cells] == [None, None, cells[0].name, cells[1].name]
    tuned = store.member(cells[2], 7, 1).config
    assert tuned.network.init_from == str(tmp_path / "fashion_mnist-3x256-lra-pretrained-7ep-seed1")
    assert (tuned.rule["name"], tuned.optimization.optimizer, tuned.optimization.lr) == ("backprop", "sgd", 0.001)
    before = store.member(cells[0], 7, 1).config
    assert (before.optimization.optimizer, before.optimization.lr, before.network.weight_std) == ("adam", 0.0002, 0.05)
    assert before.diagnose == 1000
    finished(store, table4.cell("lra", "finetuned"), 7, [11.0])
    _, rows = shown_of(table4.Table4(), store)
    assert rows[1] == [
        *("lra, finetuned", "**10.00** (0.13, +9.87)", "**12.00** (10.11, +1.89)", "**11.00** (11.32, -0.32)", "7")
    ]


def test_members_trained_together_agree_in_all_but_their_start(tmp_path: Path) -> None:
    store = Reproduction(tmp_path, CPU)
    for exhibit in exhibits.EXHIBITS.values():
        for group in store.groups(exhibit.cells(), exhibit.quick):
            first = shared(group.specs[0].config)
            assert all(shared(member.config) == first for member in group.specs), group.name


def test_effort_grows_with_what_there_is_to_do(tmp_path: Path) -> None:
    store = Reproduction(tmp_path, CPU)
    small, large = table1.cell("mnist", "tanh", "lra-fdbk", 0.0), table2.cell("relu6", "mnist")
    one = effort(store.member(small, 1, 0))
    assert effort(store.member(small, 3, 0)) == pytest.approx(3 * one)
    assert effort(store.member(large, 1, 0)) > 2 * one
    assert effort(store.member(table1.cell("mnist", "tanh", "dtp", 0.1), 1, 0)) > one


def test_a_damaged_result_is_reported(tmp_path: Path) -> None:
    store = Reproduction(tmp_path, CPU)
    finished(store, FIRST, 2, [5.0])
    (tmp_path / "mnist-lra-2ep-seed0/result.json").write_text("{")
    with pytest.raises(SeqlraError, match="damaged"):
        store.found(FIRST)


@pytest.mark.parametrize("name", exhibits.EXHIBITS)
def test_every_cell_can_be_built(name: str, tmp_path: Path) -> None:
    store = Reproduction(tmp_path, CPU)
    for cell in exhibits.EXHIBITS[name].cells():
        config = store.member(cell, 1, 0).config
        g = discretizer(config.network.discretizer, config.network.block_size)
        assert mlp(4, config.network.hidden, 3, config.network.activation, g, config.network.loss)
        assert learner(config).name == config.rule["name"]
        assert config.optimization.optimizer in OPTIMIZERS
