"""Oracle: the engine, from the same state on the same mini-batches and draws, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import as_rows, batch_for, chain_over_time, filled, skip_net, small_mlp, updates
from torch import Tensor

from seqlra import (
    Backprop,
    DifferenceTargetPropagation,
    DirectFeedbackAlignment,
    FeedbackAlignment,
    Graph,
    LRADiff,
    LRAFeedback,
    PassThroughSTE,
    RecordedUpdate,
    Reinforce,
    Rule,
    SeqlraError,
    SlopeAnnealing,
    VarianceAdjustedReinforce,
    elman,
    initialize,
    mlp,
    update,
)
from seqlra.engine.recorded import COMPARED
from seqlra.engine.replay import record
from seqlra.engine.tracing import Given, NotTraceable
from seqlra.errors import SeqlraWarning
from seqlra.network.forward import null_state
from seqlra.rules.views import LayerView
from seqlra.training import checkpoint
from seqlra.training.configure import configure
from seqlra.training.experiment import prepare
from seqlra.training.run_directory import RunDirectory
from seqlra.training.runs import begin, train
from seqlra.training.settings import Config
from seqlra.training.trainer import Trainer


def drawing(g: str | None = "bernoulli") -> Any:
    return lambda: mlp(5, [12, 8, 4], 3, "sigmoid", g)


CASES: dict[str, tuple[Any, Rule, int | None]] = {
    "mlp": (small_mlp, LRAFeedback(beta=0.3, c1=0.5, c2=0.4), None),
    "halting per sample": (small_mlp, LRAFeedback(beta=0.3, epsilon=0.02), None),
    "halting per batch, c2 per batch": (
        small_mlp,
        LRAFeedback(c2_per="batch", epsilon=0.02, epsilon_per="batch"),
        None,
    ),
    "c2 off, l1": (lambda: small_mlp("relu", None, "l1"), LRAFeedback(c2=None), None),
    "skips, LRA-diff": (lambda: skip_net(g="sign"), LRADiff(beta=0.3, c2=0.4, steps=3), None),
    "skips, softsign": (lambda: skip_net("softsign"), LRAFeedback(), None),
    "Lemma 1": (lambda: small_mlp("softplus", None, "l2"), LRADiff(form="post", c2=None, beta=1.0), None),
    "over time": (lambda: chain_over_time(3), LRAFeedback(c2=0.4, epsilon=0.01), None),
    "over time, errors across": (lambda: chain_over_time(3, across=True), LRADiff(steps=2), None),
    "over time, backprop": (lambda: chain_over_time(4, across=True), Backprop(), None),
    "a stack": (small_mlp, LRAFeedback(beta=0.3, c1=0.5, c2=0.4, epsilon=0.02), 3),
    "a stack over time": (lambda: chain_over_time(3), LRAFeedback(c2=0.4), 2),
    "a stack of skips": (lambda: skip_net(g="heaviside"), LRADiff(steps=2), 2),
    "a stack under DFA": (small_mlp, DirectFeedbackAlignment(), 3),
    "FA": (small_mlp, FeedbackAlignment(reduction="sum"), None),
    "DTP, which learns and draws": (small_mlp, DifferenceTargetPropagation(noise=0.1), None),
    "draws": (drawing(), LRAFeedback(), None),
    "draws over time": (lambda: chain_over_time(3, g="bernoulli"), LRAFeedback(), None),
    "a stack that draws": (drawing(), LRAFeedback(), 2),
    "lwta": (drawing("lwta"), LRAFeedback(), None),
    "slwta": (drawing("slwta"), LRAFeedback(), None),
    "slwta, sampled": (drawing("slwta-sampled"), LRAFeedback(), None),
    "ste": (drawing(), PassThroughSTE(), None),
    "slopes": (drawing(), SlopeAnnealing(), None),
    "REINFORCE": (drawing(), Reinforce(), None),
    "REINFORCE, which remembers": (drawing(), VarianceAdjustedReinforce(), None),
}


def twins(nodes: Any, rule: Rule, stack: int | None = None) -> tuple[Graph, Graph]:
    seeds: Any = 1 if stack is None else [1 + s for s in range(stack)]
    both = [initialize(filled(nodes(), stack=stack), seeds, "gaussian", 0.6, 0.8, rule=rule) for _ in range(2)]
    return both[0], both[1]


def assert_equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def both(ours: Graph, theirs: Graph, rule: Rule, recorded: RecordedUpdate, *batch: Any) -> None:
    """An update by the engine and one by the recording, from the same state of torch's generator; then a step."""
    random = torch.random.get_rng_state()
    step = update(ours, rule, *batch)
    after = torch.random.get_rng_state()
    torch.random.set_rng_state(random)
    outcome = recorded(*batch)
    assert torch.equal(torch.random.get_rng_state(), after)
    assert_equal(updates(theirs), updates(ours))
    assert torch.equal(outcome.loss, step.loss)
    assert torch.equal(outcome.mistakes, step.mistakes)
    assert torch.equal(outcome.depth, torch.as_tensor(step.depth))
    assert_equal(outcome.carried, step.carried)
    assert_equal(theirs.state_dict(), ours.state_dict())  # what a rule learns for itself, too
    with torch.no_grad():
        for graph in (ours, theirs):
            for p in graph.parameters():
                p.sub_(0.1 * p.grad)


