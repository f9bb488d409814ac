"""Oracles: the commands of ``seqlra train`` that stand in results/measured.json, and figures written by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers import Run, finished

from seqlra import SeqlraError
from seqlra.paper.binary_rnn import BinaryRNN
from seqlra.paper.cells import Machine
from seqlra.paper.exhibits import exhibits
from seqlra.paper.inner_steps import InnerSteps
from seqlra.paper.reproduction import Reproduction
from seqlra.paper.rnn_settings import RNNSettings
from seqlra.paper.tiny_shakespeare import EPOCHS, TinyShakespeare, cell
from seqlra.paper.variants import Variants
from seqlra.training import experiment
from seqlra.training.settings import Config

MEASURED = Path(__file__).parents[2] / "results/measured.json"
CPU = Machine("cpu", 1)
BINARY = "rnn --hidden 256 --streams 64 --unroll 50 --epochs 9"


def commands(table: str) -> list[str]:
    """The commands of a table, one a label."""
    if not MEASURED.exists():
        pytest.skip("no results beside the tests")  # the copy that defects are planted in
    return [row["command"] for row in json.loads(MEASURED.read_text())["tables"][table]["rows"]]


@pytest.mark.parametrize(
    ("exhibit", "table"), [(InnerSteps(), "diff"), (TinyShakespeare(), "text"), (RNNSettings(), "tuning")]
)
def test_cells_are_the_commands_that_were_measured(
    exhibit: Variants, table: str, seqlra: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_same(exhibit, commands(table), seqlra, monkeypatch)


def test_binary_cells_are_the_default_network_with_a_discretizer(seqlra: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    own = [BINARY, f"{BINARY} --discretizer sign", f"{BINARY} --discretizer bernoulli"]
    assert_same(BinaryRNN(), own, seqlra, monkeypatch)


def assert_same(exhibit: Variants, own: list[str], seqlra: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell has the configuration that a command would train."""
    configs: list[Config] = []

    def prepare(given: list[Config], fresh: bool) -> Any:
        configs.extend(given)
        raise SeqlraError("would train")

    monkeypatch.setattr(experiment, "prepare", prepare)
    for command in own:
        assert "would train" in seqlra(f"train {command} --threads 1 --device cpu --diagnose 0").stderr
    cells = exhibit.cells()
    assert len({each.name for each in cells}) == len(cells) == len(configs)
    for each, config in zip(cells, configs, strict=True):
        made = each.config(each.at(exhibit.quick).epochs, 0, CPU)
        assert replace(made, versions={}) == replace(config, versions={}), each.name


def test_updates_end_in_the_epoch_that_the_folder_is_named_after() -> None:
    config = cell("x").config(EPOCHS, 0, CPU)
    per_epoch = int(0.9 * 1_115_394) // config.data.streams // config.data.unroll  # type: ignore[union-attr]
    assert config.optimization.epochs is None
    assert (EPOCHS - 1) * per_epoch < (config.optimization.steps or 0) <= EPOCHS * per_epoch


def test_a_page_has_the_figures_of_what_was_run_and_names_the_rest(tmp_path: Path) -> None:
    store = Reproduction(tmp_path, CPU)
    exhibit = InnerSteps()
    assert exhibit.page(store) is None
    one, five = (exhibit.variants[f"LRA-diff, K = {steps}"] for steps in (1, 5))
    finished(store, one, 1, [10.0, 12.0])
    finished(store, five, 2, [3.0])  # of another length: not this table's
    page = exhibit.page(store)
    assert page is not None
    assert page.rows[1:] == [("LRA-diff, K = 1", "**11.00** ± 1.41", "**12.00** ± 1.41", "-", "300.0", "1", "2")]
    assert [(each.name, each.figures) for each in page.entries] == [
        ("LRA-diff, K = 1, test", (10.0, 12.0)),
        ("LRA-diff, K = 1, validation", (11.0, 13.0)),
    ]
    assert five.name in page.notes[1]
    assert one.name not in page.notes[1]


def test_settings_are_compared_on_validation_alone(tmp_path: Path) -> None:
    store = Reproduction(tmp_path, CPU)
    finished(store, RNNSettings().variants["beta 1"], EPOCHS, [3.0], "bpc")
    page = RNNSettings().page(store)
    assert page is not None
    assert [row[:2] for row in page.rows] == [("", "validation bits per character"), ("beta 1", "**4.00**")]
    assert [(each.name, each.figures) for each in page.entries] == [("beta 1, validation", (4.0,))]


def test_all_leaves_out_what_needs_another_text() -> None:
    names = {each.name for each in exhibits("all")}
    assert not names & {"tiny-shakespeare", "rnn-settings", "learned-feedback"}
    assert names >= {"table1", "figure7", "inner-steps", "binary-rnn", "claims"}
    assert [each.name for each in exhibits("tiny-shakespeare")] == ["tiny-shakespeare"]
