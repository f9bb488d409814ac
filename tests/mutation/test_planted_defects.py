"""Oracle: a defect is a defect. The script that plants them still fits the source, tells a caught one from a survivor,
and says so in its exit status; the whole of it runs apart (``python scripts/plant_defects.py``)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "plant_defects.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("plant_defects", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["plant_defects"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


script = load()
DEFECTS = {defect.name: defect for defect in script.DEFECTS}
HARMLESS = script.Defect("harmless", "normalize.py", "A divisor rather than", "The divisor rather than", "normalize")
NO_IMPORT = script.Defect("no import", "normalize.py", "import torch\n", "import torhc\n", "normalize")


@pytest.mark.parametrize("defect", script.DEFECTS, ids=lambda defect: defect.name)
def test_every_defect_still_fits_the_source(defect: object) -> None:
    source = (SCRIPT.parents[1] / "seqlra" / defect.file).read_text()  # type: ignore[attr-defined]
    assert defect.planted(source) != source  # type: ignore[attr-defined]


def test_every_defect_has_a_name_of_its_own() -> None:
    assert len(DEFECTS) == len(script.DEFECTS) >= 30


def test_defects_that_tests_know_of_are_caught(capsys: pytest.CaptureFixture[str]) -> None:
    two = [DEFECTS["Normalize stretches what is short"], DEFECTS["sign of L1"]]
    assert script.main([], two) == 0
    printed = capsys.readouterr().out
    assert "-> tests/test_normalize.py::test_" in printed
    assert "-> tests/test_losses.py::test_" in printed
    assert "2 of 2 defects were caught" in printed


def test_a_defect_that_no_test_knows_of_survives(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "check_the_ground", lambda defects, copy: None)  # the test above has run it
    assert script.main([], [HARMLESS]) == 1
    assert "SURVIVED tests/test_normalize" in capsys.readouterr().out


def test_a_package_that_cannot_be_imported_proves_nothing() -> None:
    caught, by = script.verdict(NO_IMPORT)
    assert not caught
    assert "pytest ended with 4" in by  # while loading what the tests share


def test_a_defect_whose_text_is_gone_is_reported_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    gone = script.Defect("gone", "normalize.py", "no such line", "", "normalize")
    assert script.main([], [gone]) == 1
    assert "gone: 'no such line' stands 0 times in seqlra/normalize.py" in capsys.readouterr().out


def test_a_word_that_no_defect_has_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(["no such word"], []) == 1
    assert "no defect is called" in capsys.readouterr().out


def test_the_checkout_is_left_alone() -> None:
    package = SCRIPT.parents[1] / "seqlra"
    before = {file: file.stat().st_mtime_ns for file in package.rglob("*.py")}
    with script.copy_of_the_package() as copy:
        assert package not in [copy, *copy.parents]
        assert script.imported_from(copy) == copy / "seqlra" / "__init__.py"
    assert not copy.exists()
    assert {file: file.stat().st_mtime_ns for file in package.rglob("*.py")} == before
