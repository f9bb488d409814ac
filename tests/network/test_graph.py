"""Oracle: what the docstrings of `Graph`, `Subgraph` and `mlp` promise, and the paper's names and shapes."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from helpers import as_rows, assert_same, batch_for, chain_over_time, filled, skip_net, small_mlp, updates

from seqlra import Connection, Graph, Input, LRAFeedback, SeqlraError, Subgraph, elman, mlp, update
from seqlra.network.losses import LOCAL_LOSSES, OUTPUT_LOSSES
from seqlra.network.units import ACTIVATIONS

X, OUT = Input("x", 5), {"loss": "cross-entropy"}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: [X, Subgraph("a", 4, ["x"]), Subgraph("a", 3, ["x"], **OUT)], "'a' appears twice"),
        (lambda: [X, Input("x", 3), Subgraph("out", 3, ["x"], **OUT)], "'x' appears twice"),
        (lambda: [X, Subgraph("x", 4, ["x"]), Subgraph("out", 3, ["x"], **OUT)], "'x' appears twice"),
        (lambda: [X, Subgraph("out", 3, ["y"], **OUT)], "'out' reads 'y', which does not come before it"),
        (
            lambda: [X, Subgraph("a", 4, ["b"]), Subgraph("b", 4, ["x"]), Subgraph("out", 3, ["a"], **OUT)],
            "'a' reads 'b', which does not come before it",
        ),
        (lambda: [X, Subgraph("out", 3, ["out"], **OUT)], "'out' reads 'out', which does not come before it"),
        (lambda: [X, Subgraph("a", 4, ["x"])], "no subgraph is an output"),
        (list, "no subgraph is an output"),
        (
            lambda: [X, Subgraph("out", 3, ["x"], **OUT), Subgraph("a", 4, ["out"])],
            "'a' reads 'out', which is an output",
        ),
        (
            lambda: [X, Subgraph("a", 4, [Connection("x", "W")]), Subgraph("out", 3, [Connection("a", "W")], **OUT)],
            r"'W' is shared by connections of sizes \(5, 4\) and \(4, 3\)",
        ),
        (
            lambda: [
                X,
                Subgraph("a", 4, ["x"]),
                Subgraph("b", 2, [Connection("a", "V", "E")]),
                Subgraph("out", 3, [Connection("b", "W", "E")], **OUT),
            ],
            r"'E' is shared by connections of sizes \(2, 4\) and \(3, 2\)",
        ),
        (
            lambda: [X, Subgraph("a", 4, ["x"], bias="b"), Subgraph("out", 3, ["a"], bias="b", **OUT)],
            r"'b' is shared by connections of sizes \(4,\) and \(3,\)",
        ),
        (lambda: [X, Subgraph("out", 3, [], **OUT)], "'out' reads nothing"),
        (lambda: [X, Subgraph("out", 0, ["x"], **OUT)], "'out' needs at least one unit, not 0"),
        (lambda: [X, Subgraph("out", -2, ["x"], **OUT)], "'out' needs at least one unit, not -2"),
        (lambda: [X, Subgraph("a.b", 3, ["x"], **OUT)], "cannot hold a dot: 'x-a.b'"),
        (lambda: [X, Subgraph("out", 3, [Connection("x", "W.1")], **OUT)], "cannot hold a dot: 'W.1'"),
        (lambda: [X, Subgraph("out", 3, ["x"], bias="b.1", **OUT)], "cannot hold a dot: 'b.1'"),
        (lambda: [X, Subgraph("out", 3, ["x"], f="tanh", **OUT)], "its f belongs to its loss"),
        (lambda: [X, Subgraph("out", 3, ["x"], g="sign", **OUT)], "it has no g"),
        (lambda: [X, Subgraph("out", 3, ["x"], f="than")], "unknown activation 'than'"),
        (lambda: [X, Subgraph("out", 3, ["x"], g="singum")], "unknown discretizer 'singum'"),
        (lambda: [X, Subgraph("out", 3, ["x"], loss="l3")], "unknown local loss 'l3'"),
    ],
)
def test_a_list_that_is_no_network_is_refused(make: Any, says: str) -> None:
    with pytest.raises(SeqlraError, match=says):
        Graph(make())


# which nn.ParameterDict does not allow: it has methods of these names
@pytest.mark.parametrize("name", ["keys", "type", "values"])
def test_a_parameter_can_have_any_name_without_a_dot(name: str) -> None:
    graph = Graph([X, Subgraph("out", 3, [Connection("x", name)], bias=name, **OUT)])  # type: ignore[arg-type]
    assert graph.weights[name].shape == (5, 3)
    assert graph.biases[name].shape == (3,)


def test_an_mlp_has_the_names_and_shapes_of_the_paper() -> None:
    graph = Graph(mlp(5, [12, 8], 3))
    assert {name: tuple(tensor.shape) for name, tensor in graph.state_dict().items()} == {
        "weights.W1": (5, 12),
        "weights.W2": (12, 8),
        "weights.W3": (8, 3),
        "biases.b1": (12,),
        "biases.b2": (8,),
        "biases.b3": (3,),
        "feedback.E2": (8, 12),
        "feedback.E3": (3, 8),
    }


def test_an_mlp_has_the_units_it_was_asked_for() -> None:
    graph = Graph(mlp(5, [12, 8], 3, "softsign", "lwta", "l1", "gaussian"))
    *hidden, top = graph.subgraphs
    assert [s.units for s in graph.subgraphs] == [12, 8, 3]
    for s in hidden:
        assert s.f is ACTIVATIONS["softsign"]
        assert s.g is not None
        assert s.g.name == "lwta"
        assert s.loss is LOCAL_LOSSES["l1"]
    assert top.loss is OUTPUT_LOSSES["gaussian"]
    assert (top.f, top.g, top.is_output) == (None, None, True)


def test_an_mlp_without_hidden_layers_is_one_subgraph() -> None:
    graph = filled(mlp(5, [], 3))
    x = torch.randn(6, 5)
    expected = (x @ graph.weights["W1"] + graph.biases["b1"]).softmax(-1)
    torch.testing.assert_close(graph(x), expected.detach())


def test_a_connection_given_by_name_has_weights_and_feedback_of_its_own() -> None:
    graph = Graph([X, Subgraph("a", 4, ["x"]), Subgraph("out", 3, ["a", "x"], **OUT)])  # type: ignore[arg-type]
    assert set(graph.weights) == {"x-a", "a-out", "x-out"}
    assert set(graph.feedback) == {"a-out"}  # an error never goes back to an input
    assert set(graph.biases) == {"a", "out"}


def test_a_subgraph_can_do_without_a_bias() -> None:
    graph = Graph([X, Subgraph("out", 3, ["x"], bias=None, **OUT)])  # type: ignore[arg-type]
    assert len(graph.biases) == 0
    assert torch.equal(graph(torch.randn(6, 5)), torch.full((6, 3), 1 / 3))


def test_what_is_trained_is_weights_and_biases_but_not_feedback() -> None:
    graph = Graph(skip_net())
    trained = {name for name, _ in graph.named_parameters()}
    assert trained == {f"weights.{name}" for name in graph.weights} | {f"biases.{name}" for name in graph.biases}
    saved = set(graph.state_dict())
    assert saved - trained == {f"feedback.{name}" for name in graph.feedback}
    assert len(graph.feedback) == 4  # b <- c, a <- b, c <- out, a <- out
    assert {id(b) for b in graph.buffers()} == {id(b) for b in graph.feedback.values()}


def test_shared_weights_are_one_parameter() -> None:
    graph = Graph(chain_over_time(4))
    assert {name: tuple(p.shape) for name, p in graph.named_parameters()} == {
        "weights.W": (5, 8),
        "weights.V": (8, 8),
        "weights.U": (8, 3),
        "biases.b": (8,),
        "biases.c": (3,),
    }


def test_a_state_dict_makes_the_same_network_again() -> None:
    graph = filled(skip_net())
    inputs, targets = batch_for(graph)
    file = io.BytesIO()
    torch.save(graph.state_dict(), file)
    file.seek(0)
    again = Graph(skip_net()).double()
    assert not torch.equal(again(inputs), graph(inputs))
    again.load_state_dict(torch.load(file))
    assert torch.equal(again(inputs), graph(inputs))
    update(graph, LRAFeedback(), inputs, targets)
    update(again, LRAFeedback(), inputs, targets)
    assert_same(updates(again), updates(graph), 1e-15)


def test_a_copy_is_a_network_of_its_own() -> None:
    graph = filled(small_mlp())
    x = torch.randn(6, 5)
    twin, before = copy.deepcopy(graph), graph(x)
    for tensor in twin.state_dict().values():
        tensor.mul_(2)
    assert torch.equal(graph(x), before)
    assert not torch.equal(twin(x), before)
    assert not torch.equal(twin.feedback["E2"], graph.feedback["E2"])


def test_a_graph_moves_to_another_precision_as_a_whole() -> None:
    graph = filled(small_mlp()).to(torch.float32)
    assert {tensor.dtype for tensor in graph.state_dict().values()} == {torch.float32}
    x, t = torch.randn(6, 5, dtype=torch.float32), torch.randint(3, (6,))
    assert graph(x).dtype == torch.float32
    update(graph, LRAFeedback(c1=0.1), x, t)
    assert {grad.dtype for grad in updates(graph).values()} == {torch.float32}
    assert torch.equal(graph(x.double()), graph(x))


def test_a_stack_leads_every_tensor() -> None:
    alone, stacked = Graph(skip_net()), Graph(skip_net(), stack=3)
    for name, tensor in stacked.state_dict().items():
        assert tensor.shape == (3, *alone.state_dict()[name].shape), name
    assert stacked(torch.randn(6, 5)).shape == (3, 6, 3)
    assert alone(torch.randn(6, 5)).shape == (6, 3)


def test_a_stack_of_one_has_the_axis_all_the_same() -> None:
    assert Graph(small_mlp(), stack=1)(torch.randn(6, 5)).shape == (1, 6, 3)


def test_each_model_of_a_stack_may_have_inputs_of_its_own() -> None:
    stacked = filled(small_mlp(), stack=2)
    x = torch.randn(2, 6, 5)
    out = stacked(x)
    for s in range(2):
        alone = Graph(small_mlp()).double()
        alone.load_state_dict({name: tensor[s] for name, tensor in stacked.state_dict().items()})
        torch.testing.assert_close(out[s], alone(x[s]))


def line_of(graph: Graph, name: str) -> str:
    """The line of a graph's repr about that node; the lines of parameters, which may be called alike, come later."""
    return next(line for line in repr(graph).splitlines() if line.strip().startswith(f"{name}: "))


