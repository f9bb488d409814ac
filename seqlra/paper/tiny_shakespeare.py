"""Beyond the paper: an Elman RNN on Tiny Shakespeare by LRA-fdbk, LRA-diff and BPTT, and with samples skipped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from seqlra.paper.cells import Cell, Scale
from seqlra.paper.variants import Variants

RULES = {"lra-fdbk": "LRA-fdbk", "lra-diff": "LRA-diff", "backprop": "BPTT"}
UPDATES = 2500
EPOCHS = 8
"""The epoch in which training ends after `UPDATES`; the text has 313 chunks of 50 steps in 64 streams."""

EPSILONS = (0.003, 0.01, 0.03, 0.1)
"""Losses under which a prediction is not learned from."""


def cell(name: str, rule: str = "lra-fdbk", settings: Mapping[str, Any] | None = None, **options: Any) -> Cell:
    """A network of 256 tanh units, trained for a fixed number of updates.

    Args:
        name: the end of the cell's name.
        rule, settings: of the rule; ``options`` are those of `configure` that differ from its defaults.
    """
    task = {"dataset": "tiny_shakespeare", "hidden": (256,), "streams": 64, "unroll": 50, "steps": UPDATES}
    return Cell(f"tiny_shakespeare-elman256-{name}", {**task, "rule": rule, **options}, settings or {}, epochs=EPOCHS)


class TinyShakespeare(Variants):
    """Bits per character by rule, and of LRA-fdbk by epsilon."""

    name = "tiny-shakespeare"
    title = "an Elman RNN on Tiny Shakespeare by LRA and BPTT (beyond the paper)"
    quick = Scale(epochs=EPOCHS)
    paper = Scale(epochs=EPOCHS, seeds=3)
    metric = "bpc"
    variants: ClassVar[Mapping[str, Cell]] = {
        **{label: cell(rule, rule) for rule, label in RULES.items()},
        **{
            f"LRA-fdbk, epsilon {epsilon:g}, skip": cell(
                f"lra-fdbk-skip{epsilon:g}", settings={"epsilon": epsilon, "skip": True}
            )
            for epsilon in EPSILONS
        },
    }
    note = (
        f"256 tanh units, 64 streams, chunks of 50 steps, {UPDATES:,} updates by Adam whose step size falls to 0; "
        "every rule with the settings of `seqlra train rnn`."
    )
