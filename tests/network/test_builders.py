"""Outputs at some steps, and targets that are missing. Oracles: the reference, autograd, the asked rows alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import as_rows, assert_same, batch_for, filled, small_mlp, updates
from torch import Tensor
from torch.nn.functional import cross_entropy

from seqlra import (
    Backprop,
    DifferenceTargetPropagation,
    DirectFeedbackAlignment,
    FeedbackAlignment,
    Graph,
    LRADiff,
    LRAFeedback,
    RecordedUpdate,
    SeqlraError,
    Subgraph,
    elman,
    initialize,
    mlp,
    update,
)
from seqlra.engine.reference import compute_update_direction
from seqlra.network.losses import masked, output_loss

STEPS = 5
ASKED = [[5], [2], [2, 5], [1, 2, 4], [4, 5], [5, 3, 4]]
LRA = {
    "fdbk": LRAFeedback(c1=0.3, c2=0.5),
    "fdbk, batch": LRAFeedback(c2=0.5, c2_per="batch", reduction="sum"),
    "fdbk, epsilon": LRAFeedback(c2=None, epsilon=0.01),
    "diff": LRADiff(beta=0.5, steps=2),
    "diff, post": LRADiff(form="post"),
}
RULES = {**LRA, "backprop": Backprop(), "fa": FeedbackAlignment()}
both_reductions = pytest.mark.parametrize("reduction", ["sum", "mean"])
with_and_without_time = pytest.mark.parametrize("across", [False, True], ids=["no credit across time", "across time"])


def autograd(
    graph: Graph, inputs: dict[str, Tensor], targets: dict[str, Tensor], across: bool, reduction: str
) -> dict[str, Tensor]:
    """The gradient of the loss of what is asked, in plain torch; without ``across``, states are constants."""
    own = {name: p.detach().clone().requires_grad_() for name, p in graph.named_parameters()}
    z, total, count = dict(inputs), torch.zeros(()), 0
    for node in graph.subgraphs:
        h = own[f"biases.{node.bias}"]
        for read in node.reads:
            constant = read.weight.startswith("V") and not across
            h = h + (z[read.source].detach() if constant else z[read.source]) @ own[f"weights.{read.weight}"]
        if not node.is_output:
            z[node.name] = h.tanh()
            continue
        t = targets[node.name]
        rows = [row for row in range(len(t)) if not (t[row].isnan().any() or (t[row] == -100).any())]
        squares = 0.5 * (h[rows] - t[rows]).square().sum() if t.is_floating_point() else None
        total = total + (cross_entropy(h[rows], t[rows], reduction="sum") if squares is None else squares)
        count += len(rows)
    grads = torch.autograd.grad(total / (count if reduction == "mean" else 1), list(own.values()), allow_unused=True)
    return {name: torch.zeros_like(p) if g is None else g for (name, p), g in zip(own.items(), grads, strict=True)}


def align(graph: Graph) -> None:
    """Feedback is the transpose of the weights."""
    for subgraph in graph.subgraphs:
        for read in subgraph.reads:
            if read.feedback in graph.feedback:
                graph.feedback[read.feedback].copy_(graph.weights[read.weight].detach().mT)


def classes_without(graph: Graph, keep: float = 0.6) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A batch some of whose targets are missing, each row on its own; by full name."""
    inputs, targets = batch_for(graph)
    return inputs, {name: t.where(torch.rand(t.shape) < keep, -100) for name, t in targets.items()}


def test_the_list_has_outputs_at_the_asked_steps_alone() -> None:
    names = [node.name for node in Graph(elman(5, [7], 3, 4, outputs_at=[4, 2])).subgraphs]
    assert names == ["hidden[1]", "hidden[2]", "output[2]", "hidden[3]", "hidden[4]", "output[4]"]
    one, other = elman(5, [7], 3, 4), elman(5, [7], 3, 4, outputs_at=range(1, 5))
    assert one == other


def test_neighboring_outputs_run_together() -> None:
    layers = Graph(elman(5, [7], 3, 6, outputs_at=[4, 5, 6])).layers
    assert [(layer.name, layer.steps) for layer in layers] == [("hidden", 6), ("output", 3)]


