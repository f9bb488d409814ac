"""Oracles: the reference, which knows nothing of layers; autograd for backprop; and, for the steps that may run
together, the definition: they share weights and have the same connections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from helpers import as_rows, assert_same, batch_for, chain_over_time, filled, small_mlp, updates
from twin import Twin

from seqlra import (
    Backprop,
    Connection,
    Graph,
    Input,
    LRADiff,
    LRAFeedback,
    SeqlraError,
    Subgraph,
    initialize,
    update,
)
from seqlra.engine.initialization import WEIGHT_INITS
from seqlra.engine.reference import compute_update_direction
from seqlra.network.builders import elman
from seqlra.network.forward import ForwardPass, null_state
from seqlra.network.units import DISCRETIZERS
from seqlra.rules import BackwardPass

RULES: dict[str, Any] = {
    "fdbk, bounds on": LRAFeedback(beta=0.7, c1=0.2, c2=0.3, reduction="sum"),
    "fdbk, epsilon": LRAFeedback(beta=0.7, c2=None, epsilon=0.05),
    "fdbk, per batch": LRAFeedback(beta=0.7, c2=0.3, c2_per="batch", epsilon=0.05, epsilon_per="batch"),
    "diff, K = 3": LRADiff(beta=0.5, c2=0.4, steps=3),
    "diff, Lemma 1 form": LRADiff(beta=0.5, c2=None, form="post"),
}


def hidden(name: str, units: int, *reads: tuple[str, str, str | None], g: str | None = None) -> Subgraph:
    """A tanh subgraph whose steps share a bias; each read is (source, weight, feedback)."""
    return Subgraph(name, units, [Connection(*read) for read in reads], "tanh", g, "l2", bias=name.split("[")[0])


def output(name: str, *reads: tuple[str, str, str | None]) -> Subgraph:
    reads_ = [Connection(*read) for read in reads]
    return Subgraph(name, 3, reads_, loss="cross-entropy", bias=name.split("[")[0])


def bidirectional(steps: int = 4) -> list[Input | Subgraph]:
    """A chain forwards, a chain backwards that reads the later step, and an output that reads both."""
    times = range(1, steps + 1)
    nodes: list[Input | Subgraph] = [Input("ahead[0]", 8), Input(f"back[{steps + 1}]", 4)]
    nodes += [Input(f"x[{t}]", 5) for t in times]
    nodes += [hidden(f"ahead[{t}]", 8, (f"x[{t}]", "W", None), (f"ahead[{t - 1}]", "V", "F")) for t in times]
    nodes += [hidden(f"back[{t}]", 4, (f"x[{t}]", "P", None), (f"back[{t + 1}]", "Q", "G")) for t in reversed(times)]
    nodes += [output(f"out[{t}]", (f"ahead[{t}]", "U", "E"), (f"back[{t}]", "R", "H")) for t in times]
    return nodes


def mutual(steps: int = 4) -> list[Input | Subgraph]:
    """A at t reads B at t - 1, and B at t reads A at t: neither kind can run before the other."""
    nodes: list[Input | Subgraph] = [Input("b[0]", 4)]
    for t in range(1, steps + 1):
        nodes += [
            Input(f"x[{t}]", 5),
            hidden(f"a[{t}]", 8, (f"x[{t}]", "W", None), (f"b[{t - 1}]", "V", "F")),
            hidden(f"b[{t}]", 4, (f"a[{t}]", "Q", "G")),
            output(f"out[{t}]", (f"b[{t}]", "U", "E")),
        ]
    return nodes


def no_state_carried_in(steps: int = 4) -> list[Input | Subgraph]:
    """The first step reads its input alone, so it is not like the others."""
    nodes: list[Input | Subgraph] = []
    for t in range(1, steps + 1):
        before = [(f"hidden[{t - 1}]", "V", "F")] if t > 1 else []
        nodes += [
            Input(f"x[{t}]", 5),
            hidden(f"hidden[{t}]", 8, (f"x[{t}]", "W", None), *before),
            output(f"out[{t}]", (f"hidden[{t}]", "U", "E")),
        ]
    return nodes


def one_label_a_sequence(steps: int = 4, across: bool = True) -> list[Input | Subgraph]:
    """Only the last step has an output."""
    nodes: list[Input | Subgraph] = [Input("hidden[0]", 8)]
    for t in range(1, steps + 1):
        recurrent = (f"hidden[{t - 1}]", "V", "F" if across else None)
        nodes += [Input(f"x[{t}]", 5), hidden(f"hidden[{t}]", 8, (f"x[{t}]", "W", None), recurrent)]
    return [*nodes, output("out", (f"hidden[{steps}]", "U", "E"))]


def two_layers(steps: int = 4, across: bool = True) -> list[Input | Subgraph]:
    """A stacked RNN: the upper hidden layer reads the lower one at the same step."""
    nodes: list[Input | Subgraph] = [Input("low[0]", 8), Input("high[0]", 4)]
    for t in range(1, steps + 1):
        nodes += [
            Input(f"x[{t}]", 5),
            hidden(f"low[{t}]", 8, (f"x[{t}]", "W", None), (f"low[{t - 1}]", "V", "F" if across else None)),
            hidden(f"high[{t}]", 4, (f"low[{t}]", "P", "G"), (f"high[{t - 1}]", "Q", "H" if across else None)),
            output(f"out[{t}]", (f"high[{t}]", "U", "E")),
        ]
    return nodes


def two_steps_back(steps: int = 5) -> list[Input | Subgraph]:
    """Each step reads the one before the last as well."""
    nodes: list[Input | Subgraph] = [Input("hidden[0]", 8), Input("hidden[1]", 8)]
    for t in range(2, steps + 2):
        reads = [(f"hidden[{t - 1}]", "V", "F"), (f"hidden[{t - 2}]", "V2", "F2")]
        nodes += [
            Input(f"x[{t}]", 5),
            hidden(f"hidden[{t}]", 8, (f"x[{t}]", "W", None), *reads),
            output(f"out[{t}]", (f"hidden[{t}]", "U", "E")),
        ]
    return nodes


def without_input(steps: int = 4) -> list[Input | Subgraph]:
    """A recurrence that runs from its first state alone."""
    nodes: list[Input | Subgraph] = [Input("hidden[0]", 8)]
    for t in range(1, steps + 1):
        nodes += [
            hidden(f"hidden[{t}]", 8, (f"hidden[{t - 1}]", "V", "F")),
            output(f"out[{t}]", (f"hidden[{t}]", "U", "E")),
        ]
    return nodes


def first_output_apart() -> list[Input | Subgraph]:
    """One output over three steps, of which the first reads its input as well: two layers."""
    nodes: list[Input | Subgraph] = [Input("hidden[0]", 8)]
    for t in (1, 2, 3):
        skip = [("x[1]", "skip", None)] if t == 1 else []
        nodes += [
            Input(f"x[{t}]", 5),
            hidden(f"hidden[{t}]", 8, (f"x[{t}]", "W", None), (f"hidden[{t - 1}]", "V", "F")),
            output(f"out[{t}]", (f"hidden[{t}]", "U", "E"), *skip),
        ]
    return nodes


# what it builds, and how many steps each of its layers has
GRAPHS: dict[str, tuple[Any, dict[str, list[int]]]] = {
    "elman": (chain_over_time, {"hidden": [4], "output": [4]}),
    "bidirectional": (bidirectional, {"ahead": [4], "back": [1] * 4, "out": [4]}),
    "mutual": (mutual, {"a": [1] * 4, "b": [1] * 4, "out": [4]}),
    "no state carried in": (no_state_carried_in, {"hidden": [1, 3], "out": [4]}),
    "one label a sequence": (one_label_a_sequence, {"hidden": [4], "out": [1]}),
    "one label, E at the output only": (lambda: one_label_a_sequence(across=False), {"hidden": [4], "out": [1]}),
    "two layers": (two_layers, {"low": [4], "high": [4], "out": [4]}),
    "two layers, no E across time": (lambda: two_layers(across=False), {"low": [4], "high": [4], "out": [4]}),
    "two steps back": (two_steps_back, {"hidden": [5], "out": [5]}),
    "without input": (without_input, {"hidden": [4], "out": [4]}),
    "first output apart": (first_output_apart, {"hidden": [3], "out": [1, 2]}),
    "one step": (lambda: chain_over_time(1), {"hidden": [1], "output": [1]}),
}


@pytest.mark.parametrize(("nodes", "steps"), GRAPHS.values(), ids=GRAPHS.keys())
def test_steps_with_the_same_connections_run_together(nodes: Any, steps: dict[str, list[int]]) -> None:
    found: dict[str, list[int]] = {}
    for layer in sorted(Graph(nodes()).layers, key=lambda layer: layer.first):
        found.setdefault(layer.name, []).append(layer.steps)
    assert found == steps


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
@pytest.mark.parametrize("nodes", [nodes for nodes, _ in GRAPHS.values()], ids=GRAPHS.keys())
def test_however_steps_are_grouped_the_updates_are_those_of_the_reference(nodes: Any, rule: Any) -> None:
    graph = filled(nodes())
    inputs, targets = batch_for(graph)
    update(graph, rule, as_rows(inputs), as_rows(targets))
    assert_same(updates(graph), compute_update_direction(graph, rule, inputs, targets))


@pytest.mark.parametrize("nodes", [nodes for nodes, _ in GRAPHS.values()], ids=GRAPHS.keys())
def test_however_steps_are_grouped_backprop_is_autograd(nodes: Any) -> None:
    graph = filled(nodes())
    inputs, targets = batch_for(graph)
    update(graph, Backprop(), as_rows(inputs), as_rows(targets))
    assert_same(updates(graph), Twin(graph).updates(inputs, targets, "mean"))


@pytest.mark.parametrize("rule", [*RULES.values(), Backprop()], ids=[*RULES, "backprop"])
@pytest.mark.parametrize("nodes", [bidirectional, mutual, two_layers, one_label_a_sequence])
def test_a_slice_of_a_stack_is_the_run_alone(nodes: Any, rule: Any) -> None:
    stacked = filled(nodes(), stack=2)
    inputs, targets = batch_for(stacked)
    update(stacked, rule, as_rows(inputs), as_rows(targets))
    for s in range(2):
        alone = alone_at(stacked, s)
        update(alone, rule, as_rows(inputs), as_rows(targets))
        assert_same({name: grad[s] for name, grad in updates(stacked).items()}, updates(alone))


@pytest.fixture
def nan_where_nothing_was_written() -> Iterator[None]:
    """torch fills new, empty tensors with NaN, so that what is read before it was written shows."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("nan_where_nothing_was_written")
