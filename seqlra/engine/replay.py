"""A traced update as a list of kernel calls over tensors that stay where they are.

Recording allocates everything once: every result gets a buffer, and another result reuses it as soon as nothing needs
it any more. So a few buffers, which stay in the processor's cache, serve the whole list. Views are made once, too. What
is computed to be copied elsewhere is computed there, and what nothing reads is left out (`seqlra.engine.lifetimes`). An
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

from seqlra.engine.lifetimes import Lifetimes, mutates, views

aten = torch.ops.aten
Call = Callable[[], object]

UNFILLED = {aten.new_empty.default, aten.empty_like.default, aten.empty.memory_format, aten.new_empty_strided.default}
"""Their results are uninitialized memory."""

ZEROS = {aten.new_zeros.default, aten.zeros_like.default, aten.zeros.default}

COPIES = {aten.clone.default, aten._to_copy.default}


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
    nodes = recorder.lifetimes.nodes
    last = max((i for i, node in enumerate(nodes) if recorder.lifetimes.lasts(node)), default=-1)
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
        lifetimes: of the values of the trace.
        calls: recorded so far.
        results: what the trace returned.
    """

    def __init__(self, module: GraphModule) -> None:
        self.lifetimes = Lifetimes(list(module.graph.nodes))
        self.calls: list[Call] = []
        self.results: list[Tensor] = []
        self._module = module
        self._values: dict[Node, Any] = {}
        self._owned: dict[Node, list[Tensor]] = {}
        self._free: dict[object, list[Tensor]] = {}

    def run(self, node: Node, given: Iterator[Tensor]) -> None:
        """One node, unless its value is there already; an argument of the trace is the next given tensor."""
        if node in self._values:
            pass
        elif node.op == "placeholder":
            self._values[node] = next(given)
        elif node.op == "get_attr":
            self._values[node] = getattr(self._module, str(node.target))
        elif node.op == "output":
            self.results = self._of(node.args[0])
        elif node.target is operator.getitem:
            self._values[node] = self._of(node.args[0])[node.args[1]]
        else:
            self._run(node)
        for root in self.lifetimes.dying.get(node, ()):
            for buffer in self._owned.pop(root, ()):
                self._free.setdefault(_form(buffer), []).append(buffer)

    def _of(self, arguments: Any) -> Any:
        """Arguments, with values in place of nodes."""
        return map_arg(arguments, self._values.__getitem__)

    def _run(self, node: Node) -> None:
        """One operation: views are made once, now; in-place operations stay in place; every other result goes into a
        buffer, or where it would be copied to."""
        op, args, kwargs = node.target, self._of(node.args), self._of(node.kwargs)
        assert isinstance(op, OpOverload)
        if mutates(node):
            call, self._values[node] = _bound(op, args, kwargs)
            self.calls.append(call)
        elif views(node):
            self._values[node] = op(*args, **kwargs)
        else:
            like = op(*args, **kwargs)
            place = self._place(node, like)
            if place is not None:
                self._values[node] = self._values[self.lifetimes.copies[node]] = place
                buffers = [place]
            else:
                several = isinstance(like, (tuple, list))
                buffers = self._owned[node] = [self._buffer(each) for each in (like if several else (like,))]
                self._values[node] = buffers if several else buffers[0]
            if op not in UNFILLED:
                self.calls.append(_filling(op, args, kwargs, buffers))

    def _place(self, node: Node, like: Any) -> Tensor | None:
        """The view that the value of a node is copied to, if it can be computed there: as it would lie elsewhere
        (elementwise operations do not mind), and apart from what it is computed from."""
        if node not in self.lifetimes.places:
            return None
        place = self._view(self.lifetimes.places[node])
        tagged = torch.Tag.pointwise in getattr(node.target, "tags", ())
        fits = (place.shape, place.dtype, place.device) == (like.shape, like.dtype, like.device)
        read = [self._values[each] for each in node.all_input_nodes]
        fits = fits and (tagged or place.stride() == like.stride())
        return place if fits and all(_are_apart(each, place) for each in read) else None

    def _view(self, node: Node) -> Tensor:
        """The value of a node that is a view, before its turn."""
        if node not in self._values:
            self._view(node.all_input_nodes[0])
            self._run(node)
        return self._values[node]

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


def _are_apart(read: Any, written: Tensor) -> bool:
    """Whether tensors share no memory; of tensors within one storage, whether one ends before the other starts."""
    tensors = read if isinstance(read, (tuple, list)) else (read,)
    if all(each.untyped_storage()._cdata != written.untyped_storage()._cdata for each in tensors):
        return True
    (start, stop), ends = _extent(written), [_extent(each) for each in tensors]
    return all(end <= start or stop <= begin for begin, end in ends)


def _extent(tensor: Tensor) -> tuple[int, int]:
    """The memory from its first number to its last, in bytes."""
    span = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + tensor.element_size() * (1 + span if tensor.numel() else 0)


def _form(tensor: Tensor) -> object:
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device