@pytest.mark.parametrize(("nodes", "rule", "stack"), CASES.values(), ids=CASES.keys())
def test_a_recorded_update_is_the_engines(nodes: Any, rule: Rule, stack: int | None) -> None:
    ours, theirs = twins(nodes, rule, stack)
    recorded = RecordedUpdate(theirs, rule)
    for number in range(4):
        for graph in (ours, theirs):
            rule.anneal(graph, number / 4)
        both(ours, theirs, rule, recorded, *map(as_rows, batch_for(ours)))


@pytest.mark.parametrize("stack", [None, 2])
def test_tokens_and_a_carried_state(stack: int | None) -> None:
    rule, tokens = LRAFeedback(c2=None), (() if stack is None else (stack,))
    ours, theirs = twins(lambda: elman(7, [12, 9], 7, 5), rule, stack)
    recorded = RecordedUpdate(theirs, rule)
    carried = [null_state(ours, 3), null_state(theirs, 3)]
    for _ in range(3):
        x, t = torch.randint(7, (2, *tokens, 15))
        step, outcome = update(ours, rule, {"x": x, **carried[0]}, t), recorded({"x": x, **carried[1]}, t)
        carried = [step.carried, outcome.carried]
        assert_equal(carried[1], carried[0])
        assert_equal(updates(theirs), updates(ours))


def test_vectors_as_targets() -> None:
    rule = LRAFeedback()
    ours, theirs = twins(lambda: mlp(5, [12, 8], 3, output="gaussian"), rule)
    recorded = RecordedUpdate(theirs, rule)
    for _ in range(2):
        both(ours, theirs, rule, recorded, torch.randn(6, 5), torch.randn(6, 3))


def test_another_shape_of_mini_batch_is_recorded_anew_and_the_first_stays() -> None:
    rule = LRAFeedback()
    ours, theirs = twins(small_mlp, rule)
    recorded = RecordedUpdate(theirs, rule)
    for rows in (6, 9, 6, 9):
        both(ours, theirs, rule, recorded, torch.randn(rows, 5), torch.randint(3, (rows,)))
    assert len(recorded._runs) == 2


def test_inputs_and_weights_may_change_in_place_and_move() -> None:
    """Same tensors with other numbers, other strides, other weights, and weights elsewhere."""
    rule, x, t = LRAFeedback(), torch.randn(6, 5), torch.randint(3, (6,))
    ours, theirs = twins(small_mlp, rule)
    recorded = RecordedUpdate(theirs, rule)
    for change in (
        lambda: x.normal_(),
        lambda: x.set_(torch.randn(5, 6).T),  # type: ignore[call-overload]
        lambda: [initialize(graph, 5, "gaussian", 0.3) for graph in (ours, theirs)],
        lambda: [setattr(p, "data", p.data.clone()) for p in theirs.parameters()],
        lambda: [theirs.feedback.__setitem__(name, e.clone()) for name, e in theirs.feedback.items()],
    ):
        both(ours, theirs, rule, recorded, x, t)
        change()
        both(ours, theirs, rule, recorded, x, t)


