"""The update of a graph by a rule, recorded once and replayed: what training does by default.

At every update the engine works out its operations and allocates their results. In a small network both take longer
than the products. A recorded update is the list of kernels that the engine called, over the same buffers every time
(`seqlra.engine.replay`): the same numbers, bit for bit. On CUDA the list is captured as a CUDA graph, one
launch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from seqlra.engine.checks import check_first
from seqlra.engine.hidden_state import changed, hidden_state
from seqlra.engine.replay import Call, record
from seqlra.engine.tracing import Given, Named, NotTraceable, Outcome, Run, Trace, TracedUpdate, same
from seqlra.engine.update import Step, update
from seqlra.errors import SeqlraError, SeqlraWarning, first_line
from seqlra.network.graph import Graph, grad_of
from seqlra.network.values import explained, raise_explained
from seqlra.rules.base import Rule

COMPARED = 3
"""So many updates of each shape run by the engine, too, and are compared."""

MOVES = 5
"""So often the tensors of a graph may move before a recording was of use; recording costs more than an update."""


@dataclass
class Recording:
    """A recorded update, the trace that it was made from, and how many updates it made so far."""

    run: Run
    trace: Trace | None
    carries: tuple[str, ...]
    count: int = 0


class RecordedUpdate(TracedUpdate):
    """``update(graph, rule, ...)`` as a callable of inputs and targets, recorded at its first call and again whenever
    their shapes change or the graph's tensors move.

    Stochastic units take the same draws from torch's global generator as under `update` (on CUDA the draws differ).
    Read the results of an update before the next one; reading them later raises `SeqlraError`.

    If ``p.grad`` is None or another tensor (after ``zero_grad``), the recorded tensor takes its place.

    The first updates run by the engine, too. Where a rule or a unit does what a list of operations cannot repeat (it
    looks at the data, counts in Python, draws from a generator of its own), or an update is not the engine's, all
    updates run by the engine: the results are the same, and a `SeqlraWarning` says why.

    Attributes:
        refused: why updates run by the engine; None: they are recorded.
    """

    def __init__(self, graph: Graph, rule: Rule) -> None:
        super().__init__(graph, rule)
        self.refused: str | None = None if rule.repeats else f"{rule.name} says that it does not repeat"
        self._runs: dict[object, Recording] = {}
        self._grads: list[Tensor] = []
        self._places: list[int] = []
        self._count = self._moves = 0

    @torch.no_grad()
    def __call__(self, inputs: Named, targets: Named) -> Outcome | Step:
        """Put the updates in ``p.grad``.

        Raises:
            SeqlraError: as for `update`.
        """
        if self.refused is not None:
            return update(self.graph, self.rule, inputs, targets)
        given = Given(inputs, targets)
        state, key = self._state(), given.key
        if self.refused is not None:
            return update(self.graph, self.rule, inputs, targets)
        recording = self._runs.get(key)
        if recording is None or recording.count < COMPARED:
            check_first(self.graph, given.inputs, given.targets)
            return self._compared(given, state, recording)
        try:
            return Outcome(recording.run(state, given.tensors), recording.carries)
        except (IndexError, RuntimeError) as error:
            raise_explained(error, self.graph, given.inputs, given.targets)
            raise

    def _compared(self, given: Given, state: list[Tensor], recording: Recording | None) -> Outcome:
        """An update by the engine, and the same one recorded, from the same state.

        The engine's comes first and only once, so that what the user's Python remembers goes on as without recording.
        """
        before, memory = _Snapshot(state), {} if recording is None else hidden_state(self.graph, self.rule)
        try:
            with explained(self.graph, given.inputs, given.targets):
                trace = self._trace(given, state)
        except BaseException:
            before.restore()
            raise
        after = _Snapshot(state)
        try:
            recording = self._confirmed(given, trace, recording, memory)
            before.restore()
            results = recording.run(state, given.tensors)()
            if not trace.draws_on_cuda and not after.is_like(_Snapshot(state), trace.results, results):
                raise NotTraceable("an update that was recorded differs from the engine's")
        except NotTraceable as error:
            after.restore()
            self._refuse(str(error))
            return Outcome(lambda: trace.results, trace.carries)
        return Outcome(partial(self._still, self._count, results), recording.carries)

    def _confirmed(
        self, given: Given, trace: Trace, recording: Recording | None, memory: dict[str, object]
    ) -> Recording:
        """The recording of such updates: a new one, or the one before if this trace is the same as its own.

        Raises:
            NotTraceable: the operations cannot be repeated.
        """
        reason = trace.refused
        if any(one is not other for one, other in zip(trace.state, self._tensors(), strict=True)):
            reason = reason or "it puts another tensor in the place of one of the graph's"
        if recording is not None and recording.trace is not None:
            reason = reason or changed(memory, hidden_state(self.graph, self.rule))
            if reason is None and (difference := recording.trace.difference(trace)) is not None:
                reason = difference if recording.count > 1 else None
                recording = None  # the first trace may fill caches, which the second one finds full
        if reason is not None:
            raise NotTraceable(reason)
        if recording is None:
            count = 0 if given.key not in self._runs else self._runs[given.key].count
            recording = self._runs[given.key] = Recording(self._prepare(trace), trace, trace.carries, count)
        recording.count += 1
        if recording.count == COMPARED:
            recording.trace = None  # there is no further comparison
            self._moves = 0
        return recording

    def _refuse(self, reason: str) -> None:
        self.refused = reason
        self._runs.clear()
        warnings.warn(
            f"updates run by the engine rather than recorded, which takes longer: {reason}", SeqlraWarning, stacklevel=5
        )

    def _tensors(self) -> list[Tensor]:
        """The tensors of the graph and every ``p.grad``, as they are now."""
        return super()._state()

    def _state(self) -> list[Tensor]:
        """The tensors of the graph and every ``p.grad``, where they were recorded."""
        held = [tensor for held in self._held for tensor in held.values()]
        places = [tensor.data_ptr() for tensor in held]
        if places == self._places[: len(held)]:
            for p, grad in zip(self._parameters, self._grads, strict=True):
                if p.grad is not grad:
                    p.grad = grad
                places.append(grad.data_ptr())
        if places != self._places:  # they moved: p.data or p.grad.data is another tensor, or a parameter is
            self._runs.clear()
            self._parameters = list(self.graph.parameters())
            self._grads = [grad_of(p) for p in self._parameters]
            self._places = [tensor.data_ptr() for tensor in (*held, *self._grads)]
            self._moves += 1
            if self._moves > MOVES:
                self._refuse("the weights or their gradients move to other memory all the time")
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
            self._still(count, ())
            outcome()
            return [tensor.clone() for tensor in replay.results]

        return run

    def _still(self, count: int, results: Sequence[Tensor]) -> Sequence[Tensor]:
        """The results of an update, unless another one was made since."""
        if count != self._count:
            raise SeqlraError("read the results of a recorded update before the next one")
        return results


class _Snapshot:
    """The values of tensors and the state of torch's random numbers, as they are now.

    Args:
        tensors: stay where they are; the first says on which device.
    """

    def __init__(self, tensors: list[Tensor]) -> None:
        self._tensors, self._values = tensors, [tensor.clone() for tensor in tensors]
        self._cuda = tensors[0].device if tensors[0].is_cuda else None
        self._random = torch.get_rng_state()
        self._cuda_random = None if self._cuda is None else torch.cuda.get_rng_state(self._cuda)

    def restore(self) -> None:
        """Put everything back."""
        for tensor, value in zip(self._tensors, self._values, strict=True):
            tensor.copy_(value)
        torch.set_rng_state(self._random)
        if self._cuda is not None and self._cuda_random is not None:
            torch.cuda.set_rng_state(self._cuda_random, self._cuda)

    def is_like(self, other: _Snapshot, own: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
        """Whether all numbers are the same, the results of both, too; on CUDA up to the order of sums."""
        pairs = zip([*self._values, *own], [*other._values, *others], strict=True)
        return torch.equal(self._random, other._random) and all(map(_alike, *zip(*pairs, strict=True)))


def _alike(one: Tensor, other: Tensor) -> bool:
    if not one.is_cuda:
        return same(one, other)
    scale = one.abs().nan_to_num().max().item() if one.numel() else 0.0
    return torch.allclose(one, other, rtol=1e-3, atol=1e-3 * scale, equal_nan=True)


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
