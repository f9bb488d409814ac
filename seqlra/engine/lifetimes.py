"""Who owns the memory of each value in a traced update, and for how long: what `seqlra.engine.replay` needs to know to
compute every value in the right place and only if it is needed."""

from __future__ import annotations

import operator
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

import torch
from torch._ops import OpOverload
from torch.fx import Node
from torch.fx.node import map_arg

aten = torch.ops.aten
Roots = dict[Node, frozenset[Node]]

QUIET_VIEWS = {aten._unsafe_view.default}
"""Views whose schema does not say so."""


class Lifetimes:
    """The memory of the values of a trace.

    A *root* is a node that owns memory; views of it and operations that write to it share that.

    Attributes:
        nodes: those of the trace that do something: they write to its arguments, draw, or compute what is needed.
        roots: by node, the nodes that own the memory of its value.
        places: by node, a view that its value is copied to: it can be computed there. Then its root is the view's.
        copies: by node with a place, the copy that is then not needed.
        dying: by node, the roots that no later node needs. What a trace returns never dies.
    """

    def __init__(self, nodes: list[Node]) -> None:
        self.roots = _roots(nodes)
        self.nodes = self._needed(nodes)
        self.places: dict[Node, Node] = {}
        self.copies: dict[Node, Node] = {}
        self._place()
        self.dying = self._dying()

    def lasts(self, node: Node) -> bool:
        """Whether it does more than compute a value: it writes to an argument of the trace, or draws."""
        lasting = any(root.op == "placeholder" for root in self.roots[node])
        return (mutates(node) and lasting) or torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())

    def _needed(self, nodes: list[Node]) -> list[Node]:
        """Without the nodes that compute or write what no later node reads."""
        needed, read = list[Node](), set[Node]()
        for node in reversed(nodes):
            if node.op in ("placeholder", "output") or self.lasts(node) or self.roots[node] & read:
                needed.append(node)
                read.update(*(self.roots[each] for each in (node, *node.all_input_nodes)))
        return needed[::-1]

    def _place(self) -> None:
        """Find values that can be computed where they are copied to."""
        order = {node: number for number, node in enumerate(self.nodes)}
        uses: dict[Node, list[int]] = {}
        owned: dict[Node, list[Node]] = {}
        for node in self.nodes:
            for root in frozenset().union(*(self.roots[each] for each in node.all_input_nodes)):
                uses.setdefault(root, []).append(order[node])
            for root in self.roots[node]:
                owned.setdefault(root, []).append(node)
        for copy in self.nodes:
            if copy.target is not aten.copy_.default or len(copy.args) != 2 or len(self.roots[copy]) != 1:
                continue
            place, value = copy.args
            assert isinstance(place, Node)
            assert isinstance(value, Node)
            (root,) = self.roots[place]
            if self._fits(value, place, root, copy, order, uses):
                self.places[value], self.copies[value] = place, copy
                uses[root] = sorted({*uses[root], *uses.pop(value)})
                for node in owned[value]:
                    self.roots[node] = self.roots[node] - {value} | {root}
                owned[root] += owned.pop(value)

    def _fits(
        self, value: Node, place: Node, root: Node, copy: Node, order: dict[Node, int], uses: dict[Node, list[int]]
    ) -> bool:
        """Whether the value owns memory, the place is there by then, and nobody else uses its memory as long as that
        would matter: before the copy at all, after it by writing."""
        if {value.op, root.op} != {"call_function"} or mutates(value) or self.roots[value] != {value}:
            return False
        first, last = order[value], uses[value][-1]
        for node in _ancestry(place):
            if order[node] > first and not views(node):
                return False
        for number in _between(uses[root], first, order[copy]):
            if not views(self.nodes[number]):
                return False
        after = (self.nodes[n] for used in (uses[root], uses[value]) for n in _between(used, order[copy], last + 1))
        return not any(mutates(node) and self.roots[node] & {root, value} for node in after)

    def _dying(self) -> dict[Node, list[Node]]:
        last: dict[Node, Node] = {}
        for node in self.nodes:
            for used in (node, *node.all_input_nodes):
                last.update(dict.fromkeys(self.roots[used], node))
        dying: dict[Node, list[Node]] = {}
        for root, node in last.items():
            if node.op != "output":
                dying.setdefault(node, []).append(root)
        return dying


def mutates(node: Node) -> bool:
    """Whether it writes to one of its arguments."""
    return isinstance(node.target, OpOverload) and node.target._schema.is_mutable


def views(node: Node) -> bool:
    """Whether its value is a view of one of its arguments."""
    op = node.target
    return isinstance(op, OpOverload) and (
        op in QUIET_VIEWS or (not op._schema.is_mutable and any(r.alias_info for r in op._schema.returns))
    )


def _roots(nodes: list[Node]) -> Roots:
    roots: Roots = {}
    for node in nodes:
        op, shared = node.target, list[Node]()
        if op is operator.getitem or op in QUIET_VIEWS:
            shared = node.all_input_nodes
        elif isinstance(op, OpOverload) and (mutates(node) or views(node)):
            given = dict(zip((a.name for a in op._schema.arguments), node.args, strict=False)) | node.kwargs
            aliased = [given[a.name] for a in op._schema.arguments if a.alias_info and a.name in given]
            map_arg(aliased, shared.append)
        roots[node] = frozenset().union(*(roots[other] for other in shared)) or frozenset([node])
    return roots


def _ancestry(place: Node) -> Iterator[Node]:
    """A view, what it is a view of, and so on."""
    while True:
        yield place
        if not place.all_input_nodes:
            return
        place = place.all_input_nodes[0]


def _between(numbers: list[int], first: int, last: int) -> list[int]:
    """Those of sorted numbers that are above the first and under the last."""
    return numbers[bisect_right(numbers, first) : bisect_left(numbers, last)]