def test_the_repr_has_a_line_for_every_subgraph() -> None:
    graph = Graph(skip_net("softsign", "lwta"))
    assert "input of 5" in line_of(graph, "x")
    for node in graph.subgraphs:
        line = line_of(graph, node.name)
        assert str(node.units) in line
        assert ("cross-entropy" if node.is_output else "softsign, lwta") in line
        assert all(read.source in line and read.weight in line for read in node.reads)


def test_the_repr_says_what_runs_together_and_which_errors_go_back_through_time() -> None:
    for across in (False, True):
        graph = Graph(chain_over_time(4, across))
        assert "3 more steps" in line_of(graph, "hidden[1]")
        assert ("back through time" in line_of(graph, "hidden[1]")) == across
        assert "back through time" not in line_of(graph, "output[1]")


def test_inputs_and_outputs_are_found_by_name() -> None:
    graph = Graph(chain_over_time(2))
    assert [node.name for node in graph.inputs] == ["hidden[0]", "x[1]", "x[2]"]
    assert [node.name for node in graph.outputs] == ["output[1]", "output[2]"]


# torch would answer with errors of its own, and broadcast a Gaussian target of one column in silence
@pytest.mark.parametrize(
    ("output", "inputs", "targets"),
    [
        ("cross-entropy", lambda: torch.zeros(2, 6, 5), lambda: torch.zeros(6, dtype=torch.long)),
        ("cross-entropy", lambda: torch.zeros(6, 5, dtype=torch.long), lambda: torch.zeros(6, dtype=torch.long)),
        ("cross-entropy", lambda: torch.zeros(6, 5), lambda: torch.zeros(6, 4)),
        ("cross-entropy", lambda: torch.zeros(6, 5), lambda: torch.zeros(6)),
        ("gaussian", lambda: torch.zeros(6, 5), lambda: torch.zeros(6, 1)),
        ("gaussian", lambda: torch.zeros(6, 5), lambda: torch.zeros(6, dtype=torch.long)),
    ],
    ids=["an axis too many", "images as integers", "too many classes", "indices as floats", "one column", "indices"],
)
def test_what_does_not_fit_the_graph_is_refused(output: str, inputs: Any, targets: Any) -> None:
    graph = filled(mlp(5, [4], 3, output=output))
    with pytest.raises(SeqlraError):
        update(graph, LRAFeedback(), inputs(), targets())


