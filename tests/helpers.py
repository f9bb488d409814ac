"""Shared by tests: graphs of every kind with unequal layer sizes, their data and their comparison."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqlra import Connection, Graph, Input, Subgraph, initialize, mlp
from seqlra.paper.cells import Cell
from seqlra.paper.reproduction import Reproduction
from seqlra.training.callbacks import Checkpoint
from seqlra.training.run_directory import RunDirectory
from seqlra.training.trainer import Trainer

Run = Callable[[str], SimpleNamespace]
"""The fixture ``seqlra``: runs the console script on a line of arguments."""


def filled(nodes: list[Input | Subgraph], seed: int = 1, stack: int | None = None) -> Graph:
    """A float64 graph with Gaussian weights, biases and feedback."""
    graph = Graph(nodes, stack=stack).double()
    seeds = seed if stack is None else [seed + s for s in range(stack)]
    initialize(graph, seeds, "gaussian", std=0.6, feedback_std=0.8)
    with torch.no_grad():
        for bias in graph.biases.values():
            bias.normal_(0, 0.3)
        for logits in graph.leaks.values():  # away from where they started
            logits.add_(torch.randn_like(logits))
    return graph


def alpha_of(node: Subgraph, tensors: Mapping[str, Tensor]) -> Tensor:
    """The leak of a subgraph, 1 if it has none; ``tensors`` have the logits of trained ones, as the state_dict does."""
    if node.trained_leak is not None:
        return tensors[f"leaks.{node.trained_leak}"].sigmoid()
    return torch.tensor(node.leak or (1.0,))


def skip_net(f: str = "tanh", g: str | None = None, loss: str = "log-penalty") -> list[Input | Subgraph]:
    """Two hidden layers; the second and the output also read across a layer, and two connections share weights."""
    return [
        Input("x", 5),
        Subgraph("a", 8, ["x"], f, g, loss),
        Subgraph("b", 4, ["a", "x"], f, g, loss),
        Subgraph("c", 8, [Connection("x", "x-a", "x-a"), "b"], f, g, loss, bias="a"),
        Subgraph("out", 3, ["c", "a"], loss="cross-entropy"),
    ]


def small_mlp(f: str = "tanh", g: str | None = None, loss: str = "log-penalty") -> list[Input | Subgraph]:
    """Three hidden layers of unequal sizes, each divisible into blocks of 4."""
    return mlp(5, [12, 8, 4], 3, f, g, loss)


def chain_over_time(steps: int = 4, across: bool = False, g: str | None = None) -> list[Input | Subgraph]:
    """A hand-written Elman network: time steps, a state carried in, feedback across time if ``across``."""
    nodes: list[Input | Subgraph] = [Input("hidden[0]", 8)]
    for t in range(1, steps + 1):
        recurrent = Connection(f"hidden[{t - 1}]", "V", "F" if across else None)
        nodes += [
            Input(f"x[{t}]", 5),
            Subgraph(f"hidden[{t}]", 8, [Connection(f"x[{t}]", "W"), recurrent], "tanh", g, "l2", bias="b"),
            Subgraph(f"output[{t}]", 3, [Connection(f"hidden[{t}]", "U", "E")], loss="cross-entropy", bias="c"),
        ]
    return nodes


def batch_for(graph: Graph, batch: int = 6) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Random inputs and class targets by full name, for the reference."""
    inputs = {node.name: torch.randn(batch, node.units) for node in graph.inputs}
    targets = {node.name: torch.randint(node.units, (batch,)) for node in graph.outputs}
    return inputs, targets


def as_rows(named: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same as rows by name, for the engine: ``x[1]``, ``x[2]`` stacked as ``x``."""
    rows: dict[str, list[Tensor]] = {}
    for name, tensor in named.items():
        rows.setdefault(name.split("[")[0], []).append(tensor)
    return {base: torch.cat(blocks) for base, blocks in rows.items()}


def updates(graph: Graph) -> dict[str, Tensor]:
    """The updates in ``p.grad``, by name."""
    return {name: p.grad for name, p in graph.named_parameters() if p.grad is not None}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float = 1e-10) -> None:
    """The same names, and values that differ by less than ``tolerance`` of the largest."""
    assert one.keys() == other.keys()
    for name in one:
        scale = max(1.0, other[name].abs().max().item())
        assert (one[name] - other[name]).abs().max().item() < tolerance * scale, name


def finished(
    shelf: Reproduction, cell: Cell, epochs: int, errors: list[float], metric: str = "error", **curves: list[float]
) -> None:
    """Write finished runs that nobody trained, one for each seed; ``curves`` are in the rows of metrics."""
    for seed, error in enumerate(errors):
        run = RunDirectory(shelf.path / f"{cell.name}-{epochs}ep-seed{seed}")
        run.path.mkdir(parents=True)
        result: dict[str, Any] = {f"{split}_{metric}": error + nth for nth, split in enumerate(("test", "valid"))}
        result |= {"train_error": error - 1, "best_epoch": epochs, "steps": 100 * epochs, "train_seconds": 30.0}
        result |= {"dataset": cell.options.get("dataset"), "solved_at": None}
        run.write_json(run.result, {**result, "device": "cpu", "threads": 1, "versions": {"torch": "2"}})
        rows: list[dict[str, Any]] = [
            {"epoch": n + 1, "step": 100 * n, "seconds": 9.0 * n, f"valid_{metric}": error + n} for n in range(epochs)
        ]
        for name, values in curves.items():
            for row, value in zip(rows, values, strict=True):
                row[name] = value
        run.write_metrics(rows)


def folder_of(trainer: Trainer) -> str:
    """The name of the folder into which a training writes its checkpoint."""
    (folder,) = (each.path.parent.name for each in trainer.callbacks if isinstance(each, Checkpoint))
    return folder


def idx_bytes(array: np.ndarray) -> bytes:
    """An IDX file by its specification, without the code under test."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + bytes(array.ravel().tolist())


class Killed(BaseException):
    """In place of a kill: nothing in seqlra catches it."""
