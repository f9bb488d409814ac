"""Oracle: what the graph computes, in float64; the same draws where units draw; a run's own result."""

from __future__ import annotations

import copy
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import filled, skip_net, small_mlp
from torch import Tensor, fx, nn

import seqlra
from seqlra import Activation, Connection, Discretizer, Graph, Input, OutputLoss, SeqlraError, Subgraph, elman, mlp
from seqlra.export import ElmanModule, to_torch
from seqlra.export.units import MODULES
from seqlra.network.forward import ForwardPass, null_state
from seqlra.network.losses import masked
from seqlra.network.units import ACTIVATIONS, DISCRETIZERS
from seqlra.tasks.prediction import as_streams
from seqlra.training import runs
from seqlra.training.configure import configure
from seqlra.training.experiment import unroll
from seqlra.training.loading import load_best, load_network
from seqlra.training.run_directory import RunDirectory

BATCH = 6
ARCTAN = Activation("arctan", torch.atan, lambda h, z: 1 / (1 + h * h))
BELOW_ZERO = Activation("my relu", lambda h: h if h.sum() < 0 else -h, lambda h, z: torch.ones_like(h))


def assert_equal(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def rows(x: Tensor) -> Tensor:
    """What a module takes or returns, ``(batch, steps, ...)``, as rows of a graph, the first step first."""
    return x.transpose(0, 1).flatten(0, 1)


def assert_same_over_time(module: nn.Module, graph: Graph, steps: int) -> None:
    """The same outputs and the same next states, from states other than 0."""
    torch.manual_seed(3)
    x = torch.randn(BATCH, steps, 5)
    given = {name: torch.randn_like(state) for name, state in null_state(graph, BATCH).items()}
    torch.manual_seed(4)
    forward = ForwardPass(graph, {"x": rows(x), **given})
    torch.manual_seed(4)
    if isinstance(module, ElmanModule):
        stacked, sizes = list(given.values()), [rnn.num_layers for rnn in module.rnns]
        out, *after = module(x, *(torch.stack([stacked.pop(0) for _ in range(size)]) for size in sizes))
        after = [state for each in after for state in each]
    else:
        out, *after = module(x, *given.values())
    assert_equal(rows(out) if out.dim() == 3 else out, forward.last_output)
    for ours, (name, theirs) in zip(after, forward.carried().items(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12, msg=name)


class TestSequential:
    def test_an_mlp_is_linear_layers_and_activations(self) -> None:
        graph = filled(small_mlp())
        module = to_torch(graph)
        kinds = [nn.Linear, nn.Tanh, nn.Linear, nn.Tanh, nn.Linear, nn.Tanh, nn.Linear, nn.Softmax]
        assert [type(part) for part in module] == kinds  # type: ignore[arg-type]
        x = torch.randn(BATCH, 5)
        assert_equal(module(x), graph(x))

    @pytest.mark.parametrize("f", [*ACTIVATIONS, ARCTAN], ids=lambda f: getattr(f, "name", f))
    @pytest.mark.parametrize("g", [None, *DISCRETIZERS])
    def test_every_unit(self, f: Any, g: str | None) -> None:
        graph = filled(mlp(5, [12, 8], 3, f, g, output="gaussian"))
        module = to_torch(graph)
        assert type(module) is nn.Sequential
        x = 3 * torch.randn(40, 5)
        torch.manual_seed(2)
        expected = graph(x)
        torch.manual_seed(2)
        assert_equal(module(x), expected)

    def test_every_activation_with_a_name_has_a_module(self) -> None:
        assert MODULES.keys() == ACTIVATIONS.keys()

    def test_an_activation_of_ones_own_may_be_called_as_one_of_ours(self) -> None:
        own = Activation("tanh", lambda h: torch.sin(h) * 2, lambda h, z: 2 * torch.cos(h))
        graph, x = filled(mlp(5, [7], 3, own)), torch.randn(BATCH, 5)
        assert_equal(to_torch(graph)(x), graph(x))

    def test_a_unit_of_ones_own_may_be_a_module(self) -> None:
        unit = nn.PReLU(init=0.3)
        graph, x = filled(mlp(5, [7], 3, Activation("prelu", unit, lambda h, z: h))), torch.randn(BATCH, 5)
        module = to_torch(graph)
        expected = graph(x)
        unit.weight.data.fill_(9)
        assert_equal(module(x), expected)  # a copy

    @pytest.mark.parametrize("nodes", [mlp(5, [7], 3), mlp(5, [7], 3, output="gaussian")])
    def test_logits_are_what_the_softmax_gets(self, nodes: Any) -> None:
        graph, x = filled(nodes), torch.randn(BATCH, 5)
        assert_equal(to_torch(graph, logits=True)(x), ForwardPass(graph, x).h[-1])

    def test_an_output_of_ones_own(self) -> None:
        own = OutputLoss("yes-or-no", torch.sigmoid, lambda h, t: h.sum(-1), lambda z, t: z - t)
        graph, x = filled(mlp(5, [7], 3, output=own)), torch.randn(BATCH, 5)
        assert_equal(to_torch(graph)(x), graph(x))
        assert type(to_torch(filled(mlp(5, [7], 3, output=masked("cross-entropy"))))[-1]) is nn.Softmax  # type: ignore[index]

    @pytest.mark.parametrize("nodes", [small_mlp(), elman(5, [8, 4], 3, 3), skip_net()], ids=["mlp", "rnn", "list"])
    def test_the_slope_of_annealed_units_counts(self, nodes: Any) -> None:
        graph = filled(nodes)
        graph.declare_slope()
        assert graph.slope is not None
        graph.slope.fill_(1.7)
        if len(graph.inputs) > 1:
            assert_same_over_time(to_torch(graph), graph, 3)
        else:
            x = torch.randn(BATCH, 5)
            assert_equal(to_torch(graph)(x), graph(x))

    def test_without_biases(self) -> None:
        nodes: list[Input | Subgraph] = [Input("x", 5), Subgraph("a", 7, ["x"], "relu", bias=None)]
        graph = filled([*nodes, Subgraph("out", 3, ["a"], loss="gaussian", bias=None)])
        module, x = to_torch(graph), torch.randn(BATCH, 5)
        assert type(module) is nn.Sequential
        assert len(list(module.parameters())) == 2
        assert_equal(module(x), graph(x))

    def test_the_weights_are_copies_of_the_same_type_that_torch_can_train(self) -> None:
        graph = filled(small_mlp()).float()
        module = to_torch(graph)
        before = {name: tensor.clone() for name, tensor in graph.state_dict().items()}
        optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
        module(torch.randn(BATCH, 5, dtype=torch.float32))[:, 0].sum().backward()
        optimizer.step()
        assert all(p.grad is not None and p.dtype == torch.float32 for p in module.parameters())
        assert all(torch.equal(before[name], tensor) for name, tensor in graph.state_dict().items())


class TestRNN:
    @pytest.mark.parametrize("f", ["tanh", "relu"])
    @pytest.mark.parametrize(("hidden", "sizes"), [([8], [1]), ([8, 8], [2]), ([8, 4, 4, 6], [1, 2, 1])], ids=str)
    def test_an_elman_network_is_an_rnn_and_a_linear_layer(self, f: str, hidden: list[int], sizes: list[int]) -> None:
        graph = filled(elman(5, hidden, 3, 4, f))
        module = to_torch(graph)
        assert isinstance(module, ElmanModule)
        assert [rnn.num_layers for rnn in module.rnns] == sizes
        assert all(type(rnn) is nn.RNN and rnn.batch_first for rnn in module.rnns)
        assert_same_over_time(module, graph, 4)

    def test_it_runs_over_any_number_of_steps_from_the_null_state(self) -> None:
        graph = filled(elman(5, [8, 4], 3, 2))
        longer = graph.sharing(elman(5, [8, 4], 3, 7))
        x = torch.randn(BATCH, 7, 5)
        out, *_ = to_torch(graph)(x)
        assert_equal(rows(out), longer({"x": rows(x), **null_state(longer, BATCH)}))

    def test_over_one_step_there_is_an_output_at_every_step(self) -> None:
        module = to_torch(filled(elman(5, [8], 3, 1)))
        assert module(torch.randn(BATCH, 7, 5))[0].shape == (BATCH, 7, 3)

    def test_the_output_of_the_last_step_alone(self) -> None:
        graph = filled(elman(5, [8], 3, 4, outputs_at=[4]))
        module = to_torch(graph)
        assert isinstance(module, ElmanModule)
        assert not module.every_step
        assert_same_over_time(module, graph, 4)
        assert module(torch.randn(BATCH, 4, 5))[0].shape == (BATCH, 3)

    def test_tokens(self) -> None:
        graph = filled(elman(5, [8], 3, 4))
        tokens = torch.randint(5, (BATCH, 4))
        expected = graph({"x": rows(tokens), **null_state(graph, BATCH)})
        module = to_torch(graph, logits=True, tokens=True)
        assert isinstance(module, ElmanModule)
        assert_equal(rows(module(tokens)[0]).softmax(-1), expected)

    @pytest.mark.parametrize(
        "change",
        [
            {"activation": "sigmoid"},
            {"activation": Activation("tanh", lambda h: h.sin(), lambda h, z: h.cos())},
            {"discretizer": "sign"},
            {"outputs_at": [2, 4]},
            {"outputs_at": [3]},
            {"hidden": [8, 4], "activation": "softsign", "discretizer": "heaviside"},
        ],
        ids=["sigmoid", "another tanh", "sign", "some steps", "an inner step", "two layers"],
    )
    def test_other_recurrent_lists_are_written_out(self, change: dict[str, Any]) -> None:
        graph = filled(elman(**{"inputs": 5, "hidden": [8], "outputs": 3, "steps": 4, **change}))
        module = to_torch(graph)
        assert isinstance(module, fx.GraphModule)
        assert_same_over_time(module, graph, 4)


def both_ways(steps: int = 3) -> list[Input | Subgraph]:
    """A bidirectional RNN: a state comes in at both ends."""
    nodes: list[Input | Subgraph] = [Input("there[0]", 8), *(Input(f"x[{t}]", 5) for t in range(1, steps + 1))]
    nodes.append(Input(f"back[{steps + 1}]", 4))
    for t in range(1, steps + 1):
        nodes.append(
            Subgraph(f"there[{t}]", 8, [Connection(f"x[{t}]", "W"), Connection(f"there[{t - 1}]", "V")], bias="b")
        )
    for t in range(steps, 0, -1):
        nodes.append(
            Subgraph(f"back[{t}]", 4, [Connection(f"x[{t}]", "P"), Connection(f"back[{t + 1}]", "Q")], bias="d")
        )
    for t in range(1, steps + 1):
        reads = [Connection(f"there[{t}]", "U"), Connection(f"back[{t}]", "R")]
        nodes.append(Subgraph(f"output[{t}]", 3, reads, loss="cross-entropy", bias="c"))
    return nodes


def alike(name: str) -> list[Input | Subgraph]:
    """An Elman network but for one thing, by the name of that thing."""
    nodes = elman(5, [8, 8], 3, 3)
    if name == "a skip to the output":
        skip = Connection("hidden1[3]", "S")
        last = nodes[-1]
        assert isinstance(last, Subgraph)
        return [*nodes[:-1], Subgraph("output[3]", 3, [*last.reads, skip], loss="cross-entropy", bias="c")]
    changed: list[Input | Subgraph] = []
    for node in nodes:
        if isinstance(node, Subgraph) and not node.is_output:
            reads = []
            for read in node.reads:
                weight = read.weight
                source = read.source
                if name == "shared recurrent weights" and weight in ("V1", "V2"):
                    weight = "V"
                if name == "the layer below one step before" and node.name.startswith("hidden2") and weight == "W2":
                    source = f"hidden1[{int(source[-2]) - 1}]"
                reads.append(Connection(source, weight))
            node = Subgraph(node.name, 8, reads, bias=node.bias)
        changed.append(node)
    return changed


class TestAnyList:
    @pytest.mark.parametrize("g", [None, "sign", "lwta", "slwta-sampled"])
    def test_skip_connections_and_shared_weights(self, g: str | None) -> None:
        graph, x = filled(skip_net(g=g)), torch.randn(BATCH, 5)
        module = to_torch(graph)
        assert isinstance(module, fx.GraphModule)
        torch.manual_seed(2)
        expected = graph(x)
        torch.manual_seed(2)
        assert_equal(module(x), expected)
        assert {name: tuple(p.shape) for name, p in module.named_parameters()} == {
            **{f"weight_{name.replace('-', '_')}": tuple(tensor.shape) for name, tensor in graph.weights.items()},
            **{f"bias_{name}": tuple(tensor.shape) for name, tensor in graph.biases.items()},
        }

    @pytest.mark.parametrize("leak", [0.3, [0.1, 0.9, 0.5, 0.2, 1.0, 0.7]])
    def test_leaky_units(self, leak: Any) -> None:
        graph = filled(elman(5, [6, 6], 3, 4, leak=leak))
        module = to_torch(graph)
        assert isinstance(module, fx.GraphModule)
        assert_same_over_time(module, graph, 4)

    @pytest.mark.parametrize(("hidden", "leak"), [([6, 4], 0.3), ([6], [0.1, 0.9, 0.5, 0.2, 0.4, 0.7])])
    def test_a_trained_leak_is_a_parameter(self, hidden: list[int], leak: Any) -> None:
        graph = filled(elman(5, hidden, 3, 4, leak=leak, train_leak=True))
        module = to_torch(graph)
        assert isinstance(module, fx.GraphModule)
        assert_same_over_time(module, graph, 4)
        assert len(list(module.parameters())) == len(list(graph.parameters()))
        out = module(torch.randn(BATCH, 4, 5), *(torch.zeros(BATCH, units) for units in hidden))[0]
        out[..., 0].sum().backward()
        for name, logits in graph.leaks.items():
            exported = module.get_parameter(f"leak_logit_{name}")
            torch.testing.assert_close(exported.data, logits.data)
            assert exported.grad is not None
            assert exported.grad.abs().max() > 0

    @pytest.mark.parametrize(
        "name", ["a skip to the output", "shared recurrent weights", "the layer below one step before"]
    )
    def test_what_is_almost_an_elman_network(self, name: str) -> None:
        graph = filled(alike(name))
        module = to_torch(graph)
        assert isinstance(module, fx.GraphModule)
        assert_same_over_time(module, graph, 3)

    def test_a_bidirectional_rnn(self) -> None:
        graph = filled(both_ways())
        x, there, back = torch.randn(BATCH, 3, 5), torch.randn(BATCH, 8), torch.randn(BATCH, 4)
        out, next_there = to_torch(graph)(x, there, back)
        forward = ForwardPass(graph, {"x": rows(x), "there": there, "back": back})
        assert_equal(rows(out), forward.last_output)
        assert_equal(next_there, forward.carried()["there"])

    def test_several_inputs_and_outputs(self) -> None:
        nodes = [
            Input("x", 5),
            Input("y", 4),
            Subgraph("a", 8, ["x", "y"]),
            Subgraph("unread", 6, ["y"]),
            Subgraph("first", 3, ["unread"], loss="gaussian"),
            Subgraph("last", 2, ["a"], loss="gaussian"),
        ]
        graph, x, y = filled(nodes), torch.randn(BATCH, 5), torch.randn(BATCH, 4)
        module = to_torch(graph)
        assert_equal(module(x, y), graph({"x": x, "y": y}))
        assert not any("first" in name for name, _ in module.named_parameters())

    def test_tokens_without_a_recurrence(self) -> None:
        graph, tokens = filled(mlp(5, [7], 3)), torch.randint(5, (BATCH,))
        assert_equal(to_torch(graph, tokens=True)(tokens), graph(tokens))

    def test_names_that_are_no_identifiers_or_that_modules_have_already(self) -> None:
        nodes = [
            Input("class", 5),
            Input("self", 4),
            Input("torch", 7),
            Input("x 1", 4),
            Input("x-1", 4),
            Subgraph("a b", 8, [Connection("class", "w-1"), "self", "torch", "x 1", "x-1"], bias="forward"),
            Subgraph("a-b", 4, [Connection("a b", "w_1")], bias="for ward"),
            Subgraph("-self-", 6, [Connection("a-b", "T")]),
            Subgraph("ä", 3, [Connection("-self-", "0"), Connection("class", "w 1")], loss="gaussian"),
        ]
        graph = filled(nodes)
        inputs = {node.name: torch.randn(BATCH, node.units) for node in graph.inputs}
        assert_equal(to_torch(graph)(*inputs.values()), graph(inputs))

    def test_the_code_is_the_list(self) -> None:
        code = to_torch(filled(skip_net())).code
        assert "a = self.unit_tanh(" in code
        assert "seqlra" not in code

    def test_it_can_be_copied_and_saved_without_seqlra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        graph, x = filled(skip_net(g="lwta")), torch.randn(BATCH, 5)
        module = copy.deepcopy(to_torch(graph))
        file = io.BytesIO()
        torch.save(module, file)
        expected = graph(x)
        for name in list(sys.modules):
            if name.partition(".")[0] == "seqlra":
                monkeypatch.setitem(sys.modules, name, None)  # type: ignore[arg-type]
        file.seek(0)
        assert_equal(torch.load(file, weights_only=False)(x), expected)


class TestRefused:
    @pytest.mark.parametrize(
        ("unit", "says"),
        [
            ({"activation": BELOW_ZERO}, "'my relu' has no form as a torch module.*: symbolically traced"),
            ({"discretizer": Discretizer("noisy", lambda z: z + float(z.sum()))}, "'noisy' has no form"),
            (
                {"output": OutputLoss("numpy", lambda h: torch.from_numpy(h.numpy()), lambda h, t: h, lambda z, t: z)},
                "'numpy' has no form",
            ),
        ],
        ids=["activation", "discretizer", "output"],
    )
    @pytest.mark.parametrize("layers", [[8], [8, 4]])
    def test_a_unit_that_is_more_than_torch_operations(
        self, unit: dict[str, Any], says: str, layers: Sequence[int]
    ) -> None:
        with pytest.raises(SeqlraError, match=says):
            to_torch(Graph(mlp(5, layers, 3, **unit)))

    def test_a_stack(self) -> None:
        with pytest.raises(SeqlraError, match="a stack of 3 models"):
            to_torch(Graph(small_mlp(), stack=3))


class TestTrainedRuns:
    @pytest.fixture(autouse=True)
    def single_precision(self, double_precision: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """As a command trains; without pictures."""
        monkeypatch.setattr(runs, "save_pictures", lambda *_: None)
        torch.set_default_dtype(torch.float32)
        monkeypatch.chdir(tmp_path)

    def test_an_mlp_makes_the_mistakes_that_its_run_reports(self, images: Path) -> None:
        options: dict[str, Any] = {"hidden": (12, 8), "valid": 70, "batch_size": 20, "epochs": 2, "dataset": "mnist"}
        config = configure("mlp", **options, data_dir=str(images), device="cpu", threads=1)
        (result,) = runs.train_runs([config], Path("run"))
        experiment = load_best(RunDirectory.open(Path("run")))
        module = to_torch(experiment.graph)
        assert type(module) is nn.Sequential
        test = experiment.task.images.test  # type: ignore[union-attr]
        x, t = test.take(torch.arange(len(test)))
        assert 100 * (module(x).argmax(-1) != t).double().mean().item() == pytest.approx(result["test_error"])

    def test_an_rnn_has_the_bits_per_character_that_its_graph_has(self, short_text: Path) -> None:
        options: dict[str, Any] = {"hidden": (9,), "text": str(short_text), "streams": 5, "unroll": 20, "steps": 30}
        runs.train_runs([configure("rnn", **options, device="cpu", threads=1)], Path("run"))
        run = RunDirectory.open(Path("run"))
        graph, vocabulary = load_network(run)
        module = to_torch(graph, tokens=True)
        assert isinstance(module, ElmanModule)
        series = as_streams(vocabulary.encode(short_text.read_text()[:200]), 3)
        steps = len(series) - 1
        longer = graph.sharing(unroll(load_best(run).config, vocabulary)(steps))
        expected = longer({"x": series[:-1].flatten(), **null_state(longer, 3)})
        torch.testing.assert_close(rows(module(series[:-1].T)[0]), expected, rtol=0, atol=2e-6)


def test_the_room_is_there_on_first_use() -> None:
    assert seqlra.export.to_torch is to_torch
    assert "export" in dir(seqlra)
