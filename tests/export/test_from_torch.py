"""Oracle: what the torch modules compute, in float64, and their own weights after a round trip."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import filled, updates
from torch import Tensor, nn

from seqlra import Graph, LRAFeedback, SeqlraError, elman, initialize, mlp, update
from seqlra.export import from_torch, to_torch
from seqlra.network.forward import null_state
from seqlra.network.losses import masked

BATCH, STEPS = 6, 4


def assert_equal(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def run_over_time(graph: Graph, x: Tensor) -> Tensor:
    """The outputs ``(batch, steps, outputs)`` for ``x``, ``(batch, steps, inputs)``, from the null state."""
    rows = graph({"x": x.transpose(0, 1).flatten(0, 1), **null_state(graph, len(x))})
    return rows.unflatten(0, (-1, len(x))).transpose(0, 1)


class TestSequential:
    @pytest.mark.parametrize(
        "f",
        [
            nn.Identity(),
            nn.Sigmoid(),
            nn.Tanh(),
            nn.Hardtanh(),
            nn.ReLU(inplace=True),
            nn.ReLU6(),
            nn.Softplus(),
            nn.Softsign(),
        ],
        ids=lambda f: type(f).__name__,
    )
    def test_every_activation(self, f: nn.Module) -> None:
        net = nn.Sequential(nn.Linear(5, 12), f, nn.Linear(12, 8), f, nn.Linear(8, 3))
        graph, x = from_torch(net), 3 * torch.randn(BATCH, 5)
        assert_equal(graph(x), net(x))
        back = to_torch(graph)
        assert [type(part) for part in back] == [type(part) for part in net]  # type: ignore[arg-type]
        assert back.state_dict().keys() == net.state_dict().keys()
        assert all(torch.equal(back.state_dict()[name], tensor) for name, tensor in net.state_dict().items())

    def test_mixed_units_nested_parts_missing_biases_and_a_softmax(self) -> None:
        inner = nn.Sequential(nn.Linear(8, 7, bias=False), nn.Linear(7, 4))
        net = nn.Sequential(
            nn.Linear(5, 8), nn.ReLU(), inner, nn.Tanh(), nn.Linear(4, 3, bias=False), nn.Softmax(dim=1)
        )
        graph, x = from_torch(net), torch.randn(BATCH, 5)
        assert [s.f.name for s in graph.subgraphs if s.f] == ["relu", "identity", "tanh"]
        assert (list(graph.weights), list(graph.biases)) == (["W1", "W2", "W3", "W4"], ["b1", "b3"])
        assert graph.outputs[0].loss.name == "cross-entropy"
        assert_equal(graph(x), net(x))
        assert_equal(to_torch(graph)(x), net(x))

    def test_logits_of_a_classifier(self) -> None:
        net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
        graph, x = from_torch(net, output="cross-entropy"), torch.randn(BATCH, 5)
        assert_equal(graph(x), net(x).softmax(-1))
        assert_equal(to_torch(graph, logits=True)(x), net(x))

    def test_the_weights_are_copies_of_the_same_type(self) -> None:
        net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).float()
        graph = from_torch(net)
        assert {p.dtype for p in graph.parameters()} == {torch.float32}
        with torch.no_grad():
            for p in graph.parameters():
                p.zero_()
        assert all(p.abs().max() > 0 for p in net.parameters())

    def test_a_linear_layer_alone(self) -> None:
        net, x = nn.Linear(5, 3), torch.randn(BATCH, 5)
        assert_equal(from_torch(net)(x), net(x))

    @pytest.mark.parametrize("output", [None, "cross-entropy", masked("cross-entropy")])
    def test_a_round_trip_of_a_graph_computes_and_learns_alike(self, output: Any) -> None:
        graph = filled(mlp(5, [12, 8, 4], 3, "sigmoid", loss="l1", output=output or "gaussian"))
        back = from_torch(to_torch(graph), loss="l1", output=output, seed=7)
        back.feedback.load_state_dict(graph.feedback.state_dict())
        x, t = torch.randn(BATCH, 5), torch.randint(3, (BATCH,)) if output else torch.randn(BATCH, 3)
        for each in (graph, back):
            update(each, LRAFeedback(), x, t)
        for name, change in updates(graph).items():
            assert_equal(updates(back)[name], change)

    def test_the_error_weights_are_those_of_the_seed(self) -> None:
        net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
        expected = initialize(Graph(mlp(5, [7], 3)), seed=4).feedback["E2"]
        assert torch.equal(from_torch(net, seed=4).feedback["E2"], expected)


class TestRNN:
    @pytest.mark.parametrize("layers", [1, 2])
    @pytest.mark.parametrize("f", ["tanh", "relu"])
    @pytest.mark.parametrize("bias", [True, False])
    def test_an_rnn_and_a_linear_layer(self, layers: int, f: str, bias: bool) -> None:
        rnn, head = nn.RNN(5, 8, layers, f, bias, batch_first=True), nn.Linear(8, 3)
        graph, x = from_torch(rnn, head, steps=STEPS), torch.randn(BATCH, STEPS, 5)
        expected, state = rnn(x)
        assert_equal(run_over_time(graph, x), head(expected))
        assert len(graph.layers) == layers + 1
        out, after = to_torch(graph)(x)
        assert_equal(out, head(expected))
        assert_equal(after, state)

    def test_layers_of_unequal_sizes_and_units_and_the_last_output_alone(self) -> None:
        rnns, head = (
            [nn.RNN(5, 8, 2, batch_first=True), nn.RNN(8, 4, 1, "relu", False, batch_first=True)],
            nn.Linear(4, 3),
        )
        graph = from_torch(*rnns, head, nn.Softmax(-1), steps=STEPS, outputs_at=[STEPS])
        x = torch.randn(BATCH, STEPS, 5)
        expected = head(rnns[1](rnns[0](x)[0])[0][:, -1]).softmax(-1)
        assert_equal(run_over_time(graph, x)[:, 0], expected)
        assert_equal(to_torch(graph)(x)[0], expected)

    @pytest.mark.parametrize("outputs_at", [None, [STEPS]])
    def test_a_round_trip_of_a_graph(self, outputs_at: Any) -> None:
        graph = filled(elman(5, [8, 4], 3, STEPS, "relu", across_time=True, outputs_at=outputs_at))
        back = from_torch(to_torch(graph), steps=STEPS, across_time=True)
        assert [s.name for s in back.subgraphs] == [s.name for s in graph.subgraphs]
        assert back.subgraphs[-1].loss.name == "cross-entropy"
        x = torch.randn(BATCH, STEPS, 5)
        assert_equal(run_over_time(back, x), run_over_time(graph, x))
        assert {name: t.shape for name, t in back.feedback.items()} == {n: t.shape for n, t in graph.feedback.items()}


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 3)


LINEAR, LAST = nn.Linear(5, 7), nn.Linear(7, 3)
RNN = nn.RNN(5, 7)


@pytest.mark.parametrize(
    ("modules", "says"),
    [
        (
            [LINEAR, nn.ReLU(), nn.Dropout(0.5), LAST],
            r"counterpart for Dropout\(p=0.5, inplace=False\) there; accepted",
        ),
        ([nn.Flatten(), LINEAR], "Flatten"),
        ([nn.Sequential(LINEAR, nn.LeakyReLU(0.1)), nn.GELU(), LAST], r"LeakyReLU\(negative_slope=0.1\) there"),
        ([LINEAR, nn.Tanh(), nn.ReLU(), LAST], r"ReLU\(\) there"),
        ([nn.Tanh(), LINEAR], r"Tanh\(\) there"),
        ([LINEAR, nn.Tanh()], r"Tanh\(\) there"),
        ([LINEAR, nn.Tanh(), nn.Softmax(-1)], r"Tanh\(\) there"),
        ([LINEAR, nn.Hardtanh(-2, 2), LAST], "Hardtanh"),
        ([LINEAR, nn.Softplus(beta=2), LAST], "Softplus"),
        ([LINEAR, nn.Softmax(0)], r"Softmax\(dim=0\)"),
        ([LINEAR, nn.Softmax(-1), LAST], r"Softmax\(dim=-1\)"),
        ([Own()], r"Own\(\) there"),
        ([nn.utils.parametrizations.weight_norm(nn.Linear(5, 3))], "ParametrizedLinear"),
        ([LINEAR, nn.Tanh(), nn.Linear(8, 3)], r"Linear\(in_features=8, .*\) reads 8 units, .* before it has 7"),
        ([], "there is no nn.Linear"),
        ([nn.Sequential()], "there is no nn.Linear"),
        ([nn.LSTM(5, 7), LAST], r"LSTM\(5, 7\) there"),
        ([nn.GRU(5, 7), LAST], r"GRU\(5, 7\) there"),
        ([nn.RNN(5, 7, bidirectional=True), LAST], "bidirectional=True"),
        ([nn.RNN(5, 7, 2, dropout=0.1), LAST], "dropout=0.1"),
        ([RNN], "no nn.Linear comes after nn.RNN"),
        ([RNN, nn.Tanh(), LAST], r"Tanh\(\) there"),
        ([RNN, LAST, nn.Tanh()], r"Tanh\(\) there"),
        ([RNN, nn.Linear(8, 3)], r"Linear\(in_features=8, .*\) reads 8 units, .* before it has 7"),
        ([RNN, nn.RNN(8, 7), LAST], r"RNN\(8, 7\) reads 8 units, .* before it has 7"),
        ([LINEAR, RNN, LAST], r"RNN\(5, 7\) there"),
        ([RNN, LAST, nn.Softmax(1)], r"Softmax\(dim=1\)"),  # over the steps
    ],
    ids=str,
)
def test_what_does_not_fit_is_named_in_one_line(modules: list[nn.Module], says: str) -> None:
    with pytest.raises(SeqlraError, match=says) as error:
        from_torch(*modules)
    assert "\n" not in str(error.value)


def test_a_softmax_goes_with_cross_entropy_alone() -> None:
    with pytest.raises(SeqlraError, match="Softmax"):
        from_torch(LINEAR, nn.Softmax(-1), output="gaussian")
