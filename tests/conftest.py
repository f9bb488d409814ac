"""Fixtures: double precision, the console script, images, a text, and the real data where it is."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import Run
from matplotlib.figure import Figure

from seqlra.cli import main
from seqlra.data.idx import write_idx
from seqlra.data.images import IDX_FILES

torch.set_num_threads(1)  # the nets are tiny, and two threads that wait for each other are slower than one

REAL_DATA = Path(os.environ.get("SEQLRA_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    """Equalities are tested in float64; what a command trains is float32 all the same (it says so)."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_float32_matmul_precision("highest")


@pytest.fixture(autouse=True)
def few_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Matplotlib draws in tests marked ``draws``; in others a file takes the place of a picture, much faster."""
    if request.node.get_closest_marker("draws") is None:
        monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: Path(path).write_bytes(b"a picture"))


@pytest.fixture
def seqlra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the console script in this process, in an empty folder: its status, standard output and error."""
    torch.set_default_dtype(torch.float32)
    monkeypatch.chdir(tmp_path)

    def run(arguments: str) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["seqlra", *shlex.split(arguments)])
        capsys.readouterr()
        try:
            status = main() or 0
        except SystemExit as end:
            status = end.code or 0
        printed = capsys.readouterr()
        return SimpleNamespace(returncode=status, stdout=printed.out, stderr=printed.err)

    return run


@pytest.fixture
def real_data() -> Path:
    """The folder with mnist/ and fashion_mnist/; the test is skipped, saying so, where it is not."""
    if not (REAL_DATA / "mnist").is_dir():
        pytest.skip(f"no real data under {REAL_DATA} (set SEQLRA_DATA to a folder with mnist/)")
    return REAL_DATA


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 190 + 70 images of 6 x 5 pixels that a network can partly learn, in place of both datasets."""
    folder, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for dataset in ("mnist", "fashion_mnist"):
        (folder / dataset).mkdir()
        for split, count in (("train", 190), ("t10k", 70)):
            labels = random.integers(0, 10, count).astype(np.uint8)
            shades = random.integers(0, 90, (count, 6, 5)).astype(np.uint8)
            shades[np.arange(count), labels % 6, labels % 5] += 160
            for name, axes in IDX_FILES.items():
                if name.startswith(split):
                    write_idx(folder / dataset / f"{name}.gz", shades if axes == 3 else labels)
    return folder


@pytest.fixture(scope="session")
def short_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text of 8,000 characters, for tests that need any text."""
    file = tmp_path_factory.mktemp("text") / "short.txt"
    file.write_text("the cat sat on the mat and the rat ran. " * 200)
    return file
