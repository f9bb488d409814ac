"""Oracle: a defect is a defect. Those that are stored still fit the source, and the runner distinguishes a caught one
from a survivor, also in its exit status; the whole of it runs apart (``python -m tests.mutation``)."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from mutation import run
from mutation.planting import ROOT, Defect, Unfit, copy_of_the_package, plant, read_defects, unfit

DEFECTS = read_defects()
FIRST = DEFECTS[0]

CAUGHT = """
tests = 'tests/network/test_losses.py'

[[defect]]
name = "caught"
find = 'lambda z, y: z - y, "half'
put = 'lambda z, y: y - z, "half'
"""
NOT_CAUGHT = """
tests = 'tests/rules/test_normalize.py'

[[defect]]
name = "harmless"
find = 'It returns the divisor'
put = 'This returns the divisor'

[[defect]]
name = "no import"
find = '''
import torch
'''
put = '''
import torhc
'''
"""


def test_every_defect_fits_the_source_and_the_tests() -> None:
    assert unfit(DEFECTS) == []


def test_every_defect_has_a_name_of_its_own() -> None:
    assert len({(defect.file, defect.name) for defect in DEFECTS}) == len(DEFECTS) >= 200


@pytest.mark.parametrize(
    ("change", "report"),
    [
        ({"find": "no such text"}, "stands 0 times in seqlra/"),
        ({"find": "import"}, "times in seqlra/"),
        ({"put": "$"}, "is no Python"),
        ({"file": "seqlra/gone.py"}, "there is no seqlra/gone.py"),
        ({"tests": "tests/test_gone.py"}, "there is no tests/test_gone.py"),
        ({"tests": "tests/mutation/test_planted_defects.py::test_gone"}, "there is no tests/mutation/"),
    ],
)
def test_a_defect_that_no_longer_fits_is_reported(change: dict[str, str], report: str) -> None:
    assert unfit([FIRST]) == []
    assert report in unfit([replace(FIRST, **change)])[0]


def test_the_report_shows_the_line_that_comes_closest() -> None:
    defect = Defect("renamed", "seqlra/x.py", "total += error_of(subgraph)", "", "tests")
    with pytest.raises(Unfit, match=r"seqlra/x\.py:2: total \+= error_of\(layer\)"):
        defect.planted("total = 0\ntotal += error_of(layer)\nreturn total\n")


def test_the_runner_distinguishes_a_caught_defect_from_others(tmp_path: Path) -> None:
    for name, text in (("network/losses", CAUGHT), ("rules/normalize", NOT_CAUGHT)):
        path = tmp_path / f"{name}.toml"
        path.parent.mkdir()
        path.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutation", "--defects", str(tmp_path), "--jobs", "1"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    caught, harmless, no_import = (line for line in done.stdout.splitlines() if " -> " in line)
    assert caught.split(" -> ")[1].startswith("tests/network/test_losses.py::test_")
    assert "-> SURVIVED tests/rules/test_normalize.py" in harmless
    assert "-> seqlra.rules.normalize cannot be imported: ModuleNotFoundError" in no_import
    assert "1 of 3 defects were caught" in done.stdout
    assert done.returncode == 1


@pytest.mark.parametrize(("missed", "status"), [(0, 0), (1, 1)])
def test_the_exit_status_is_0_where_all_are_caught(missed: int, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "plant_all", lambda chosen, jobs: len(chosen) - missed)
    assert run.main(["network/losses"]) == status


def test_a_defect_whose_text_is_gone_is_reported_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "errors.toml").write_text(CAUGHT)
    assert run.main(["--defects", str(tmp_path)]) == 1
    assert "caught: the text stands 0 times in seqlra/errors.py, not once" in capsys.readouterr().out


def test_a_word_that_no_defect_has_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["no such word"]) == 1
    assert "no defect is called" in capsys.readouterr().out


def test_the_checkout_is_left_alone() -> None:
    before = {file: file.stat().st_mtime_ns for file in (ROOT / "seqlra").rglob("*.py")}
    with copy_of_the_package() as copy:
        assert not copy.is_relative_to(ROOT)
        plant(FIRST, copy)
        assert (copy / FIRST.file).read_text() != (ROOT / FIRST.file).read_text()
    assert not copy.exists()
    assert {file: file.stat().st_mtime_ns for file in (ROOT / "seqlra").rglob("*.py")} == before
