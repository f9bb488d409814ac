"""Oracles: the recurrence written out, the same graph over other steps, and predictions read again and again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers import filled, small_mlp
from torch import Tensor

import seqlra
from seqlra import Graph, SeqlraError, elman, evaluate, forecast, predict
from seqlra.network.forward import ForwardPass, null_state

X = torch.randn(4, 11, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def recurrence(graph: Graph, x: Tensor) -> Tensor:
    """The outputs of a network with one tanh layer, step by step: ``(n, time, units)``."""
    w, v, u = (graph.weights[name].detach() for name in "WVU")
    b, c = (graph.biases[name].detach() for name in "bc")
    hidden, outputs = torch.zeros(len(x), v.shape[0]), []
    for now in x.unbind(1):
        hidden = torch.tanh(now @ w + hidden @ v + b)
        outputs.append(hidden @ u + c)
    return torch.stack(outputs, 1)


def test_an_mlp_gives_probabilities_in_the_form_of_what_is_given() -> None:
    graph, x = filled(small_mlp()), torch.randn(9, 5)
    expected = graph(x)
    assert torch.equal(predict(graph, x), expected)
    for given in (x.numpy(), x.tolist()):
        found = predict(graph, given)
        assert isinstance(found, np.ndarray)
        assert np.array_equal(found, expected.numpy())
    assert predict(graph, x.float()).dtype == torch.float64
    with pytest.raises(SeqlraError, match="a state is carried by a recurrent graph"):
        predict(graph, x, return_state=True)


@pytest.mark.parametrize("steps", [1, 3, 11, 20])
def test_a_recurrent_graph_runs_over_as_many_steps_as_there_are(steps: int) -> None:
    graph = filled(elman(3, [7], 2, steps, output="gaussian", across_time=True))
    expected = recurrence(graph, X)
    assert torch.allclose(predict(graph, X), expected, atol=1e-12)
    turned = predict(graph, X.transpose(0, 1), layout="time-major")
    assert torch.allclose(turned.transpose(0, 1), expected, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"leak": 0.3, "train_leak": True}], ids=["no leak", "trained leaks"])
def test_the_state_goes_on_where_it_was(options: Any) -> None:
    graph = filled(elman(3, [7, 5], 2, 4, **options))
    whole, last = predict(graph, X, return_state=True)
    first, state = predict(graph, X[:, :6], return_state=True)
    second, end = predict(graph, X[:, 6:], state=state, return_state=True)
    assert torch.allclose(torch.cat([first, second], 1), whole, atol=1e-12)
    assert state.keys() == end.keys() == {"hidden1", "hidden2"}
    assert all(torch.allclose(end[name], last[name], atol=1e-12) for name in end)
    with pytest.raises(SeqlraError, match=r"the state of 4 sequences is .*'hidden1': \(4, 7\)"):
        predict(graph, X, state={"hidden1": state["hidden1"]})


@pytest.mark.parametrize("steps", [2, 11, 15])
def test_a_label_is_asked_at_the_last_step_whatever_the_length(steps: int) -> None:
    graph = filled(elman(3, [7, 5], 2, steps, outputs_at=[steps]))
    same = graph.sharing(elman(3, [7, 5], 2, 11, outputs_at=[11]))
    rows = X.transpose(0, 1).flatten(0, 1)
    expected = ForwardPass(same, {"x": rows, **null_state(same, 4)}).last_output
    assert torch.allclose(predict(graph, X), expected, atol=1e-12)


def test_metrics_are_those_of_the_probabilities() -> None:
    graph, x, t = filled(small_mlp()), torch.randn(9, 5), torch.arange(9) % 3
    p = graph(x)
    found = evaluate(graph, (x, t))
    assert found["error"] == pytest.approx(100 * (p.argmax(1) != t).double().mean().item())
    assert found["loss"] == pytest.approx(-p[range(9), t].log().mean().item())
    parts = evaluate(graph, [(x[:4], t[:4]), (x[4:].numpy(), t[4:].int())])
    assert parts == pytest.approx(found)
    values = filled(elman(3, [7], 2, 5, output="gaussian"))
    targets = torch.randn(4, 11, 2)
    expected = 0.5 * (recurrence(values, X) - targets).square().sum(-1).mean().item()
    assert evaluate(values, (X, targets), stateful=True) == {"loss": pytest.approx(expected)}


def test_many_samples_go_through_in_parts() -> None:
    graph, x = filled(small_mlp()), torch.randn(23_457, 5)
    assert torch.allclose(predict(graph, x), graph(x), atol=1e-12)


def test_draws_of_stochastic_units_leave_torch_alone() -> None:
    graph, x = filled(small_mlp("sigmoid", "bernoulli")), torch.randn(9, 5)
    before = torch.get_rng_state()
    one, same, other = (predict(graph, x, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


class TestForecasts:
    def test_values_are_read_as_if_they_had_been_given(self) -> None:
        graph = filled(elman(3, [7], 3, 4, output="gaussian"))
        found = forecast(graph, X, 5)
        read = X
        for nth in range(5):
            after = predict(graph, read)[:, -1:]
            assert torch.allclose(found[:, nth : nth + 1], after, atol=1e-12)
            read = torch.cat([read, after], 1)
        turned = forecast(graph, X.transpose(0, 1).numpy(), 5, layout="time-major")
        assert np.allclose(turned.swapaxes(0, 1), found, atol=1e-12)

    def test_it_goes_on_from_a_state(self) -> None:
        graph = filled(elman(3, [7], 3, 4, output="gaussian"))
        _, state = predict(graph, X[:, :-2], return_state=True)
        assert torch.allclose(forecast(graph, X[:, -2:], 3, state=state), forecast(graph, X, 3), atol=1e-12)

    def test_the_likeliest_tokens(self) -> None:
        graph, read = filled(elman(6, [7], 6, 4)), torch.arange(22).view(2, 11) % 6
        found = forecast(graph, read, 5)
        for nth in range(5):
            after = predict(graph, read).argmax(-1)[:, -1:]
            assert torch.equal(found[:, nth : nth + 1], after)
            read = torch.cat([read, after], 1)

    def test_drawn_tokens_come_as_often_as_they_should(self) -> None:
        graph, read = filled(elman(3, [4], 3, 2)), torch.tensor([[0, 2]]).expand(4000, 2)
        for temperature in (1.0, 2.0):
            drawn = forecast(graph, read, 1, temperature=temperature, seed=3)
            p = predict(graph, read[:1])[0, -1] ** (1 / temperature)
            shares = torch.bincount(drawn[:, 0], minlength=3) / 4000
            assert torch.allclose(shares, p / p.sum(), atol=0.03)
        assert torch.equal(drawn, forecast(graph, read, 1, temperature=2.0, seed=3))

    @pytest.mark.parametrize(
        ("nodes", "options", "message"),
        [
            (elman(3, [7], 2, 4), {}, "like its only input"),
            (elman(3, [7], 3, 4, outputs_at=[4]), {}, "output at every step"),
            (small_mlp(), {}, "recurrent"),
            (elman(3, [7], 3, 4), {"steps": 0}, "at least 1"),
            (elman(3, [7], 3, 4), {"temperature": -1.0}, "temperature from 0"),
        ],
    )
    def test_what_cannot_run_free_is_refused(self, nodes: Any, options: dict[str, Any], message: str) -> None:
        with pytest.raises(SeqlraError, match=message):
            forecast(filled(nodes), X, **{"steps": 3, **options})


def test_a_graph_over_other_steps_is_refused_where_its_steps_differ() -> None:
    nodes = elman(3, [7], 2, 4, outputs_at=[2, 4])
    with pytest.raises(SeqlraError, match="'output' is there at 2 of 4 steps"):
        predict(filled(nodes), X)
    assert predict(filled(nodes), X[:, :4]).shape == (4, 2, 2)
    odd = [*elman(3, [7], 2, 4, outputs_at=[4])]
    odd[3] = seqlra.Input("x[2]", 3)
    odd[4] = seqlra.Subgraph("hidden[2]", 7, [seqlra.Connection("x[2]", "W")], "tanh", loss="l2", bias="b")
    with pytest.raises(SeqlraError, match="the steps of 'hidden' differ"):
        predict(filled(odd), X)
    odd = [replace(n, leak=0.2) if n.name == "hidden[2]" else n for n in elman(3, [7], 2, 4, leak=0.3)]  # type: ignore[call-overload]
    with pytest.raises(SeqlraError, match="the steps of 'hidden' differ"):
        predict(filled(odd), X)
