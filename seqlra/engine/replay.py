"""A traced update as a list of kernel calls over tensors that stay where they are.

Recording allocates everything once: every result gets a buffer, and another result reuses it as soon as nothing needs
it any more. So a few buffers, which stay in the processor's cache, serve the whole list. Views are made once, too. An
update then only calls the kernels one after another: the same kernels on the same numbers as in `seqlra.engine.update`,
so the results are the same bit for bit.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

aten = torch.ops.aten
Call = Callable[[], object]

UNFILLED = {aten.new_empty.default, aten.empty_like.default, aten.empty.memory_format, aten.new_empty_strided.default}
"""Their results are uninitialized memory."""

ZEROS = {aten.new_zeros.default, aten.zeros_like.default, aten.zeros.default}

COPIES = {aten.clone.default, aten._to_copy.default}

QUIET_VIEWS = {aten._unsafe_view.default}
"""Views whose schema does not say so."""


@dataclass(frozen=True)
class Replay:
    """The calls of a traced update.

    Attributes:
        update: calls that make the update.
        outcome: further calls, which compute the results.
        results: what the trace returns, once both were run; the next update overwrites it.
    """

    update: list[Call]
    outcome: list[Call]
    results: list[Tensor]


def record(module: GraphModule, tensors: Iterable[Tensor]) -> Replay:
    """Run a trace (see `seqlra.engine.tracing.Trace`) on tensors, which all later calls use in place."""
    recorder = _Recorder(module)
    nodes = recorder.nodes
    last = max(i for i, node in enumerate(nodes) if recorder.lasts(node))
    given = iter(tensors)
    for node in nodes[: last + 1]:
        recorder.run(node, given)
    update, recorder.calls = recorder.calls, []
    for node in nodes[last + 1 :]:
        recorder.run(node, given)
    return Replay(update, recorder.calls, recorder.results)


class _Recorder:
    """Runs a trace node by node, and records the calls that run it again.

    Attributes:
        nodes: of the trace.
        calls: recorded so far.
        results: what the trace returned.
    """

    def __init__(self, module: GraphModule) -> None:
        self.nodes = list(module.graph.nodes)
        self.calls: list[Call] = []
        self.results: list[Tensor] = []
        self._module = module
        self._roots = _roots(self.nodes)
        self._dying = _dying(self.nodes, self._roots)
        self._values: dict[Node, Any] = {}
        self._owned: dict[Node, list[Tensor]] = {}
        self._free: dict[object, list[Tensor]] = {}

    def lasts(self, node: Node) -> bool:
        """Whether it does more than compute a value: it writes to an argument of the trace, or draws."""
        lasting = any(root.op == "placeholder" for root in self._roots[node])
        return (_mutates(node) and lasting) or torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())

    def run(self, node: Node, given: Iterator[Tensor]) -> None:
        """One node; an argument of the trace is the next given tensor."""
        if node.op == "placeholder":
            self._values[node] = next(given)
        elif node.op == "get_attr":
            self._values[node] = getattr(self._module, str(node.target))
        elif node.op == "output":
            self.results = self._of(node.args[0])
        elif node.target is operator.getitem:
            self._values[node] = self._of(node.args[0])[node.args[1]]
        else:
            assert isinstance(node.target, OpOverload)
            self._run(node, node.target, self._of(node.args), self._of(node.kwargs))
        for root in self._dying.get(node, ()):
            for buffer in self._owned.pop(root, ()):
                self._free.setdefault(_form(buffer), []).append(buffer)

    def _of(self, arguments: Any) -> Any:
        """Arguments, with values in place of nodes."""
        return map_arg(arguments, self._values.__getitem__)

    def _run(self, node: Node, op: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """One operation: views are made once, now; in-place operations stay in place; every other result goes into a
        buffer."""
        if _mutates(node):
            call, self._values[node] = _bound(op, args, kwargs)
            self.calls.append(call)
        elif _views(op):
            self._values[node] = op(*args, **kwargs)
        else:
            like = op(*args, **kwargs)
            several = isinstance(like, (tuple, list))
            buffers = self._owned[node] = [self._buffer(each) for each in (like if several else (like,))]
            self._values[node] = buffers if several else buffers[0]
            if op not in UNFILLED and (node.users or self.lasts(node)):
                self.calls.append(_filling(op, args, kwargs, buffers))

    def _buffer(self, like: Tensor) -> Tensor:
        """A free buffer of the same form, or a new one."""
        free = self._free.get(_form(like))
        return free.pop() if free else torch.empty_like(like)


def _filling(op: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], buffers: list[Tensor]) -> Call:
    """Fill buffers with the results of an operation, and return the call that repeats it."""
    if op in ZEROS:
        return _bound(aten.zero_.default, (buffers[0],), {})[0]
    if op in COPIES:
        return _bound(aten.copy_.default, (buffers[0], args[0]), {})[0]
    found = _into(op)
    if found is not None:
        into, names = found
        return _bound(into, args, {**kwargs, **dict(zip(names, buffers, strict=True))})[0]

    def allocating() -> None:
        result = op(*args, **kwargs)
        for buffer, each in zip(buffers, result if isinstance(result, (tuple, list)) else (result,), strict=True):
            buffer.copy_(each)

    allocating()
    return allocating


def _bound(op: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Call, Any]:
    """A call of an operation, and its result. It uses torch's function of that name if this takes the same arguments
    (half the cost of a call by schema), else the schema."""
    name = op._schema.name.removeprefix("aten::")
    direct = getattr(torch.Tensor if name.endswith("_") else torch._C._VariableFunctions, name, None)
    if direct is not None:
        call = partial(direct, *args, **kwargs)
        try:
            return call, call()
        except TypeError:  # raised before anything is computed
            pass
    call = partial(op, *args, **kwargs)
    return call, call()


@cache
def _into(op: OpOverload) -> tuple[OpOverload, list[str]] | None:
    """The form of an operation that writes into given tensors, and their names there; None: it has none."""
    signature = [(a.name, str(a.type)) for a in op._schema.arguments]
    for overload in (getattr(op.overloadpacket, name) for name in op.overloadpacket.overloads()):
        arguments = overload._schema.arguments
        names = [a.name for a in arguments if a.is_out]
        if names and [(a.name, str(a.type)) for a in arguments if not a.is_out] == signature:
            return overload, names
    return None


def _mutates(node: Node) -> bool:
    return isinstance(node.target, OpOverload) and node.target._schema.is_mutable


def _views(op: OpOverload) -> bool:
    return op in QUIET_VIEWS or (not op._schema.is_mutable and any(r.alias_info for r in op._schema.returns))


def _roots(nodes: list[Node]) -> dict[Node, frozenset[Node]]:
    """By node, the nodes that own the memory of its value."""
    roots: dict[Node, frozenset[Node]] = {}
    for node in nodes:
        op, shared = node.target, list[Node]()
        if op is operator.getitem or op in QUIET_VIEWS:
            shared = node.all_input_nodes
        elif isinstance(op, OpOverload) and (_mutates(node) or _views(op)):
            given = dict(zip((a.name for a in op._schema.arguments), node.args, strict=False)) | node.kwargs
            aliased = [given[a.name] for a in op._schema.arguments if a.alias_info and a.name in given]
            map_arg(aliased, shared.append)
        roots[node] = frozenset().union(*(roots[other] for other in shared)) or frozenset([node])
    return roots


def _dying(nodes: list[Node], roots: dict[Node, frozenset[Node]]) -> dict[Node, list[Node]]:
    """By node, the roots that no later node needs; returned values are never freed."""
    last: dict[Node, Node] = {}
    for node in nodes:
        for used in (node, *node.all_input_nodes):
            last.update(dict.fromkeys(roots[used], node))
    dying: dict[Node, list[Node]] = {}
    for root, node in last.items():
        if node.op != "output":
            dying.setdefault(node, []).append(root)
    return dying


def _form(tensor: Tensor) -> object:
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device
