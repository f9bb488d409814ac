"""One update made by several processes, each from its share of the rows of the mini-batch: data parallelism.

Every process holds the whole model and the whole mini-batch, and runs its own rows. One all-reduce adds up the updates,
the losses, and the states that sequences carry on. Only then comes what a rule does to a whole update (the bound c1).
All processes get the same bits, so that their weights stay equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from seqlra import torchrun
from seqlra.engine.checks import check_first, demand_kinds
from seqlra.engine.tracing import Named, Outcome
from seqlra.engine.update import Step, normalize, sums_of, update
from seqlra.errors import SeqlraError, first_line
from seqlra.network.forward import ForwardPass
from seqlra.network.graph import Graph, grad_of
from seqlra.network.losses import asked
from seqlra.network.values import explained
from seqlra.rules.backward import BackwardPass
from seqlra.rules.base import Rule
from seqlra.rules.feedback import DirectFeedbackAlignment
from seqlra.rules.learned_feedback import LearnedFeedback


@contextmanager
def joined(cuda: bool) -> Iterator[None]:
    """Join the processes that torchrun started: NCCL on CUDA, with a GPU for each process, else gloo.

    Raises:
        SeqlraError: more processes on this machine than GPUs, or they cannot reach each other.
    """
    if cuda:
        if torchrun.local_rank() >= torch.cuda.device_count():
            raise SeqlraError(
                f"every process needs a GPU of its own, and there are {torch.cuda.device_count()} here; accepted: "
                f"--nproc-per-node {torch.cuda.device_count()}, or --device cpu"
            )
        torch.cuda.set_device(torchrun.local_rank())
    try:
        dist.init_process_group("nccl" if cuda else "gloo")
    except (RuntimeError, ValueError) as error:
        raise SeqlraError(f"the processes of torchrun cannot reach each other: {first_line(error)}") from error
    try:
        yield
    finally:
        dist.destroy_process_group()


def check(graph: Graph, rule: Rule, inputs: Named, targets: Named) -> None:
    """Whether several processes can make the updates of a training; tries one on its first mini-batch.

    Raises:
        SeqlraError: what is random, or does not add up over rows, in words.
    """
    if graph.stack:
        raise SeqlraError("several processes train one model, not a stack of models; leave --seeds or torchrun away")
    learns = type(rule).after_update not in (Rule.after_update, LearnedFeedback.after_update)
    learned_feedback = (LearnedFeedback.feedback_updates, DirectFeedbackAlignment.feedback_updates)
    if learns or (isinstance(rule, LearnedFeedback) and type(rule).feedback_updates not in learned_feedback):
        raise SeqlraError(
            f"{rule.name} learns by itself from every mini-batch, which processes cannot add up; accepted: rules that "
            "learn weights alone, with fixed or learned feedback"
        )
    if getattr(rule, "online", False):
        raise SeqlraError("several processes do not carry traces from chunk to chunk; leave --online or torchrun away")
    for setting in ("c2_per", "epsilon_per"):
        if getattr(rule, setting, "sample") == "batch":
            raise SeqlraError(f"{setting} is over a whole mini-batch, which no process has; accepted: {setting}=sample")
    rows, size = ForwardPass(graph, inputs).batch, dist.get_world_size()
    if rows < size:
        raise SeqlraError(f"a mini-batch of {rows} cannot be shared by {size} processes; accepted: up to {rows}")
    if len({node.name for node in graph.outputs}) > 1 and any(node.loss.masks for node in graph.outputs):  # type: ignore[union-attr]
        raise SeqlraError("several processes train networks of several outputs only where no target may be missing")
    before = _random(graph)
    update(graph, rule, inputs, targets)
    if any(not torch.equal(one, other) for one, other in zip(before, _random(graph), strict=True)):
        raise SeqlraError(
            "random numbers differ between the processes of torchrun; accepted: units and rules without them (not "
            "stochastic units, not uoro)"
        )


def _random(graph: Graph) -> list[Tensor]:
    """The state of torch's random numbers."""
    on_cuda = next(graph.parameters()).is_cuda
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if on_cuda else [])]


def any_of(here: bool) -> bool:
    """Whether it is so in any process; all must ask."""
    found = torch.tensor([float(here)], device="cuda" if dist.get_backend() == "nccl" else "cpu")
    _add_up(found)
    return bool(found)


