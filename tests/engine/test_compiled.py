"""Oracle: the engine, from the same state on the same mini-batches."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import as_rows, assert_same, batch_for, chain_over_time, filled, skip_net, small_mlp, updates
from typer.testing import CliRunner

from seqlra import (
    RFLO,
    Backprop,
    DifferenceTargetPropagation,
    DirectFeedbackAlignment,
    Graph,
    LRADiff,
    LRAFeedback,
    Rule,
    SeqlraError,
    SlopeAnnealing,
    elman,
    initialize,
    mlp,
    update,
)
from seqlra.cli import app
from seqlra.engine.compiled import CompiledUpdate
from seqlra.engine.tracing import Given
from seqlra.training import checkpoint

needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in ("c++", "g++", "clang++")), reason="no C++ compiler for torch.compile"
)

CASES: dict[str, tuple[Any, Rule, int | None]] = {
    "mlp, per-sample halting": (small_mlp, LRAFeedback(beta=0.3, c1=0.5, c2=0.4, epsilon=0.02), None),
    "skips, binary, LRA-diff": (lambda: skip_net(g="sign"), LRADiff(beta=0.3, c2=0.4, steps=2), None),
    "c2 off": (small_mlp, LRAFeedback(beta=0.3, c2=None), None),
    "over time": (lambda: chain_over_time(3), LRAFeedback(c2=0.4), None),
    "over time, backprop": (lambda: chain_over_time(3), Backprop(), None),
    "over time, trained leaks in a stack": (lambda: elman(5, [7], 3, 3, leak=0.4, train_leak=True), RFLO(), 2),
    "a stack under DFA": (small_mlp, DirectFeedbackAlignment(), 3),
    "DTP, which learns": (small_mlp, DifferenceTargetPropagation(noise=0.0), None),
}


def twins(nodes: Any, rule: Rule, stack: int | None) -> tuple[Graph, Graph]:
    seeds: Any = 1 if stack is None else [1 + s for s in range(stack)]
    both = [initialize(filled(nodes(), stack=stack), seeds, "gaussian", 0.6, 0.8, rule=rule) for _ in range(2)]
    return both[0], both[1]


@needs_compiler
@pytest.mark.parametrize(("nodes", "rule", "stack"), CASES.values(), ids=CASES.keys())
def test_a_compiled_update_is_the_engines(nodes: Any, rule: Rule, stack: int | None) -> None:
    ours, theirs = twins(nodes, rule, stack)
    compiled = CompiledUpdate(theirs, rule)
    for _ in range(3):
        inputs, targets = map(as_rows, batch_for(ours))
        step, outcome = update(ours, rule, inputs, targets), compiled(inputs, targets)
        assert_same(updates(theirs), updates(ours), 1e-12)
        torch.testing.assert_close(outcome.loss, step.loss)
        torch.testing.assert_close(outcome.mistakes, step.mistakes)
        torch.testing.assert_close(outcome.depth, torch.as_tensor(step.depth))
        assert_same(outcome.carried, step.carried, 1e-12)
        assert_same(theirs.state_dict(), ours.state_dict(), 1e-12)  # what a rule learns for itself, too
        with torch.no_grad():
            for graph in (ours, theirs):
                for p in graph.parameters():
                    p.sub_(0.1 * p.grad)


@needs_compiler
def test_another_shape_of_mini_batch_is_compiled_anew() -> None:
    rule = LRAFeedback()
    ours, theirs = twins(small_mlp, rule, None)
    compiled = CompiledUpdate(theirs, rule)
    for rows in (6, 9, 6):
        x, t = torch.randn(rows, 5), torch.randint(3, (rows,))
        update(ours, rule, x, t)
        compiled(x, t)
        assert_same(updates(theirs), updates(ours), 1e-12)


@needs_compiler
def test_units_that_draw_draw_anew_each_time_and_compiling_draws_nothing() -> None:
    rule = SlopeAnnealing()
    graph = initialize(filled(mlp(5, [400], 3, "sigmoid", "bernoulli")), 1, rule=rule)
    compiled, x, t = CompiledUpdate(graph, rule), torch.zeros(2, 5), torch.zeros(2, dtype=torch.long)
    before = torch.random.get_rng_state()
    with torch.no_grad():
        compiled._prepare(compiled._traced_twice(Given(x, t), compiled._state()))
    assert torch.equal(torch.random.get_rng_state(), before)
    seen = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        compiled(x, t)
        seen.append(updates(graph)["weights.W2"].clone())
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


def test_what_looks_at_data_cannot_be_compiled() -> None:
    with pytest.raises(SeqlraError, match="skip"):
        CompiledUpdate(filled(small_mlp()), LRAFeedback(epsilon=0.1, skip=True))


def test_a_missing_compiler_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> Any:
        def never(*_: object) -> None:
            raise RuntimeError("no working C++ compiler")

        return never

    monkeypatch.setattr(torch, "compile", fail)
    graph = filled(small_mlp())
    before = {name: tensor.clone() for name, tensor in graph.state_dict().items()}
    with pytest.raises(SeqlraError, match="no working C\\+\\+ compiler"):
        CompiledUpdate(graph, LRAFeedback())(torch.randn(6, 5), torch.randint(3, (6,)))
    assert_same(graph.state_dict(), before, 1e-16)


@needs_compiler
@pytest.mark.parametrize("task", ["mlp --hidden 9,7", "rnn --hidden 9 --unroll 3 --streams 5"])
def test_training_compiled_comes_to_the_same(task: str, tmp_path: Path) -> None:
    """Diagnosed updates run by the engine, all other updates compiled; the state between chunks is the same, too."""
    torch.set_default_dtype(torch.float32)
    weights = []
    for number, option in enumerate(("", "--compile")):
        out = tmp_path / str(number)
        command = f"train {task} --steps 12 --diagnose 5 --threads 1 {option} --out {out}"
        CliRunner().invoke(app, command.split(), catch_exceptions=False)
        weights.append(checkpoint.load(out / "checkpoint.pt")["graph"])
    assert_same(weights[1], weights[0], 1e-4)
