"""The update of a graph by a rule as a flat list of operations, found by running the engine itself under a tracer.

Every rule, unit and list of subgraphs that the engine can run can be traced, unless its Python depends on more than
shapes: Python runs only at tracing. The tracer notices what a list of operations cannot repeat, and so does a second
trace, which must be the same. `seqlra.engine.recorded` replays the list, `seqlra.engine.compiled` compiles it.
"""

from __future__ import annotations

import operator
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from seqlra.engine.checks import demand_kinds
from seqlra.engine.update import Step, run_update
from seqlra.errors import SeqlraError
from seqlra.network.given import tensor_of
from seqlra.network.graph import Graph, grad_of
from seqlra.rules.base import Rule

Named = Tensor | Mapping[str, Tensor]


class NotTraceable(SeqlraError):
    """What an update does depends on more than the shapes of its mini-batch."""


class Outcome:
    """The part of a `Step` that remains after a traced update; computed when it is first read.

    Attributes:
        loss, mistakes, depth, carried: see `Step`.
    """

    def __init__(self, read: Callable[[], Sequence[Tensor]], carries: tuple[str, ...]) -> None:
        self._read, self._carries = read, carries

    @cached_property
    def _results(self) -> Sequence[Tensor]:
        return self._read()

    @property
    def loss(self) -> Tensor:
        """As of a `Step`."""
        return self._results[0]

    @property
    def mistakes(self) -> Tensor:
        """As of a `Step`."""
        return self._results[1]

    @property
    def depth(self) -> Tensor:
        """As of a `Step`."""
        return self._results[2]

    @property
    def carried(self) -> dict[str, Tensor]:
        """As of a `Step`."""
        return dict(zip(self._carries, self._results[3:], strict=True))


@dataclass(frozen=True)
class Trace:
    """One update, traced.

    Attributes:
        module: the operations; its arguments are ``[*state, *batch]``, and it returns ``[loss, mistakes, depth]`` and
            what is carried, by the names ``carries``.
        state: the tensors of the graph, which stay from update to update, and every ``p.grad``.
        batch: inputs and targets of the mini-batch that it was traced with.
        results: what this update itself came to.
        refused: why the operations cannot be repeated for another mini-batch; None: they can.
    """

    module: GraphModule
    state: list[Tensor]
    batch: list[Tensor]
    results: list[Tensor]
    carries: tuple[str, ...]
    refused: str | None

    @property
    def draws_on_cuda(self) -> bool:
        """Whether it draws random numbers on CUDA, where a captured update has others than the engine."""
        tag = torch.Tag.nondeterministic_seeded
        return self.state[0].is_cuda and any(tag in getattr(n.target, "tags", ()) for n in self.module.graph.nodes)

    def difference(self, other: Trace) -> str | None:
        """What another update does that this one did not, in words; None: both call the same operations with the same
        numbers, on tensors from outside that are equal."""
        ours, theirs = list(self.module.graph.nodes), list(other.module.graph.nodes)
        places: tuple[dict[Node, int], ...] = tuple({n: i for i, n in enumerate(nodes)} for nodes in (ours, theirs))
        for one, two in zip(ours, theirs, strict=False):
            if one.op == two.op == "get_attr":
                if not same(getattr(self.module, str(one.target)), getattr(other.module, str(two.target))):
                    return "a tensor from outside torch is another one at every update"
                continue
            called = [
                (node.op, repr(node.target), repr(map_arg((node.args, node.kwargs), place.__getitem__)))
                for node, place in zip((one, two), places, strict=True)
            ]
            if one.op != "placeholder" and called[0] != called[1]:
                return f"the numbers that {one.target} gets change from update to update"
        return None if len(ours) == len(theirs) else "its operations change from update to update"


def same(one: Tensor, other: Tensor) -> bool:
    """Whether they are one tensor, or equal in every number (NaN equals NaN)."""
    if one is other:
        return True
    alike = (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)
    return alike and bool(((one == other) | ((one != one) & (other != other))).all())


Run = Callable[[list[Tensor], list[Tensor]], Callable[[], Sequence[Tensor]]]
"""Takes the state and the mini-batch, makes the update, and returns a function that returns its results."""


class TracedUpdate(ABC):
    """``update(graph, rule, ...)`` as a callable of inputs and targets, traced when their shapes are new.

    Args:
        graph, rule: as for `update`.

    Raises:
        NotTraceable: the rule leaves samples out of the computation (``skip``), which depends on the data.
    """

    def __init__(self, graph: Graph, rule: Rule) -> None:
        demand_kinds(graph, rule)
        if rule.skips:
            raise NotTraceable(
                "skip looks at the data to leave samples out, which cannot be traced or compiled; accepted: one of them"
            )
        self.graph, self.rule = graph, rule
        self._parameters = list(graph.parameters())
        self._held = (*(held for held, _ in graph.trained), graph.feedback, graph.rule_state, graph.unit_state)

    @abstractmethod
    def __call__(self, inputs: Named, targets: Named) -> Outcome | Step:
        """Put the updates in ``p.grad``."""

    @abstractmethod
    def _prepare(self, trace: Trace) -> Run:
        """Make a runnable update from a trace; all tensors of the trace must stay as they are."""

    def _state(self) -> list[Tensor]:
        """The tensors of the graph and every ``p.grad``, as they are now."""
        return [tensor for held in self._held for tensor in held.values()] + [grad_of(p) for p in self._parameters]

    def _trace(self, given: Given, state: list[Tensor]) -> Trace:
        """Make an update, and note what it does."""
        tracer = _Tracer([*state, *given.tensors])
        with tracer, _Border(tracer):
            step = run_update(self.graph, self.rule, given.inputs, given.targets)
            depth, carried = step.depth, step.carried
            if not isinstance(depth, Tensor):
                depth = state[0].new_full((), depth)
            results = [step.loss, step.mistakes, depth, *carried.values()]
        return Trace(tracer.module(results), state, given.tensors, results, tuple(carried), tracer.refused)

    @staticmethod
    @contextmanager
    def untouched(state: Sequence[Tensor]) -> Iterator[None]:
        """Undo the writes and draws of the updates that tracing and preparing run."""
        before = [tensor.clone() for tensor in state]
        with torch.random.fork_rng([state[0].device] if state[0].is_cuda else []):
            try:
                yield
            finally:
                for tensor, value in zip(state, before, strict=True):
                    tensor.copy_(value)


