"""Many models in one process: a stack against the same models one after another, both by the same engine."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from seqlra.bench.mlp import CLASSES, PIXELS, operations
from seqlra.bench.timing import Case, alternate, ours
from seqlra.engine.initialization import initialize
from seqlra.network.builders import mlp
from seqlra.network.graph import Graph
from seqlra.rules import LRAFeedback


def stack_case(
    models: int,
    hidden: Sequence[int],
    batch: int,
    optimizer: str,
    one_stream: bool,
    device: torch.device,
    rounds: int,
    compiled: bool = False,
) -> Case:
    """One LRA-fdbk update of every model: all at once, each on data of its own or all on one stream, against one
    after another; both as they are or both compiled."""
    own = () if one_stream else (models,)
    x = torch.randn(*own, batch, PIXELS, device=device)
    t = torch.randint(CLASSES, (*own, batch), device=device)
    rule, nodes = LRAFeedback(beta=0.1, c2=10.0), mlp(PIXELS, hidden, CLASSES, "tanh")
    stack = initialize(Graph(nodes, stack=models), range(models)).to(device)
    alone = []
    for s in range(models):
        its_x, its_t = (x, t) if one_stream else (x[s], t[s])
        alone.append(ours(initialize(Graph(nodes), s).to(device), rule, optimizer, its_x, its_t, compiled))

    def one_after_another() -> None:
        for one in alone:
            one()

    name = f"{models} models of {len(hidden)}x{hidden[0]}, batch {batch}, {optimizer}, "
    name += "one stream" if one_stream else "a stream each"
    name += ", compiled" if compiled else ""
    together = ours(stack, rule, optimizer, x, t, compiled)
    count = models * operations(hidden, batch)
    return alternate(name, "one after another", together, one_after_another, rounds, count)
