"""Oracles: tables written by hand, and the committed page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers import Run

from seqlra import SeqlraError
from seqlra.paper.rendering import bench_table, comparison_table, render, settings_table

RESULTS = Path(__file__).parents[2] / "results"


def test_settings_have_their_seeds_and_their_command() -> None:
    row: dict[str, Any] = {"valid": 2.5, "ms": 21.55, "depth": 2.0, "label": "a", "paper": ""}
    bits = {**row, "metric": "test_bpc", "figure": 2.6, "figures": [2.5, 2.7], "command": "rnn --seed 0"}
    error = {**row, "metric": "test_error", "figure": 9.126, "figures": [9.126], "command": "mlp", "paper": "8.6"}
    assert settings_table({"heading": "Title", "rows": [bits, error]}).splitlines() == [
        "**Title**",
        "",
        "|  | here | on validation | paper | mean depth | ms an update | command |",
        "|---|---|---|---|---|---|---|",
        "| a | 2.600 (2 seeds, 2.500 to 2.700) | 2.500 | - | 2.00 | 21.6 | `train rnn` |",
        "| a | 9.13 | 2.50 | 8.6 | 2.00 | 21.6 | `train mlp` |",
    ]


def test_a_comparison_has_the_range_of_its_seeds_and_its_posteriors() -> None:
    row: dict[str, Any] = {
        "label": "dtp",
        "paper": "X",
        "test_error": {"all": [3.0, 5.0]},
        "valid_error": {"mean": 7.0},
    }
    row |= {"mean_depth": {"mean": 9.0}, "ms_per_update": {"mean": 1.5}}
    table: dict[str, Any] = {"heading": "Title", "metric": "error", "command": "mlp --rules dtp", "rows": [row]}
    *_, header, _, line, _, command = comparison_table(table).splitlines()
    assert header == "|  | test error | validation error | paper | mean depth | ms an update |"
    assert line == "| dtp | 4.00 (3.00 to 5.00) | 7.00 | X | 9.00 | 1.50 |"
    assert command == "`compare mlp --rules dtp`"
    row |= {"posterior_accuracies": [98.0], "one_draw_accuracies": [97.0], "mean_field_accuracies": [96.0]}
    assert "| dtp | 98.00 | 97.00 | 96.00 | 7.00 | X | 9.00 | 1.50 |" in comparison_table(table).splitlines()


def test_a_bench_has_its_cases_and_their_means() -> None:
    case: dict[str, Any] = {"case": "3x64", "rival": "eager", "ratio": 2.0, "ratio_low": 1.5, "ratio_high": 2.5}
    case |= {"ours_ms": 1.0, "rival_ms": 2.0, "of_limit": 0.25}
    measured: dict[str, Any] = {"device": "cpu", "threads": 2, "geometric_means": {"ours against eager": 2.0}}
    text = bench_table("mlp", [{**measured, "cases": [case, {**case, "case": "b", "of_limit": None}]}]).splitlines()
    assert text[0] == "**`seqlra bench mlp`: cpu, 2 threads; rival's time over ours**"
    row = "eager | 2.00 (1.50 to 2.50) | 1.00 | 2.00"
    assert text[4:6] == [f"| 3x64 | {row} | 25% |", f"| b | {row} | - |"]
    assert text[-1] == "Geometric means: ours against eager 2.00."


def test_a_bench_that_ran_several_times_has_medians_and_ranges() -> None:
    case: dict[str, Any] = {"case": "a", "rival": "eager", "rival_ms": 2.0, "of_limit": 0.25, "rival_mib": 4.0}
    runs: list[dict[str, Any]] = []
    for ratio, mib, mean in ((3.0, 3.0, 2.0), (1.25, 3.0, 2.0), (2.0, 7.0, 5.0)):
        runs.append({"device": "cpu", "threads": 2, "geometric_means": {"ours against eager": mean}})
        runs[-1]["cases"] = [{**case, "ratio": ratio, "ours_ms": ratio, "ours_mib": mib}]
    runs[2]["cases"].append({**case, "case": "b", "ratio": 2.0, "ours_ms": 1.0, "ours_mib": 1.0})
    text = bench_table("rnn --online", runs).splitlines()
    assert text[0] == "**`seqlra bench rnn --online`: cpu, 2 threads; rival's time over ours; 3 times, minutes apart**"
    assert text[4:6] == [
        "| a | eager | 2.00 (1.25 to 3.00) | 2.00 | 2.00 | 25% | 3.0 | 4.0 |",
        "| b | eager | 2.00, 1 of 3 times | 1.00 | 2.00 | 25% | 1.0 | 4.0 |",
    ]
    assert text[-1] == "Geometric means: ours against eager 2.00 (2.00 to 5.00)."


def test_a_case_is_one_row_whatever_mode_was_fastest() -> None:
    case: dict[str, Any] = {"case": "a", "ours_ms": 1.0, "rival_ms": 2.0, "of_limit": None}
    run: dict[str, Any] = {"device": "cpu", "threads": 2, "geometric_means": {}}
    modes = {"default": 1.0, "C++ wrapper": 2.0, "reduce-overhead": 3.0}
    runs = [{**run, "cases": [{**case, "rival": f"compiled ({mode})", "ratio": r}]} for mode, r in modes.items()]
    (row,) = bench_table("mlp", runs).splitlines()[4:-2]
    assert row.startswith("| a | compiled (default or C++ wrapper or reduce-overhead) | 2.00 (1.00 to 3.00) |")


def test_the_committed_page_is_what_the_committed_figures_give(seqlra: Run, tmp_path: Path) -> None:
    if not RESULTS.exists():
        pytest.skip("no results beside the tests")  # the copy that defects are planted in
    for path in (RESULTS / "measured.json", *RESULTS.glob("bench-*.jsonl")):
        shutil.copy(path, tmp_path)
    done = seqlra("reproduce render --to . --json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"page": "measured.md"})
    assert (tmp_path / "measured.md").read_text() == (RESULTS / "measured.md").read_text()


def test_what_is_missing_or_damaged_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SeqlraError, match=r"has neither measured\.json nor"):
        render(tmp_path)
    for name, content in (("measured.json", {"machine": "cpu"}), ("bench-mlp.jsonl", {"cases": [{}]})):
        (tmp_path / name).write_text(json.dumps(content))
        with pytest.raises(SeqlraError, match=f"{name} is damaged"):
            render(tmp_path)
        (tmp_path / name).unlink()
    assert not (tmp_path / "measured.md").exists()
