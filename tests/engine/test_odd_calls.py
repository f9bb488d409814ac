"""What people give by mistake, or in another form: it works as the plain form does, or one line says what fits."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from helpers import assert_same, filled, small_mlp, updates

from seqlra import (
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
from seqlra.network.losses import masked

RULE = LRAFeedback(c1=0.5)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(2)


X, Y = torch.randn(6, 5, generator=generator()), torch.randn(6, 3, generator=generator())
T = torch.tensor([2, 0, 1, 1, 0, 2])
TOKENS, NEXT, STATE = (torch.randint(7, (18,), generator=generator()), torch.arange(18) % 7, torch.zeros(6, 8))


def made(nodes: list[Input | Subgraph]) -> Graph:
    """The same graph every time."""
    torch.manual_seed(4)
    return filled(nodes).float()


def classes() -> Graph:
    return made(small_mlp())


def vectors() -> Graph:
    return made(mlp(5, [4], 3, output="gaussian"))


def text() -> Graph:
    return made(elman(7, [8], 7, 3))


def directly(graph: Graph, x: Any, t: Any) -> None:
    update(graph, RULE, x, t)


def recorded(graph: Graph, x: Any, t: Any) -> None:
    """After other mini-batches, so that it is replayed."""
    one = RecordedUpdate(graph, RULE)
    fine: Any = {"x": TOKENS, "hidden": STATE} if "hidden" in graph.layout.given else X
    for _ in range(4):
        one(fine, Y if vectors_out(graph) else NEXT if isinstance(fine, dict) else T)
    one(x, t)


def vectors_out(graph: Graph) -> bool:
    return not graph.outputs[0].loss.classes  # type: ignore[union-attr]


WAYS = pytest.mark.parametrize("way", [directly, recorded], ids=["update", "recorded"])

WORKS: dict[str, tuple[Callable[[], Graph], Any, Any, Any, Any]] = {
    "a list": (classes, X.tolist(), T.tolist(), X, T),
    "arrays": (classes, X.numpy(), T.numpy(), X, T),
    "arrays of float64": (classes, X.double().numpy(), T.numpy(), X, T),
    "float64": (classes, X.double(), T, X, T),
    "arrays backwards": (classes, X.flip(0).numpy()[::-1], T.numpy(), X, T),
    "big-endian arrays": (classes, X.numpy().astype(">f4"), T.numpy().astype(">i8"), X, T),
    "arrays that cannot be written": (classes, np.broadcast_to(np.float32(1), (6, 5)), T, torch.ones(6, 5), T),
    "a list of tensors": (classes, list(X), T, X, T),
    "an array by name": (classes, {"x": X.numpy()}, {"output": T.numpy()}, X, T),
    "classes uint8": (classes, X, T.to(torch.uint8), X, T),
    "classes int32": (classes, X, T.int(), X, T),
    "classes uint64": (classes, X, T.numpy().astype(np.uint64), X, T),
    "classes one-hot": (classes, X, torch.nn.functional.one_hot(T), X, torch.nn.functional.one_hot(T).float()),
    "shares float64": (classes, X, torch.eye(3)[T].double(), X, torch.eye(3)[T]),
    "vectors float64": (vectors, X, Y.double(), X, Y),
    "vectors as lists": (vectors, X, Y.tolist(), X, Y),
    "tokens uint8": (
        text,
        {"x": TOKENS.to(torch.uint8), "hidden": STATE},
        NEXT.to(torch.uint8),
        {"x": TOKENS, "hidden": STATE},
        NEXT,
    ),
    "tokens int32": (text, {"x": TOKENS.int(), "hidden": STATE}, NEXT.int(), {"x": TOKENS, "hidden": STATE}, NEXT),
    "tokens in a list": (
        text,
        {"x": TOKENS.tolist(), "hidden": STATE.double()},
        NEXT.tolist(),
        {"x": TOKENS, "hidden": STATE},
        NEXT,
    ),
    "inputs with a gradient": (classes, X.clone().requires_grad_(), T, X, T),
}


@WAYS
@pytest.mark.parametrize(("graph", "x", "t", "plain_x", "plain_t"), WORKS.values(), ids=WORKS.keys())
def test_it_works_as_the_plain_form(
    graph: Callable[[], Graph], x: Any, t: Any, plain_x: Any, plain_t: Any, way: Any
) -> None:
    odd, plain = graph(), graph()
    way(odd, x, t)
    update(plain, RULE, plain_x, plain_t)
    assert_same(updates(odd), updates(plain), 1e-6)
    torch.testing.assert_close(odd(x), plain(plain_x))


NAN, INF = X.clone(), X.clone()
NAN[4, 1], INF[2, 0] = float("nan"), -float("inf")

REFUSED: dict[str, tuple[Callable[[], Graph], Any, Any, str]] = {
    "0-D": (classes, torch.tensor(1.0), T, r"input 'x' takes rows of 5 numbers.*\(rows, 5\).*shape \(\)"),
    "a number": (classes, 1.0, T, r"input 'x' takes rows of 5 numbers"),
    "1-D": (classes, X[0], T, r"input 'x' takes rows of 5 numbers.*shape \(5,\)"),
    "an axis too many": (classes, X[None], T, r"input 'x' takes rows.*shape \(1, 6, 5\)"),
    "too narrow": (classes, X[:, :4], T, r"rows of 5 numbers.*shape \(6, 4\)"),
    "nothing": (classes, None, T, "must be a tensor, an array or a list"),
    "words": (classes, "abc", T, "must be a tensor, an array or a list"),
    "rows of unequal length": (classes, [[1.0, 2.0], [3.0]], T, "must be a tensor, an array or a list"),
    "integers": (classes, X.int(), T, r"make it \.float\(\)"),
    "complex": (classes, X.to(torch.complex64), T, "rows of 5 numbers.*complex64"),
    "sparse": (classes, X.to_sparse(), T, "input 'x' is sparse"),
    "meta": (classes, X.to("meta"), T, "input 'x' is on meta, the graph on cpu"),
    "another name": (classes, {"y": X}, T, "the graph reads the inputs x; given: y"),
    "NaN": (classes, NAN, T, r"input 'x' has NaN or infinity in it, first at \(4, 1\)"),
    "infinity": (classes, INF, T, r"input 'x' has NaN or infinity in it, first at \(2, 0\)"),
    "a class too many": (classes, X, T + 1, r"the target of 'output' has the class 3 at \(0,\); accepted: 0 to 2"),
    "a class under 0": (classes, X, T - 1, "the target of 'output' has the class -1"),
    "-100": (classes, X, torch.full((6,), -100), "class -100.*loss masked"),
    "classes as numbers": (classes, X, T.float(), "'output' takes vectors of 3.*or class indices"),
    "a column of classes": (classes, X, T[:, None], r"'output' takes vectors of 3.*given: \(6, 1\)"),
    "0-D classes": (classes, X, torch.tensor(1), "'output' takes vectors of 3"),
    "fewer targets": (classes, X, T[:4], "has 6 rows; its targets have 4"),
    "no targets": (classes, X, None, "must be a tensor, an array or a list"),
    "NaN as targets": (vectors, X, Y / 0 * 0, "the target of 'output' has NaN"),
    "a token too many": (
        text,
        {"x": TOKENS + 5, "hidden": STATE},
        NEXT,
        r"input 'x' has the token \d+ at .*accepted: 0 to 6",
    ),
    "a token under 0": (text, {"x": TOKENS - 7, "hidden": STATE}, NEXT, "input 'x' has the token -"),
    "a next token too many": (text, {"x": TOKENS, "hidden": STATE}, NEXT + 3, "the target of 'output' has the class"),
    "tokens as numbers": (text, {"x": TOKENS.float(), "hidden": STATE}, NEXT, "one integer a row for tokens"),
    "no state": (text, TOKENS, NEXT, "the graph reads the inputs"),
}


UNSEEN = {"NaN", "infinity", "NaN as targets"}  # once it is recorded: numbers are looked at in the first updates


@WAYS
@pytest.mark.parametrize(("graph", "x", "t", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_one_line_names_it(
    graph: Callable[[], Graph], x: Any, t: Any, says: str, way: Any, request: pytest.FixtureRequest
) -> None:
    if way is recorded and request.node.callspec.id.split("-")[0] in UNSEEN:
        pytest.skip("not looked at")
    with pytest.raises(SeqlraError, match=says) as error:
        way(graph(), x, t)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("graph", "x", "t", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_a_graph_that_is_called_names_it_too(graph: Callable[[], Graph], x: Any, t: Any, says: str) -> None:
    if "target" in says or "output" in says or says.startswith("has 6 rows") or x is X or "NaN" in says:
        pytest.skip("about targets, or seen in the result")
    with pytest.raises(SeqlraError, match=says):
        graph()(x)


CALLS: dict[str, tuple[Callable[[], object], str]] = {
    "a list for a graph": (lambda: update(mlp(5, [4], 3), RULE, X, T), "must be a seqlra.Graph, not its list"),  # type: ignore[arg-type]
    "a module for a graph": (lambda: RecordedUpdate(torch.nn.Linear(2, 2), RULE), "must be a seqlra.Graph"),  # type: ignore[arg-type]
    "a class for a rule": (lambda: update(classes(), LRAFeedback, X, T), "not the class LRAFeedback"),  # type: ignore[arg-type]
    "a word for a rule": (lambda: RecordedUpdate(classes(), "lra"), "an object such as seqlra.LRAFeedback"),  # type: ignore[arg-type]
    "a class at the start": (lambda: initialize(classes(), 0, rule=LRAFeedback), "not the class LRAFeedback"),  # type: ignore[arg-type]
    "a word as seed": (lambda: initialize(classes(), "a"), "a seed is a whole number"),  # type: ignore[arg-type]
    "no seed": (lambda: initialize(classes(), None), "a seed is a whole number"),  # type: ignore[arg-type]
    "half a seed": (lambda: initialize(classes(), 1.5), "a seed is a whole number"),  # type: ignore[arg-type]
    "a huge seed": (lambda: initialize(classes(), 2**64), "a seed is a whole number"),
    "a graph of words": (lambda: Graph("abc"), "a graph is a list of Input and Subgraph"),  # type: ignore[arg-type]
    "a graph of nothing": (lambda: Graph([None]), "a graph is a list of Input and Subgraph"),  # type: ignore[list-item]
    "a number for sizes": (lambda: mlp(5, 4, 3), "hidden takes a list"),  # type: ignore[arg-type]
    "half a unit": (lambda: mlp(5, [4.5], 3), "units must be a whole number"),  # type: ignore[list-item]
    "half a step": (lambda: elman(5, [4], 3, 2.5), "steps must be a whole number"),  # type: ignore[arg-type]
    "a word for beta": (lambda: LRAFeedback(beta="a"), "beta must be a number"),  # type: ignore[arg-type]
    "no beta": (lambda: LRAFeedback(beta=None), "beta must be a number"),  # type: ignore[arg-type]
    "an outcome to diagnose": (lambda: diagnose(RecordedUpdate(classes(), RULE)(X, T)), "diagnose takes the step"),  # type: ignore[arg-type]
    "a graph on meta": (lambda: classes().to("meta")(X.to("meta")), "meta device and has no numbers"),
}


@pytest.mark.parametrize(("call", "says"), CALLS.values(), ids=CALLS.keys())
def test_one_line_names_what_is_no_graph_rule_or_number(call: Callable[[], object], says: str) -> None:
    with pytest.raises(SeqlraError, match=says):
        call()


def test_seeds_of_numpy_are_seeds() -> None:
    assert torch.equal(initialize(classes(), np.int64(3))(X), initialize(classes(), 3)(X))  # type: ignore[call-overload]


def test_missing_targets_are_no_mistake_where_the_loss_takes_them() -> None:
    for output, t in (("cross-entropy", T.masked_fill(T == 1, -100)), ("gaussian", Y.masked_fill(Y > 1, float("nan")))):
        update(made(mlp(5, [4], 3, output=masked(output))), RULE, X, t)
    with pytest.raises(SeqlraError, match="class -3"):
        update(made(mlp(5, [4], 3, output=masked("cross-entropy"))), RULE, X, T - 5)


def test_a_state_that_diverged_is_not_called_an_input() -> None:
    update(text(), RULE, {"x": TOKENS, "hidden": STATE / 0}, NEXT)


@WAYS
def test_modes_of_torch(way: Any) -> None:
    outside = classes()
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(SeqlraError, match="autocast does not go"):
        way(classes(), X, T)
    with (
        torch.inference_mode(),
        pytest.raises(SeqlraError, match=r"under torch\.inference_mode there are no gradients"),
    ):
        way(outside, X, T)
    with torch.inference_mode():
        inside = classes()
    with pytest.raises(SeqlraError, match=r"made under torch\.inference_mode"):
        way(inside, X, T)
    with torch.inference_mode():
        torch.testing.assert_close(outside(X), classes()(X))
    with torch.enable_grad():
        way(classes(), X, T)


# tensors that move


@pytest.mark.parametrize("what", ["p.data", "p.grad.data", "a parameter", "assigned", "float64"])
def test_a_recording_follows_tensors_that_move(what: str) -> None:
    """Oracle: the engine, on a graph that nothing happens to."""
    graph, plain = classes(), classes()
    one = RecordedUpdate(graph, RULE)
    for x in (X, X + 1, X - 1, X / 2):
        one(x, T)
    for p in graph.parameters():
        if what == "p.data":
            p.data = p.data.clone()
        elif what == "p.grad.data":
            assert p.grad is not None
            p.grad.data = torch.full_like(p.grad, 7)
    if what == "a parameter":
        graph.weights["W2"] = graph.weights["W2"].detach().clone()  # type: ignore[index]
    elif what == "assigned":
        graph.load_state_dict({n: tensor.clone() for n, tensor in graph.state_dict().items()}, assign=True)
    elif what == "float64":
        graph, plain = graph.double(), plain.double()
    for x in (2 * X, X * X):
        one(x, T)
        update(plain, RULE, x, T)
        assert_same(updates(graph), updates(plain), 1e-6)


def test_gradients_that_move_at_every_update_end_recording_in_words() -> None:
    graph, plain = classes(), classes()
    one = RecordedUpdate(graph, RULE)

    def ten_updates() -> None:
        for _ in range(10):
            one(X, T)
            for p in graph.parameters():
                p.grad.data = p.grad.clone() * 2  # type: ignore[union-attr]

    with pytest.warns(UserWarning, match="move to other memory all the time"):
        ten_updates()
    one(X, T)
    update(plain, RULE, X, T)
    assert_same(updates(graph), updates(plain), 1e-6)


# saving, pickling and copying


def saved(graph: Graph) -> Graph:
    file = io.BytesIO()
    torch.save(graph, file)
    file.seek(0)
    return torch.load(file, weights_only=False)  # type: ignore[no-any-return]


COPIES: dict[str, Callable[[Graph], Graph]] = {
    "torch.save": saved,
    "pickle": lambda graph: pickle.loads(pickle.dumps(graph)),
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("again", COPIES.values(), ids=COPIES.keys())
def test_a_graph_that_trained_is_saved_pickled_and_copied(again: Callable[[Graph], Graph]) -> None:
    class Local(LRAFeedback):
        """A rule that pickle cannot find."""

    graph, rule = classes(), Local(c1=0.5)
    one = RecordedUpdate(graph, rule)
    for _ in range(4):
        one(X, T)
    update(graph, rule, X, T)
    other = again(graph)
    for each in (graph, other):
        update(each, rule, X + 1, T)
    assert_same(updates(other), updates(graph), 1e-6)
    assert all(a.data_ptr() != b.data_ptr() for a, b in zip(graph.parameters(), other.parameters(), strict=True))
