"""The backward pass where rows leave it. Oracles: the reference, the pass that keeps every row, counting."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from helpers import as_rows, assert_same, batch_for, chain_over_time, filled, skip_net, small_mlp, updates
from torch import Tensor

from seqlra import Connection, FeedbackAlignment, Input, LRADiff, LRAFeedback, Subgraph, elman, update
from seqlra.engine.reference import compute_update_direction
from seqlra.rules import BackwardPass, LayerView


def layer_below(steps: int = 4) -> list[Input | Subgraph]:
    """A layer without a recurrence below one that has it."""
    nodes: list[Input | Subgraph] = []
    for node in chain_over_time(steps, across=True):
        if isinstance(node, Subgraph) and node.name.startswith("hidden"):
            step, (x, before) = node.name.removeprefix("hidden"), node.reads
            below = Connection(f"below{step}", "P", "G")
            nodes += [
                Subgraph(f"below{step}", 7, [x], "tanh", None, "l2", bias="a"),
                replace(node, reads=(below, before)),
            ]
        else:
            nodes.append(node)
    return nodes


GRAPHS: dict[str, Any] = {
    "mlp": small_mlp,
    "skips": skip_net,
    "two recurrent layers": lambda: elman(5, [7, 6], 3, 4, across_time=True),
    "a layer below": layer_below,
}


@pytest.mark.parametrize("worth_it", [1.0, 0.7])
@pytest.mark.parametrize("kind", [LRAFeedback, LRADiff])
@pytest.mark.parametrize("nodes", GRAPHS.values(), ids=GRAPHS.keys())
def test_rows_that_leave_take_nothing_with_them(
    nodes: Any, kind: Any, worth_it: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BackwardPass, "WORTH_IT", worth_it)
    graph = filled(nodes())
    inputs, targets = batch_for(graph)
    depths = set()
    for epsilon in (1e-5, 1e-4, 3e-4, 1e-3, 2e-3, 3e-3, 1e-2):
        rule = kind(beta=0.3, c2=0.5, window=2, carry="error", epsilon=epsilon, skip=True)
        depth = float(update(graph, rule, as_rows(inputs), as_rows(targets)).depth)
        assert_same(updates(graph), compute_update_direction(graph, rule, inputs, targets))
        assert depth == float(update(graph, replace(rule, skip=False), as_rows(inputs), as_rows(targets)).depth)
        depths.add(depth)
    assert len(depths) > 3  # or nothing left anywhere but all at once


@dataclass(frozen=True)
class Keeping(FeedbackAlignment):
    """Says of every row that it goes on."""

    def error(self, layer: LayerView, incoming: Tensor) -> Tensor:
        return layer.halt(torch.ones_like(incoming[..., 0]), incoming * layer.derivative)


def test_steps_to_which_no_error_comes_do_not_count_whatever_a_rule_says() -> None:
    nodes = [n for n in chain_over_time(4) if not n.name.startswith("output") or n.name == "output[2]"]
    graph = filled(nodes)
    step = update(graph, Keeping(), *map(as_rows, batch_for(graph)))
    assert float(step.depth) == 2  # the output, and the hidden layer at its step
