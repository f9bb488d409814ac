"""Oracle: the reference (Algorithms 1 and 2 line by line). The engine gives the same updates, to 1e-10."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
from helpers import as_rows, assert_same, batch_for, chain_over_time, filled, skip_net, small_mlp, updates
from torch import Tensor

from seqlra import Graph, SeqlraError, initialize, mlp, update
from seqlra.engine.reference import compute_update_direction
from seqlra.rules import Backprop, BackwardPass, LayerView, LRADiff, LRAFeedback
from seqlra.rules.views import Selection

GRAPHS: dict[str, Any] = {
    "mlp": small_mlp,
    "sigmoid": lambda: small_mlp("sigmoid", loss="l2"),
    "softplus, l1": lambda: small_mlp("softplus", loss="l1"),
    "sign": lambda: small_mlp("tanh", "sign"),
    "lwta": lambda: small_mlp("hard-tanh", "lwta"),
    "slwta": lambda: small_mlp("tanh", "slwta"),
    "skips, shared weights": skip_net,
    "skips with g": lambda: skip_net("tanh", "sign"),
    "over time": chain_over_time,
    "over time with g": lambda: chain_over_time(g="sign"),
    "feedback across time": lambda: chain_over_time(across=True),
}
RULES = {
    "fdbk": LRAFeedback(),
    "fdbk, bounds on": LRAFeedback(beta=0.7, c1=0.2, c2=0.3, reduction="sum"),
    "fdbk, bound per batch": LRAFeedback(beta=0.7, c2=0.3, c2_per="batch"),
    "fdbk, epsilon": LRAFeedback(beta=0.5, c2=None, epsilon=0.05),
    "fdbk, epsilon per batch": LRAFeedback(beta=0.5, c2=None, epsilon=0.05, epsilon_per="batch"),
    "diff": LRADiff(beta=0.5, c2=0.3, c1=0.2),
    "diff, K = 4": LRADiff(beta=0.2, c2=0.5, steps=4),
    "diff, K = 3, epsilon": LRADiff(beta=0.5, c2=None, steps=3, epsilon=0.01),
    "fdbk, epsilon of the outputs": LRAFeedback(beta=0.5, c2=None, epsilon_output=1.0),
    "fdbk, two epsilons": LRAFeedback(beta=0.5, c2=None, epsilon=0.05, epsilon_output=1.0),
    "fdbk, epsilon of the outputs per batch": LRAFeedback(beta=0.5, epsilon_output=9.0, epsilon_per="batch"),
    "fdbk, epsilon of the hidden": LRAFeedback(beta=0.5, c2=None, epsilon=0.3, epsilon_output=0.0),
    "diff, K = 3, epsilon of the outputs": LRADiff(beta=0.5, c2=None, steps=3, epsilon_output=1.0),
    "diff, Lemma 1 form": LRADiff(beta=0.5, c2=0.3, form="post"),
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
@pytest.mark.parametrize("nodes", GRAPHS.values(), ids=GRAPHS.keys())
def test_the_engine_gives_the_updates_of_the_reference(nodes: Any, rule: Any) -> None:
    graph = filled(nodes())
    inputs, targets = batch_for(graph)
    update(graph, rule, as_rows(inputs), as_rows(targets))
    assert_same(updates(graph), compute_update_direction(graph, rule, inputs, targets))


@pytest.mark.parametrize("rule", [RULES["fdbk, bounds on"], RULES["fdbk, epsilon"], RULES["diff"], Backprop()])
@pytest.mark.parametrize("nodes", [small_mlp, skip_net, chain_over_time], ids=["mlp", "skips", "over time"])
def test_a_slice_of_a_stack_is_the_run_alone(nodes: Any, rule: Any) -> None:
    stacked = filled(nodes(), stack=3)
    inputs, targets = batch_for(stacked)
    update(stacked, rule, as_rows(inputs), as_rows(targets))
    for s in range(3):
        alone = Graph(nodes()).double()
        alone.load_state_dict({name: tensor[s] for name, tensor in stacked.state_dict().items()})
        update(alone, rule, as_rows(inputs), as_rows(targets))
        assert_same({name: grad[s] for name, grad in updates(stacked).items()}, updates(alone))


def test_model_s_of_a_stack_starts_as_the_model_of_its_seed() -> None:
    stacked = initialize(Graph(small_mlp(), stack=2), [7, 11], "gaussian")
    alone = initialize(Graph(small_mlp()), 11, "gaussian")
    for name, tensor in alone.state_dict().items():
        assert torch.equal(stacked.state_dict()[name][1], tensor)


def test_a_stochastic_net_equals_the_reference_under_the_same_draws() -> None:
    graph = filled(small_mlp("sigmoid", "bernoulli"))
    inputs, targets = batch_for(graph)
    torch.manual_seed(3)
    update(graph, LRAFeedback(), as_rows(inputs), as_rows(targets))
    torch.manual_seed(3)
    assert_same(updates(graph), compute_update_direction(graph, LRAFeedback(), inputs, targets))


def test_tokens_are_one_hot_vectors() -> None:
    graph = filled(chain_over_time())
    inputs, targets = batch_for(graph)
    tokens = torch.randint(5, (4 * 6,))
    one_hot = torch.nn.functional.one_hot(tokens, 5).double()
    state = as_rows(inputs)["hidden"]
    update(graph, LRAFeedback(), {"x": tokens, "hidden": state}, as_rows(targets))
    by_tokens = {name: grad.clone() for name, grad in updates(graph).items()}
    update(graph, LRAFeedback(), {"x": one_hot, "hidden": state}, as_rows(targets))
    assert_same(by_tokens, updates(graph))


def test_an_update_overwrites_the_last_one() -> None:
    graph = filled(small_mlp())
    inputs, targets = batch_for(graph)
    update(graph, LRAFeedback(), as_rows(inputs), as_rows(targets))
    once = {name: grad.clone() for name, grad in updates(graph).items()}
    update(graph, LRAFeedback(), as_rows(inputs), as_rows(targets))
    assert_same(updates(graph), once, 1e-15)


def test_a_hidden_layer_that_no_error_reaches_is_left_alone() -> None:
    from seqlra import Connection, Input, Subgraph

    graph = filled([
        Input("x", 5), Subgraph("a", 4, ["x"]),
        Subgraph("out", 3, [Connection("a", "W", feedback=None)], loss="cross-entropy"),
    ])  # fmt: skip
    inputs, targets = batch_for(graph)
    update(graph, LRAFeedback(), as_rows(inputs), as_rows(targets))
    assert graph.weights["x-a"].grad.abs().max() == 0
    assert graph.weights["W"].grad.abs().max() > 0


def test_depth_counts_the_subgraphs_that_were_updated() -> None:
    graph = filled(small_mlp())
    inputs, targets = batch_for(graph)
    x, t = as_rows(inputs), as_rows(targets)
    assert update(graph, LRAFeedback(), x, t).depth == 4
    assert update(graph, LRAFeedback(epsilon=1e9), x, t).depth == 0
    losses = update(graph, LRAFeedback(), x, t)
    top = losses.backward.view(3).output_loss.value(losses.forward.h[3], losses.backward.targets[3])
    between = top.sort().values[3].item()  # three of the six samples have a smaller loss
    below = LRAFeedback(beta=1e-9, epsilon=between)  # nothing under the output has a loss to speak of
    assert update(graph, below, x, t).depth == pytest.approx(0.5)
    assert (updates(graph)["weights.W3"]).abs().max() == 0
    for skip in (False, True):  # three leave at the output, and no other sample anywhere
        assert update(graph, LRAFeedback(epsilon_output=between, skip=skip), x, t).depth == pytest.approx(2)


@pytest.mark.parametrize(
    ("inputs", "targets", "says"),
    [
        ({"y": torch.zeros(6, 5)}, torch.zeros(6, dtype=torch.long), "reads the inputs x"),
        ({"x": torch.zeros(6, 4).double()}, torch.zeros(6, dtype=torch.long), "takes rows of 5 numbers"),
        ({"x": torch.zeros(0, 5).double()}, torch.zeros(0, dtype=torch.long), "rows"),
        ({"x": torch.zeros(6, 5).double()}, torch.zeros(5, dtype=torch.long), "6 rows; its targets have 5"),
    ],
)
def test_what_does_not_fit_the_graph_is_refused(inputs: Any, targets: Any, says: str) -> None:
    with pytest.raises(SeqlraError, match=says):
        update(filled(mlp(5, [4], 3)), LRAFeedback(), inputs, targets)


EPSILONS = [(1e-6, None), (0.01, None), (0.3, None), (1.0, None), (1e9, None)]
EPSILONS += [(0.0, 0.7), (0.0, 1.5), (0.0, 1e9), (1e-4, 1.0), (0.01, 1.0), (0.3, 0.0)]


@pytest.mark.parametrize(("epsilon", "epsilon_output"), EPSILONS)
@pytest.mark.parametrize("nodes", GRAPHS.values(), ids=GRAPHS.keys())
@pytest.mark.parametrize("rows_at_once", [256, 4])
def test_skipping_aligned_samples_changes_no_update(
    nodes: Any, epsilon: float, epsilon_output: float | None, rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BackwardPass, "WORTH_IT", 1.0)
    monkeypatch.setattr(BackwardPass, "ROWS_AT_ONCE", rows_at_once)
    graph = filled(nodes())
    inputs, targets = batch_for(graph)
    settings: dict[str, Any] = {"beta": 0.5, "epsilon": epsilon, "epsilon_output": epsilon_output, "skip": True}
    for rule in (LRAFeedback(**settings), LRADiff(**settings)):
        step = update(graph, rule, as_rows(inputs), as_rows(targets))
        skipped = {name: grad.clone() for name, grad in updates(graph).items()}
        assert_same(skipped, compute_update_direction(graph, rule, inputs, targets))
        every = replace(rule, skip=False)
        assert float(step.depth) == float(update(graph, every, as_rows(inputs), as_rows(targets)).depth)


def test_skipped_samples_leave_the_computation() -> None:
    graph = filled(small_mlp())
    inputs, targets = batch_for(graph)
    whole = update(graph, LRAFeedback(), as_rows(inputs), as_rows(targets))
    losses = whole.backward.view(3).output_loss.value(whole.forward.h[3], whole.backward.targets[3])
    half = LRAFeedback(epsilon=losses.sort().values[3].item(), skip=True)
    errors = update(graph, half, as_rows(inputs), as_rows(targets)).backward.errors
    assert [d.shape[0] for d in errors if d is not None][-1] == 3


def test_a_backward_pass_ends_with_its_last_row() -> None:
    class Counting(LRAFeedback):
        asked: ClassVar[int] = 0

        def error(self, layer: LayerView, incoming: Tensor) -> Any:
            Counting.asked += 1
            return super().error(layer, incoming)

    graph = filled(small_mlp())
    inputs, targets = (as_rows(named) for named in batch_for(graph))
    for settings, asked in (({"epsilon_output": 1e9}, 0), ({"epsilon": 1e9, "epsilon_output": 0.0}, 1), ({}, 3)):
        Counting.asked = 0
        update(graph, Counting(skip=bool(settings), **settings), inputs, targets)
        assert Counting.asked == asked
        assert (updates(graph)["weights.W1"].abs().max() == 0) == bool(settings)


def test_rows_are_picked_once_from_each_tensor_and_from_no_other() -> None:
    one, other, tokens = torch.randn(5, 3), torch.randn(5, 3), torch.arange(5)
    some = Selection(torch.tensor([4, 1]))
    for tensor in (one, other, one.clone(), tokens):
        assert torch.equal(some.of(tensor), tensor[[4, 1]])
    assert some.of(one) is some.of(one)