def test_gradients_that_were_taken_away_come_back() -> None:
    rule, x, t = LRAFeedback(), torch.randn(6, 5), torch.randint(3, (6,))
    ours, theirs = twins(small_mlp, rule)
    recorded = RecordedUpdate(theirs, rule)
    for change in (lambda p: None, lambda p: torch.ones_like(p)):
        both(ours, theirs, rule, recorded, x, t)
        for p in theirs.parameters():
            p.grad = change(p)
        both(ours, theirs, rule, recorded, x, t)
    assert len(recorded._runs) == 1


def test_recording_leaves_weights_memory_and_the_generator_alone() -> None:
    rule = DifferenceTargetPropagation(noise=0.1)
    graph, _ = twins(drawing(), rule)
    recorded = RecordedUpdate(graph, rule)
    x, t = torch.randn(6, 5), torch.randint(3, (6,))
    before, random = {name: tensor.clone() for name, tensor in graph.state_dict().items()}, torch.random.get_rng_state()
    with torch.no_grad():
        state = recorded._state()
        with recorded.untouched(state):
            trace = recorded._trace(Given(x, t), state)
        recorded._prepare(trace)
    assert_equal(graph.state_dict(), before)
    assert torch.equal(torch.random.get_rng_state(), random)


def test_a_buffer_serves_one_result_after_another() -> None:
    graph, _ = twins(lambda: mlp(5, [16] * 6, 3), LRAFeedback())
    recorded, x, t = RecordedUpdate(graph, LRAFeedback()), torch.randn(6, 5), torch.randint(3, (6,))
    with torch.no_grad():
        trace = recorded._trace(Given(x, t), recorded._state())
        calls: Any = record(trace.module, [tensor.detach() for tensor in (*trace.state, *trace.batch)]).update
    results = [call.keywords["out"].data_ptr() for call in calls if "out" in call.keywords]
    assert len(set(results)) < len(results) / 2


def test_a_replayed_update_allocates_nothing() -> None:
    graph, _ = twins(lambda: mlp(5, [16] * 6, 3), LRAFeedback())
    recorded = RecordedUpdate(graph, LRAFeedback())
    x, t = torch.randn(6, 5), torch.randint(3, (6,))
    for _ in range(COMPARED):
        recorded(x, t)
    with torch.profiler.profile(profile_memory=True) as profile:
        recorded(x, t)
    assert sum(event.cpu_memory_usage for event in profile.events() if event.cpu_memory_usage > 0) == 0


def test_results_cannot_be_read_after_the_next_update() -> None:
    graph, _ = twins(small_mlp, LRAFeedback())
    recorded = RecordedUpdate(graph, LRAFeedback())
    first, second = (recorded(torch.randn(6, 5), torch.randint(3, (6,))) for _ in range(2))
    loss = second.loss
    with pytest.raises(SeqlraError, match="before the next one"):
        _ = first.loss
    before = loss.clone()
    third = recorded(torch.randn(6, 5), torch.randint(3, (6,)))
    assert not torch.equal(third.loss, before)
    assert torch.equal(loss, before)  # the caller owns it
    assert torch.equal(second.loss, before)


def test_wrong_inputs_are_reported_as_by_the_engine() -> None:
    graph, _ = twins(small_mlp, LRAFeedback())
    with pytest.raises(SeqlraError, match="takes rows of 5 numbers"):
        RecordedUpdate(graph, LRAFeedback())(torch.randn(6, 4), torch.randint(3, (6,)))


@dataclass(frozen=True)
class LooksAtNumbers(LRAFeedback):
    """Its Python depends on the data."""

    def error(self, layer: LayerView, incoming: Tensor) -> Any:
        d = super().error(layer, incoming)
        return d if d.sum() > 0 else 2 * d


