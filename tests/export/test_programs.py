"""Oracle: the torch module itself, against what ``torch.export`` and onnxruntime make of it, for other batch sizes."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import filled, skip_net
from torch import Tensor, nn

import seqlra
from seqlra import Activation, Graph, elman, mlp
from seqlra.export import to_torch
from seqlra.training import runs
from seqlra.training.configure import configure

ARCTAN = Activation("arctan", torch.atan, lambda h, z: 1 / (1 + h * h))
pytestmark = [
    pytest.mark.filterwarnings("ignore:The tensor attributes"),  # torch, about its own nn.RNN
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec:FutureWarning"),  # its exporter, about itself
]
BATCH = torch.export.Dim("batch")

CASES: dict[str, tuple[Any, bool, tuple[Any, ...]]] = {
    "own activation, lwta": (mlp(5, [12, 8], 3, ARCTAN, "lwta"), False, ({0: BATCH},)),
    "skip connections, sign": (skip_net(g="sign"), False, ({0: BATCH},)),
    "two sizes of recurrent layers": (elman(5, [8, 4], 3, 1), False, ({0: BATCH}, ({1: BATCH}, {1: BATCH}))),
    "last output": (elman(5, [8], 3, 2, outputs_at=[2]), False, ({0: BATCH}, ({1: BATCH},))),
    "tokens": (elman(5, [8], 3, 2), True, ({0: BATCH}, ({1: BATCH},))),
    "binary units over time": (
        elman(5, [8, 4], 3, 2, "sigmoid", "heaviside"),
        True,
        ({0: BATCH}, {0: BATCH}, {0: BATCH}),
    ),
}


def arguments(graph: Graph, module: nn.Module, tokens: bool, batch: int) -> tuple[Tensor, ...]:
    """Inputs and states for a module, of random values."""
    like = next(module.parameters())
    buffer = graph.layout.buffers["x"]
    sizes = (batch, buffer.blocks) if "x[1]" in graph.layout.places else (batch,)
    x = torch.randint(buffer.units, sizes) if tokens else torch.randn(*sizes, buffer.units).to(like)
    states = [torch.randn(batch, node.units).to(like) for node in graph.inputs if node.name.endswith("[0]")]
    return (x, *(state[None] if hasattr(module, "rnns") else state for state in states))


def program_of(name: str, dtype: torch.dtype) -> tuple[Graph, nn.Module, torch.export.ExportedProgram]:
    nodes, tokens, shapes = CASES[name]
    graph = filled(nodes).to(dtype)
    module = to_torch(graph, tokens=tokens)
    program = torch.export.export(module, arguments(graph, module, tokens, 2), dynamic_shapes=shapes)
    return graph, module, program


def as_tuple(outputs: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


@pytest.mark.parametrize("name", CASES)
def test_torch_export(name: str) -> None:
    graph, module, program = program_of(name, torch.float64)
    inputs = arguments(graph, module, CASES[name][1], 6)
    for ours, theirs in zip(as_tuple(program.module()(*inputs)), as_tuple(module(*inputs)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    assert not any("seqlra" in str(node.target) for node in program.graph.nodes)


def needs_onnx() -> Any:
    """The runtime; the test is skipped, saying so, without the extra."""
    for needed in ("onnx", "onnxscript"):
        pytest.importorskip(needed, reason=f"no {needed}: pip install seqlra[export]")
    return pytest.importorskip("onnxruntime", reason="no onnxruntime: pip install seqlra[export]")


def assert_runs_alike(session: Any, module: nn.Module, inputs: Sequence[Tensor]) -> None:
    named = {given.name: tensor.numpy() for given, tensor in zip(session.get_inputs(), inputs, strict=True)}
    for ours, theirs in zip(session.run(None, named), as_tuple(module(*inputs)), strict=True):
        torch.testing.assert_close(torch.from_numpy(ours), theirs.detach(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["own activation, lwta", "two sizes of recurrent layers"])
def test_onnx(name: str) -> None:
    runtime, file = needs_onnx(), io.BytesIO()
    graph, module, program = program_of(name, torch.float32)
    exported = torch.onnx.export(program, verbose=False)
    assert exported is not None
    exported.save(file)
    session = runtime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    assert_runs_alike(session, module, arguments(graph, module, CASES[name][1], 6))


def test_what_the_text_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_text: Path) -> None:
    runtime = needs_onnx()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "save_pictures", lambda *_: None)
    torch.set_default_dtype(torch.float32)
    here: dict[str, Any] = {"device": "cpu", "threads": 1}
    runs.train_runs([configure("mlp", hidden=(9,), steps=3, **here)], Path("runs/first"))
    text: dict[str, Any] = {"text": str(short_text), "streams": 5, "unroll": 20}
    runs.train_runs([configure("rnn", hidden=(9,), steps=3, **text, **here)], Path("runs/text"))
    names: dict[str, Any] = {}
    leaving, programs, stepwise, coming = re.findall(r"```python\n(.*?)```", seqlra.export.__doc__ or "", re.DOTALL)
    exec(leaving + programs, names)
    session = runtime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    assert_runs_alike(session, names["net"], [torch.rand(7, 784)])
    exec(stepwise, names)
    tokens, state = torch.arange(5)[:, None], torch.randn(1, 5, 9)
    for ours, theirs in zip(names["step"].module()(tokens, state), names["net"](tokens, state), strict=True):
        torch.testing.assert_close(ours, theirs)
    exec(coming, names)
    x = torch.rand(7, 784)
    torch.testing.assert_close(names["graph"](x), names["net"](x).softmax(-1))
