"""The update of a graph by a rule, recorded once and replayed: what training does by default.

At every update the engine works out its operations and allocates their results. In a small network both take longer
than the products. A recorded update is the list of kernels that the engine called, over the same buffers every time
(`seqlra.engine.replay`): the same numbers, bit for bit. On CUDA the list is captured as a CUDA graph, one
launch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from seqlra.engine.replay import Call, record
from seqlra.engine.tracing import NotTraceable, Run, Trace, TracedUpdate
from seqlra.errors import SeqlraError, first_line
from seqlra.network.graph import Graph, grad_of
from seqlra.rules.base import Rule


class RecordedUpdate(TracedUpdate):
    """``update(graph, rule, ...)`` as a callable of inputs and targets, recorded at its first call and again whenever
    their shapes change or the graph's tensors move.

    Stochastic units take the same draws from torch's global generator as under `update` (on CUDA the draws differ).
    Read the results of an update before the next one; reading them later raises `SeqlraError`.

    If ``p.grad`` is None or another tensor (after ``zero_grad``), the recorded tensor takes its place.
    """

    def __init__(self, graph: Graph, rule: Rule) -> None:
        super().__init__(graph, rule)
        self._grads: list[Tensor] = []
        self._places: list[int] = []
        self._count = 0

    def _state(self) -> list[Tensor]:
        """The tensors of the graph and every ``p.grad``, where they were recorded."""
        held = [tensor for held in self._held for tensor in held.values()]
        places = [tensor.data_ptr() for tensor in held]
        if places != self._places:
            self._runs.clear()
            self._grads, self._places = [grad_of(p) for p in self._parameters], places
        for p, grad in zip(self._parameters, self._grads, strict=True):
            if p.grad is not grad:
                p.grad = grad
        return held + self._grads

    def _prepare(self, trace: Trace) -> Run:
        batch = [tensor.clone() for tensor in trace.batch]
        with self.untouched(trace.state):
            replay = record(trace.module, [*(tensor.detach() for tensor in trace.state), *batch])
            update, outcome = _each(replay.update), _each(replay.outcome)
            if batch[0].is_cuda:
                update, outcome = _captured(update), _captured(outcome)

        def run(_: list[Tensor], given: list[Tensor]) -> Callable[[], Sequence[Tensor]]:
            for place, tensor in zip(batch, given, strict=True):
                place.copy_(tensor)
            update()
            self._count += 1
            return partial(read, self._count)

        def read(count: int) -> Sequence[Tensor]:
            if count != self._count:
                raise SeqlraError("read the results of a recorded update before the next one")
            outcome()
            return [tensor.clone() for tensor in replay.results]

        return run


def _each(calls: list[Call]) -> Call:
    def run() -> None:
        for call in calls:
            call()

    return run


def _captured(run: Call) -> Call:
    """Calls as a CUDA graph, one launch.

    Raises:
        NotTraceable: one of them waits for the device, which a graph cannot.
    """
    graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # libraries make their workspaces before the capture
        run()
    torch.cuda.current_stream().wait_stream(side)
    try:
        with torch.cuda.graph(graph):
            run()
    except RuntimeError as error:
        raise NotTraceable(f"the update cannot be captured as a CUDA graph: {first_line(error)}") from error
    return graph.replay