@pytest.mark.parametrize("rule", [*RULES.values(), LRAFeedback(epsilon=0.3, skip=True)], ids=[*RULES, "fdbk, skip"])
@pytest.mark.parametrize("nodes", [nodes for nodes, _ in GRAPHS.values()], ids=GRAPHS.keys())
def test_the_blocks_of_the_backward_pass_change_no_update(
    nodes: Any, rule: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BackwardPass, "ROWS_AT_ONCE", 13)  # two steps of six rows at a time, and one left over of five
    graph = filled(nodes())
    inputs, targets = batch_for(graph)
    update(graph, rule, as_rows(inputs), as_rows(targets))
    assert_same(updates(graph), compute_update_direction(graph, rule, inputs, targets))


def alone_at(stacked: Graph, s: int) -> Graph:
    alone = Graph(stacked.nodes).double()
    alone.load_state_dict({name: tensor[s] for name, tensor in stacked.state_dict().items()})
    return alone


def test_a_layer_comes_after_everything_it_reads() -> None:
    for nodes, _ in GRAPHS.values():
        graph, done = Graph(nodes()), {node.name for node in Graph(nodes()).inputs}
        blocks = {
            base: sorted(n.name for n in graph.nodes if n.name.split("[")[0] == base) for base in graph.layout.buffers
        }
        for layer in graph.layers:
            for copy in range(layer.steps):
                name = blocks[layer.name][layer.first + copy]
                subgraph = next(node for node in graph.subgraphs if node.name == name)
                assert all(read.source in done for read in subgraph.reads), name
                done.add(name)
        assert done == {node.name for node in graph.nodes}