class Given:
    """A mini-batch: ``inputs`` and ``targets`` as the engine takes them, all their ``tensors`` in one list, and as
    ``key`` what mini-batches have in common that need the same operations."""

    __slots__ = ("inputs", "key", "targets", "tensors")

    def __init__(self, inputs: Any, targets: Any) -> None:
        self.inputs, names, batch = _flat(inputs)
        self.targets, target_names, target_tensors = _flat(targets)
        self.tensors = [*batch, *target_tensors]
        self.key = (names, target_names, *[(t.shape, t.dtype, t.device) for t in self.tensors])


def _flat(given: Any) -> tuple[Named, tuple[str, ...] | None, list[Tensor]]:
    """What was given with arrays and lists as tensors, the names in it, and its tensors."""
    if isinstance(given, Tensor):
        return given, None, [given]
    if not isinstance(given, Mapping):
        tensor = tensor_of(given)
        return tensor, None, [tensor]
    named = {name: tensor_of(each, name) for name, each in given.items()}
    return named, tuple(named), list(named.values())


class _Tracer(TorchDispatchMode):
    """A context that records every operation.

    Args:
        arguments: the tensors that become arguments; all other tensors from before are constants.

    Attributes:
        refused: why the operations cannot be repeated. They still run, but are no longer recorded.
    """

    def __init__(self, arguments: Sequence[Tensor]) -> None:
        super().__init__()
        self.refused: str | None = None
        self._graph, self._constants = torch.fx.Graph(), torch.nn.Module()
        self._known: dict[int, tuple[Tensor, Node]] = {}  # with the tensor, so that nothing else gets its id
        for number, tensor in enumerate(arguments):
            self._known[id(tensor)] = tensor, self._graph.placeholder(f"argument_{number}")

    def __torch_dispatch__(self, op: OpOverload, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and record it."""
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunction():
            if self.refused is None:
                noted = tree_map_only(Tensor, self._node, (args, kwargs))
                self._look(op, args, kwargs)
            result = op(*args, **kwargs)
        if self.refused is not None:
            return result
        node = self._graph.call_function(op, *noted)
        if isinstance(result, Tensor):
            self._known[id(result)] = result, node
        elif isinstance(result, (tuple, list)):
            for number, each in enumerate(result):
                self._known[id(each)] = each, self._graph.call_function(operator.getitem, (node, number))
        return result

    def module(self, returned: Sequence[Tensor]) -> GraphModule:
        """The recorded operations, as a function of the arguments that returns these."""
        self._graph.output([] if self.refused else [self._node(tensor) for tensor in returned])
        return GraphModule(self._constants, self._graph)

    def refuse(self, reason: str) -> None:
        """Note why the operations cannot be repeated, and at which line of the user's."""
        if self.refused is None:
            self.refused = reason + _where()

    def _node(self, tensor: Tensor) -> Node:
        if id(tensor) not in self._known:
            name = f"constant_{len(self._known)}"
            self._constants.register_buffer(name, tensor)
            self._known[id(tensor)] = tensor, self._graph.get_attr(name)
        return self._known[id(tensor)][1]

    def _look(self, op: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Refuse an operation where another mini-batch may need another one."""
        shaped = torch.Tag.dynamic_output_shape in op.tags
        if op is torch.ops.aten.index.Tensor:  # numbers pick as many as they are
            shaped = any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
        if shaped or torch.Tag.data_dependent_output in op.tags:
            self.refuse(f"what {op} returns depends on the data")
        if kwargs.get("generator") is not None:
            self.refuse(f"{op} draws from a generator of its own")
        arguments = op._schema.arguments
        given = dict(zip((a.name for a in arguments), args, strict=False)) | dict(kwargs)
        written = [given[a.name] for a in arguments if a.alias_info and a.alias_info.is_write and a.name in given]
        constants = {tensor.untyped_storage()._cdata for tensor in self._constants.buffers()}
        if any(isinstance(each, Tensor) and each.untyped_storage()._cdata in constants for each in written):
            self.refuse(f"{op} writes to a tensor outside the graph")


class _Border(TorchFunctionMode):
    """A context in which numbers that leave torch for Python are noticed: what is made of them cannot be repeated."""

    LEAVING = frozenset(
        ("tolist", "numpy", "__array__", "__dlpack__", "data_ptr", "untyped_storage", "storage", "__repr__")
    )

    def __init__(self, tracer: _Tracer) -> None:
        super().__init__()
        self._tracer = tracer

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch."""
        name = getattr(function, "__name__", "")
        if name in self.LEAVING:
            self._tracer.refuse(f"Tensor.{name} takes numbers out of torch")
        return function(*args, **(kwargs or {}))


def _where() -> str:
    """The line of the user's own code that is running inside an update, in brackets; nothing where there is none."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code is not TracedUpdate._trace.__code__:
        module = str(frame.f_globals.get("__name__"))
        if module.partition(".")[0] not in ("seqlra", "torch", "numpy", "einops", "contextlib"):
            return f" ({frame.f_code.co_filename}, line {frame.f_lineno})"
        frame = frame.f_back  # type: ignore[assignment]
    return ""
