"""Oracle: the CPU. The same code gives the same updates on CUDA, up to the order of sums; skipped without a device."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import as_rows, assert_same, batch_for, chain_over_time, filled, skip_net, small_mlp, updates

from seqlra import LRAFeedback, RecordedUpdate, update
from seqlra.bench.mlp import available, mlp_case
from seqlra.rules import Backprop, LRADiff, Rule
from seqlra.training.configure import configure
from seqlra.training.experiment import prepare
from seqlra.training.run_directory import RunDirectory
from seqlra.training.runs import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")

RULES = [LRAFeedback(c1=0.2, c2=0.3), LRAFeedback(epsilon=0.01, skip=True), LRADiff(steps=3), Backprop()]


@pytest.mark.parametrize("rule", RULES, ids=["fdbk", "fdbk, skipping", "diff", "backprop"])
@pytest.mark.parametrize("nodes", [small_mlp, skip_net, chain_over_time], ids=["mlp", "skips", "over time"])
def test_updates_on_cuda_are_those_of_the_cpu(nodes: Any, rule: Any) -> None:
    graph = filled(nodes())
    inputs, targets = (as_rows(named) for named in batch_for(graph))
    update(graph, rule, inputs, targets)
    expected = {name: grad.clone() for name, grad in updates(graph).items()}
    graph.cuda()
    on_cuda = ({name: tensor.cuda() for name, tensor in named.items()} for named in (inputs, targets))
    update(graph, rule, *on_cuda)
    assert_same({name: grad.cpu() for name, grad in updates(graph).items()}, expected)


@pytest.mark.parametrize("rule", [LRAFeedback(c1=0.2, c2=0.3), LRAFeedback(epsilon=0.01), Backprop()], ids=str)
@pytest.mark.parametrize(
    ("nodes", "stack"), [(small_mlp, None), (skip_net, None), (chain_over_time, None), (small_mlp, 3)]
)
def test_what_is_captured_in_a_cuda_graph_replays_as_the_engine(nodes: Any, stack: int | None, rule: Rule) -> None:
    ours, theirs = (filled(nodes(), stack=stack).cuda() for _ in range(2))
    recorded = RecordedUpdate(theirs, rule)
    for rows in (6, 6, 9, 6):
        inputs, targets = ({n: t.cuda() for n, t in as_rows(named).items()} for named in batch_for(ours, rows))
        step, outcome = update(ours, rule, inputs, targets), recorded(inputs, targets)
        assert_same(updates(theirs), updates(ours))
        assert_same(outcome.carried, step.carried)
        torch.testing.assert_close(outcome.loss, step.loss)
        with torch.no_grad():
            for graph in (ours, theirs):
                for p in graph.parameters():
                    p.sub_(0.1 * p.grad)


def test_units_draw_anew_in_every_replay_of_a_cuda_graph() -> None:
    graph, x, t = (
        filled(small_mlp("sigmoid", "bernoulli")).cuda(),
        torch.zeros(6, 5).cuda(),
        torch.zeros(6).long().cuda(),
    )
    recorded = RecordedUpdate(graph, LRAFeedback())
    seen = []
    for seed in (1, 1, 2):
        torch.cuda.manual_seed(seed)
        recorded(x, t)
        seen.append(updates(graph)["weights.W4"].clone())
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


@pytest.mark.parametrize("task", ["mlp", "rnn"])
def test_a_run_on_cuda_ends_where_the_run_on_the_cpu_does(task: str, tmp_path: Any) -> None:
    torch.set_default_dtype(torch.float32)
    losses = []
    for device in ("cpu", "cuda"):
        if task == "mlp":
            config = configure("mlp", hidden=(20, 12), valid=13_000, epochs=1, device=device, threads=1)
        else:
            config = configure("rnn", hidden=(12,), streams=2000, unroll=11, epochs=1, device=device, threads=1)
        run = RunDirectory.create(tmp_path / device)
        (result,) = train(prepare([config]), run)
        losses.append(result["test_loss" if task == "mlp" else "test_bpc"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_backprop_as_a_cuda_graph_is_a_rival_that_steps() -> None:
    torch.set_default_dtype(torch.float32)
    assert available("backprop, CUDA graph", torch.device("cuda"))
    case = mlp_case((20, 12), 8, "adam", "backprop, CUDA graph", torch.device("cuda"), 1)
    assert case.ratio > 0
