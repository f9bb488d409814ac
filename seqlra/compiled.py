"""The update of a graph by a rule, traced once and compiled: elementwise chains fused, no Python between products.

The same numbers as `seqlra.engine.update` up to rounding. Tracing runs the engine itself, so whatever rule, units and
list of subgraphs it can run is compiled as it is; only what looks at data on the way (skipping) cannot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from seqlra.activity import Activity
from seqlra.engine import Step, grad_of, updates_of
from seqlra.errors import SeqlraError, first_line
from seqlra.graph import Graph
from seqlra.rules.base import Rule, Walk


@dataclass(frozen=True)
class Outcome:
    """What of a `Step` outlives a compiled update: see there."""

    loss: Tensor
    mistakes: Tensor
    depth: Tensor
    carried: dict[str, Tensor]


class CompiledUpdate:
    """``update(graph, rule, ...)`` as a callable of inputs and targets, compiled at its first call and again whenever
    their shapes change.

    Needs a C++ compiler (or Triton, on CUDA), and a few seconds for each shape. Units that draw take their draws from
    torch's global generator, but not the same ones as without compilation.

    Args:
        graph, rule: as for `update`.

    Raises:
        SeqlraError: the rule leaves samples out of the computation (``skip``), which depends on the data.
    """

    def __init__(self, graph: Graph, rule: Rule) -> None:
        if rule.skips:
            raise SeqlraError(
                "skip looks at the data to leave samples out, which cannot be compiled; accepted: one of the two"
            )
        self.graph, self.rule = graph, rule
        self._held = (graph.weights, graph.biases, graph.feedback, graph.memory)
        self._compiled: dict[tuple[Any, ...], Any] = {}

    @torch.no_grad()
    def __call__(self, inputs: Tensor | Mapping[str, Tensor], targets: Tensor | Mapping[str, Tensor]) -> Outcome:
        """Leave the updates in ``p.grad``.

        Raises:
            SeqlraError: as for `update`; there is no compiler.
        """
        names, fed = _flat(inputs)
        wanted_names, wanted = _flat(targets)
        key = (names, wanted_names, *((t.shape, t.dtype, t.device) for t in (*fed, *wanted)))
        grads = [grad_of(p) for p in self.graph.parameters()]
        tensors = [t.detach() for held in self._held for t in held.values()]
        if key not in self._compiled:
            self._compiled[key] = self._compile(names, wanted_names, tensors, grads, fed, wanted)
        loss, mistakes, depth, carried = self._compiled[key](tensors, grads, fed, wanted)
        return Outcome(loss, mistakes, depth, carried)

    def _compile(self, names: Any, wanted_names: Any, *arguments: list[Tensor]) -> Any:
        def one(tensors: list[Tensor], grads: list[Tensor], fed: list[Tensor], wanted: list[Tensor]) -> tuple[Any, ...]:
            """The engine's update over these tensors, with what an `Outcome` holds."""
            with self._holding(tensors):
                activity = Activity(self.graph, _named(names, fed))
                walk = Walk(self.rule, activity, _named(wanted_names, wanted))
                where: dict[Tensor, Tensor] = dict(zip(self.graph.parameters(), grads, strict=True))
                updates_of(walk, where.__getitem__)
                self.rule.learn(walk)
                step = Step(activity, walk)
                depth = torch.as_tensor(step.depth, dtype=grads[0].dtype, device=grads[0].device)
                return step.loss, step.mistakes, depth, step.carried

        with self._untouched(arguments[0]):
            traced = make_fx(one)(*arguments)
        options: dict[str, Any] = {
            # on the CPU the calls between kernels are compiled, too: half of what is left of the time on small networks
            "cpp_wrapper": not arguments[0][0].is_cuda,
            # torch 2.13 makes add(h, mm(d, E), alpha=-beta) into an addmm that forgets alpha: tests/test_compiled.py
            "pattern_matcher": False,
        }
        compiled = torch.compile(traced, options=options)
        try:
            with self._untouched(arguments[0]):
                compiled(*arguments)  # compiles now, so that a missing compiler is told here
        except Exception as error:  # whatever torch.compile raises
            raise SeqlraError(
                f"the update could not be compiled (is there a C++ compiler?): {first_line(error)}"
            ) from error
        return compiled

    @contextmanager
    def _holding(self, tensors: Sequence[Tensor]) -> Iterator[None]:
        """Let the graph hold these in place of its own."""
        given = iter(tensors)
        own = [dict(held) for held in self._held]
        try:
            for held in self._held:
                held.replace({name: next(given) for name in held})
            yield
        finally:
            for held, before in zip(self._held, own, strict=True):
                held.replace(before)

    @contextmanager
    def _untouched(self, tensors: Sequence[Tensor]) -> Iterator[None]:
        """Tracing runs an update: what the rule learnt and drew by it is taken back."""
        before = [tensor.clone() for tensor in tensors]
        with torch.random.fork_rng([tensors[0].device] if tensors[0].is_cuda else []):
            try:
                yield
            finally:
                for tensor, value in zip(tensors, before, strict=True):
                    tensor.copy_(value)


def _flat(given: Tensor | Mapping[str, Tensor]) -> tuple[tuple[str, ...] | None, list[Tensor]]:
    return (None, [given]) if isinstance(given, Tensor) else (tuple(given), list(given.values()))


def _named(names: tuple[str, ...] | None, tensors: list[Tensor]) -> Tensor | dict[str, Tensor]:
    return tensors[0] if names is None else dict(zip(names, tensors, strict=True))
