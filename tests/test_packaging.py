"""What is installed with seqlra, and what becomes of each use where a library is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from helpers import Run

import seqlra as package
from seqlra.errors import SeqlraError
from seqlra.optional import can_draw, require

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def without(monkeypatch: pytest.MonkeyPatch, *libraries: str) -> None:
    """As if these were not installed; what is loaded already is forgotten."""
    for library in libraries:
        for name in [name for name in sys.modules if name.partition(".")[0] == library or "seqlra.sklearn" in name]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, library, None)


def test_few_libraries_are_needed() -> None:
    names = {re.split(r"[<>=\[ ]", each)[0] for each in PROJECT["dependencies"]}
    assert names == {"torch", "numpy", "datasets", "einops", "typer", "rich", "pydantic", "joblib"}
    extras = PROJECT["optional-dependencies"]
    (every,) = extras["all"]
    assert set(re.findall(r"\w+", every)) - {"seqlra"} == set(extras) - {"all", "dev"}


def test_a_run_without_matplotlib_has_no_pictures_and_says_so(
    seqlra: Run, images: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without(monkeypatch, "matplotlib", "scipy", "sklearn", "threadpoolctl", "PIL")
    command = f"train mlp --dataset mnist --data-dir {images} --valid 40 --hidden 6 --epochs 2 --seeds 2 --out runs/s"
    done = seqlra(command)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("pip install 'seqlra[plots]'") == 1
    assert (tmp_path / "runs/s/seed0/result.json").exists()
    assert not list(tmp_path.rglob("*.png"))
    ended = seqlra("evaluate runs/s/seed0 --samples 1")
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "runs/s/seed0/evaluation-test/posterior.npz").exists()
    assert not list(tmp_path.rglob("*.png"))


def test_a_comparison_without_matplotlib_has_its_table(
    seqlra: Run, images: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without(monkeypatch, "matplotlib")
    options = f"--dataset mnist --data-dir {images} --valid 40 --hidden 6 --epochs 1 --seeds 1 --out runs/c"
    done = seqlra(f"compare mlp --rules lra-fdbk,backprop {options}")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("pip install 'seqlra[plots]'") == 1
    assert (tmp_path / "runs/c/table.md").exists()
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize("library", ["matplotlib", "sklearn", "threadpoolctl"])
def test_the_paper_names_its_extra_before_it_trains(library: str, seqlra: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, library)
    refused = seqlra("reproduce figure6")
    assert refused.returncode == 1
    assert refused.stderr == f"error: seqlra reproduce needs {library}: pip install 'seqlra[paper]'\n"


def test_the_estimators_name_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "sklearn")
    for kind in (SeqlraError, ImportError):  # whichever one expects
        with pytest.raises(kind, match=re.escape("seqlra.sklearn needs scikit-learn: pip install 'seqlra[sklearn]'")):
            import_module("seqlra.sklearn")


def test_what_is_there_is_not_asked_for(recwarn: pytest.WarningsRecorder) -> None:
    require("plots", "this", "matplotlib", "numpy")
    assert can_draw()
    assert not recwarn.list


def test_the_package_is_imported_without_torch() -> None:
    code = (
        "import sys, seqlra; dir(seqlra); print(sorted({'torch', 'numpy', 'matplotlib', 'sklearn'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "[]\n"


def test_every_public_name_is_there() -> None:
    for name in package.__all__:
        assert getattr(package, name) is not None
