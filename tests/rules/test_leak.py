"""Leaky units under every rule. Oracles: autograd through the leak, connections cut for a window; the reference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from helpers import alpha_of, as_rows, assert_same, batch_for, filled, updates
from torch import Tensor
from torch.nn.functional import cross_entropy

from seqlra import (
    Backprop,
    Connection,
    DifferenceTargetPropagation,
    DirectFeedbackAlignment,
    FeedbackAlignment,
    Graph,
    Input,
    LRADiff,
    LRAFeedback,
    SeqlraError,
    Subgraph,
    elman,
    initialize,
    update,
)
from seqlra.engine.recorded import RecordedUpdate
from seqlra.engine.reference import compute_update_direction
from seqlra.network.forward import ForwardPass
from seqlra.rules.backward import BackwardPass
from seqlra.rules.views import LayerView

STEPS = 5
PER_UNIT = [0.2, 0.9, 0.5, 1.0, 0.35, 0.7, 0.05]
TRAINED = [0.2, 0.9, 0.5, 0.8, 0.35, 0.7, 0.05]


def without_recurrence(leak: Any = PER_UNIT, trained: str | None = None) -> list[Input | Subgraph]:
    """Units that remember by their leak alone."""
    nodes: list[Input | Subgraph] = [Input("hidden[0]", 7)]
    for t in range(1, STEPS + 1):
        nodes += [
            Input(f"x[{t}]", 5),
            Subgraph(f"hidden[{t}]", 7, [Connection(f"x[{t}]", "W")], "tanh", None, "l2", "b", leak, trained),
            Subgraph(f"output[{t}]", 3, [Connection(f"hidden[{t}]", "U", "E")], loss="cross-entropy", bias="c"),
        ]
    return nodes


def split(leak: Any = PER_UNIT, trained: str | None = None) -> list[Input | Subgraph]:
    """The steps of ``hidden`` are three layers: the first reads no state, the last two have a bias of their own."""
    nodes = elman(5, [7], 3, STEPS, across_time=True, leak=leak, train_leak=trained is not None)
    changed = {
        "hidden[1]": Subgraph("hidden[1]", 7, [Connection("x[1]", "W")], "tanh", None, "l2", "b", leak, trained),
        **{
            f"hidden[{t}]": Subgraph(
                f"hidden[{t}]",
                7,
                [Connection(f"x[{t}]", "W"), Connection(f"hidden[{t - 1}]", "V", "F")],
                leak=leak,
                trained_leak=trained,
                loss="l2",
                bias="b2",
            )
            for t in (STEPS - 1, STEPS)
        },
    }
    return [changed.get(node.name, node) for node in nodes if node.name != f"output[{STEPS - 1}]"]


GRAPHS: dict[str, Any] = {
    "one layer": lambda: elman(5, [7], 3, STEPS, across_time=True, leak=0.3),
    "two layers": lambda: elman(5, [7, 7], 3, STEPS, across_time=True, leak=PER_UNIT),
    "last output": lambda: elman(5, [7], 3, STEPS, across_time=True, leak=PER_UNIT, outputs_at=[2, STEPS]),
    "no feedback over time": lambda: elman(5, [7, 6], 3, STEPS, leak=0.3),
    "no recurrence": without_recurrence,
    "two leaks": lambda: [*without_recurrence()[:7], *without_recurrence(0.4)[7:]],
    "split": split,
}
TRAINED_GRAPHS: dict[str, Any] = {
    "one trained leak": lambda: elman(5, [7, 6], 3, STEPS, across_time=True, leak=0.3, train_leak=True),
    "trained leaks": lambda: elman(
        5, [7], 3, STEPS, across_time=True, leak=TRAINED, train_leak=True, outputs_at=[2, STEPS]
    ),
    "trained leaks, no recurrence": lambda: without_recurrence(TRAINED, "a"),
    "trained leaks, split": lambda: split(TRAINED, "a"),
    "a fixed leak and a trained one": lambda: [
        *without_recurrence(TRAINED)[:7],
        *without_recurrence(TRAINED, "a")[7:],
    ],
}
GRAPHS |= TRAINED_GRAPHS


def by_autograd(
    graph: Graph, inputs: dict[str, Tensor], targets: dict[str, Tensor], window: int = STEPS
) -> dict[str, Tensor]:
    """The gradient of the summed loss where it crosses connections of a layer with itself ``window`` times at most.

    Every state is computed once for each number k of times that a gradient may still cross; with none left it is a
    constant over those connections.
    """
    own = {name: p.detach().clone().requires_grad_() for name, p in graph.named_parameters()}
    z = {(name, k): given for name, given in inputs.items() for k in range(-1, window + 1)}
    for node in graph.subgraphs:
        name, _, number = node.name[:-1].partition("[")
        for k in range(window + 1):
            lags = [int(read.source.startswith(f"{name}[")) for read in node.reads]
            pairs = zip(node.reads, lags, strict=True)
            h = sum(z[read.source, k - lag] @ own[f"weights.{read.weight}"] for read, lag in pairs)
            h = h + own[f"biases.{node.bias}"]
            if node.is_output or node.leak is None:
                z[node.name, k] = h if node.is_output else h.tanh()
            else:
                alpha = alpha_of(node, own)
                z[node.name, k] = (1 - alpha) * z[f"{name}[{int(number) - 1}]", k] + alpha * h.tanh()
        z[node.name, -1] = z[node.name, 0].detach()
    loss = sum(cross_entropy(z[name, window], target, reduction="sum") for name, target in targets.items())
    assert isinstance(loss, Tensor)
    grads = torch.autograd.grad(loss, list(own.values()), allow_unused=True)
    return {name: torch.zeros_like(p) if g is None else g for (name, p), g in zip(own.items(), grads, strict=True)}


@pytest.mark.parametrize("nodes", GRAPHS.values(), ids=GRAPHS.keys())
@pytest.mark.parametrize("window", [None, 0, 1, 3])
def test_backprop_is_autograd_through_the_leak(nodes: Any, window: int | None) -> None:
    graph = filled(nodes())
    inputs, targets = batch_for(graph)
    update(graph, Backprop(window=window, reduction="sum"), as_rows(inputs), as_rows(targets))
    if window is not None and window < STEPS - 1 and any(name.startswith("V") for name in graph.weights):
        whole = by_autograd(graph, inputs, targets)
        assert any((updates(graph)[name] - whole[name]).abs().max() > 1e-6 for name in whole)
    assert_same(updates(graph), by_autograd(graph, inputs, targets, STEPS if window is None else window))


@pytest.mark.parametrize("nodes", GRAPHS.values(), ids=GRAPHS.keys())
def test_the_forward_pass_leaks(nodes: Any) -> None:
    graph = filled(nodes())
    inputs, _ = batch_for(graph)
    z = dict(inputs)
    for node in graph.subgraphs:
        h = sum(z[read.source] @ graph.weights[read.weight] for read in node.reads) + graph.biases[node.bias]
        name, _, number = node.name[:-1].partition("[")
        u = h.softmax(-1) if node.is_output else h.tanh()
        alpha = alpha_of(node, graph.state_dict())
        z[node.name] = u if node.is_output else (1 - alpha) * z[f"{name}[{int(number) - 1}]"] + alpha * u
    expected = torch.cat([z[node.name] for node in graph.outputs])
    assert (graph(as_rows(inputs)) - expected).abs().max() < 1e-12


@pytest.mark.parametrize("kind", [LRAFeedback, LRADiff])
@pytest.mark.parametrize("window", [0, 2, None])
@pytest.mark.parametrize("nodes", GRAPHS.values(), ids=GRAPHS.keys())
def test_the_engine_gives_the_updates_of_the_reference(
    kind: Any, nodes: Any, window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = filled(nodes())
    inputs, targets = batch_for(graph)
    for settings in (
        {},
        {"c2": 0.2, "carry": "error"},
        {"epsilon": 0.01, "c2_per": "batch"},
        {"epsilon": 0.01, "skip": True},
    ):
        rule = kind(beta=0.3, window=window, **{"c2": 0.5, **settings})
        for rows_at_once in (256, 4):
            monkeypatch.setattr(BackwardPass, "ROWS_AT_ONCE", rows_at_once)
            update(graph, rule, as_rows(inputs), as_rows(targets))
            assert_same(updates(graph), compute_update_direction(graph, rule, inputs, targets))


@pytest.mark.parametrize("window", [0, 2, None])
def test_with_exact_feedback_and_linear_units_lra_goes_where_bptt_goes(window: int | None) -> None:
    graph = filled(elman(5, [7], 3, STEPS, "identity", across_time=True, leak=0.3, train_leak=True))
    graph.feedback["E"], graph.feedback["F"] = (graph.weights[w].detach().mT.clone() for w in ("U", "V"))
    alpha = graph.leaks["a"].sigmoid().item()
    inputs, targets = batch_for(graph)
    update(graph, Backprop(window=window), as_rows(inputs), as_rows(targets))
    exact = {name: grad.clone() for name, grad in updates(graph).items()}
    for name in ("weights.W", "weights.V", "biases.b", "leaks.a"):  # e has one factor dz/dh = alpha of its own
        exact[name] *= alpha
    update(graph, LRAFeedback(beta=1e-3, c2=None, window=window, carry="error"), as_rows(inputs), as_rows(targets))
    assert_same(updates(graph), exact, 1e-9)


@pytest.mark.parametrize("window", [0, 2, None])
def test_feedback_alignment_with_exact_feedback_is_backprop(window: int | None) -> None:
    graph = filled(elman(5, [7, 7], 3, STEPS, across_time=True, leak=TRAINED, train_leak=True))
    for e, w in (("E1", "W2"), ("E2", "U"), ("F1", "V1"), ("F2", "V2")):
        graph.feedback[e] = graph.weights[w].detach().mT.clone()
    inputs, targets = batch_for(graph)
    update(graph, Backprop(window=window), as_rows(inputs), as_rows(targets))
    exact = {name: grad.clone() for name, grad in updates(graph).items()}
    update(graph, FeedbackAlignment(window=window), as_rows(inputs), as_rows(targets))
    assert_same(updates(graph), exact)


def test_dfa_sends_nothing_over_the_leak() -> None:
    graph, alpha = Graph(elman(5, [7], 3, STEPS, leak=TRAINED, train_leak=True)).double(), torch.tensor(TRAINED)
    rule = DirectFeedbackAlignment(reduction="sum")
    initialize(graph, 1, "gaussian", std=0.6, rule=rule)
    inputs, targets = batch_for(graph)
    step = update(graph, rule, as_rows(inputs), as_rows(targets))
    d, u = step.backward.errors, step.forward.h[0].tanh()
    dz = d[1] @ graph.feedback["B-output-hidden"]
    assert (d[0] - dz * alpha * (1 - u.square())).abs().max() < 1e-12
    before = torch.cat([inputs["hidden[0]"], step.forward.z[0][: -len(inputs["hidden[0]"])]])
    expected = (dz * alpha * (1 - alpha) * (u - before)).sum(0)
    assert (updates(graph)["leaks.a"] - expected).abs().max() < 1e-12


def test_an_output_at_the_last_step_teaches_every_step_over_the_leak() -> None:
    nodes = without_recurrence(0.4)
    graph = filled([n for n in nodes if not n.name.startswith("output") or n.name == f"output[{STEPS}]"])
    inputs, targets = batch_for(graph)
    step = update(graph, LRAFeedback(c2=None), as_rows(inputs), as_rows(targets))
    assert step.depth == STEPS + 1
    d = step.backward.errors[0]
    assert d is not None
    assert (d != 0).all()


@pytest.mark.parametrize("leak", [None, 1, 1.0, [1.0] * 7])
def test_a_leak_of_one_is_no_leak(leak: Any) -> None:
    leaky, plain = (filled(elman(5, [7], 3, STEPS, across_time=True, leak=each)) for each in (leak, None))
    assert leaky.nodes == plain.nodes
    assert leaky.layers == plain.layers


@pytest.mark.parametrize("nodes", ["two layers", *TRAINED_GRAPHS])
def test_models_of_a_stack_are_the_models_alone(nodes: str) -> None:
    stacked = filled(GRAPHS[nodes](), stack=2)
    inputs, targets = batch_for(stacked)
    for rule in (LRAFeedback(carry="error"), LRAFeedback(window=1), Backprop()):
        update(stacked, rule, as_rows(inputs), as_rows(targets))
        together = updates(stacked)
        for s in range(2):
            alone = filled(GRAPHS[nodes]())
            for name, p in alone.state_dict().items():
                p.copy_(stacked.state_dict()[name][s])
            update(alone, rule, as_rows(inputs), as_rows(targets))
            assert_same({name: grad[s] for name, grad in together.items()}, updates(alone))


@pytest.mark.parametrize("nodes", ["two layers", "one trained leak", "trained leaks, split"])
@pytest.mark.parametrize("rule", [LRAFeedback(carry="error"), LRAFeedback(window=2), Backprop()])
def test_a_recorded_update_is_the_update(rule: Any, nodes: str) -> None:
    graph = filled(GRAPHS[nodes]())
    recorded = RecordedUpdate(graph, rule)
    for _ in range(2):
        inputs, targets = batch_for(graph)
        recorded(as_rows(inputs), as_rows(targets))
        replayed = {name: grad.clone() for name, grad in updates(graph).items()}
        update(graph, rule, as_rows(inputs), as_rows(targets))
        assert all(torch.equal(replayed[name], grad) for name, grad in updates(graph).items())
        with torch.no_grad():
            for logits in graph.leaks.values():  # the next mini-batch must see other leaks
                logits.add_(1)
    assert recorded.refused is None


@pytest.mark.parametrize("options", [{"leak": PER_UNIT}, {"leak": TRAINED, "train_leak": True}])
def test_two_chunks_are_one_sequence(options: Any) -> None:
    whole = filled(elman(5, [7, 7], 3, 2 * STEPS, **options))
    chunk = whole.sharing(elman(5, [7, 7], 3, STEPS, **options))
    rows, state = as_rows(batch_for(whole)[0]), {}
    x = rows.pop("x")
    state, found = rows, []
    for part in x.chunk(2):
        forward = ForwardPass(chunk, {**state, "x": part})
        state = forward.carried()
        found.append(forward.last_output)
    assert (torch.cat(found) - whole({**rows, "x": x})).abs().max() < 1e-12


def test_what_cannot_leak() -> None:
    with pytest.raises(SeqlraError, match=r"\(0, 1\]"):
        elman(5, [7], 3, STEPS, leak=0.0)
    with pytest.raises(SeqlraError, match=r"\(0, 1\]"):
        elman(5, [7], 3, STEPS, leak=[0.5, 0.5])
    with pytest.raises(SeqlraError, match="without a discretizer"):
        elman(5, [7], 3, STEPS, discretizer="sign", leak=0.5)
    with pytest.raises(SeqlraError, match=r"needs hidden\[0\]"):
        Graph([node for node in without_recurrence() if node.name != "hidden[0]"])
    with pytest.raises(SeqlraError, match="needs a step"):
        Graph([Input("x", 5), Subgraph("a", 7, ["x"], leak=0.5), Subgraph("out", 3, ["a"], loss="cross-entropy")])
    graph = filled(GRAPHS["one layer"]())
    inputs, targets = batch_for(graph)
    with pytest.raises(SeqlraError, match=r"one step \(K\)"):
        update(graph, LRADiff(steps=3), as_rows(inputs), as_rows(targets))
    one = filled([n for n in without_recurrence() if "[0]" in n.name or "[1]" in n.name])
    with pytest.raises(SeqlraError, match="chains"):
        DifferenceTargetPropagation().setup(one)


def test_a_trained_leak_starts_where_the_list_says_and_is_one_parameter_for_all_steps() -> None:
    graph = Graph(elman(5, [7], 3, STEPS, leak=TRAINED, train_leak=True)).double()
    two = Graph(elman(5, [7, 6], 3, STEPS, leak=0.3, train_leak=True), stack=2).double()
    assert [name for name, _ in graph.named_parameters()][-1] == "leaks.a"
    assert {name: tuple(p.shape) for name, p in two.leaks.items()} == {"a1": (2, 1), "a2": (2, 1)}
    assert (graph.leaks["a"].sigmoid() - torch.tensor(TRAINED)).abs().max() < 1e-6  # it was single precision
    filled_again = initialize(filled(elman(5, [7], 3, STEPS, leak=TRAINED, train_leak=True)), 2)
    assert (filled_again.leaks["a"].sigmoid() - torch.tensor(TRAINED)).abs().max() < 1e-12
    assert "leak 0.2 to 0.05 at first, trained (a)" in str(graph)
    fixed = Graph(elman(5, [7], 3, STEPS, leak=TRAINED)).double()
    assert fixed.state_dict().keys() == graph.state_dict().keys() - {"leaks.a"}
    x, start = torch.randn(STEPS * 2, 5), torch.randn(2, 7)
    initialize(graph, 1)
    initialize(fixed, 1)
    assert (graph({"x": x, "hidden": start}) - fixed({"x": x, "hidden": start})).abs().max() < 1e-12


def test_training_finds_the_leaks_of_a_teacher() -> None:
    nodes = elman(3, [7], 4, 8, output="gaussian", across_time=True, leak=0.5, train_leak=True)
    teacher = filled(elman(3, [7], 4, 8, output="gaussian", leak=TRAINED))
    x, start = torch.randn(8 * 60, 3), torch.zeros(60, 7)
    targets = teacher({"x": x, "hidden": start})
    graph = filled([replace(n, leak=[0.5] * 7) if isinstance(n, Subgraph) and n.leak else n for n in nodes])
    with torch.no_grad():
        for name in ("weights.W", "weights.V", "weights.U", "biases.b", "biases.c"):
            graph.state_dict()[name].copy_(teacher.state_dict()[name])
    optimizer = torch.optim.Adam(graph.leaks.values(), lr=0.1)
    for _ in range(150):
        update(graph, Backprop(), {"x": x, "hidden": start}, targets)
        optimizer.step()
    assert (graph.leaks["a"].sigmoid() - torch.tensor(TRAINED)).abs().max() < 0.01


@dataclass(frozen=True)
class WithoutMemory(LRAFeedback):
    """A rule of one's own that skips and sends nothing over the leak."""

    def has_memory(self, graph: Graph, number: int) -> bool:
        return False