def test_several_outputs_take_their_targets_by_name() -> None:
    nodes = [X, Subgraph("one", 3, ["x"], **OUT), Subgraph("two", 2, ["x"], loss="gaussian")]  # type: ignore[arg-type]
    graph, x = filled(nodes), torch.randn(6, 5)
    t = {"one": torch.randint(3, (6,)), "two": torch.randn(6, 2)}
    update(graph, LRAFeedback(reduction="sum"), x, t)
    gap = x @ graph.weights["x-two"] + graph.biases["two"] - t["two"]
    torch.testing.assert_close(graph.weights["x-two"].grad, (x.T @ gap).detach())
    with pytest.raises(SeqlraError, match="the outputs one, two; targets: one"):
        update(graph, LRAFeedback(), x, {"one": t["one"]})
    with pytest.raises(SeqlraError, match="the outputs one, two; targets: one, two, three"):
        update(graph, LRAFeedback(), x, {**t, "three": t["one"]})


def test_rows_of_a_step_stand_in_the_order_of_the_steps() -> None:
    # whatever the order of the list, and for steps 9 and 10, which do not sort by their letters
    nodes: list[Input | Subgraph] = [Input(f"x[{t}]", 5) for t in (10, 9)]
    nodes += [Subgraph(f"out[{t}]", 3, [Connection(f"x[{t}]", "W")], loss="gaussian", bias=None) for t in (10, 9)]
    graph = filled(nodes)
    inputs, _ = batch_for(graph)
    out = graph(torch.cat([inputs["x[9]"], inputs["x[10]"]]))
    expected = torch.cat([inputs["x[9]"], inputs["x[10]"]]) @ graph.weights["W"].detach()
    torch.testing.assert_close(out, expected)


