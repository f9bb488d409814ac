"""Many models in one process: a stack against the same models one after another, both by the same engine."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from seqlra.bench.mlp import CLASSES, PIXELS, operations
from seqlra.bench.timing import Case, alternate, ours
from seqlra.graph import Graph
from seqlra.initialization import initialize
from seqlra.networks import mlp
from seqlra.rules import LRAFeedback


def stack_case(
    models: int, hidden: Sequence[int], batch: int, optimizer: str, one_stream: bool, device: torch.device, rounds: int
) -> Case:
    """One LRA-fdbk update of every model: all at once, each on data of its own or all on one stream, against one
    after another."""
    own = () if one_stream else (models,)
    x = torch.randn(*own, batch, PIXELS, device=device)
    t = torch.randint(CLASSES, (*own, batch), device=device)
    rule, nodes = LRAFeedback(beta=0.1, c2=10.0), mlp(PIXELS, hidden, CLASSES, "tanh")
    stack = initialize(Graph(nodes, stack=models), range(models)).to(device)
    alone = [
        ours(
            initialize(Graph(nodes), s).to(device),
            rule,
            optimizer,
            x if one_stream else x[s],
            t if one_stream else t[s],
        )
        for s in range(models)
    ]

    def one_after_another() -> None:
        for one in alone:
            one()

    name = f"{models} models of {len(hidden)}x{hidden[0]}, batch {batch}, {optimizer}, "
    name += "one stream" if one_stream else "a stream each"
    together = ours(stack, rule, optimizer, x, t)
    count = models * operations(hidden, batch)
    return alternate(name, "one after another", together, one_after_another, rounds, count)