@pytest.mark.parametrize("nodes", TRAINED_GRAPHS.values(), ids=TRAINED_GRAPHS.keys())
def test_a_leak_learns_from_the_rows_that_are_left(nodes: Any) -> None:
    graph = filled(nodes())
    inputs, targets = batch_for(graph)
    for window in (0, 2):
        found = []
        for skip in (True, False):
            rule = WithoutMemory(epsilon=1e-9, epsilon_output=0.9, skip=skip, window=window)
            update(graph, rule, as_rows(inputs), as_rows(targets))
            found.append({name: grad.clone() for name, grad in updates(graph).items()})
        assert_same(*found)
        assert all(grad.abs().max() > 0 for name, grad in found[0].items() if name.startswith("leaks"))


class EndsLater(WithoutMemory):
    """A rule that halts the whole upper layer in every sweep but the first."""

    def error(self, layer: LayerView, incoming: Tensor) -> Any:
        found = super().error(layer, incoming)
        if layer.backward.sweep and layer.subgraph.name.startswith("hidden2"):
            return layer.halt(torch.zeros(found.shape[:-1]), found)
        return found


def test_what_a_leak_learned_in_an_earlier_sweep_is_forgotten() -> None:
    graph = filled(TRAINED_GRAPHS["one trained leak"]())
    inputs, targets = batch_for(graph)
    rule = EndsLater(epsilon=1e-9, epsilon_output=0.9, skip=True, window=1)
    backward = update(graph, rule, as_rows(inputs), as_rows(targets)).backward
    assert updates(graph)["weights.U"].abs().max() > 0
    assert all(updates(graph)[name].abs().max() == 0 for name in ("weights.W1", "leaks.a1"))
    lower = next(leaks for leaks in backward.leaks if leaks is not None and leaks.shape[-1] == 7)
    assert lower.abs().max() == 0