def test_inputs_and_targets_by_full_name_are_for_the_reference_alone() -> None:
    graph = filled(chain_over_time(2))
    inputs, targets = batch_for(graph)
    with pytest.raises(SeqlraError, match="the graph reads the inputs hidden, x"):
        update(graph, LRAFeedback(), inputs, as_rows(targets))


def test_a_graph_that_shares_has_the_same_parameters() -> None:
    long = filled(chain_over_time(5))
    short = long.sharing(chain_over_time(2))
    assert [id(p) for p in short.parameters()] == [id(p) for p in long.parameters()]
    assert short.feedback["E"] is long.feedback["E"]
    inputs, targets = batch_for(short)
    update(short, LRAFeedback(), as_rows(inputs), as_rows(targets))
    alone = Graph(chain_over_time(2)).double()
    alone.load_state_dict(long.state_dict())
    update(alone, LRAFeedback(), as_rows(inputs), as_rows(targets))
    assert_same(updates(long), updates(alone))  # where an optimizer of the first graph looks for them


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        (
            [*mlp(5, [12, 8, 4], 3)[:-1], Subgraph("output", 3, [Connection("layer3", "U")], loss="gaussian")],
            "does not have",
        ),
        (mlp(5, [12, 8, 6], 3), r"names weights.W3 \(8, 6\); the graph to share with has \(8, 4\)"),
    ],
    ids=["another name", "another shape"],
)
def test_a_list_that_cannot_share_is_refused_and_leaves_no_trace(nodes: Any, says: str) -> None:
    graph = Graph(small_mlp())
    before = {name: tuple(tensor.shape) for name, tensor in graph.state_dict().items()}
    with pytest.raises(SeqlraError, match=says):
        graph.sharing(nodes)
    assert {name: tuple(tensor.shape) for name, tensor in graph.state_dict().items()} == before


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda graph: pickle.loads(pickle.dumps(graph))])
@pytest.mark.parametrize("nodes", [small_mlp, skip_net, lambda: elman(5, [8, 4], 3, 3, "sigmoid", "bernoulli")])
def test_a_copy_computes_and_learns_alike_and_shares_nothing(copied: Any, nodes: Any) -> None:
    graph = filled(nodes())
    LRAFeedback(feedback="learned").setup(graph)
    inputs, targets = (as_rows(named) for named in batch_for(graph))
    twin = copied(graph)
    results = []
    for each in (graph, twin):
        torch.manual_seed(1)
        update(each, LRAFeedback(feedback="learned"), inputs, targets)
        results.append({name: p.grad.clone() for name, p in each.named_parameters() if p.grad is not None})
    assert_same(results[0], results[1], 1e-15)
    assert [layer.steps for layer in twin.layers] == [layer.steps for layer in graph.layers]
    with torch.no_grad():
        for p in twin.parameters():
            p.zero_()
    assert all(p.abs().max() > 0 for p in graph.weights.values())
