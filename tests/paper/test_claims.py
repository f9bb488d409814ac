"""Oracle: runs that nobody trained, with errors for which a claim clearly holds or clearly fails."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from helpers import finished

from seqlra.paper import figure2, figure3, figure5, figure6, figure7, table1, table2, table3, table4
from seqlra.paper.cells import Machine
from seqlra.paper.claims import CLAIMS, Claims, Verdict
from seqlra.paper.exhibit import Entry, Page
from seqlra.paper.published import STDS, TABLE1, TABLE2
from seqlra.paper.reproduction import Reproduction

GRID = list(product(table1.DATA, table1.UNITS, STDS))


@pytest.fixture
def store(tmp_path: Path) -> Reproduction:
    return Reproduction(tmp_path, Machine("cpu", 1))


def judged(store: Reproduction, claim: str) -> Verdict | None:
    return CLAIMS[claim][1](store)


def thin(store: Reproduction, rule: str, error: Callable[[str, str, float], float], epochs: int = 3) -> None:
    """Table 1's row of a rule."""
    for data, unit, std in GRID:
        finished(store, table1.cell(data, unit, rule, std), epochs, [error(data, unit, std)])


def test_no_runs_no_verdicts(store: Reproduction) -> None:
    assert Claims().page(store) is None
    assert all(judge(store) is None for _, judge in CLAIMS.values())


def test_a_page_has_every_claim_with_what_was_seen(store: Reproduction) -> None:
    thin(store, "backprop", lambda *_: 88.7)
    page = Claims().page(store)
    assert page is not None
    rows = {row[0]: row[1:] for row in page.rows[1:]}
    assert list(rows) == list(CLAIMS)
    shown = rows["backprop does not train the sigmoid net from any of them"]
    assert shown == ("Table 1", "holds", "the best of eight cells: 88.7% after 3 epochs")
    assert rows["LRA-fdbk is better than FA"] == ("Table 1", "not run", "-")


@pytest.mark.parametrize(("worst", "holds"), [(15.0, True), (60.0, False)])
def test_from_zero_weights(store: Reproduction, worst: float, holds: bool) -> None:
    thin(store, "lra-fdbk", lambda data, unit, std: worst if (data, unit, std) == ("mnist", "tanh", 0.0) else 4.0)
    verdict = judged(store, "LRA-fdbk trains eight layers from all-zero weights, with both units")
    assert verdict is not None
    assert verdict.holds is holds
    assert f"4.00%, {worst:.2f}%, 4.00%, 4.00%" in verdict.seen


def test_errors_as_in_the_table_are_asked_cell_by_cell(store: Reproduction) -> None:
    def error(data: str, unit: str, std: float) -> float:
        paper = TABLE1[data, unit, "lra-fdbk"][STDS.index(std)]
        assert paper is not None
        return paper + {"mnist": 0.45, "fashion_mnist": -3}[data]

    thin(store, "lra-fdbk", error)
    claim = "its errors are those of the table"
    verdict = judged(store, claim)
    assert verdict is not None
    assert verdict.holds
    assert "16 of 16" in verdict.seen
    assert "+0.45" in verdict.seen
    finished(store, table1.cell("mnist", "tanh", "lra-fdbk", 0.1), 9, [4.3])  # 3.72 in the paper
    verdict = judged(store, claim)
    assert verdict is not None
    assert not verdict.holds
    assert "15 of 16" in verdict.seen


def test_robust_is_a_range_over_initializations(store: Reproduction) -> None:
    thin(store, "lra-fdbk", lambda data, unit, std: 5 + 10 * std)
    claim = "it is robust to the initialization"
    verdict = judged(store, claim)
    assert verdict == Verdict(True, "over the four initializations: 1.00, 1.00, 1.00, 1.00 points (3 epochs)")
    thin(store, "lra-fdbk", lambda data, unit, std: 5 + 20 * std, epochs=4)
    verdict = judged(store, claim)
    assert verdict is not None
    assert not verdict.holds


def test_rules_are_compared_at_equal_epochs(store: Reproduction) -> None:
    thin(store, "lra-fdbk", lambda *_: 6.0, epochs=3)
    thin(store, "lra-fdbk", lambda *_: 3.0, epochs=100)
    thin(store, "dfa", lambda *_: 5.0, epochs=3)
    claim = "LRA-fdbk is better than DFA"
    assert judged(store, claim) == Verdict(False, "better in 0 of 16 cells (3 epochs)")
    thin(store, "dfa", lambda *_: 4.0, epochs=100)
    assert judged(store, claim) == Verdict(True, "better in 16 of 16 cells (100 epochs)")


@pytest.mark.parametrize(("worse", "holds"), [(1.4, True), (1.6, False)])
def test_all_kinds_of_units(store: Reproduction, worse: float, holds: bool) -> None:
    for network, data in product(table2.NETWORKS, table1.DATA):
        better = -5.0 if network != "relu6" else worse
        finished(store, table2.cell(network, data), 1, [TABLE2[network, data][0] + better])
    verdict = judged(store, "all eight kinds of units learn from zero weights, as fast as reported")
    assert verdict is not None
    assert verdict.holds is holds


