"""Oracle: the network that was saved. A loaded one computes and learns the same."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import filled, skip_net, small_mlp

import seqlra
from seqlra import Graph, SeqlraError, elman, initialize, load, mlp, predict, save
from seqlra.network.losses import OUTPUT_LOSSES
from seqlra.network.plain import to_plain
from seqlra.network.units import discretizer
from seqlra.rules import DirectFeedbackAlignment, LRAFeedback, SlopeAnnealing
from seqlra.training import runs
from seqlra.training.configure import configure
from seqlra.training.loading import load_best
from seqlra.training.run_directory import RunDirectory

ARCTAN = seqlra.Activation("arctan", torch.atan, lambda h, z: 1 / (1 + h * h))
OWN_LOSS = replace(OUTPUT_LOSSES["gaussian"], name="mine")

NETS: dict[str, tuple[Any, list[Any]]] = {
    "mlp": (small_mlp("relu", "sign", "l1"), []),
    "skips and shared weights": (skip_net(), []),
    "blocks of three": (mlp(5, [6, 9], 3, discretizer=discretizer("lwta", 3)), []),
    "a recurrent one": (elman(3, [7, 5], 2, 4, output=seqlra.masked("gaussian"), across_time=True), []),
    "a leaky recurrent one": (elman(3, [7, 5], 2, 4, output=seqlra.masked("gaussian"), leak=0.3), []),
    "a recurrent one of trained leaks": (
        elman(
            3, [7], 2, 4, leak=[0.3, 0.2, 0.9, 0.5, 0.6, 0.1, 0.8], train_leak=True, output=seqlra.masked("gaussian")
        ),
        [],
    ),
    "a diagonal recurrent one": (elman(3, [7, 5], 2, 4, across_time=True, recurrence="diagonal"), []),
    "a unit of one's own": (mlp(5, [6], 3, ARCTAN), [ARCTAN]),
    "losses of one's own": (elman(3, [7], 2, 4, output=seqlra.masked(OWN_LOSS)), [OWN_LOSS]),
}


@pytest.mark.parametrize("name", NETS)
def test_a_file_brings_the_network_back(name: str, tmp_path: Path) -> None:
    nodes, own = NETS[name]
    graph = filled(nodes)
    save(graph, tmp_path / "net.pt")
    back = load(tmp_path / "net.pt", own=own)
    assert str(back) == str(graph)
    assert [node.name for node in back.nodes] == [node.name for node in graph.nodes]
    assert back.state_dict().keys() == graph.state_dict().keys()
    x = torch.randn(6, *([4, 3] if "recurrent" in name or "losses" in name else [5]))
    t = predict(graph, x)
    assert torch.equal(predict(back, x), t)
    for each in (graph, back):
        seqlra.fit(each, LRAFeedback(), (x, t.flip(0)), epochs=2)
    assert all(torch.equal(tensor, back.state_dict()[key]) for key, tensor in graph.state_dict().items())
    if own:
        kind = "activation 'arctan'" if name.startswith("a unit") else "output loss 'masked mine'"
        with pytest.raises(SeqlraError, match=f"{kind}, which is not one of seqlra's .*own="):
            load(tmp_path / "net.pt")


@pytest.mark.parametrize("rule", [LRAFeedback(feedback="learned"), DirectFeedbackAlignment(), SlopeAnnealing()])
def test_what_a_rule_adds_to_the_graph_comes_back(rule: Any, tmp_path: Path) -> None:
    units = ("sigmoid", "bernoulli") if isinstance(rule, SlopeAnnealing) else ("tanh", None)
    graph = initialize(Graph(small_mlp(*units)), 0, rule=rule)
    seqlra.fit(graph, rule, (torch.randn(9, 5), torch.arange(9) % 3), epochs=2)
    save(graph, tmp_path / "net.pt")
    back = load(tmp_path / "net.pt")
    assert {name for name, _ in back.named_parameters()} == {name for name, _ in graph.named_parameters()}
    assert all(torch.equal(tensor, back.state_dict()[key]) for key, tensor in graph.state_dict().items())


def test_a_file_says_of_trained_leaks_only_where_there_are_some() -> None:
    for train in (False, True):
        plain = to_plain(elman(3, [7], 2, 2, leak=0.3, train_leak=train))
        assert {node.get("trained_leak") for node in plain if node.get("leak")} == {"a" if train else None}
        assert any("trained_leak" in node for node in plain) == train


def test_a_stack_comes_back(tmp_path: Path) -> None:
    graph = filled(small_mlp(), stack=3)
    save(graph, tmp_path / "net.pt")
    assert load(tmp_path / "net.pt").stack == (3,)


RUNS: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": (12, 8), "valid": 13_000, "discretizer": "lwta", "block_size": 2, "rule": "dfa"},
    "text": {"hidden": (9, 6), "streams": 500, "unroll": 7},
    "one layer": {"hidden": (9,), "streams": 500, "unroll": 7, "rule": "backprop"},
    "leaky": {"hidden": (9,), "streams": 500, "unroll": 7, "leak": 0.4, "recurrence": "diagonal", "feedback": "fixed"},
    "trained leaks": {"hidden": (9, 6), "streams": 500, "unroll": 7, "leak": 0.4, "train_leak": True},
    "generated": {"dataset": "copy", "length": 25, "hidden": (9,), "held_out": 5, "valid": 5},
    "pixels": {"dataset": "mnist-sample-rows", "hidden": (9,), "valid": 14_900},
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_directory_is_read_without_its_data(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_default_dtype(torch.float32)
    monkeypatch.setattr(runs, "save_pictures", lambda *_: None)
    task = "mlp" if name == "mlp" else "rnn"
    runs.train_runs([configure(task, **RUNS[name], steps=2, diagnose=0, device="cpu", threads=1)], tmp_path / "run")
    best = load_best(RunDirectory.open(tmp_path / "run"))
    monkeypatch.setattr("seqlra.training.experiment.prepare", None)
    graph = load(tmp_path / "run")
    assert {key: tensor.tolist() for key, tensor in graph.state_dict().items()} == {
        key: tensor.tolist() for key, tensor in best.graph.state_dict().items()
    }
    inputs = {name: node.units for name, node in zip("xy", best.graph.inputs[-1:], strict=False)}
    x = (
        torch.randint(inputs["x"], (3, 28))
        if name in ("text", "one layer", "leaky", "trained leaks")
        else torch.rand(3, 28, inputs["x"])
    )
    x = torch.rand(3, inputs["x"]) if name == "mlp" else x[:, :25] if name == "generated" else x
    assert torch.equal(predict(graph, x), predict(best.graph, x))


def test_no_code_of_a_run_directory_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_default_dtype(torch.float32)
    monkeypatch.setattr(runs, "save_pictures", lambda *_: None)
    config = configure("mlp", hidden=(12,), valid=13_000, steps=2, device="cpu", threads=1)
    runs.train_runs([config], tmp_path / "run")
    (tmp_path / "run" / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    plain = json.loads((tmp_path / "run" / "config.json").read_text())
    plain["rule"] = {"name": "evil:Rule"}
    (tmp_path / "run" / "config.json").write_text(json.dumps(plain))
    monkeypatch.chdir(tmp_path / "run")
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    load(tmp_path / "run")
    assert not (tmp_path / "ran").exists()


class Bomb:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("exploded"),))


def test_what_is_no_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "net.pt"
    save(filled(small_mlp()), file)
    whole = torch.load(file, weights_only=True)
    wrong: dict[str, Any] = {
        "holds no network": whole | {"graph": {"a": 1}},
        "does not say of what network": {name: held for name, held in whole.items() if name != "nodes"},
        "not a list of subgraphs": whole | {"nodes": [{"name": "x"}]},
        "do not fit its network": whole | {"graph": {**whole["graph"], "weights.W1": torch.zeros(2, 2)}},
        "damaged": whole | {"nodes": Bomb()},
    }
    for message, state in wrong.items():
        torch.save(state, file)
        with pytest.raises(SeqlraError, match=message):
            load(file)
    assert not Path("exploded").exists()
    file.write_bytes(b"nothing")
    with pytest.raises(SeqlraError, match="damaged"):
        load(file)
    with pytest.raises(SeqlraError, match="there is no checkpoint"):
        load(tmp_path / "nowhere.pt")
    shutil.rmtree(tmp_path / "empty", ignore_errors=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SeqlraError, match="not a run directory"):
        load(tmp_path / "empty")


def test_feedback_that_a_run_learned_is_learned_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_default_dtype(torch.float32)
    monkeypatch.setattr(runs, "save_pictures", lambda *_: None)
    config = configure("rnn", hidden=(9,), streams=500, unroll=7, steps=2, feedback="learned", device="cpu", threads=1)
    runs.train_runs([config], tmp_path / "run")
    assert "feedback.E" in dict(load(tmp_path / "run").named_parameters())
