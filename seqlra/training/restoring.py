"""Whether the content of a checkpoint fits a training, looked at before anything of it is used.

A file may be readable and yet be wrong: by another hand, of another network, or with tensors of other shapes, which
torch's fused kernels would follow out of memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from seqlra.network.forward import TRACE

NUMBERS = (int, float)


def misfit(
    state: Mapping[str, Any], own: Mapping[str, Any], optimizer: torch.optim.Optimizer, total: int
) -> str | None:
    """What in a checkpoint does not fit; None: it fits.

    Args:
        state: what `checkpoint.load` read.
        own: the state of the training that is to go on, as it began (`Trainer.state`).
        optimizer: its optimizer.
        total: how many updates it has.
    """
    for name in own:
        if name not in state:
            return f"{name} is missing"
    if not _whole_number(state["step"]) or not 0 <= state["step"] <= total:
        return f"step must be a number from 0 to {total}, not {state['step']!r:.40}"
    if not _finite(state["seconds"]) or state["seconds"] < 0:
        return f"seconds must be a number, not {state['seconds']!r:.40}"
    best = state["best"]["weights"] if isinstance(state["best"], Mapping) and "weights" in state["best"] else None
    for name, found, wanted in (
        ("graph", state["graph"], own["graph"]),
        ("best weights", best, own["best"]["weights"]),
        ("task", _without_traces(state["task"]), own["task"]),
        ("log", {"": state["log"]}, {"": own["log"]}),
        ("random", {"": state["random"]}, {"": own["random"]}),
    ):
        wrong = _tensors(found, wanted, any_dtype=name == "task")
        if wrong is not None:
            return f"{name}: {wrong}"
    return _records(state["records"], len(own["records"]), state["step"]) or _optimizer(state["optimizer"], optimizer)


def _without_traces(task: Any) -> Any:
    """What a task carries but for the traces of rules, which there are only after the first update."""
    if not isinstance(task, Mapping):
        return task
    return {name: each for name, each in task.items() if not str(name).startswith(TRACE)}


def _tensors(found: Any, wanted: Mapping[str, Tensor], any_dtype: bool = False) -> str | None:
    """Whether there are these tensors by name, with their shapes."""
    if not isinstance(found, Mapping) or found.keys() != wanted.keys():
        return f"there must be {', '.join(wanted)}"
    for name, tensor in wanted.items():
        given = found[name]
        if not isinstance(given, Tensor) or given.shape != tensor.shape or (given.dtype != tensor.dtype):
            of = f"{tuple(given.shape)} {given.dtype}" if isinstance(given, Tensor) else type(given).__name__
            if any_dtype and isinstance(given, Tensor) and given.shape == tensor.shape:
                continue
            return f"{name} must be {tuple(tensor.shape)} {tensor.dtype}, not {of}"
    return None


def _records(found: Any, many: int, step: int) -> str | None:
    """Whether there is a record of each model, up to that step."""
    if not isinstance(found, Sequence) or len(found) != many:
        return f"records: there must be {many}"
    for record in found:
        if not isinstance(record, Mapping) or not {"history", "score", "epoch", "diverged"} <= record.keys():
            return "records: one is not whole"
        if not isinstance(record["score"], NUMBERS) or not _whole_number(record["epoch"]):
            return "records: score and epoch must be numbers"
        if not isinstance(record["diverged"], str | None):
            return "records: diverged must be a message"
        rows = record["history"]
        if not isinstance(rows, Sequence) or not all(map(_is_row, rows)):
            return "records: the history must be a list of rows with numbers"
        if any(not _whole_number(row["step"]) or row["step"] > step for row in rows):
            return "records: the history goes beyond the step"
    return None


def _is_row(row: Any) -> bool:
    """Whether it is a row of metrics: numbers, or several of them."""
    if not isinstance(row, Mapping) or not {"epoch", "step", "seconds", "depth"} <= row.keys():
        return False
    if not isinstance(row["depth"], NUMBERS) or not isinstance(row["seconds"], NUMBERS):
        return False
    return all(isinstance(each, NUMBERS) for value in row.values() for each in _each(value))


def _each(value: Any) -> Iterable[Any]:
    """The numbers of a metric: of layers there is a list, of parameters they have names."""
    return value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else [value]


def _optimizer(found: Any, optimizer: torch.optim.Optimizer) -> str | None:
    """Whether a state is one of such an optimizer: what one holds is seen from a twin that made a step."""
    own = optimizer.state_dict()
    try:
        groups, state = found["param_groups"], found["state"]
        if [group.keys() for group in groups] != [group.keys() for group in own["param_groups"]]:
            return "optimizer: it is another one, or of another version of torch"
        for group, mine in zip(groups, own["param_groups"], strict=True):
            for name, value in mine.items():
                if name != "lr" and (type(group[name]) is not type(value) or group[name] != value):
                    return f"optimizer: {name} is {group[name]!r:.40} there and {value!r} here"
            if not _finite(group["lr"]):
                return f"optimizer: lr must be a number, not {group['lr']!r:.40}"
        if not isinstance(state, Mapping):
            return "optimizer: its state must be by parameter"
        if not state:
            return None
        wanted = _twin_state(optimizer)
        if state.keys() != wanted.keys():
            return "optimizer: it is one of other parameters"
        for number, held in wanted.items():
            tensors = {name: value for name, value in held.items() if isinstance(value, Tensor)}
            if state[number].keys() != held.keys():
                return f"optimizer: it holds {', '.join(state[number])}, not {', '.join(held)}"
            if (wrong := _tensors({name: state[number][name] for name in tensors}, tensors)) is not None:
                return f"optimizer: {wrong}"
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return "optimizer: it is damaged"
    return None


def _twin_state(optimizer: torch.optim.Optimizer) -> dict[Any, dict[str, Any]]:
    """The state of such an optimizer after a step."""
    copies = [
        {
            **{name: value for name, value in group.items() if name != "params"},
            "params": list(map(_like, group["params"])),
        }
        for group in optimizer.param_groups
    ]
    twin = type(optimizer)(copies, **_accepted(optimizer))
    twin.step()
    return twin.state_dict()["state"]


def _accepted(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """What makes such an optimizer: every group has all its settings, but some need a step size to begin with."""
    return {"lr": optimizer.param_groups[0]["lr"]} if "lr" in optimizer.param_groups[0] else {}


def _like(parameter: Tensor) -> torch.nn.Parameter:
    copy = torch.nn.Parameter(torch.zeros_like(parameter))
    copy.grad = torch.zeros_like(parameter)
    return copy


def _whole_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _finite(value: object) -> bool:
    return isinstance(value, NUMBERS) and not isinstance(value, bool) and math.isfinite(value)