@pytest.mark.parametrize("rule", [*RULES.values()], ids=RULES.keys())
@pytest.mark.parametrize("nodes", [chain_over_time, no_state_carried_in, bidirectional, one_label_a_sequence])
def test_tokens_give_the_updates_of_the_reference(nodes: Any, rule: Any) -> None:
    graph = filled(nodes())
    inputs, targets = batch_for(graph)
    inputs = {name: torch.randint(5, (6,)) if name.startswith("x") else value for name, value in inputs.items()}
    update(graph, rule, as_rows(inputs), as_rows(targets))
    assert_same(updates(graph), compute_update_direction(graph, rule, inputs, targets))


@pytest.mark.parametrize("rule", [LRAFeedback(reduction="sum"), LRAFeedback(reduction="mean"), Backprop()])
def test_each_model_of_a_stack_may_read_tokens_of_its_own(rule: Any) -> None:
    stacked = filled(chain_over_time(), stack=2)
    inputs, targets = batch_for(stacked)
    tokens = torch.randint(5, (2, 4 * 6))
    update(stacked, rule, {"x": tokens, "hidden": inputs["hidden[0]"]}, as_rows(targets))
    for s in range(2):
        alone = alone_at(stacked, s)
        update(alone, rule, {"x": tokens[s], "hidden": inputs["hidden[0]"]}, as_rows(targets))
        assert_same({name: grad[s] for name, grad in updates(stacked).items()}, updates(alone))


