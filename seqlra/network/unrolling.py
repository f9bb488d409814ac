"""A recurrent list of subgraphs over another number of time steps, with the same parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from seqlra.errors import SeqlraError
from seqlra.network.graph import Graph
from seqlra.network.subgraph import Input, Subgraph

Node = Input | Subgraph


def step_of(name: str) -> tuple[str, int | None]:
    """``"hidden[3]"`` as ``("hidden", 3)``; a name without a step has None."""
    match = re.fullmatch(r"(.+)\[(\d+)\]", name)
    return (match[1], int(match[2])) if match else (name, None)


def sequence_inputs(graph: Graph) -> dict[str, int]:
    """By name the inputs that are read at every step, such as ``x`` for ``x[1] .. x[T]``, with their number of steps;
    empty for a network that is not recurrent. A state that is carried in, such as ``hidden[0]``, is none of them."""
    computed = {step_of(subgraph.name)[0] for subgraph in graph.subgraphs}
    found: dict[str, int] = {}
    for node in graph.inputs:
        name, step = step_of(node.name)
        if step is not None and name not in computed:
            found[name] = found.get(name, 0) + 1
    return found


def time_of(graph: Graph) -> int | None:
    """T, the steps over which a graph is unrolled; None where it is not recurrent."""
    steps = set(sequence_inputs(graph).values())
    if len(steps) > 1:
        raise SeqlraError(f"the inputs of the graph have {', '.join(map(str, sorted(steps)))} steps; they must agree")
    return next(iter(steps), None)


def over_steps(graph: Graph, steps: int) -> Graph:
    """The same network over ``steps`` steps, for predictions: it shares the parameters, and no errors go back in it.

    An output at every step stays one at every step; a single one at the last step stays at the last one.

    Raises:
        SeqlraError: the graph is not recurrent, its steps differ, or it has outputs at some steps only.
    """
    if steps == time_of(graph):
        return graph
    kinds = _kinds(graph, steps)
    first = min(step for node in graph.subgraphs if (step := step_of(node.name)[1]) is not None)
    given = sequence_inputs(graph)
    nodes: list[Node] = [node for node in graph.nodes if not _repeats(node, given)]
    for step in range(first, first + steps):
        for name, (template, asked) in kinds.items():
            if step - first in asked:
                nodes.append(_at(template, name, step))
    return graph.sharing(nodes)


def _kinds(graph: Graph, steps: int) -> dict[str, tuple[Node, range]]:
    """By name what is repeated at every step, in the order of a step: an example, and at which of ``steps`` it is."""
    given = sequence_inputs(graph)
    of_name: dict[str, list[Node]] = {}
    for node in graph.nodes:
        if _repeats(node, given):
            of_name.setdefault(step_of(node.name)[0], []).append(node)
    if not given:
        raise SeqlraError("the graph is not recurrent: it reads no x[1], x[2], ..., so it has no number of steps")
    time, kinds = time_of(graph), {}
    for name, nodes in of_name.items():
        if len({_relative(node) for node in nodes}) > 1:
            raise SeqlraError(f"the steps of {name!r} differ, so the graph runs over {time} steps only, not {steps}")
        if len(nodes) == time:
            kinds[name] = nodes[-1], range(steps)
        elif len(nodes) == 1 and step_of(nodes[0].name)[1] == step_of(graph.subgraphs[-1].name)[1]:
            kinds[name] = nodes[0], range(steps - 1, steps)
        else:
            there = f"{name!r} is there at {len(nodes)} of {time} steps"
            raise SeqlraError(f"{there}, so the graph runs over {time} steps only, not {steps}")
    return kinds


def _repeats(node: Node, given: Mapping[str, int]) -> bool:
    """Whether it is a step of something, not a state that is carried in nor something without steps."""
    name, step = step_of(node.name)
    return step is not None and (isinstance(node, Subgraph) or name in given)


def _relative(node: Node) -> object:
    """What the steps of one kind have in common."""
    if isinstance(node, Input):
        return node.units
    step = step_of(node.name)[1]
    reads = tuple((*_shifted(read.source, -(step or 0)), read.weight) for read in node.reads)
    return node.units, reads, node.f, node.g, node.loss, node.bias, node.leak, node.trained_leak


def _shifted(source: str, by: int) -> tuple[str, int | None]:
    name, step = step_of(source)
    return name, None if step is None else step + by


def _at(template: Node, name: str, step: int) -> Node:
    """The node of that step."""
    if isinstance(template, Input):
        return Input(f"{name}[{step}]", template.units)
    own = step_of(template.name)[1]
    moved = [_name(*_shifted(read.source, step - (own or 0))) for read in template.reads]
    reads = [replace(read, source=source, feedback=None) for read, source in zip(template.reads, moved, strict=True)]
    return replace(template, name=f"{name}[{step}]", reads=tuple(reads))


def _name(name: str, step: int | None) -> str:
    return name if step is None else f"{name}[{step}]"