def test_stochastic_units(store: Reproduction) -> None:
    def method(name: str, error: float) -> None:
        for data in table1.DATA:
            finished(store, cell := table3.cell(name, data), 5, [50.0])
            run = store.path / f"{cell.name}-5ep-seed0/posterior.json"
            store.write_json(run, {"posterior": {"error": error}})

    for name in table3.METHODS:
        method(name, {"lra-fdbk": 2.4, "dtp": 2.0, "ste-sigmoid": 2.3}.get(name, 9.0))
    level, behind = judged(store, "with stochastic units LRA-fdbk is level with DTP"), None
    assert level is not None
    assert level.holds
    assert level.seen.startswith("mnist 97.60 against 98.00 (dtp, 5 epochs)")
    simple = judged(store, "it outperforms the pass-through estimator and REINFORCE")
    assert simple is not None
    assert simple.holds
    behind = judged(store, "it outperforms the sigmoid-adjusted and slope-annealed estimators")
    assert behind is not None
    assert not behind.holds
    assert "97.70 (ste-sigmoid" in behind.seen


def test_pre_training(store: Reproduction) -> None:
    finished(store, table4.cell("lra", "pretrained"), 20, [11.0])
    finished(store, table4.cell("lra", "finetuned"), 20, [10.5])
    finished(store, table4.cell("backprop", "pretrained"), 20, [10.9])
    tuned = judged(store, "fine-tuning by backprop improves what LRA learned, on training and validation images")
    assert tuned is not None
    assert tuned.holds
    assert "test 11.00 to 10.50 (20 epochs each)" in tuned.seen
    slower = judged(store, "LRA optimizes, but is slower to overfit than backprop")
    assert slower is not None
    assert slower.holds  # more error in training, about as much on the test images
    finished(store, table4.cell("backprop", "pretrained"), 30, [11.5])
    finished(store, table4.cell("lra", "pretrained"), 30, [11.0])
    slower = judged(store, "LRA optimizes, but is slower to overfit than backprop")
    assert slower is not None
    assert not slower.holds


def test_steps_of_lra_diff(store: Reproduction) -> None:
    for data in table1.DATA:
        for steps in figure2.STEPS:
            finished(store, figure2.diff(data, steps), 2, [9.0 - steps / 10])
        finished(store, figure2.fdbk(data, 1.0), 2, [4.5])
    more = judged(store, "more steps K of LRA-diff generalize better, sooner")
    assert more is not None
    assert more.holds
    one = judged(store, "LRA-fdbk, with one step, reaches the level of the best K")
    assert one is not None
    assert one.holds
    assert "mnist 5.50, the best K 5.00 (2 epochs)" in one.seen  # on validation, after the last epoch


@pytest.mark.parametrize(("last", "holds"), [(2.0, True), (9.0, False)])
def test_the_depth_falls(store: Reproduction, last: float, holds: bool) -> None:
    for data, unit in product(table1.DATA, table1.UNITS):
        finished(store, figure5.halting(data, unit), 3, [5.0], depth=[9.0, 8.0, last])
    verdict = judged(store, "the depth of credit assignment falls while networks learn")
    assert verdict is not None
    assert verdict.holds is holds
    assert f"mnist sigmoid 9.0 to {last:.1f} (3 epochs)" in verdict.seen


@pytest.mark.parametrize(("most", "holds"), [(89.0, True), (91.0, False)])
def test_the_angle(store: Reproduction, most: float, holds: bool) -> None:
    finished(store, figure7.CELL, 3, [5.0], angle=[20.0, most, 40.0])
    verdict = judged(store, "LRA's updates are within 90 degrees of backprop's")
    assert verdict == Verdict(holds, f"from 20 to 40 degrees, at most {most:.0f} (3 epochs)")


def test_filters_and_latent_layers(store: Reproduction, monkeypatch: pytest.MonkeyPatch) -> None:
    smooth = {"backprop, lr 0.1": 0.3, "LRA-diff, K = 30": 0.5, "LRA-fdbk": 0.4, "backprop, lr 0.01": 0.35}
    filters = [Entry(f"{label}, correlation", (value,), None, 1) for label, value in smooth.items()]
    monkeypatch.setattr(figure3.Figure3, "page", lambda self, store: Page((), filters))
    clear = judged(store, "after one epoch LRA has clear filters, backprop far noisier ones")
    assert clear is not None
    assert clear.holds
    filters[2] = Entry("LRA-fdbk, correlation", (0.32,), None, 1)
    clear = judged(store, "after one epoch LRA has clear filters, backprop far noisier ones")
    assert clear is not None
    assert not clear.holds
    layers = [Entry(f"{rule}, layer {n}", (80.0 - n,), None, 1) for rule in ("backprop", "LRA-fdbk") for n in (1, 2)]
    monkeypatch.setattr(figure6.Figure6, "page", lambda self, store: Page((), layers))
    apart = judged(store, "what LRA learned separates the classes, in every latent layer")
    assert apart is not None
    assert apart.holds
    assert "backprop 79%, 78%; LRA-fdbk 79%, 78%" in apart.seen
    layers[3] = Entry("LRA-fdbk, layer 2", (60.0,), None, 1)
    apart = judged(store, "what LRA learned separates the classes, in every latent layer")
    assert apart is not None
    assert not apart.holds
