"""Weights as safetensors: a file of named tensors that other libraries read, and that runs no code when read."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import torch

from seqlra.errors import SeqlraError, first_line
from seqlra.files import write_atomically
from seqlra.network.graph import Graph
from seqlra.optional import require


def save_weights(graph: Graph, path: str | Path) -> None:
    """Write the tensors of a graph to a file, ``x.safetensors``, under the names that its ``state_dict`` has.

    These are ``weights.W1`` ``(source units, units)``, ``biases.b1``, error weights such as ``feedback.E2``, the logits
    of trained leaks such as ``leaks.a``, and the state of rules and units where there is one.

    Raises:
        SeqlraError: safetensors is not installed; the file cannot be written.
    """
    library = _safetensors()
    tensors = {name: tensor.contiguous() for name, tensor in graph.state_dict().items()}
    content = library.save(tensors, metadata={"format": "pt"})
    write_atomically(Path(path), lambda temporary: temporary.write_bytes(content))


@torch.no_grad()
def load_weights(graph: Graph, path: str | Path) -> Graph:
    """Fill a graph in place from a file of `save_weights`, and return it.

    The tensors take the type and device of the graph. The file must hold all that the graph has. What it holds beyond
    that is added if it belongs to a rule or to the units: the graph need not be prepared for the rule that trained it.

    Raises:
        SeqlraError: safetensors is not installed; the file is missing or damaged, or of another network.
    """
    library = _safetensors()
    if not Path(path).is_file():
        raise SeqlraError(f"there is no file {path}")
    try:
        tensors = library.load_file(path)
    except Exception as error:  # whatever a damaged file makes the reader raise
        raise SeqlraError(f"{path} is no safetensors file, or damaged ({first_line(error)})") from error
    own = graph.state_dict()
    of_rules = {"feedback": graph.feedback, "rule_state": graph.rule_state, "unit_state": graph.unit_state}
    for name in {**own, **tensors}:
        here, there = (tuple(held[name].shape) if name in held else "missing" for held in (own, tensors))
        if here != there and (name in own or name.partition(".")[0] not in of_rules):
            raise SeqlraError(f"{path} is of another network: {name} is {there} there and {here} here")
    like = next(graph.parameters())
    for name, tensor in tensors.items():
        if name in own:
            own[name].copy_(tensor)
        else:
            kind, _, tensor_name = name.partition(".")
            of_rules[kind][tensor_name] = tensor.to(like)
    return graph


def _safetensors() -> ModuleType:
    require("export", "a file of safetensors", "safetensors")
    import safetensors.torch

    return safetensors.torch
