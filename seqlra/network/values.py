"""Values that a graph cannot take: NaN and infinity, tokens and classes that do not exist.

Looking at values makes a CUDA device wait, so nothing here runs at every update.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from seqlra.errors import SeqlraError
from seqlra.network.given import is_tokens, tensor_of
from seqlra.network.graph import Graph
from seqlra.network.losses import NOT_ASKED, OutputLoss


@contextmanager
def explained(graph: Graph, inputs: Any, targets: Any = None) -> Iterator[None]:
    """A context whose errors from torch are put in words, where values are at fault.

    Raises:
        SeqlraError: they are; else torch's own error.
    """
    try:
        yield
    except (IndexError, RuntimeError) as error:
        raise_explained(error, graph, inputs, targets)


def raise_explained(error: Exception, graph: Graph, inputs: Any, targets: Any = None) -> None:
    """Raise that error of torch's, or what it means."""
    if "device-side assert" in str(error):  # after which nothing can be read from the device
        units = ", ".join(f"{name} 0 to {n - 1}" for name, n in _index_units(graph).items())
        raise SeqlraError(
            "CUDA met an index out of range, in this mini-batch or an earlier one; "
            f"accepted as tokens or classes: {units}"
        ) from error
    wrong = wrong_values(graph, inputs, targets)
    raise (error if wrong is None else SeqlraError(wrong)) from (None if wrong is None else error)


def wrong_values(graph: Graph, inputs: Any, targets: Any = None) -> str | None:
    """What is wrong with the values of a mini-batch, in words; None: nothing. Shapes are not looked at."""
    for name, buffer in graph.layout.given.items():
        found = _of(inputs, name)
        carried = 0 < len(buffer.inputs) < buffer.blocks  # the state: an output of the graph itself
        if found is not None and (wrong := _wrong(f"input {name!r}", "token", found, buffer.units, graph, carried)):
            return wrong
    for layer in graph.layers:
        found, loss = _of(targets, layer.name), layer.subgraph.loss
        if isinstance(loss, OutputLoss) and found is not None:
            wrong = _wrong(
                f"the target of {layer.name!r}", "class", found, layer.subgraph.units, graph, loss.masks, loss.classes
            )
            if wrong is not None:
                return wrong
    return None


def _of(given: Any, name: str) -> Tensor | None:
    found = given.get(name) if isinstance(given, Mapping) else given
    return None if found is None else tensor_of(found, name)


def _wrong(
    what: str, kind: str, tensor: Tensor, units: int, graph: Graph, gaps: bool, indices: bool = True
) -> str | None:
    """What is wrong with one tensor; with ``gaps`` it may have NaN, or -100 in place of an index."""
    if tensor.is_nested or tensor.layout != torch.strided:
        return f"{what} is sparse or nested; accepted: dense tensors of one length"
    if tensor.is_complex() or tensor.is_meta or tensor.numel() == 0:
        return None
    if tensor.is_floating_point():
        tensor = tensor.float() if tensor.dtype.itemsize == 1 else tensor  # torch asks no byte whether it is finite
        bad = tensor.isinf() if gaps else ~tensor.isfinite()
        if not bad.any():
            return None
        return f"{what} has NaN or infinity in it, first at {_first(bad)} of shape {tuple(tensor.shape)}"
    if not (indices and is_tokens(tensor, graph.stack)):
        return None
    tensor = tensor.long()
    bad = (tensor < 0) | (tensor >= units)
    if gaps:
        bad &= tensor != NOT_ASKED
    if not bad.any():
        return None
    hint = "; -100 for a missing one takes the loss masked(...)" if tensor[bad][0] == NOT_ASKED else ""
    return f"{what} has the {kind} {tensor[bad][0].item()} at {_first(bad)}; accepted: 0 to {units - 1}{hint}"


def _first(bad: Tensor) -> tuple[int, ...]:
    return tuple(bad.nonzero()[0].tolist())


def _index_units(graph: Graph) -> dict[str, int]:
    """By name, how many tokens or classes each input and output has."""
    outputs = {layer.name: layer.subgraph.units for layer in graph.layers if layer.subgraph.is_output}
    return {name: buffer.units for name, buffer in graph.layout.given.items()} | outputs
