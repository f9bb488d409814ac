"""The update of a graph by a rule as a flat list of operations, found by running the engine itself under a tracer.

Every rule, unit and list of subgraphs that the engine can run can be traced, unless its Python depends on the data:
Python runs only once, at tracing. `seqlra.engine.recorded` replays the list, `seqlra.engine.compiled` compiles it.
"""

from __future__ import annotations

import operator
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
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from seqlra.engine.update import update
from seqlra.errors import SeqlraError
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
    """

    module: GraphModule
    state: list[Tensor]
    batch: list[Tensor]
    carries: tuple[str, ...]


Run = Callable[[list[Tensor], list[Tensor]], Callable[[], Sequence[Tensor]]]
"""Takes the state and the mini-batch, makes the update, and returns a function that returns its results."""


class TracedUpdate(ABC):
    """``update(graph, rule, ...)`` as a callable of inputs and targets, traced at its first call and again whenever
    their shapes change.

    Args:
        graph, rule: as for `update`.

    Raises:
        NotTraceable: the rule leaves samples out of the computation (``skip``), which depends on the data.
    """

    def __init__(self, graph: Graph, rule: Rule) -> None:
        if rule.skips:
            raise NotTraceable(
                "skip looks at the data to leave samples out, which cannot be traced or compiled; accepted: one of them"
            )
        self.graph, self.rule = graph, rule
        self._parameters = list(graph.parameters())
        self._held = (graph.weights, graph.biases, graph.feedback, graph.rule_state, graph.unit_state)
        self._runs: dict[object, tuple[Run, tuple[str, ...]]] = {}

    @torch.no_grad()
    def __call__(self, inputs: Named, targets: Named) -> Outcome:
        """Put the updates in ``p.grad``.

        Raises:
            SeqlraError: as for `update`.
            NotTraceable: what the rule does depends on the data.
        """
        (names, batch), (target_names, target_tensors) = _flat(inputs), _flat(targets)
        state, batch = self._state(), [*batch, *target_tensors]
        key = (names, target_names, *[(t.shape, t.dtype, t.device) for t in batch])
        if key not in self._runs:
            trace = self._trace(inputs, targets, state, batch)
            self._runs[key] = self._prepare(trace), trace.carries
        run, carries = self._runs[key]
        return Outcome(run(state, batch), carries)

    @abstractmethod
    def _prepare(self, trace: Trace) -> Run:
        """Make a runnable update from a trace; all tensors of the trace must stay as they are."""

    def _state(self) -> list[Tensor]:
        """The tensors of the graph and every ``p.grad``, as they are now."""
        return [tensor for held in self._held for tensor in held.values()] + [grad_of(p) for p in self._parameters]

    def _trace(self, inputs: Named, targets: Named, state: list[Tensor], batch: list[Tensor]) -> Trace:
        with self.untouched(state):  # first without a tracer: reports errors, and fills caches
            update(self.graph, self.rule, inputs, targets)
        tracer = _Tracer([*state, *batch])
        with self.untouched(state), tracer:
            step = update(self.graph, self.rule, inputs, targets)
            depth, carried = step.depth, step.carried
            if not isinstance(depth, Tensor):
                depth = state[0].new_full((), depth)
            results = [step.loss, step.mistakes, depth, *carried.values()]
        return Trace(tracer.module(results), state, batch, tuple(carried))

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


class _Tracer(TorchDispatchMode):
    """A context that records every operation.

    Args:
        arguments: the tensors that become arguments; all other tensors from before are constants.
    """

    def __init__(self, arguments: Sequence[Tensor]) -> None:
        super().__init__()
        self._graph, self._constants = torch.fx.Graph(), torch.nn.Module()
        self._known: dict[int, tuple[Tensor, Node]] = {}  # with the tensor, so that nothing else gets its id
        for number, tensor in enumerate(arguments):
            self._known[id(tensor)] = tensor, self._graph.placeholder(f"argument_{number}")

    def __torch_dispatch__(self, op: OpOverload, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and record it.

        Raises:
            NotTraceable: another mini-batch may need another operation.
        """
        kwargs = kwargs or {}
        noted = tree_map_only(Tensor, self._node, (args, kwargs))
        self._demand_repeatable(op, args, kwargs)
        result = op(*args, **kwargs)
        node = self._graph.call_function(op, *noted)
        if isinstance(result, Tensor):
            self._known[id(result)] = result, node
        elif isinstance(result, (tuple, list)):
            for number, each in enumerate(result):
                self._known[id(each)] = each, self._graph.call_function(operator.getitem, (node, number))
        return result

    def module(self, returned: Sequence[Tensor]) -> GraphModule:
        """The recorded operations, as a function of the arguments that returns these."""
        self._graph.output([self._node(tensor) for tensor in returned])
        return GraphModule(self._constants, self._graph)

    def _node(self, tensor: Tensor) -> Node:
        if id(tensor) not in self._known:
            name = f"constant_{len(self._known)}"
            self._constants.register_buffer(name, tensor)
            self._known[id(tensor)] = tensor, self._graph.get_attr(name)
        return self._known[id(tensor)][1]

    def _demand_repeatable(self, op: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        shaped = torch.Tag.dynamic_output_shape in op.tags
        if op is torch.ops.aten.index.Tensor:  # numbers pick as many as they are
            shaped = any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
        if shaped or torch.Tag.data_dependent_output in op.tags:
            raise NotTraceable(f"the update cannot be traced: what {op} returns depends on the data")
        arguments = op._schema.arguments
        given = dict(zip((a.name for a in arguments), args, strict=False)) | dict(kwargs)
        written = [given[a.name] for a in arguments if a.alias_info and a.alias_info.is_write and a.name in given]
        constants = {tensor.untyped_storage()._cdata for tensor in self._constants.buffers()}
        if any(isinstance(each, Tensor) and each.untyped_storage()._cdata in constants for each in written):
            raise NotTraceable(f"the update cannot be traced: {op} writes to a tensor outside the graph")


def _flat(given: Named) -> tuple[tuple[str, ...] | None, list[Tensor]]:
    return (None, [given]) if isinstance(given, Tensor) else (tuple(given), list(given.values()))