@pytest.mark.parametrize("g", [None, "sign"])
def test_a_stream_in_two_chunks_is_the_stream_in_one(g: str | None) -> None:
    whole, half = filled(chain_over_time(6, g=g)), Graph(chain_over_time(3, g=g)).double()
    half.load_state_dict(whole.state_dict())
    x, state, t = torch.randn(6 * 2, 5), torch.randn(2, 8), torch.randint(3, (6 * 2,))
    one = update(whole, LRAFeedback(reduction="sum"), {"x": x, "hidden": state}, t)
    total = {name: torch.zeros_like(grad) for name, grad in updates(whole).items()}
    chunks = []
    for chunk in (slice(0, 6), slice(6, 12)):
        step = update(half, LRAFeedback(reduction="sum"), {"x": x[chunk], "hidden": state}, t[chunk])
        state = step.forward.carried()["hidden"]
        chunks.append(step.output)
        for name, grad in updates(half).items():
            total[name] += grad
    torch.testing.assert_close(torch.cat(chunks), one.output)
    assert_same(total, updates(whole))  # no error crosses time under LRA-fdbk, so nothing is cut off at a chunk


def test_hidden_states_are_those_of_the_recurrence_step_by_step() -> None:
    graph = filled(chain_over_time(5))
    inputs, _ = batch_for(graph)
    w, z = {name: p.detach() for name, p in graph.named_parameters()}, inputs["hidden[0]"]
    expected = []
    for t in range(1, 6):
        z = torch.tanh(inputs[f"x[{t}]"] @ w["weights.W"] + z @ w["weights.V"] + w["biases.b"])
        expected.append((z @ w["weights.U"] + w["biases.c"]).softmax(-1))
    torch.testing.assert_close(graph(as_rows(inputs)), torch.cat(expected))


def test_steps_of_different_sizes_are_refused() -> None:
    nodes = [Input("x[1]", 5), Input("x[2]", 4), output("out", ("x[1]", "U", None))]
    with pytest.raises(SeqlraError, match="steps of 'x' have 5 and 4 units"):
        Graph(nodes)


def test_a_name_with_and_without_a_step_is_refused() -> None:
    nodes = [Input("x", 5), Input("x[1]", 5), output("out", ("x", "U", None))]
    with pytest.raises(SeqlraError, match="'x' appears in the list both with and without a step"):
        Graph(nodes)


# steps run together only if they have the same g, so `discretizer` must not make a new one at every call
@pytest.mark.parametrize("g", DISCRETIZERS)
def test_steps_with_a_discretizer_given_by_name_run_together(g: str) -> None:
    assert [layer.steps for layer in Graph(chain_over_time(4, g=g)).layers] == [4, 4]


