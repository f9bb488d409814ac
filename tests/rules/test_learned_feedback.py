"""Learned feedback. Oracles: the law by which E - W^T shrinks, the transposed update, the run of one model alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import as_rows, assert_same, batch_for, chain_over_time, filled, small_mlp, updates
from torch import Tensor

from seqlra import (
    Connection,
    DirectFeedbackAlignment,
    FeedbackAlignment,
    Graph,
    Input,
    LRAFeedback,
    RecordedUpdate,
    SeqlraError,
    Subgraph,
    diagnose,
    elman,
    initialize,
    mlp,
    update,
)
from seqlra.rules.learned_feedback import feedback_pairs
from seqlra.training.optimizers import OPTIMIZERS, make, stepper

RNN = {"window": 2, "carry": "error"}
CASES: dict[str, tuple[Any, Any]] = {
    "lra, mlp": (small_mlp, LRAFeedback(feedback="learned", c1=0.5)),
    "lra, stochastic": (lambda: small_mlp("sigmoid", "bernoulli"), LRAFeedback(feedback="learned")),
    "lra, over time": (lambda: elman(5, [7, 6], 3, 4, across_time=True), LRAFeedback(feedback="learned", **RNN)),
    "fa, over time": (lambda: elman(5, [7], 3, 4, across_time=True), FeedbackAlignment(feedback="learned")),
}


def gaps(graph: Graph) -> dict[str, Tensor]:
    """``E - W^T`` by the name of E."""
    return {e: (graph.feedback[e] - graph.weights[w].mT).detach().clone() for e, (w,) in feedback_pairs(graph).items()}


def ready(nodes: Any, rule: Any, stack: int | None = None) -> Graph:
    graph = Graph(nodes(), stack=stack).double()
    return initialize(graph, 3 if stack is None else [3 + s for s in range(stack)], "gaussian", 0.4, 0.5, rule=rule)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_under_sgd_the_gap_shrinks_by_the_decay_alone(case: Any) -> None:
    nodes, rule = case
    rule = type(rule)(**{**rule.__dict__, "feedback_decay": 0.1})
    graph = ready(nodes, rule)
    optimizer = torch.optim.SGD(graph.parameters(), lr=0.3)
    inputs, targets = (as_rows(named) for named in batch_for(graph))
    for share in (1.0, 0.5):
        before = gaps(graph)
        update(graph, rule, inputs, targets)
        optimizer.step()
        rule.after_step(graph, share)
        for name, gap in gaps(graph).items():
            torch.testing.assert_close(gap, (1 - 0.1 * share) * before[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_under_every_optimizer_both_sides_take_the_same_steps(case: Any, name: str) -> None:
    nodes, rule = case
    graph = ready(nodes, rule)
    optimizer = make(name, graph.parameters(), 0.05, momentum=0.5 if name in ("sgd", "rmsprop") else 0.0)
    step, before, moved = stepper(optimizer), gaps(graph), "U" if "U" in graph.weights else "W2"
    weights = graph.weights[moved].detach().clone()
    inputs, targets = (as_rows(named) for named in batch_for(graph))
    decay = optimizer.param_groups[0]["weight_decay"] * 0.05
    for _ in range(4):
        update(graph, rule, inputs, targets)
        step()
    assert (weights - graph.weights[moved]).abs().max() > 1e-6
    for e, gap in gaps(graph).items():
        torch.testing.assert_close(gap, before[e] * (1 - decay) ** 4, rtol=1e-9, atol=1e-9)


def test_fixed_feedback_stays() -> None:
    graph = ready(small_mlp, LRAFeedback())
    assert all(not name.startswith("feedback") for name, _ in graph.named_parameters())
    assert LRAFeedback().learned(graph) == ["E2", "E3", "E4"]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_recorded_it_is_the_same_bit_for_bit(case: Any) -> None:
    nodes, rule = case
    ours, theirs = ready(nodes, rule), ready(nodes, rule)
    recorded = RecordedUpdate(theirs, rule)
    inputs, targets = (as_rows(named) for named in batch_for(ours))
    for _ in range(3):
        for graph, run in ((ours, lambda *given: update(ours, rule, *given)), (theirs, recorded)):
            torch.manual_seed(5)
            run(inputs, targets)
            with torch.no_grad():
                for p in graph.parameters():
                    assert p.grad is not None
                    p -= 0.1 * p.grad
        for (name, one), other in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
            assert torch.equal(one, other), name
            assert one.isfinite().all()


@pytest.mark.parametrize("name", ["lra, mlp", "lra, over time", "fa, over time"])
def test_each_model_of_a_stack_learns_as_alone(name: str) -> None:
    nodes, rule = CASES[name]
    stack = ready(nodes, rule, stack=2)
    inputs, targets = (as_rows(named) for named in batch_for(stack))
    update(stack, rule, inputs, targets)
    for s in range(2):
        alone = ready(nodes, rule)
        alone.load_state_dict({key: tensor[s] for key, tensor in stack.state_dict().items()})
        update(alone, rule, inputs, targets)
        assert_same({key: grad[s] for key, grad in updates(stack).items()}, updates(alone))


def shared_feedback() -> list[Input | Subgraph]:
    """Two connections of one shape with weights of their own and one E between them."""
    return [
        Input("x", 5),
        Subgraph("a", 4, ["x"]),
        Subgraph("b", 4, [Connection("a", "Wb", "E")]),
        Subgraph("c", 4, [Connection("b", "Wc", "E")]),
        Subgraph("out", 3, ["c"], loss="cross-entropy"),
    ]


def test_one_e_of_two_weights_gets_both_of_their_updates_transposed() -> None:
    rule = LRAFeedback(feedback="learned")
    graph = ready(shared_feedback, rule)
    step = update(graph, rule, *batch_for(graph))
    own, (w_b, w_c) = updates(graph), (graph.weights[name].detach() for name in ("Wb", "Wc"))
    torch.testing.assert_close(own["feedback.E"], (own["weights.Wb"] + own["weights.Wc"]).mT)  # square: it must be told
    e = graph.feedback["E"].detach()
    cosine = (e * w_b.mT).sum() / e.norm() / w_b.norm()
    assert diagnose(step).alignment["E"].item() == pytest.approx(torch.rad2deg(torch.acos(cosine)).item(), abs=1e-6)
    assert (w_b - w_c).abs().max() > 0.1  # or the last line could not fail


class TestDirect:
    """Direct Kolen-Pollack."""

    def test_b_gets_the_product_of_the_outputs_error_and_the_hidden_output(self) -> None:
        rule = DirectFeedbackAlignment(feedback="learned", reduction="sum")
        graph = ready(lambda: elman(5, [7, 6], 3, 4), rule)
        inputs, targets = (as_rows(named) for named in batch_for(graph))
        step = update(graph, rule, inputs, targets)
        d = step.backward.errors[2]
        assert d is not None
        for number, name in enumerate(("hidden1", "hidden2")):
            expected = sum(torch.outer(a, z) for a, z in zip(d, step.forward.output(number), strict=True))
            torch.testing.assert_close(graph.feedback[f"B-output-{name}"].grad, expected)

    @pytest.mark.parametrize("reduction", ["sum", "mean"])
    def test_over_the_layers_of_a_subgraph_what_others_read_counts(self, reduction: Any) -> None:
        nodes = chain_over_time(4, g="sign")  # the first step reads its input alone, so it is a layer of its own
        nodes[2] = Subgraph("hidden[1]", 8, [Connection("x[1]", "W")], "tanh", "sign", "l2", bias="b")
        rule = DirectFeedbackAlignment(feedback="learned", reduction=reduction)
        graph = ready(lambda: nodes[1:], rule)
        inputs, targets = (as_rows(named) for named in batch_for(graph))
        step = update(graph, rule, inputs, targets)
        hidden = [i for i, layer in enumerate(graph.layers) if layer.name == "hidden"]
        (out,) = graph.layout.all_outputs
        z_star, d = torch.cat([step.forward.output(i) for i in hidden]), step.backward.errors[out]
        assert d is not None
        assert (len(hidden), len(d)) == (2, 24)
        expected = sum(torch.outer(a, z) for a, z in zip(d, z_star, strict=True))
        expected = expected / 24 if reduction == "mean" else expected
        torch.testing.assert_close(graph.feedback["B-output-hidden"].grad, expected)

    def test_where_the_output_reads_the_layer_it_is_the_transposed_update(self) -> None:
        rule = DirectFeedbackAlignment(feedback="learned")
        graph = ready(lambda: mlp(5, [8], 3), rule)
        inputs, targets = batch_for(graph)
        update(graph, rule, inputs, targets)
        own = updates(graph)
        torch.testing.assert_close(own["feedback.B-output-layer1"], own["weights.W2"].mT)
        assert "feedback.E2" not in own


def test_a_graph_that_was_not_set_up_for_it_is_refused() -> None:
    graph = filled(small_mlp())
    with pytest.raises(SeqlraError, match="initialize"):
        update(graph, LRAFeedback(feedback="learned"), *batch_for(graph))


def test_the_alignment_is_a_diagnostic() -> None:
    rule = LRAFeedback(feedback="learned", feedback_decay=0.2)
    graph = ready(small_mlp, rule)
    inputs, targets = batch_for(graph)
    optimizer = torch.optim.SGD(graph.parameters(), lr=2.0)
    seen = []
    for _ in range(80):
        seen.append(diagnose(update(graph, rule, inputs, targets)).alignment["E3"].item())
        optimizer.step()
        rule.after_step(graph, 1.0)
    e, w = graph.feedback["E3"].detach(), graph.weights["W3"].detach().mT
    assert seen[0] > 45
    assert seen[-1] < 20
    found = diagnose(update(graph, rule, inputs, targets)).alignment["E3"].item()
    cosine = float((e * w).sum() / e.norm() / w.norm())
    assert found == pytest.approx(torch.rad2deg(torch.acos(torch.tensor(cosine))).item(), abs=1e-6)


def test_settings_that_make_no_sense() -> None:
    for settings in ({"feedback": "random"}, {"feedback": "learned", "feedback_decay": 1.0}, {"feedback_decay": 0.1}):
        with pytest.raises(SeqlraError, match="feedback"):
            LRAFeedback(**settings)  # type: ignore[arg-type]
