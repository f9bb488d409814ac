"""``seqlra list``: every name that an option accepts, one line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer

Kind = Literal["all", "rules", "activations", "discretizers", "losses", "weight-inits", "optimizers", "datasets"]


COSTS = ("name", "for T steps, B sequences, n units of a recurrent layer:", "time", "memory")
"""The header of the rules: what they cost besides the forward pass and one product for each weight."""


def show(kind: Annotated[Kind, typer.Argument(help="What to list.")] = "all") -> None:
    """List the rules, units, losses, initializations, optimizers and datasets, one line each."""
    from seqlra.cli.show import table
    from seqlra.data.arrays import PIXEL_DATASETS
    from seqlra.data.images import DATASETS
    from seqlra.data.memory import MEMORY_TASKS
    from seqlra.data.text import TEXTS
    from seqlra.engine.initialization import WEIGHT_INITS
    from seqlra.network.losses import LOCAL_LOSSES
    from seqlra.network.units import ACTIVATIONS, DISCRETIZERS
    from seqlra.rules import RULES
    from seqlra.training.optimizers import OPTIMIZERS

    every: dict[str, Any] = {**DATASETS, **TEXTS, **MEMORY_TASKS, **PIXEL_DATASETS}
    known: dict[str, Mapping[str, str | tuple[str, ...]]] = {
        "rules": {name: (rule.about, *rule.costs) for name, rule in RULES.items()},
        "activations": {name: unit.about for name, unit in ACTIVATIONS.items()},
        "discretizers": {"none": "g(z) = z", **DISCRETIZERS},
        "losses": {name: loss.about for name, loss in LOCAL_LOSSES.items()},
        "weight-inits": WEIGHT_INITS,
        "optimizers": OPTIMIZERS,
        "datasets": {name: dataset.about for name, dataset in every.items()},
    }
    for title, entries in known.items():
        if kind in ("all", title):
            rows = [(name, *([about] if isinstance(about, str) else about)) for name, about in entries.items()]
            table(title, rows, COSTS if title == "rules" else ())
