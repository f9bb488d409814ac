"""Online rules. Oracles: autograd (BPTT, and the Jacobian of the state), RTRL, and traces that run forward in time."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Any

import pytest
import torch
from helpers import alpha_of, as_rows, assert_same, batch_for, filled, updates
from torch import Tensor

from seqlra import RFLO, RTRL, UORO, Backprop, EProp, FeedbackAlignment, Graph, SeqlraError, SnAp1, elman, mlp, update
from seqlra.engine.recorded import RecordedUpdate
from seqlra.network.forward import ForwardPass
from seqlra.network.subgraph import Connection, Input, Subgraph
from seqlra.rules import RULES
from seqlra.rules.backward import BackwardPass
from seqlra.rules.online import OnlineRule
from seqlra.rules.rtrl import columns, influences
from seqlra.rules.traces import changes_of
from seqlra.rules.uoro import Thetas

STEPS = 5
PER_UNIT = (0.2, 0.9, 0.5, 1.0, 0.35, 0.7)
TRAINED = (0.2, 0.9, 0.5, 0.8, 0.35, 0.7)
GRAPHS: dict[str, Any] = {
    "no leak": lambda: elman(4, [6], 3, STEPS),
    "leak": lambda: elman(4, [6], 3, STEPS, leak=PER_UNIT),
    "two layers": lambda: elman(4, [6, 6], 3, STEPS, leak=PER_UNIT),
    "last output": lambda: elman(4, [6], 3, STEPS, leak=0.3, outputs_at=[2, STEPS]),
    "output each, feedback over time": lambda: elman(4, [5, 6], 3, STEPS, across_time=True, leak=0.3),
    "trained leaks": lambda: elman(4, [6], 3, STEPS, leak=TRAINED, train_leak=True),
    "one trained leak": lambda: elman(4, [6], 3, STEPS, leak=0.3, train_leak=True, outputs_at=[2, STEPS]),
    "trained leaks, two layers": lambda: elman(4, [6, 6], 3, STEPS, leak=TRAINED, train_leak=True),
    "one trained leak each": lambda: elman(4, [5, 6], 3, STEPS, leak=0.3, train_leak=True),
}
ONE_LAYER = [name for name, nodes in GRAPHS.items() if "hidden[0]" in {node.name for node in nodes()}]


def run(graph: Graph, rule: Any, batch: Any) -> dict[str, Tensor]:
    """The updates of the rule."""
    inputs, targets = batch
    update(graph, rule, as_rows(inputs), as_rows(targets))
    return {name: grad.clone() for name, grad in updates(graph).items()}


def diagonal(nodes: list[Input | Subgraph]) -> Graph:
    """Gaussian weights, with recurrent weights on the diagonal alone."""
    graph = filled(nodes)
    with torch.no_grad():
        for name, weight in graph.weights.items():
            if name.startswith("V"):
                weight.copy_(weight.diagonal().diag())
    return graph


def leak_alone(leak: Any = PER_UNIT, trained: str | None = None) -> list[Input | Subgraph]:
    """Units that remember by their leak, without recurrent weights."""
    nodes: list[Input | Subgraph] = [Input("hidden[0]", 6)]
    for t in range(1, STEPS + 1):
        nodes += [
            Input(f"x[{t}]", 4),
            Subgraph(f"hidden[{t}]", 6, [Connection(f"x[{t}]", "W")], "tanh", None, "l2", "b", leak, trained),
            Subgraph(f"output[{t}]", 3, [Connection(f"hidden[{t}]", "U", "E")], loss="cross-entropy", bias="c"),
        ]
    return nodes


class TestRTRL:
    """The oracle of the others, and its own."""

    @pytest.mark.parametrize("nodes", GRAPHS.values(), ids=GRAPHS.keys())
    def test_it_is_bptt(self, nodes: Any) -> None:
        graph = filled(nodes())
        batch = batch_for(graph)
        assert_same(run(graph, RTRL(), batch), run(graph, Backprop(), batch))

    @pytest.mark.parametrize("nodes", GRAPHS.values(), ids=GRAPHS.keys())
    def test_its_influence_is_the_jacobian_of_autograd(self, nodes: Any) -> None:
        graph = filled(nodes())
        inputs, targets = batch_for(graph, 2)
        backward = BackwardPass(RTRL(), ForwardPass(graph, as_rows(inputs)), as_rows(targets))
        where = columns(graph)

        def states(*given: Tensor) -> tuple[Tensor, ...]:
            own, z = dict(zip(map(id, where), given, strict=True)), dict(inputs)
            for node in graph.subgraphs:
                if not node.is_output:
                    h = sum(z[read.source] @ own[id(graph.weights[read.weight])] for read in node.reads)
                    u = (h + own[id(graph.biases[str(node.bias)])]).tanh()
                    name, step = node.name[:-1].split("[")
                    alpha = alpha_of(node, {name: own[id(p)] for name, p in graph.named_parameters() if id(p) in own})
                    z[node.name] = (1 - alpha) * z[f"{name}[{int(step) - 1}]"] + alpha * u
            return tuple(z[node.name] for node in graph.subgraphs if not node.is_output)

        expected = torch.autograd.functional.jacobian(states, tuple(p.detach() for p in where))
        found = [influence for _, _, influence in influences(backward)]
        assert len(found) == len(expected)
        for influence, by_parameter in zip(found, expected, strict=True):
            jacobian = torch.cat([each.flatten(2) for each in by_parameter], -1)
            assert (influence - jacobian).abs().max() < 1e-12

    def test_tokens_are_one_hot_vectors(self) -> None:
        graph = filled(GRAPHS["leak"]())
        inputs, targets = batch_for(graph)
        tokens = {name: torch.randint(4, (6,)) if name[0] == "x" else each for name, each in inputs.items()}
        vectors = {n: torch.eye(4)[each] if n[0] == "x" else each for n, each in tokens.items()}
        for rule in (RTRL(), RFLO()):
            assert_same(run(graph, rule, (tokens, targets)), run(graph, rule, (vectors, targets)))


@pytest.mark.parametrize("leak", [(PER_UNIT, None), (TRAINED, "a"), (0.3, "a")], ids=["fixed", "trained", "one"])
@pytest.mark.parametrize("kind", [RFLO, EProp, SnAp1])
def test_with_the_leak_alone_every_trace_is_exact(kind: Any, leak: Any) -> None:
    graph = filled(leak_alone(*leak))
    batch = batch_for(graph)
    assert_same(run(graph, kind(feedback="exact"), batch), run(graph, RTRL(), batch))


@pytest.mark.parametrize("nodes", ["no leak", "leak", "last output", "trained leaks", "one trained leak"])
def test_snap_1_is_rtrl_where_the_recurrence_is_diagonal(nodes: str) -> None:
    graph = diagonal(GRAPHS[nodes]())
    batch = batch_for(graph)
    exact = run(graph, RTRL(), batch)
    assert_same(run(graph, SnAp1(), batch), exact)
    assert (run(graph, RFLO(feedback="exact"), batch)["weights.W"] - exact["weights.W"]).abs().max() > 1e-4


@pytest.mark.parametrize("feedback", ["exact", "fixed"])
@pytest.mark.parametrize("kind", [RFLO, EProp])
def test_rflo_is_window_0_where_the_leak_is_exact(kind: Any, feedback: str) -> None:
    lists = [elman(4, [6], 3, STEPS, across_time=True, leak=leak) for leak in (None, PER_UNIT)]
    lists.append(elman(4, [6], 3, STEPS, across_time=True, leak=TRAINED, train_leak=True))
    for nodes in (*lists, elman(4, [6, 5], 3, STEPS, outputs_at=[1, STEPS])):
        graph = filled(nodes)
        batch = batch_for(graph)
        window = Backprop(window=0) if feedback == "exact" else FeedbackAlignment(window=0)
        assert_same(run(graph, kind(feedback=feedback), batch), run(graph, window, batch))


def by_traces(
    graph: Graph, rule: OnlineRule, inputs: dict[str, Tensor], targets: dict[str, Tensor]
) -> dict[str, Tensor]:
    """The rule as its paper has it: forward in time, with a trace for every weight and sample; tanh units."""
    layers = [""] if "V" in graph.weights else ["1", "2"]
    total = {name: torch.zeros_like(p) for name, p in graph.named_parameters()}
    z = {n: inputs[f"hidden{n}[0]"] for n in layers}
    traces: dict[str, Tensor] = {}
    for t in range(1, STEPS + 1):
        read, derivative = inputs[f"x[{t}]"], {}
        for n in layers:
            sources = {f"weights.W{n}": read, f"weights.V{n}": z[n], f"biases.b{n}": torch.ones(6, 1)}
            v = graph.weights[f"V{n}"]
            h = read @ graph.weights[f"W{n}"] + z[n] @ v + graph.biases[f"b{n}"]
            node = next(node for node in graph.subgraphs if node.name == f"hidden{n}[{t}]")
            alpha = alpha_of(node, graph.state_dict())
            derivative[n] = alpha * (1 - h.tanh() ** 2)
            memory = 1 - alpha + (derivative[n] * v.diagonal() if rule.name == "snap-1" else 0)
            for name, source in sources.items():
                past = traces.get(name, torch.zeros(()))
                traces[name] = memory.unsqueeze(-2) * past + source.unsqueeze(-1) * derivative[n].unsqueeze(-2)
            past = traces.get(f"leaks.a{n}", torch.zeros(()))
            fresh = alpha * (1 - alpha) * (h.tanh() - z[n])
            traces[f"leaks.a{n}"] = memory.unsqueeze(-2) * past + fresh.unsqueeze(-2)
            z[n] = read = (1 - alpha) * z[n] + alpha * h.tanh()
        if f"output[{t}]" not in targets:
            continue
        d = (read @ graph.weights["U"] + graph.biases["c"]).softmax(-1) - torch.eye(3)[targets[f"output[{t}]"]]
        total["weights.U"] += read.T @ d
        total["biases.c"] += d.sum(0)
        for n, above in zip(reversed(layers), ["U", "W2"], strict=False):
            e = {"U": "E" if n == "" else "E2", "W2": "E1"}[above]
            signal = d @ (graph.weights[above].T if rule.feedback == "exact" else graph.feedback[e])
            for name in {f"weights.W{n}", f"weights.V{n}", f"biases.b{n}", f"leaks.a{n}"} & total.keys():
                product = (signal.unsqueeze(-2) * traces[name]).sum(0)
                total[name] += product.sum() if total[name].numel() == 1 else product.view_as(total[name])
            d = signal * derivative[n]
    return total


@pytest.mark.parametrize("feedback", ["exact", "fixed"])
@pytest.mark.parametrize("kind", [RFLO, EProp, SnAp1])
@pytest.mark.parametrize(
    "nodes", [name for name, nodes in GRAPHS.items() if {node.units for node in nodes()} == {3, 4, 6}]
)
def test_the_sum_back_through_the_chunk_is_that_of_traces_forward_in_time(nodes: str, kind: Any, feedback: str) -> None:
    graph = filled(GRAPHS[nodes]())
    inputs, targets = batch_for(graph)
    rule = kind(feedback=feedback, reduction="sum")
    with torch.no_grad():
        expected = by_traces(graph, rule, inputs, targets)
    assert_same(run(graph, rule, (inputs, targets)), expected)


@pytest.mark.parametrize("nodes", ONE_LAYER)
def test_the_mean_of_uoro_is_rtrl(nodes: str) -> None:
    graph = filled(GRAPHS[nodes]())
    batch = batch_for(graph, 1)
    draws = 1500
    repeated = tuple({name: each.repeat_interleave(draws, 0) for name, each in part.items()} for part in batch)
    # the mean over a mini-batch of one sample, drawn for each of its copies, is the mean over draws
    groups = [run(graph, UORO(), repeated) for _ in range(12)]
    exact = run(graph, RTRL(), batch)
    for name, expected in exact.items():
        means = torch.stack([group[name] for group in groups])
        error = means.std(0) / len(groups) ** 0.5
        away = (means.mean(0) - expected).abs()
        assert (away <= 5 * error + 1e-12).all(), name
        assert error.norm() < 0.3 * expected.norm() + 1e-12, name  # the draws say something


@pytest.mark.parametrize("start", [False, True], ids=["from 0", "carried"])
def test_the_norms_of_theta_are_those_of_what_it_stands_for(start: bool) -> None:
    graph = filled(GRAPHS["trained leaks"]())
    inputs, targets = batch_for(graph)
    view = BackwardPass(UORO(), ForwardPass(graph, as_rows(inputs)), as_rows(targets)).view(0)
    changes = changes_of(view)
    assert [read.shape[-1] for _, read in changes] == [4 + 6 + 1, 1]
    theta = Thetas(view, changes, torch.randn(6, 12 * 6) if start else None)
    for step in range(STEPS):
        rho0, rho1 = torch.rand(6, 1) + 0.5, torch.rand(6, 1) + 0.5
        theta.add(step, rho0, rho1)
        assert (theta.norm.squeeze(-1) - theta.now().flatten(-2).norm(dim=-1)).abs().max() < 1e-10


@pytest.mark.parametrize("rule", [RFLO(), EProp(), SnAp1(), RTRL(), UORO()], ids=lambda rule: rule.name)
class TestEveryRule:
    """Stacks, recorded updates, learned feedback, refusals."""

    @pytest.mark.parametrize("nodes", ["leak", "trained leaks", "one trained leak"])
    def test_models_of_a_stack_are_the_models_alone(self, rule: Any, nodes: str) -> None:
        stacked = filled(GRAPHS[nodes](), stack=2)
        batch = batch_for(stacked)
        torch.manual_seed(3)
        together = run(stacked, rule, batch)
        for s in range(0 if rule.name == "uoro" else 2):  # whose models draw side by side
            alone = filled(GRAPHS[nodes]())
            with torch.no_grad():
                for name, p in alone.state_dict().items():
                    p.copy_(stacked.state_dict()[name][s])
            assert_same({name: grad[s] for name, grad in together.items()}, run(alone, rule, batch))
        assert together["weights.V"].shape == (2, 6, 6)

    @pytest.mark.parametrize("nodes", ["leak", "trained leaks"])
    def test_a_recorded_update_is_the_update(self, rule: Any, nodes: str) -> None:
        graph = filled(GRAPHS[nodes]())
        recorded = RecordedUpdate(graph, rule)
        for seed in range(2):
            inputs, targets = batch_for(graph)
            torch.manual_seed(seed)
            recorded(as_rows(inputs), as_rows(targets))
            replayed = {name: grad.clone() for name, grad in updates(graph).items()}
            torch.manual_seed(seed)
            assert all(torch.equal(replayed[n], grad) for n, grad in run(graph, rule, (inputs, targets)).items())

    def test_networks_without_time_are_refused(self, rule: Any) -> None:
        graph = filled(mlp(5, [6, 4], 3))
        with pytest.raises(SeqlraError, match="recurrent networks"):
            rule.setup(graph)
        with pytest.raises(SeqlraError, match="recurrent networks"):
            update(graph, rule, torch.randn(2, 5), torch.tensor([0, 1]))

    def test_the_sum_is_the_mean_times_the_predictions(self, rule: Any) -> None:
        graph = filled(GRAPHS["one trained leak"]())
        batch = batch_for(graph)
        torch.manual_seed(1)
        mean = run(graph, rule, batch)
        torch.manual_seed(1)
        total = run(graph, type(rule)(reduction="sum"), batch)
        assert_same({name: 12 * grad for name, grad in mean.items()}, total)


@pytest.mark.parametrize("kind", [RFLO, EProp, SnAp1, RTRL])
def test_learned_feedback_gets_the_transposed_update(kind: Any) -> None:
    graph, rule = filled(GRAPHS["leak"]()), kind(feedback="learned")
    rule.setup(graph)
    found = run(graph, rule, batch_for(graph))
    assert torch.equal(found["feedback.E"], found["weights.U"].mT)


def test_fixed_and_exact_feedback_differ_unless_e_is_exact() -> None:
    graph = filled(GRAPHS["leak"]())
    batch = batch_for(graph)
    for kind in (RFLO, EProp, SnAp1, RTRL):
        exact, fixed = (run(graph, kind(feedback=each), batch) for each in ("exact", "fixed"))
        assert (exact["weights.V"] - fixed["weights.V"]).abs().max() > 1e-4
    graph.feedback["E"] = graph.weights["U"].detach().mT.clone()
    for kind in (RFLO, EProp, SnAp1, RTRL):
        assert_same(*(run(graph, kind(feedback=each), batch) for each in ("exact", "fixed")))


def test_rules_are_refused_where_they_are_not_defined() -> None:
    two = filled(GRAPHS["two layers"]())
    with pytest.raises(SeqlraError, match="one recurrent layer"):
        UORO().setup(two)
    nodes = [
        node
        if node.name != "hidden[3]"
        else Subgraph("hidden[3]", 6, [Connection("x[3]", "W"), Connection("hidden[1]", "V")])
        for node in GRAPHS["no leak"]()
    ]
    with pytest.raises(SeqlraError, match="step before"):
        SnAp1().setup(filled(nodes))
    with pytest.raises(SeqlraError, match="exact or fixed or learned"):
        RFLO(feedback="random")  # type: ignore[arg-type]
    assert {"rflo", "e-prop", "snap-1", "rtrl", "uoro"} <= RULES.keys()


def in_chunks(whole: Graph, make: Any, rule: Any, lengths: list[int], batch: Any) -> dict[str, Tensor]:
    """The sum of the updates of chunks of these lengths at frozen weights, with what they carry."""
    inputs, targets = batch
    carried = {name.removesuffix("[0]"): each for name, each in inputs.items() if name.endswith("[0]")}
    total: dict[str, Tensor] = {}
    for start, stop in pairwise(accumulate(lengths, initial=1)):
        steps, graph = range(start, stop), whole.sharing(make(stop - start))
        rule.setup(graph)
        x, t = torch.cat([inputs[f"x[{n}]"] for n in steps]), torch.cat([targets[f"output[{n}]"] for n in steps])
        carried = update(graph, rule, {"x": x, **carried}, t).carried
        for name, grad in updates(graph).items():
            total[name] = total.get(name, 0) + grad.clone()
    return total


@pytest.mark.parametrize("kind", [RFLO, EProp, SnAp1, RTRL])
@pytest.mark.parametrize("lengths", [[1] * STEPS, [2, 3], [STEPS]], ids=["steps", "uneven", "whole"])
@pytest.mark.parametrize("train", [False, True], ids=["fixed", "trained"])
@pytest.mark.parametrize(
    ("hidden", "leak"), [([6], None), ([6], PER_UNIT), ([5, 6], 0.3)], ids=["no leak", "leak", "two layers"]
)
def test_the_length_of_a_chunk_does_not_matter_at_frozen_weights(
    hidden: list[int], leak: Any, lengths: list[int], kind: Any, train: bool
) -> None:
    if train:
        leak = TRAINED if leak == PER_UNIT else leak or 0.4

    def make(steps: int) -> list[Input | Subgraph]:
        return elman(4, hidden, 3, steps, leak=leak, train_leak=train)

    graph = filled(make(STEPS))
    batch, whole = batch_for(graph), Backprop(reduction="sum") if kind is RTRL else kind(reduction="sum")
    found = in_chunks(graph, make, kind(reduction="sum", online=True), lengths, batch)
    assert_same(found, run(graph, whole, batch))


@pytest.mark.parametrize("kind", [RFLO, EProp, SnAp1])
def test_a_weight_that_is_read_twice_gets_both_updates(kind: Any) -> None:
    nodes: list[Input | Subgraph] = [Input("hidden[0]", 6)]
    for t in range(1, STEPS + 1):
        reads = [Connection(f"x[{t}]", "W"), Connection(f"y[{t}]", "W")]
        nodes += [
            *(Input(read.source, 4) for read in reads),
            Subgraph(f"hidden[{t}]", 6, reads, "tanh", None, "l2", "b", TRAINED, "a"),
            Subgraph(f"output[{t}]", 3, [Connection(f"hidden[{t}]", "U", "E")], loss="cross-entropy", bias="c"),
        ]
    graph = filled(nodes)
    batch = batch_for(graph)
    assert_same(run(graph, kind(feedback="exact", online=True), batch), run(graph, RTRL(), batch))


@pytest.mark.parametrize("rule", [RFLO, EProp, SnAp1, RTRL, UORO], ids=lambda rule: rule.name)
class TestOnline:
    """Traces that go on from chunk to chunk. Oracles: the engine without a recording; a fresh start."""

    def test_a_chunk_that_starts_anew_forgets(self, rule: Any) -> None:
        graph = filled(elman(4, [6], 3, STEPS, leak=PER_UNIT))
        inputs, targets = (as_rows(each) for each in batch_for(graph))
        made = rule(online=True)
        torch.manual_seed(1)
        first = update(graph, made, inputs, targets)
        found = {name: grad.clone() for name, grad in updates(graph).items()}
        torch.manual_seed(1)
        update(graph, made, {**inputs, **{n: each for n, each in first.carried.items() if n not in inputs}}, targets)
        assert (updates(graph)["weights.V"] - found["weights.V"]).abs().max() > 1e-4
        zero = {name: torch.zeros_like(each) for name, each in first.carried.items() if name not in inputs}
        assert list(zero) == ["trace of hidden"]
        torch.manual_seed(1)
        update(graph, made, {**inputs, **zero}, targets)
        assert_same(found, updates(graph))

    @pytest.mark.parametrize("leak", [PER_UNIT, TRAINED], ids=["fixed", "trained"])
    def test_a_stack_and_a_recording_carry_alike(self, rule: Any, leak: Any) -> None:
        nodes = elman(4, [6], 3, 2, leak=leak, train_leak=leak is TRAINED)
        stacked, made = filled(nodes, stack=2), rule(online=True)
        inputs, targets = (as_rows(each) for each in batch_for(stacked))
        recorded, carried, expected = RecordedUpdate(stacked, made), dict(inputs), dict(inputs)
        for seed in range(6):
            torch.manual_seed(seed)
            carried |= {name: each.clone() for name, each in recorded(carried, targets).carried.items()}
            torch.manual_seed(seed)
            expected |= {name: each.clone() for name, each in update(stacked, made, expected, targets).carried.items()}
            assert recorded.refused is None
            assert all(torch.equal(carried[name], each) for name, each in expected.items())
        assert carried["trace of hidden"].shape[:2] == (2, 6)

    def test_what_another_graph_left_is_refused(self, rule: Any) -> None:
        graph = filled(elman(4, [6], 3, 2, leak=0.5))
        inputs, targets = (as_rows(each) for each in batch_for(graph))
        with pytest.raises(SeqlraError, match="trace of hidden must be"):
            update(graph, rule(online=True), {**inputs, "trace of hidden": torch.zeros(6, 7)}, targets)
        with pytest.raises(SeqlraError, match="no layer has the traces trace of hiden"):
            update(graph, rule(online=True), {**inputs, "trace of hiden": torch.zeros(6, 7)}, targets)


@pytest.mark.parametrize(
    "options", [{"leak": PER_UNIT}, {"leak": TRAINED, "train_leak": True}], ids=["fixed", "trained"]
)
@pytest.mark.parametrize("length", [1, 2, STEPS])
def test_the_mean_of_uoro_over_chunks_is_rtrl(length: int, options: Any) -> None:
    graph = filled(elman(4, [6], 3, STEPS, **options))
    inputs, targets = batch_for(graph, 1)
    draws, total = 1500, {}
    chunked = [graph.sharing(elman(4, [6], 3, steps, **options)) for steps in (length, STEPS % length or length)]
    for _ in range(8):
        carried: dict[str, Tensor] = {"hidden": inputs["hidden[0]"].expand(draws, -1)}
        summed: dict[str, Tensor] = {}
        for start in range(0, STEPS, length):
            steps = range(start + 1, min(start + length, STEPS) + 1)
            over = chunked[0] if len(steps) == length else chunked[1]
            x = torch.cat([inputs[f"x[{t}]"].expand(draws, -1) for t in steps])
            t = torch.cat([targets[f"output[{t}]"].expand(draws) for t in steps])
            carried = update(over, UORO(online=True, reduction="sum"), {"x": x, **carried}, t).carried
            for name, grad in updates(over).items():
                summed[name] = summed.get(name, 0) + grad / draws
        for name, each in summed.items():
            total.setdefault(name, []).append(each)
    exact = run(graph, RTRL(reduction="sum"), (inputs, targets))
    for name, found in total.items():
        means = torch.stack(found)
        error = means.std(0) / len(means) ** 0.5
        assert ((means.mean(0) - exact[name]).abs() <= 6 * error + 1e-12).all(), name
        assert error.norm() < 0.3 * exact[name].norm() + 1e-12, name
