"""The update of a graph by a rule, traced once and compiled: elementwise chains fused, no Python between products.

The same numbers as `seqlra.engine.update` up to rounding; see `seqlra.engine.tracing`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from seqlra.engine.checks import check_first
from seqlra.engine.hidden_state import changed, hidden_state
from seqlra.engine.tracing import Given, Named, NotTraceable, Outcome, Run, Trace, TracedUpdate
from seqlra.engine.update import run_update
from seqlra.errors import SeqlraError, first_line
from seqlra.network.graph import Graph
from seqlra.network.values import explained
from seqlra.rules.base import Rule


class CompiledUpdate(TracedUpdate):
    """``update(graph, rule, ...)`` as a callable of inputs and targets, compiled at its first call and again whenever
    their shapes change.

    Needs a C++ compiler (or Triton, on CUDA), and a few seconds for each shape; without one the first call raises
    `SeqlraError`. Stochastic units draw from torch's global generator; their draws differ from those without
    compilation.
    """

    def __init__(self, graph: Graph, rule: Rule) -> None:
        super().__init__(graph, rule)
        self._runs: dict[object, tuple[Run, tuple[str, ...]]] = {}

    @torch.no_grad()
    def __call__(self, inputs: Named, targets: Named) -> Outcome:
        """Put the updates in ``p.grad``.

        Raises:
            SeqlraError: as for `update`.
            NotTraceable: what the rule or a unit does depends on more than the shapes of the mini-batch.
        """
        given = Given(inputs, targets)
        state, key = self._state(), given.key
        with explained(self.graph, given.inputs, given.targets):
            if key not in self._runs:
                trace = self._traced_twice(given, state)
                self._runs[key] = self._prepare(trace), trace.carries
            run, carries = self._runs[key]
            return Outcome(run(state, given.tensors), carries)

    def _traced_twice(self, given: Given, state: list[Tensor]) -> Trace:
        """A trace that a second one confirms; nothing is updated.

        Raises:
            NotTraceable: the operations cannot be repeated.
        """
        check_first(self.graph, given.inputs, given.targets)
        with self.untouched(state):  # first without a tracer: reports errors, and fills caches
            run_update(self.graph, self.rule, given.inputs, given.targets)
        before, traces = hidden_state(self.graph, self.rule), []
        for _ in range(2):
            with self.untouched(state):
                traces.append(self._trace(given, state))
        first, second = traces
        refused = first.refused or first.difference(second) or changed(before, hidden_state(self.graph, self.rule))
        if refused is not None:
            raise NotTraceable(f"the update cannot be compiled: {refused}")
        return first

    def _prepare(self, trace: Trace) -> Run:
        options: dict[str, Any] = {
            # on the CPU the calls between kernels are compiled, too: half of what is left of the time on small networks
            "cpp_wrapper": not trace.state[0].is_cuda,
            # torch 2.13 makes add(h, mm(d, E), alpha=-beta) into addmm without alpha: tests/engine/test_compiled.py
            "pattern_matcher": False,
        }
        compiled = torch.compile(trace.module, options=options)
        try:
            with self.untouched(trace.state):
                compiled(*trace.state, *trace.batch)  # compiles now, so that a missing compiler is reported here
        except Exception as error:  # whatever torch.compile raises
            raise SeqlraError(
                f"the update could not be compiled (is there a C++ compiler?): {first_line(error)}"
            ) from error

        def run(state: list[Tensor], batch: list[Tensor]) -> Callable[[], Sequence[Tensor]]:
            results = compiled(*state, *batch)
            return lambda: results

        return run
