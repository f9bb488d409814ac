"""Which runs a comparison has. Oracle: the options as they were written; nothing is trained."""

from __future__ import annotations

import pytest
from helpers import Run

from seqlra import SeqlraError
from seqlra.sweeps import comparison


def test_own_options_reach_their_label_alone_and_win(seqlra: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []

    def start(path: object, specs: list[comparison.RunSpec], command: str, stacked: bool) -> None:
        found.extend((spec.label, spec.config) for spec in specs)
        raise SeqlraError("they would train")

    monkeypatch.setattr(comparison.Comparison, "start", start)
    own = "--own 'b: --lr 0.25' --own 'c: --momentum 0.5 --batch-size 9' --own 'c: --batch-size 8'"
    done = seqlra(f"compare mlp --rules lra-fdbk,b=backprop,c=fa {own} --lr 0.5 --seeds 2 --seed 3")
    assert done.stderr == "error: they would train\n"
    assert [
        (label, config.rule["name"], config.seed, *(getattr(config.optimization, name) for name in ("lr", "momentum")))
        for label, config in found
    ] == [
        (label, rule, seed, lr, momentum)
        for label, rule, lr, momentum in (
            ("lra-fdbk", "lra-fdbk", 0.5, 0.0),
            ("b", "backprop", 0.25, 0.0),
            ("c", "fa", 0.5, 0.5),
        )
        for seed in (3, 4)
    ]
    assert [config.optimization.batch_size == 8 for _, config in found] == [False] * 4 + [True] * 2
