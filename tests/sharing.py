"""Cases of data parallelism, trained by this file as a script in each of several processes: ``sharing.py RANK SIZE
FOLDER`` writes ``FOLDER/RANK.pt``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from seqlra import (
    RTRL,
    Backprop,
    Connection,
    DirectFeedbackAlignment,
    FeedbackAlignment,
    Graph,
    Input,
    LRADiff,
    LRAFeedback,
    Rule,
    Subgraph,
    elman,
    initialize,
    masked,
    mlp,
)
from seqlra.engine.parallel import ParallelUpdate, any_of
from seqlra.network.forward import null_state

BATCH = 7
"""Samples, or streams: two processes have 3 and 4 of them."""

UPDATES = 3

Nodes = list[Input | Subgraph]
Batch = tuple[dict[str, Tensor], Tensor]


def skip_net() -> Nodes:
    """A layer that reads across another, and two connections that share weights and E."""
    return [
        Input("x", 5),
        Subgraph("a", 8, ["x"], "tanh"),
        Subgraph("b", 8, [Connection("x", "x-a", "x-a"), "a"], "tanh", bias="a"),
        Subgraph("out", 3, ["b", "a"], loss="cross-entropy"),
    ]


def rnn(**options: Any) -> Nodes:
    """Two recurrent layers over four steps of vectors."""
    return elman(5, [6, 4], 3, 4, **options)


CASES: dict[str, tuple[Nodes, Rule]] = {
    "lra-fdbk": (skip_net(), LRAFeedback(c1=0.05, c2=0.5)),
    "lra-fdbk, sum": (mlp(5, [8, 6], 3), LRAFeedback(c1=0.2, reduction="sum")),
    "lra-fdbk, learned": (mlp(5, [8, 6], 3), LRAFeedback(c1=0.05, feedback="learned", feedback_decay=0.01)),
    "lra-fdbk, learned, sum": (mlp(5, [8, 6], 3), LRAFeedback(c1=0.2, feedback="learned", reduction="sum")),
    "lra-fdbk, halting": (mlp(5, [8, 6], 3), LRAFeedback(epsilon=0.004, epsilon_output=0.7, skip=True)),
    "lra-diff": (skip_net(), LRADiff(c1=0.05)),
    "lra-diff, sum": (mlp(5, [8, 6], 3), LRADiff(reduction="sum")),
    "backprop": (mlp(5, [8, 6], 3), Backprop()),
    "backprop, sum": (mlp(5, [8, 6], 3), Backprop(reduction="sum")),
    "fa, learned": (mlp(5, [8, 6], 3), FeedbackAlignment(feedback="learned")),
    "dfa": (mlp(5, [8, 6], 3), DirectFeedbackAlignment()),
    "dfa, learned": (mlp(5, [8, 6], 3), DirectFeedbackAlignment(feedback="learned")),
    "dfa, learned, sum": (mlp(5, [8, 6], 3), DirectFeedbackAlignment(feedback="learned", reduction="sum")),
    "rnn, lra-fdbk": (rnn(), LRAFeedback(c1=0.05)),
    "rnn, lra-fdbk, learned": (rnn(across_time=True), LRAFeedback(c1=0.05, feedback="learned")),
    "rnn, lra-diff, leak": (rnn(across_time=True, leak=0.4), LRADiff(window=1)),
    "rnn, lra-fdbk, trained leaks": (rnn(leak=0.4, train_leak=True), LRAFeedback(c1=0.01)),
    "rnn, backprop, masked": (
        rnn(across_time=True, output=masked("cross-entropy"), leak=0.4, train_leak=True),
        Backprop(),
    ),
    "rnn, lra-fdbk, masked, sum": (rnn(output=masked("cross-entropy")), LRAFeedback(reduction="sum")),
    "rnn, dfa": (rnn(), DirectFeedbackAlignment()),
    "rnn, rtrl": (elman(5, [6], 3, 4, leak=0.5, train_leak=True), RTRL()),
}


def batch_of(graph: Graph, number: int) -> Batch:
    """The mini-batch of an update; where targets may be missing, the first process has none."""
    random = torch.Generator().manual_seed(number)
    steps = len(graph.layout.given["x"].inputs)
    x = torch.randn(steps * BATCH, 5, generator=random)
    t = torch.randint(3, (steps, BATCH), generator=random)
    if any(output.loss.masks for output in graph.outputs):
        t[:, :2] = -100
        t[1:, 4] = -100
    return {"x": x}, t.flatten()


def trained(nodes: Nodes, rule: Rule, updates_by: Callable[[Graph, Rule], Callable[..., Any]]) -> dict[str, Tensor]:
    """All that comes of a few updates: weights, updates, losses and states."""
    graph = Graph(nodes).double()
    initialize(graph, 1, "gaussian", std=0.6, feedback_std=0.8, rule=rule)
    run, found = updates_by(graph, rule), dict[str, Tensor]()
    state: Mapping[str, Tensor] = null_state(graph, BATCH)
    for number in range(UPDATES):
        inputs, t = batch_of(graph, number)
        step = run({**inputs, **state}, t)
        for name, p in graph.named_parameters():
            assert p.grad is not None
            found[f"update {number} of {name}"] = p.grad.clone()
            p.data.sub_(p.grad, alpha=0.5)  # importing torch.optim takes longer than all cases
        rule.after_step(graph, 1.0)
        state = {name: each.clone() for name, each in step.carried.items()}
        numbers = {"loss": step.loss, "mistakes": step.mistakes, "depth": torch.as_tensor(step.depth)}
        found |= {f"{name} {number}": each for name, each in {**numbers, **state}.items()}
    return found | {name: tensor.clone() for name, tensor in graph.state_dict().items()}


def main(rank: int, size: int, folder: Path) -> None:
    """One of the processes."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=size)
    found: dict[str, Any] = {name: trained(*case, ParallelUpdate) for name, case in CASES.items()}
    found["any"] = any_of(rank == 1), any_of(False)
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