@pytest.mark.parametrize("steps", [[], [0], [6], [2, 7]])
def test_outputs_at_steps_that_do_not_exist_are_refused(steps: list[int]) -> None:
    with pytest.raises(SeqlraError, match="outputs_at takes steps from 1 to 5"):
        elman(5, [7], 3, 5, outputs_at=steps)


@with_and_without_time
@pytest.mark.parametrize("hidden", [[8], [8, 4]], ids=["one layer", "two layers"])
@pytest.mark.parametrize("asked", ASKED, ids=str)
class TestOutputsAtSomeSteps:
    @pytest.mark.parametrize("rule", LRA.values(), ids=LRA.keys())
    def test_the_engine_equals_the_reference(
        self, rule: Any, asked: list[int], hidden: list[int], across: bool
    ) -> None:
        graph = filled(elman(5, hidden, 3, STEPS, across_time=across, outputs_at=asked))
        inputs, targets = batch_for(graph)
        update(graph, rule, as_rows(inputs), as_rows(targets))
        assert_same(updates(graph), compute_update_direction(graph, rule, inputs, targets))

    @both_reductions
    def test_backprop_is_autograd(self, reduction: Any, asked: list[int], hidden: list[int], across: bool) -> None:
        graph = filled(elman(5, hidden, 3, STEPS, across_time=across, outputs_at=asked))
        inputs, targets = batch_for(graph)
        update(graph, Backprop(reduction=reduction), as_rows(inputs), as_rows(targets))
        assert_same(updates(graph), autograd(graph, inputs, targets, True, reduction))

    @pytest.mark.parametrize("kind", ["fa", "lra-diff"])
    def test_aligned_fa_and_lemma_1_are_autograd(
        self, kind: str, asked: list[int], hidden: list[int], across: bool
    ) -> None:
        graph = filled(elman(5, hidden, 3, STEPS, across_time=across, outputs_at=asked))
        align(graph)
        inputs, targets = batch_for(graph)
        rule = FeedbackAlignment() if kind == "fa" else LRADiff(form="post", beta=1, c2=None)
        update(graph, rule, as_rows(inputs), as_rows(targets))
        assert_same(updates(graph), autograd(graph, inputs, targets, across, "mean"))


def test_without_feedback_across_time_only_the_asked_step_teaches() -> None:
    graph = filled(elman(5, [7], 3, STEPS, outputs_at=[STEPS]))
    inputs, targets = batch_for(graph)
    for t in range(1, STEPS + 1):
        inputs[f"x[{t}]"] *= t == STEPS  # W could learn nothing from the other steps, whatever error they had
    update(graph, LRAFeedback(), as_rows(inputs), as_rows(targets))
    one = graph.sharing(elman(5, [7], 3, 1))
    before = graph.sharing(elman(5, [7], 3, STEPS - 1))
    taught = {name: grad.clone() for name, grad in updates(graph).items()}
    rows = {"x": torch.zeros(6 * (STEPS - 1), 5), "hidden": inputs["hidden[0]"]}
    state = update(before, LRAFeedback(), rows, torch.zeros(6 * (STEPS - 1), dtype=torch.long)).carried
    update(one, LRAFeedback(), {"x": inputs[f"x[{STEPS}]"], **state}, targets[f"output[{STEPS}]"])
    assert_same(taught, updates(one))


