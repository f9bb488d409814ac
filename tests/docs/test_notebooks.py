"""The notebooks run from their first cell to their last, and what they print is what they claim to show."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "docs/notebooks"

SHOWS = {
    "first_network.ipynb": (r"wrong: ([\d.]+)%", 20.0),
    "own_rule.ipynb": (r"'sign-symmetry': '(\d+)% wrong'", 40.0),
}
"""What each prints, and what it must stay under: far from what guessing gives."""


def test_each_notebook_is_tested() -> None:
    assert {file.name for file in NOTEBOOKS.glob("*.ipynb")} == set(SHOWS)


@pytest.mark.parametrize("name", SHOWS)
def test_it_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOKS.parents[1]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the command line sets one that shows nothing
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # they are kept without
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    printed = "".join(output.get("text", "") for output in outputs)
    found = re.search(SHOWS[name][0], printed)
    assert found is not None, printed
    assert float(found[1]) < SHOWS[name][1]
    drawn = any("image/png" in output.get("data", {}) for output in outputs)
    assert drawn == (name == "first_network.ipynb")
