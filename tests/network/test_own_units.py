"""Oracles for units, losses and rules of your own: the reference for LRA, autograd for backprop, and a training loss
that falls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from helpers import as_rows, assert_same, batch_for, filled, updates
from torch import Tensor
from twin import FUNCTIONS, Twin

from seqlra import (
    Activation,
    Backprop,
    Connection,
    Discretizer,
    Input,
    LocalLoss,
    LRADiff,
    LRAFeedback,
    OutputLoss,
    Rule,
    SeqlraError,
    Subgraph,
    mlp,
    update,
)
from seqlra.engine.reference import compute_update_direction
from seqlra.rules import ConnectionView, LayerView


def larger_of_a_pair(z: Tensor) -> Tensor:
    pairs = z.unflatten(-1, (-1, 2))
    return (pairs * (pairs >= pairs.flip(-1))).flatten(-2)


ARCTAN = Activation("arctan", torch.atan, lambda h, z: 1 / (1 + h * h))
IN_HALVES = Discretizer("in halves", lambda z: (2 * z).round() / 2)
BY_PAIRS = Discretizer("the larger of a pair", larger_of_a_pair, block=2)
LOG_COSH = LocalLoss("log-cosh", lambda z, y: (z - y).cosh().log().sum(-1), lambda z, y: (z - y).tanh())
YES_OR_NO = OutputLoss(
    "yes-or-no",
    torch.sigmoid,
    lambda h, t: torch.nn.functional.binary_cross_entropy_with_logits(h, t, reduction="none").sum(-1),
    lambda z, t: z - t,
)
RULES: dict[str, Any] = {
    "fdbk": LRAFeedback(beta=0.5, c1=0.3, c2=0.4),
    "diff": LRADiff(beta=0.5, c2=0.4, steps=3),
    "diff, epsilon": LRADiff(beta=0.5, c2=None, epsilon=0.02),
}


def own_mlp(g: Discretizer | None = IN_HALVES) -> list[Input | Subgraph]:
    return mlp(5, [12, 8, 4], 3, ARCTAN, g, LOG_COSH)


def own_elman(steps: int = 4) -> list[Input | Subgraph]:
    nodes: list[Input | Subgraph] = [Input("hidden[0]", 8)]
    for t in range(1, steps + 1):
        reads = [Connection(f"x[{t}]", "W"), Connection(f"hidden[{t - 1}]", "V")]
        nodes += [
            Input(f"x[{t}]", 5),
            Subgraph(f"hidden[{t}]", 8, reads, ARCTAN, BY_PAIRS, LOG_COSH, bias="b"),
            Subgraph(f"out[{t}]", 3, [Connection(f"hidden[{t}]", "U", "E")], loss=YES_OR_NO, bias="c"),
        ]
    return nodes


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
@pytest.mark.parametrize("g", [None, IN_HALVES, BY_PAIRS], ids=lambda g: g.name if g else "no g")
def test_an_mlp_of_own_units_trains_and_stays_with_the_reference(g: Discretizer | None, rule: Any) -> None:
    graph = filled(own_mlp(g))
    inputs, targets = batch_for(graph, batch=8)
    optimizer = torch.optim.SGD(graph.parameters(), lr=0.1)
    losses = []
    for _ in range(30):
        losses.append(update(graph, rule, inputs, targets).loss)
        assert_same(updates(graph), compute_update_direction(graph, rule, inputs, targets))
        optimizer.step()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_an_rnn_of_own_units_and_an_own_output_stays_with_the_reference(rule: Any) -> None:
    graph = filled(own_elman())
    assert [layer.steps for layer in graph.layers] == [4, 4]
    inputs, _ = batch_for(graph)
    targets = {node.name: torch.randint(2, (6, 3)).double() for node in graph.outputs}
    optimizer = torch.optim.SGD(graph.parameters(), lr=0.1)
    losses = []
    for _ in range(20):
        losses.append(update(graph, rule, as_rows(inputs), as_rows(targets)).loss)
        assert_same(updates(graph), compute_update_direction(graph, rule, inputs, targets))
        optimizer.step()
    assert losses[-1] < losses[0]


def test_backprop_through_own_units_is_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FUNCTIONS, "arctan", torch.arctan)
    graph = filled(own_mlp())
    inputs, targets = batch_for(graph)
    update(graph, Backprop(), inputs, targets)
    assert_same(updates(graph), Twin(graph).updates(inputs, targets, "mean"))


def test_an_own_output_makes_the_output_of_a_run() -> None:
    graph, x = filled(mlp(5, [7], 3, output=YES_OR_NO)), torch.randn(6, 5)
    own = {name: p.detach() for name, p in graph.named_parameters()}
    h = torch.tanh(x @ own["weights.W1"] + own["biases.b1"]) @ own["weights.W2"] + own["biases.b2"]
    torch.testing.assert_close(graph(x), torch.sigmoid(h))


def test_an_own_discretizer_competes_in_blocks_that_must_divide() -> None:
    with pytest.raises(SeqlraError, match="the larger of a pair competes in blocks of 2"):
        mlp(5, [7], 3, ARCTAN, BY_PAIRS)


@dataclass(frozen=True)
class Halved(Rule):
    """A rule of your own in three lines: backprop with half the error at every connection."""

    name: ClassVar[str] = "halved"
    about: ClassVar[str] = "half as much, each layer down"

    def feedback_matrix(self, connection: ConnectionView) -> Tensor | None:
        return connection.weight.mT / 2

    def error(self, layer: LayerView, incoming: Tensor) -> Any:
        return incoming * layer.derivative


def test_a_rule_of_your_own_runs_on_the_same_backward_pass() -> None:
    graph = filled(mlp(5, [12, 8, 4], 3))
    inputs, targets = batch_for(graph)
    update(graph, Halved(), inputs, targets)
    exact = Twin(graph).updates(inputs, targets, "mean")
    layers_down = {"4": 0, "3": 1, "2": 2, "1": 3}
    assert_same(updates(graph), {name: grad / 2 ** layers_down[name[-1]] for name, grad in exact.items()})