# Algorithm 1 runs the reader anew, h = W z + b: all that it reads of a subgraph changes, feedback or not
def test_a_second_connection_without_feedback_is_re_run_too() -> None:
    nodes = [Input("x", 5), hidden("a", 4, ("x", "W", None)), output("out", ("a", "U", "E"), ("a", "U2", None))]
    graph = filled(nodes)
    inputs, targets = batch_for(graph)
    rule = LRADiff(steps=3, c2=None)
    update(graph, rule, inputs, targets)
    assert_same(updates(graph), compute_update_direction(graph, rule, inputs, targets))


def test_a_reader_without_a_target_asks_nothing_of_what_it_reads() -> None:
    nodes = [
        Input("x", 5),
        hidden("a", 8, ("x", "W", None)),
        hidden("dead end", 4, ("a", "P", "G")),
        output("out", ("a", "U", "E"), ("dead end", "Q", None)),
    ]
    graph = filled(nodes)
    inputs, targets = batch_for(graph)
    rule = LRADiff(steps=3, c2=None)
    update(graph, rule, inputs, targets)
    assert_same(updates(graph), compute_update_direction(graph, rule, inputs, targets))


# Only the last step of "high" gets an error. The layer holds 0 for the earlier steps, which does not mean that they
# should stay as they are: they have no target, and do not hold "low" back.
def test_a_step_without_a_target_asks_nothing_of_what_it_reads() -> None:
    nodes: list[Input | Subgraph] = []
    for t in (1, 2):
        nodes += [Input(f"x[{t}]", 5), hidden(f"low[{t}]", 8, (f"x[{t}]", "W", None))]
        nodes += [hidden(f"high[{t}]", 4, (f"low[{t}]", "P", "G")), output(f"out[{t}]", (f"low[{t}]", "U", "E"))]
    nodes += [output("last", ("high[2]", "Q", "H"))]
    graph = filled(nodes)
    inputs, targets = batch_for(graph)
    rule = LRADiff(steps=3, c2=None, beta=0.5)
    update(graph, rule, as_rows(inputs), as_rows(targets))
    assert_same(updates(graph), compute_update_direction(graph, rule, inputs, targets))


# a later step that no error reaches has no target, and nothing was written in its place
@pytest.mark.parametrize("labeled", [(1,), (2,), (1, 3)])
@pytest.mark.usefixtures("nan_where_nothing_was_written")
def test_steps_after_the_last_output_ask_nothing_of_those_before(labeled: tuple[int, ...]) -> None:
    nodes = one_label_a_sequence(4)[:-1]
    nodes += [output(f"out[{t}]", (f"hidden[{t}]", "U", "E")) for t in labeled]
    graph = filled(nodes)
    inputs, targets = batch_for(graph)
    for rule in RULES.values():
        update(graph, rule, as_rows(inputs), as_rows(targets))
        assert_same(updates(graph), compute_update_direction(graph, rule, inputs, targets))


# "high" reads two steps of "low". Algorithm 1 looks for the target of one subgraph while the rest stays as it was;
# it does not move all steps of "low" at once.
def test_a_subgraph_that_is_read_at_two_steps_moves_alone() -> None:
    nodes: list[Input | Subgraph] = [Input("low[0]", 8)]
    for t in (1, 2, 3):
        nodes += [
            Input(f"x[{t}]", 5),
            hidden(f"low[{t}]", 8, (f"x[{t}]", "W", None)),
            hidden(f"high[{t}]", 4, (f"low[{t}]", "P", "G"), (f"low[{t - 1}]", "P2", "G2")),
            output(f"out[{t}]", (f"high[{t}]", "U", "E")),
        ]
    graph = filled(nodes)
    inputs, targets = batch_for(graph)
    rule = LRADiff(steps=3, c2=None, beta=0.5)
    update(graph, rule, as_rows(inputs), as_rows(targets))
    assert_same(updates(graph), compute_update_direction(graph, rule, inputs, targets))


