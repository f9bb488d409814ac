"""The update of a graph by a rule, traced once and compiled: elementwise chains fused, no Python between products.

The same numbers as `seqlra.engine.update` up to rounding; see `seqlra.engine.tracing`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from seqlra.engine.tracing import Run, Trace, TracedUpdate
from seqlra.errors import SeqlraError, first_line


class CompiledUpdate(TracedUpdate):
    """``update(graph, rule, ...)`` as a callable of inputs and targets, compiled at its first call and again whenever
    their shapes change.

    Needs a C++ compiler (or Triton, on CUDA), and a few seconds for each shape; without one the first call raises
    `SeqlraError`. Stochastic units draw from torch's global generator; their draws differ from those without
    compilation.
    """

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
