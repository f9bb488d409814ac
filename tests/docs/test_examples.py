"""Every example runs as it is, and what it prints is what it claims to show."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"

SHOWS = {
    "digits.py": (r"wrong: ([\d.]+)% of 297", 20.0),
    "series.py": (r"root mean squared error: ([\d.]+)", 0.3),
    "sequences.py": (r"wrong: ([\d.]+)% of 300", 25.0),
    "fit_twice.py": (r"valid error: [\d.]+%, then ([\d.]+)%", 12.0),
}
"""What each prints at its end, and what it must stay under: far from what guessing gives."""


@pytest.mark.parametrize("name", SHOWS)
def test_it_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_default_dtype(torch.float32)
    runpy.run_path(str(EXAMPLES / name))
    found = re.search(SHOWS[name][0], capsys.readouterr().out)
    assert found is not None
    assert float(found[1]) < SHOWS[name][1]


def test_each_example_is_tested() -> None:
    assert {file.name for file in EXAMPLES.glob("*.py")} == set(SHOWS)