# the bound needs whole steps, and skipping leaves a selection of rows
def test_a_bound_for_the_whole_batch_gets_along_with_skipping() -> None:
    graph = filled(small_mlp())
    inputs, targets = batch_for(graph)
    losses = update(graph, LRAFeedback(), inputs, targets).loss
    settings: dict[str, Any] = {"epsilon": float(losses), "c2": 0.3, "c2_per": "batch"}  # the mean: some are under it
    update(graph, LRAFeedback(**settings), inputs, targets)
    expected = {name: grad.clone() for name, grad in updates(graph).items()}
    update(graph, LRAFeedback(skip=True, **settings), inputs, targets)
    assert_same(updates(graph), expected)


def two_outputs(first: str, second: str) -> list[Input | Subgraph]:
    nodes: list[Input | Subgraph] = [Input("hidden[0]", 8)]
    for t in (1, 2, 3):
        nodes += [
            Input(f"x[{t}]", 5),
            hidden(f"hidden[{t}]", 8, (f"x[{t}]", "W", None), (f"hidden[{t - 1}]", "V", None)),
            output(f"{first}[{t}]", (f"hidden[{t}]", f"{first}", f"{first}")),
            output(f"{second}[{t}]", (f"hidden[{t}]", f"{second}", f"{second}")),
        ]
    return nodes


# layers are sorted by name, not as the list is
@pytest.mark.parametrize("names", [("one", "two"), ("two", "one")])
def test_the_output_of_a_run_is_that_of_the_last_subgraph_in_the_list(names: tuple[str, str]) -> None:
    graph = filled(two_outputs(*names))
    inputs, targets = batch_for(graph)
    step = update(graph, LRAFeedback(), as_rows(inputs), as_rows(targets))
    last = next(i for i, layer in enumerate(graph.layers) if layer.name == names[1])
    torch.testing.assert_close(graph(as_rows(inputs)), step.forward.z[last])
    torch.testing.assert_close(step.output, step.forward.z[last])


def test_an_output_of_two_layers_is_still_one_output() -> None:
    graph = filled(first_output_apart())
    inputs, targets = batch_for(graph)
    step = update(graph, Backprop(), as_rows(inputs), as_rows(targets))
    assert_same(updates(graph), Twin(graph).updates(inputs, targets, "mean"))
    torch.testing.assert_close(step.loss, Twin(graph).loss(inputs, targets).detach() / 18)
    parts = sorted((layer.first, i) for i, layer in enumerate(graph.layers) if layer.name == "out")
    wrong = torch.cat([step.forward.z[i] for _, i in parts]).argmax(-1) != as_rows(targets)["out"]
    torch.testing.assert_close(step.mistakes, wrong.double().mean())


def test_depth_does_not_count_steps_that_no_error_reached() -> None:
    graph = filled(one_label_a_sequence(4, across=False))
    inputs, targets = batch_for(graph)
    given = as_rows(inputs), as_rows(targets)
    assert float(update(graph, LRAFeedback(), *given).depth) == 2
    assert float(update(graph, LRAFeedback(epsilon=1e-300), *given).depth) == 2


@pytest.mark.parametrize("nodes", [chain_over_time, two_layers, two_steps_back])
def test_a_chunk_starts_from_the_null_state_or_from_what_the_last_one_carried(nodes: Any) -> None:
    graph = filled(nodes())
    inputs, _ = batch_for(graph)
    states = {name for name in inputs if not name.startswith("x")}
    expected = graph(as_rows({**inputs, **{name: torch.zeros_like(inputs[name]) for name in states}}))
    given = {"x": as_rows(inputs)["x"]}
    torch.testing.assert_close(graph({**given, **null_state(graph, 6)}), expected)
    first = ForwardPass(graph, {**given, **null_state(graph, 6)})
    assert graph({**given, **first.carried()}).shape == expected.shape


# over one step the layer is not recurrent, but V is a recurrent weight all the same
@pytest.mark.parametrize("weights", WEIGHT_INITS)
def test_an_rnn_starts_alike_over_however_many_steps(weights: str) -> None:
    one, *others = (initialize(Graph(elman(7, [6, 4], 3, steps)), 3, weights).state_dict() for steps in (4, 2, 1))
    for other in others:
        assert {name for name in one if not torch.equal(one[name], other[name])} == set()