def test_a_leak_without_an_error_stays() -> None:
    graph = filled(elman(5, [7], 3, STEPS, leak=TRAINED, train_leak=True))
    inputs, targets = batch_for(graph)
    update(graph, Backprop(), as_rows(inputs), as_rows(targets))
    assert updates(graph)["leaks.a"].abs().max() > 0
    update(graph, LRAFeedback(epsilon=100.0), as_rows(inputs), as_rows(targets))
    assert updates(graph)["leaks.a"].abs().max() == 0


def test_what_cannot_be_trained() -> None:
    for leak in (None, 1, [1.0] * 7, PER_UNIT):
        with pytest.raises(SeqlraError, match=r"is trained, so it must start in \(0, 1\)"):
            elman(5, [7], 3, STEPS, leak=leak, train_leak=True)
    with pytest.raises(SeqlraError, match="do not begin alike"):
        Graph([*without_recurrence(0.3, "a")[:7], *without_recurrence(0.4, "a")[7:]])
    with pytest.raises(SeqlraError, match="cannot hold a dot"):
        Graph(without_recurrence(0.3, "a.b"))
    with pytest.raises(SeqlraError, match=r"leaks\.a .*does not have it"):
        Graph(without_recurrence(0.3)).sharing(without_recurrence(0.3, "a"))