def demand_equal(step: int) -> None:
    """Raise `SeqlraError` where this process starts from another update than the first one."""
    first = torch.tensor([step], device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.broadcast(first, 0)
    if first.item() != step:
        raise SeqlraError(
            f"the processes of torchrun start from other checkpoints: after {step} and {first.item()} updates"
        )


def _add_up(tensor: Tensor) -> None:
    """Sum over the processes, in place.

    Raises:
        SeqlraError: one of them has ended.
    """
    try:
        dist.all_reduce(tensor)
    except RuntimeError as error:
        raise SeqlraError(f"another process of this training has ended: {first_line(error)}") from error


class ParallelUpdate:
    """``update(graph, rule, ...)`` by all processes together, as a callable of the inputs and targets of the whole
    mini-batch, which must be the same in all of them.

    Process r of n takes the samples (or streams) from ``r * batch // n`` up to those of the next.
    """

    def __init__(self, graph: Graph, rule: Rule) -> None:
        demand_kinds(graph, rule)
        self.graph, self.rule = graph, rule
        # direct feedback learns from rows, as weights do; other feedback from the whole updates of the weights
        self._direct = isinstance(rule, DirectFeedbackAlignment)
        trained = [parameter for held, _ in graph.trained for parameter in held.values()]
        self._summed = list(graph.parameters()) if self._direct else trained

    @torch.no_grad()
    def __call__(self, inputs: Named, targets: Named) -> Outcome:
        """Put the updates of the whole mini-batch in ``p.grad``; returns its loss, and the states of all its streams.

        Raises:
            SeqlraError: as for `update`, or another process has ended.
        """
        graph, rule = self.graph, self.rule
        check_first(graph, inputs, targets)
        with explained(graph, inputs, targets):
            step = self._own_step(inputs, targets)
            updates = sums_of(step.backward, grad_of)
            if self._direct:
                rule.after_update(step.backward)
        outcome = self._of_all(step, targets)
        normalize(graph, rule, updates)
        if not self._direct:
            rule.after_update(step.backward)
        return outcome

    def _own_step(self, inputs: Named, targets: Named) -> Step:
        """The passes over the rows of this process."""
        layout = self.graph.layout
        named = inputs if isinstance(inputs, Mapping) else {next(iter(layout.given)): inputs}
        forward = ForwardPass(
            self.graph, {n: _own_rows(rows, len(layout.given[n].inputs)) for n, rows in named.items()}
        )
        outputs = {self.graph.layers[i].name for i in layout.all_outputs}
        of = targets if isinstance(targets, Mapping) else dict.fromkeys(outputs, targets)
        wanted = {name: _own_rows(rows, layout.buffers[name].blocks) for name, rows in of.items()}
        return Step(forward, BackwardPass(self.rule, forward, wanted))

    def _of_all(self, step: Step, targets: Named) -> Outcome:
        """Add up what the processes have, in one all-reduce: the updates in ``p.grad``, the losses, and the states,
        where each has its own rows.

        The mean of a share counts as often as predictions were asked for in it.
        """
        backward, carried, mean = step.backward, step.carried, self.rule.reduction == "mean"
        count, rows = _asked(backward), torch.full_like(step.loss, backward.predictions)
        grads = [grad_of(p) for p in self._summed]
        numbers = torch.stack([step.loss * count, step.mistakes * count, step.depth * rows, count, rows])
        batch = _whole_batch(self.graph, targets)
        states = [
            _among_all(state, batch, len(self.graph.layout.given[name].inputs)) for name, state in carried.items()
        ]
        flat = _all_sums([*(grad * count if mean else grad for grad in grads), numbers, *states])
        for grad in grads:
            grad.copy_(next(flat))
        loss, mistakes, depth, count, rows = next(flat).unbind()
        count = count.clamp(min=1)
        if mean:
            torch._foreach_div_(grads, count)
        results = [loss / count, mistakes / count, depth / rows, *flat]
        return Outcome(lambda: results, tuple(carried))


def _samples(batch: int) -> slice:
    """Which samples of a mini-batch are those of this process."""
    rank, size = dist.get_rank(), dist.get_world_size()
    return slice(rank * batch // size, (rank + 1) * batch // size)


def _own_rows(rows: Tensor, blocks: int) -> Tensor:
    """The rows of this process, of ``(blocks * batch, ...)``: its samples of every block, which is a step."""
    by_block = rows.unflatten(0, (blocks, -1))
    return by_block[:, _samples(by_block.shape[1])].flatten(0, 1)


def _among_all(own: Tensor, batch: int, blocks: int) -> Tensor:
    """The reverse: rows of this process among those of the whole mini-batch, which are 0."""
    whole = own.new_zeros(blocks, batch, own.shape[-1])
    whole[:, _samples(batch)] = own.unflatten(0, (blocks, -1))
    return whole.flatten(0, 1)


def _whole_batch(graph: Graph, targets: Named) -> int:
    """The samples of a whole mini-batch."""
    name = graph.layers[graph.layout.all_outputs[0]].name
    return len(targets[name] if isinstance(targets, Mapping) else targets) // graph.layout.buffers[name].blocks


def _asked(backward: BackwardPass) -> Tensor:
    """How many predictions of a share have a target, ``()``; unlike `BackwardPass.asked` it may be 0."""
    views = [backward.view(i) for i in backward.graph.layout.all_outputs]
    total = views[0].h.new_zeros(())
    for view in views:
        total = total + (asked(view.target).sum() if view.output_loss.masks else len(view.h))
    return total


def _all_sums(parts: Sequence[Tensor]) -> Iterator[Tensor]:
    """The sum of each part over the processes, in its shape."""
    flat = torch.cat([part.flatten() for part in parts])
    _add_up(flat)
    pieces = flat.split([part.numel() for part in parts])
    return (piece.view(part.shape) for piece, part in zip(pieces, parts, strict=True))