class TestMissingTargets:
    @with_and_without_time
    @both_reductions
    @pytest.mark.parametrize("rule", LRA.values(), ids=LRA.keys())
    def test_the_engine_equals_the_reference(self, rule: Any, reduction: str, across: bool) -> None:
        rule = type(rule)(**{**vars(rule), "reduction": reduction})
        graph = filled(elman(5, [8, 4], 3, STEPS, output=masked("cross-entropy"), across_time=across))
        inputs, targets = classes_without(graph)
        update(graph, rule, as_rows(inputs), as_rows(targets))
        assert_same(updates(graph), compute_update_direction(graph, rule, inputs, targets))

    @with_and_without_time
    @both_reductions
    @pytest.mark.parametrize("loss", ["cross-entropy", "gaussian"])
    @pytest.mark.parametrize("asked", [None, [2, 5]], ids=["every step", "two steps"])
    def test_aligned_fa_is_autograd(self, asked: Any, loss: str, reduction: Any, across: bool) -> None:
        graph = filled(elman(5, [8], 3, STEPS, output=masked(loss), across_time=across, outputs_at=asked))
        align(graph)
        inputs, targets = classes_without(graph)
        if loss == "gaussian":
            vectors = {name: torch.randn(6, 3) for name in targets}
            for name, t in targets.items():
                vectors[name][t == -100, 1] = float("nan")
            targets = vectors
        update(graph, FeedbackAlignment(reduction=reduction), as_rows(inputs), as_rows(targets))
        assert_same(updates(graph), autograd(graph, inputs, targets, across, reduction))

    @both_reductions
    @pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
    @with_and_without_time
    def test_steps_that_nobody_is_asked_at_are_as_if_they_had_no_output(
        self, across: bool, rule: Any, reduction: str
    ) -> None:
        rule = type(rule)(**{**vars(rule), "reduction": reduction})
        graph = filled(elman(5, [8], 3, STEPS, output=masked("cross-entropy"), across_time=across))
        initialize(graph, 3, "gaussian", 0.6, rule=rule)
        inputs, targets = batch_for(graph)
        some = {name: t if name in ("output[3]", "output[5]") else t * 0 - 100 for name, t in targets.items()}
        update(graph, rule, as_rows(inputs), as_rows(some))
        got = {name: grad.clone() for name, grad in updates(graph).items()}
        short = graph.sharing(elman(5, [8], 3, STEPS, across_time=across, outputs_at=[3, 5]))
        update(short, rule, as_rows(inputs), as_rows({n: targets[n] for n in ("output[3]", "output[5]")}))
        assert_same(got, updates(short))

    @with_and_without_time
    @pytest.mark.parametrize("rule", [LRAFeedback(c2=0.5, reduction="sum"), Backprop(reduction="sum")], ids=str)
    def test_sequences_of_different_lengths_are_each_as_if_alone(self, rule: Any, across: bool) -> None:
        lengths = [5, 2, 1, 4]
        graph = filled(elman(5, [8], 3, STEPS, output=masked("cross-entropy"), across_time=across))
        x, state, t = torch.randn(STEPS, 4, 5), torch.randn(4, 8), torch.randint(3, (4,))
        targets = torch.full((STEPS, 4), -100)
        for number, length in enumerate(lengths):
            targets[length - 1, number] = t[number]
        update(graph, rule, {"x": x.flatten(0, 1), "hidden": state}, targets.flatten())
        got = {name: grad.clone() for name, grad in updates(graph).items()}
        total = {name: torch.zeros_like(grad) for name, grad in got.items()}
        for n, length in enumerate(lengths):
            alone = graph.sharing(elman(5, [8], 3, length, across_time=across, outputs_at=[length]))
            update(alone, rule, {"x": x[:length, n], "hidden": state[n : n + 1]}, t[n : n + 1])
            for name, grad in updates(alone).items():
                total[name] += grad
        assert_same(got, total)

    @both_reductions
    @pytest.mark.parametrize(
        "rule",
        [
            *(rule for rule in RULES.values() if getattr(rule, "c2_per", "sample") == "sample"),
            LRAFeedback(epsilon=0.05, skip=True),
            DirectFeedbackAlignment(),
            DifferenceTargetPropagation(inverse_lr=0),  # its inverses learn from every row, asked or not
        ],
        ids=str,
    )
    def test_the_update_is_that_of_the_asked_rows_alone(self, rule: Any, reduction: str) -> None:
        rule = type(rule)(**{**vars(rule), "reduction": reduction})
        graph = filled(mlp(5, [12, 8, 4], 3, output=masked("cross-entropy")))
        initialize(graph, 3, "gaussian", 0.6, rule=rule)
        x, t = torch.randn(9, 5), torch.randint(3, (9,))
        there = torch.tensor([0, 2, 3, 7])
        missing = torch.full((9,), -100).index_copy(0, there, t[there])
        update(graph, rule, x, missing)
        got = {name: grad.clone() for name, grad in updates(graph).items()}
        plain = graph.sharing(mlp(5, [12, 8, 4], 3))
        update(plain, rule, x[there], t[there])
        assert_same(got, updates(plain))

    def test_models_of_a_stack_may_be_asked_for_different_numbers(self) -> None:
        stacked = filled(mlp(5, [12, 8], 3, output=masked("cross-entropy")), stack=3)
        x, t = torch.randn(7, 5), torch.randint(3, (3, 7))
        t[0, :4], t[1, 6] = -100, -100
        step = update(stacked, LRAFeedback(), x, t)
        for number in range(3):
            alone = filled(mlp(5, [12, 8], 3, output=masked("cross-entropy")), seed=1 + number)
            for name, p in alone.named_parameters():
                p.data.copy_(dict(stacked.named_parameters())[name][number])
            own = update(alone, LRAFeedback(), x, t[number])
            assert_same({n: g[number] for n, g in updates(stacked).items()}, updates(alone))
            torch.testing.assert_close(step.loss[number], own.loss)
            torch.testing.assert_close(step.mistakes[number], own.mistakes)

    def test_loss_and_mistakes_are_means_over_what_is_asked(self) -> None:
        graph = filled(elman(5, [8], 3, STEPS, output=masked("cross-entropy")))
        inputs, targets = map(as_rows, classes_without(graph))
        step, t = update(graph, LRAFeedback(), inputs, targets), targets["output"]
        h = step.forward.h[graph.output_layers[0]]
        torch.testing.assert_close(step.loss, cross_entropy(h, t, ignore_index=-100))
        wrong = [int(h[row].argmax() != t[row]) for row in range(len(t)) if t[row] != -100]
        assert len(wrong) < len(t)
        assert step.mistakes.item() == pytest.approx(sum(wrong) / len(wrong))

    def test_two_outputs_one_of_which_may_miss_targets(self) -> None:
        nodes = small_mlp()
        one, below = nodes[-1], nodes[-2].name
        nodes[-1] = Subgraph("output", one.units, one.reads, loss=masked("cross-entropy"))  # type: ignore[union-attr]
        graph = filled([*nodes, Subgraph("two", 2, [below], loss="cross-entropy")])
        inputs, targets = batch_for(graph)
        targets["output"][:4] = -100
        step = update(graph, LRAFeedback(), inputs, targets)
        assert_same(updates(graph), compute_update_direction(graph, LRAFeedback(), inputs, targets))
        losses = [
            cross_entropy(step.forward.h[graph.layout.all_outputs[i]], targets[name])
            for i, name in ((0, "output"), (1, "two"))
        ]
        torch.testing.assert_close(step.loss, sum(losses, torch.zeros(())))

    def test_nothing_asked_is_no_update(self) -> None:
        graph = filled(mlp(5, [7], 3, output=masked("cross-entropy")))
        step = update(graph, LRAFeedback(), torch.randn(6, 5), torch.full((6,), -100))
        assert step.loss == step.mistakes == 0
        assert all((grad == 0).all() for grad in updates(graph).values())

    def test_a_recorded_update_counts_what_is_asked_each_time(self) -> None:
        graph = filled(elman(5, [8], 3, STEPS, output=masked("cross-entropy"), across_time=True))
        recorded = RecordedUpdate(graph, LRAFeedback())
        for keep in (0.9, 0.3):
            inputs, targets = map(as_rows, classes_without(graph, keep))
            loss = recorded(inputs, targets).loss.clone()
            got = {name: grad.clone() for name, grad in updates(graph).items()}
            step = update(graph, LRAFeedback(), inputs, targets)
            assert_same(got, updates(graph), 1e-12)
            torch.testing.assert_close(loss, step.loss)


@pytest.mark.parametrize("name", ["cross-entropy", "gaussian"])
def test_a_masked_loss_is_the_plain_one_where_nothing_is_missing(name: str) -> None:
    plain, loss, h = output_loss(name), masked(name), torch.randn(2, 6, 3)
    for t in (torch.randn(6, 3).softmax(-1), *([torch.randint(3, (6,))] if plain.classes else [])):
        assert loss.value(h, t).equal(plain.value(h, t))
        assert loss.error(plain.f(h), t).equal(plain.error(plain.f(h), t))
    assert masked(name) is masked(name)  # time steps run together only if their losses are equal
