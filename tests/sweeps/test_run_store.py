"""The folder of many runs: what was stopped goes on from where it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from seqlra.sweeps import run_store
from seqlra.sweeps.run_store import RunSpec, RunStore
from seqlra.training.configure import configure


class Reached(Exception):
    """Training would begin."""


@contextmanager
def watching(specs: Sequence[RunSpec]) -> Iterator[Any]:
    yield lambda trainer: None


@pytest.mark.parametrize("begun", [True, False])
def test_only_what_never_began_is_cleared_away(begun: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting over would come to the same results, so no result can tell."""

    def prepare(configs: Any, fresh: bool) -> None:
        assert fresh == (not begun)
        raise Reached

    monkeypatch.setattr(run_store, "prepare", prepare)
    specs = [RunSpec("a", configure("mlp", hidden=(5,), steps=2, seed=seed, threads=1)) for seed in (0, 1)]
    store = RunStore(tmp_path)
    stack = store.stack_of("group", specs)
    stack.path.mkdir()
    stack.checkpoint.write_text("where it was")
    if begun:
        stack.write_json(stack.about, {"runs": ["../a-seed0", "../a-seed1"]})
    with pytest.raises(Reached):
        store.train("group", specs, watching)
    assert stack.checkpoint.exists() == begun
