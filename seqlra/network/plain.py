"""Lists of subgraphs as plain data (containers, text, numbers), and back: how a file says what network it holds.

Reading them runs no code of the file: units and losses are looked up by name, among those of seqlra and those that the
caller gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from seqlra.errors import SeqlraError
from seqlra.network.graph import Graph
from seqlra.network.losses import LOCAL_LOSSES, OUTPUT_LOSSES, LocalLoss, OutputLoss, masked
from seqlra.network.subgraph import Connection, Input, Subgraph
from seqlra.network.units import ACTIVATIONS, DISCRETIZERS, Activation, Discretizer, discretizer

Own = Activation | Discretizer | LocalLoss | OutputLoss
"""A unit or a loss of your own."""


def architecture(graph: Graph) -> dict[str, Any]:
    """What a file says of a graph besides its tensors: its list, and which error weights a rule learns."""
    learned = [name for name, tensor in graph.feedback.items() if isinstance(tensor, nn.Parameter)]
    return {"nodes": to_plain(graph.nodes), "learned": learned}


def to_plain(nodes: Sequence[Input | Subgraph]) -> list[dict[str, Any]]:
    """A list of inputs and subgraphs as plain data. Units and losses are their names."""
    return [_plain_input(node) if isinstance(node, Input) else _plain_subgraph(node) for node in nodes]


def from_plain(plain: Any, own: Iterable[Own] = ()) -> list[Input | Subgraph]:
    """The reverse of `to_plain`.

    Args:
        plain: what it returned.
        own: the units and losses that are not seqlra's, to be found by their names.

    Raises:
        SeqlraError: not such data, or a unit or a loss that is neither seqlra's nor among ``own``.
    """
    known = {(_kind(each), each.name): each for each in own}
    try:
        return [_input(each) if "reads" not in each else _subgraph(each, known) for each in plain]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SeqlraError(f"this is not a list of subgraphs as seqlra writes it: {error!r}") from error


def _plain_input(node: Input) -> dict[str, Any]:
    return {"name": node.name, "units": node.units}


def _plain_subgraph(node: Subgraph) -> dict[str, Any]:
    reads = [[r.source, r.weight, r.feedback, *([True] if r.diagonal else [])] for r in node.reads]
    return {
        "name": node.name,
        "units": node.units,
        "reads": reads,
        "f": None if node.f is None else node.f.name,
        "g": None if node.g is None else [node.g.name, node.g.block],
        "loss": [_kind(node.loss), node.loss.name],
        "bias": node.bias,
        "leak": None if node.leak is None else list(node.leak),
        **({} if node.trained_leak is None else {"trained_leak": node.trained_leak}),
    }


def _input(plain: Mapping[str, Any]) -> Input:
    return Input(str(plain["name"]), int(plain["units"]))


def _subgraph(plain: Mapping[str, Any], own: Mapping[tuple[str, str], Own]) -> Subgraph:
    kind, name = plain["loss"]
    return Subgraph(
        str(plain["name"]),
        int(plain["units"]),
        [Connection(str(source), str(weight), *how) for source, weight, *how in plain["reads"]],
        None if plain["f"] is None else _named("activation", plain["f"], own),
        None if plain["g"] is None else _named("discretizer", plain["g"][0], own, plain["g"][1]),
        _named(kind, name, own),
        plain["bias"],
        plain.get("leak"),  # files of networks without one may leave it out
        plain.get("trained_leak"),
    )


def _named(kind: str, name: str, own: Mapping[tuple[str, str], Own], block: int = 1) -> Any:
    """The unit or the loss of that name; one of the caller's own wins."""
    if (kind, name) in own:
        return own[kind, name]
    inner = name.removeprefix("masked ")
    match kind:
        case "activation" if name in ACTIVATIONS:
            return ACTIVATIONS[name]
        case "discretizer" if name in DISCRETIZERS:
            return discretizer(name, block)
        case "local loss" if name in LOCAL_LOSSES:
            return LOCAL_LOSSES[name]
        case "output loss" if inner in OUTPUT_LOSSES:
            return OUTPUT_LOSSES[inner] if inner == name else masked(inner)
        case "output loss" if (kind, inner) in own:
            return masked(own[kind, inner])
    raise SeqlraError(
        f"the network has the {kind} {name!r}, which is not one of seqlra's (seqlra list); a file holds only its name: "
        "give the object, as in seqlra.load(path, own=[my_unit])"
    )


def _kind(of: Own) -> str:
    match of:
        case Activation():
            return "activation"
        case Discretizer():
            return "discretizer"
        case LocalLoss():
            return "local loss"
    return "output loss"
