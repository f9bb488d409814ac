"""Oracle: the tensors of the graph, as the safetensors library reads them, and what the graph computes and learns."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import as_rows, assert_same, batch_for, filled, skip_net, updates

from seqlra import DifferenceTargetPropagation, Graph, LRAFeedback, SeqlraError, elman, initialize, mlp, update
from seqlra.export import load_weights, save_weights

library: Any = pytest.importorskip("safetensors.torch", reason="no safetensors: pip install seqlra[export]")

NETS = [
    lambda: mlp(5, [12, 8], 3),
    skip_net,
    lambda: elman(5, [8, 4], 3, 3),
    lambda: elman(5, [8, 4], 3, 3, leak=0.4, train_leak=True),
]


@pytest.mark.parametrize("stack", [None, 2])
@pytest.mark.parametrize("nodes", NETS)
def test_a_graph_comes_back_and_learns_alike(nodes: Any, stack: int | None, tmp_path: Path) -> None:
    graph = filled(nodes(), stack=stack)
    save_weights(graph, tmp_path / "net.safetensors")
    assert_same(library.load_file(tmp_path / "net.safetensors"), dict(graph.state_dict()), 1e-15)
    other = filled(nodes(), seed=5, stack=stack)
    assert load_weights(other, str(tmp_path / "net.safetensors")) is other
    inputs, targets = (as_rows(named) for named in batch_for(graph))
    for each in (graph, other):
        update(each, LRAFeedback(), inputs, targets)
    assert_same(updates(other), updates(graph), 1e-15)


def test_what_a_rule_added_comes_along(tmp_path: Path) -> None:
    rule = DifferenceTargetPropagation()
    graph = initialize(Graph(mlp(5, [12, 8], 3)), seed=3, rule=rule)
    graph.declare_slope()
    graph.declare_state("progress", torch.full((2,), 0.5))
    save_weights(graph, tmp_path / "net.safetensors")
    fresh = load_weights(Graph(mlp(5, [12, 8], 3)), tmp_path / "net.safetensors")
    assert fresh.slope is not None
    assert_same(dict(fresh.state_dict()), dict(graph.state_dict()), 1e-15)
    assert len(fresh.state_dict()) > len(Graph(mlp(5, [12, 8], 3)).state_dict())


def test_tensors_take_the_type_of_the_graph(tmp_path: Path) -> None:
    graph = filled(mlp(5, [7], 3))
    graph.declare_slope()
    save_weights(graph, tmp_path / "net.safetensors")
    single = load_weights(Graph(mlp(5, [7], 3)).float(), tmp_path / "net.safetensors")
    assert {tensor.dtype for tensor in single.state_dict().values()} == {torch.float32}
    torch.testing.assert_close(single.weights["W1"], graph.weights["W1"].float())


@pytest.mark.parametrize(
    ("hidden", "says"),
    [
        ([12], r"weights.W2 is \(12, 8\) there and \(12, 3\) here"),
        ([12, 9], r"weights.W2 is \(12, 8\) there and \(12, 9\) here"),
        ([12, 8, 4], r"weights.W3 is \(8, 3\) there and \(8, 4\) here"),
    ],
)
def test_another_network_is_refused_and_left_as_it_was(hidden: list[int], says: str, tmp_path: Path) -> None:
    save_weights(filled(mlp(5, [12, 8], 3)), tmp_path / "net.safetensors")
    graph = filled(mlp(5, hidden, 3))
    before = {name: tensor.clone() for name, tensor in graph.state_dict().items()}
    with pytest.raises(SeqlraError, match=says):
        load_weights(graph, tmp_path / "net.safetensors")
    assert_same(dict(graph.state_dict()), before, 1e-15)


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"weights.W3": torch.zeros(2)}, r"weights.W3 is \(2,\) there and missing here"),
        ({"momentum.W1": torch.zeros(2)}, r"momentum.W1 is \(2,\) there and missing here"),
    ],
)
def test_a_tensor_too_many_is_refused(tensors: dict[str, Any], says: str, tmp_path: Path) -> None:
    graph = filled(mlp(5, [7], 3))
    library.save_file({**graph.state_dict(), **tensors}, tmp_path / "net.safetensors")
    with pytest.raises(SeqlraError, match=says):
        load_weights(graph, tmp_path / "net.safetensors")


def test_a_file_that_is_missing_damaged_or_cannot_be_written(tmp_path: Path) -> None:
    graph, file = filled(mlp(5, [7], 3)), tmp_path / "net.safetensors"
    with pytest.raises(SeqlraError, match="there is no file"):
        load_weights(graph, file)
    save_weights(graph, file)
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(SeqlraError, match="is no safetensors file, or damaged"):
        load_weights(graph, file)
    with pytest.raises(SeqlraError, match="cannot write"):
        save_weights(graph, tmp_path / "no such folder" / "net.safetensors")


def test_without_the_library_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(SeqlraError, match=r"pip install 'seqlra\[export\]'"):
        save_weights(filled(mlp(5, [7], 3)), tmp_path / "net.safetensors")