@dataclass(frozen=True)
class PicksRows(LRAFeedback):
    """Its shapes depend on the data."""

    by_truth: bool = False

    def error(self, layer: LayerView, incoming: Tensor) -> Any:
        d = super().error(layer, incoming)
        positive = d.sum(-1) > 0
        return d + (d[positive] if self.by_truth else d.index_select(-2, positive.nonzero().squeeze(-1))).sum()


COUNT = torch.zeros(())


@dataclass(frozen=True)
class Counts(LRAFeedback):
    """It has state that the graph does not know."""

    def error(self, layer: LayerView, incoming: Tensor) -> Any:
        COUNT.view(1).add_(1)
        return super().error(layer, incoming) * COUNT


@dataclass(frozen=True)
class Fails(LRAFeedback):
    """Wrong."""

    def error(self, layer: LayerView, incoming: Tensor) -> Any:
        raise ZeroDivisionError("an error of one's own")


@pytest.mark.parametrize(
    "rule", [LooksAtNumbers(), PicksRows(), PicksRows(by_truth=True), Counts(), LRAFeedback(epsilon=0.1, skip=True)]
)
def test_what_looks_at_data_cannot_be_recorded(rule: Rule) -> None:
    graph, _ = twins(small_mlp, rule)
    if rule.skips:
        with pytest.raises(NotTraceable, match="skip"):
            RecordedUpdate(graph, rule)
        return
    recorded, before = RecordedUpdate(graph, rule), {n: tensor.clone() for n, tensor in graph.state_dict().items()}
    with pytest.warns(SeqlraWarning, match="run by the engine.*test_recorded.py, line"):
        recorded(torch.randn(6, 5), torch.randint(3, (6,)))
    assert recorded.refused
    assert_equal(graph.state_dict(), before)


def mlp_of_60_updates() -> Config:
    torch.set_default_dtype(torch.float32)
    return configure("mlp", hidden=(20, 12), valid=13_000, steps=60, diagnose=7, device="cpu", threads=1)


def rnn_of_40_updates(text: Path) -> Config:
    torch.set_default_dtype(torch.float32)
    given = {"text": str(text), "hidden": (12,), "streams": 9, "unroll": 11, "steps": 40, "diagnose": 7}
    return configure("rnn", **given, device="cpu", threads=1)


@pytest.mark.parametrize("task", ["mlp", "rnn"])
def test_training_comes_to_the_same_without_recording(
    task: str, short_text: Path, tmp_path: Any, monkeypatch: Any
) -> None:
    """Diagnosed updates run by the engine in both; the state between chunks is the same, too."""
    weights = []
    for name in ("recorded", "engine"):
        run = RunDirectory.create(tmp_path / name)
        experiment = prepare([mlp_of_60_updates() if task == "mlp" else rnn_of_40_updates(short_text)])
        begin(experiment, run)
        train(experiment, run)
        weights.append(checkpoint.load(run.checkpoint)["graph"])
        monkeypatch.setattr(Trainer, "_traced", lambda trainer: None)
    assert_equal(*weights)


def trained(rule: Rule, tmp_path: Any) -> tuple[Trainer, dict[str, Tensor]]:
    experiment = prepare([mlp_of_60_updates()])
    trainer = Trainer(experiment.graph, rule, experiment.optimizer, experiment.task, total=60)
    trainer.train()
    return trainer, {name: tensor.clone() for name, tensor in experiment.graph.state_dict().items()}


def test_training_records_what_can_be_recorded_and_leaves_the_rest_to_the_engine(tmp_path: Any) -> None:
    @dataclass(frozen=True)
    class Same(LRAFeedback):
        repeats = False

    plain, weights = trained(LRAFeedback(), tmp_path)
    assert isinstance(plain.traced, RecordedUpdate)
    unrecorded, same = trained(Same(), tmp_path)
    assert unrecorded.traced is None
    assert_equal(same, weights)
    with pytest.warns(SeqlraWarning, match="depends on the data"):
        looking, other = trained(LooksAtNumbers(), tmp_path)
    assert isinstance(looking.traced, RecordedUpdate)
    assert looking.traced.refused
    assert not torch.equal(other["weights.W1"], weights["weights.W1"])
    with pytest.raises(ZeroDivisionError):
        trained(Fails(), tmp_path)
