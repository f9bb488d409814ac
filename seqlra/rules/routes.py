"""The routes of errors through a graph under a rule. They are the same for every mini-batch, so they are found once."""

from __future__ import annotations

from typing import NamedTuple

from seqlra.network.graph import Graph
from seqlra.network.layers import ConnectionOutOf
from seqlra.rules.base import Rule


class ErrorRoute(NamedTuple):
    """How errors reach a hidden layer.

    Attributes:
        connections: the connections that they cross; none: the layer has no target.
        reached: which of its steps they reach; None: all.
        recurrent: whether some cross connections of the layer with itself, from later steps.
        through_time: whether there is such a connection anywhere between the outputs and the layer.
        row_by_row: whether there is one connection, and row r of the reader reads row r of the layer, for all rows.
        memory: whether errors go back over the memory of the units, see `Rule.has_memory`.
        following: then the layer that has the step after its last; None: there is none, or no error comes to it.
    """

    connections: tuple[ConnectionOutOf, ...]
    reached: tuple[bool, ...] | None
    recurrent: bool
    through_time: bool
    row_by_row: bool
    memory: bool = False
    following: int | None = None

    @property
    def receives(self) -> bool:
        """Whether an error comes to the layer; otherwise it has no target."""
        return bool(self.connections) or self.following is not None


def error_routes(rule: Rule, graph: Graph) -> list[ErrorRoute | None]:
    """For each layer the route of its errors; None for outputs. The graph caches them."""
    known: list[ErrorRoute | None] | None = graph.routes.get(rule)
    if known is None:
        known = graph.routes[rule] = _find_routes(rule, graph)
    return known


def is_lagged(graph: Graph, number: int, connection: ConnectionOutOf) -> bool:
    """Whether it connects a layer with later steps of its own subgraph."""
    return graph.layers[connection.reader].name == graph.layers[number].name


def _find_routes(rule: Rule, graph: Graph) -> list[ErrorRoute | None]:
    layers = graph.layers
    found: list[ErrorRoute | None] = [None] * len(layers)
    for i, layer in reversed(list(enumerate(layers))):
        if layer.subgraph.is_output:
            continue
        connections = []
        for connection in rule.connections(graph, i):
            above = found[connection.reader]
            # an output that comes before it in the list has no part in it; a hidden reader may have no target itself
            later = connection.reader > i and (above is None or above.receives)
            if connection.reader == i or later:
                connections.append(connection)
        memory = rule.has_memory(graph, i)
        following = _find_following(graph, i, found) if memory else None
        last = found[following] if following is not None else None
        later_step = last is not None and (last.reached is None or last.reached[0])
        reached = _find_reached(i, layer.steps, connections, found, memory, later_step)
        if reached is not None and not any(reached):
            connections = []
        readers = [found[c.reader] for c in connections if c.reader != i]
        lagged = any(is_lagged(graph, i, c) for c in connections)
        row_by_row = len(connections) == 1 and connections[0].reader != i and layer.subgraph.leak is None and not memory
        row_by_row = row_by_row and connections[0].steps == range(layer.steps)
        row_by_row = row_by_row and connections[0].reader_steps == range(layers[connections[0].reader].steps)
        found[i] = ErrorRoute(
            tuple(connections),
            reached,
            any(c.reader == i for c in connections),
            lagged or any(reader is not None and reader.through_time for reader in readers),
            row_by_row,
            memory,
            following if later_step else None,
        )
    return found


def _find_following(graph: Graph, i: int, found: list[ErrorRoute | None]) -> int | None:
    """The layer that has the step after the last of this layer, if an error comes to it."""
    layer = graph.layers[i]
    for j, other in enumerate(graph.layers):
        route = found[j]
        if other.name == layer.name and other.first == layer.blocks.stop and route is not None and route.receives:
            return j
    return None


def _find_reached(
    i: int,
    steps: int,
    connections: list[ConnectionOutOf],
    found: list[ErrorRoute | None],
    memory: bool,
    later_step: bool,
) -> tuple[bool, ...] | None:
    """Which steps of a layer an error reaches; None: all."""
    reached = [False] * steps
    for step in reversed(range(steps)):
        reached[step] = memory and (reached[step + 1] if step + 1 < steps else later_step)
        for connection in connections:
            if step in connection.steps:
                above = found[connection.reader]
                theirs = reached if connection.reader == i else above and above.reached
                reached[step] |= theirs is None or theirs[step + connection.shift]
    return None if all(reached) else tuple(reached)
