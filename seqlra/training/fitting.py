"""`fit`: training in memory, without a directory."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from seqlra.analysis.predicting import samples_of
from seqlra.data.samples import Layout, Reader, Samples
from seqlra.errors import Diverged, SeqlraError
from seqlra.network.graph import Graph
from seqlra.network.unrolling import time_of
from seqlra.rules import Rule
from seqlra.rules import rule as rule_named
from seqlra.tasks.in_memory import Batches, Labeled, Streams
from seqlra.tasks.randomness import seeded
from seqlra.training.callback import Callback
from seqlra.training.optimizers import OPTIMIZERS, SCHEDULES, make
from seqlra.training.trainer import Trainer

OptimizerLike = str | torch.optim.Optimizer | Callable[..., torch.optim.Optimizer]


class History(list[dict[str, Any]]):
    """The metrics of a training, one row an epoch; ``pandas.DataFrame(history)`` makes a table of it.

    Attributes:
        best_epoch: the epoch whose weights the graph has, from 1 on; 0 before an epoch has ended.
    """

    def __init__(self, rows: Sequence[dict[str, Any]], best_epoch: int) -> None:
        super().__init__(rows)
        self.best_epoch = best_epoch


def fit(
    graph: Graph,
    rule: Rule | str,
    data: Any,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    optimizer: OptimizerLike = "adam",
    lr: float | None = None,
    schedule: str = "constant",
    valid: Any = None,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
    layout: Layout | str = "batch-major",
    stateful: bool = False,
    compile: bool = False,
    resume: Path | str | None = None,
) -> History:
    """Train a graph in memory.

        >>> import seqlra, torch
        >>> x = torch.randn(600, 20, generator=torch.Generator().manual_seed(1))
        >>> t = x[:, :3].argmax(-1)
        >>> graph = seqlra.initialize(seqlra.Graph(seqlra.mlp(20, [32], 3)), seed=0)
        >>> history = seqlra.fit(graph, seqlra.LRAFeedback(), (x[:500], t[:500]), valid=(x[500:], t[500:]), epochs=20)
        >>> seqlra.predict(graph, x[500:]).shape
        torch.Size([100, 3])

    With ``valid`` the graph has the weights of the best epoch at the end, as those of the command line: the lowest
    ``valid_error`` for classes, the lowest ``valid_loss`` for values. Without it, it has the last ones. Ctrl-C leaves
    the weights as they are then. Updates are recorded, as by ``seqlra train``. Nothing global changes: neither torch's
    generator (draws come from ``seed``), nor its precision, nor signals; nothing is written.

    Args:
        graph: an initialized graph with one output; see `initialize`.
        rule: the rule, such as ``seqlra.LRAFeedback()``, or the name of one with its default settings.
        data: ``(x, t)``, ``(x, t, lengths)``, what `seqlra.data.arrays.sequences_from_arrays` returns, or an iterable
            of such batches, such as a ``DataLoader`` or a list, which is gone through anew in every epoch (and once
            more where it has no length); batches may be mappings with these names. Arrays are numpy arrays, tensors,
            lists or data frames, of any type of numbers:

            - ``x`` is ``(n, features)``, or for a recurrent graph ``(n, time, features)`` with the time of the graph;
              integers without the last axis are tokens. A graph of several inputs takes a mapping by name.
            - ``t`` holds classes ``(n,)`` of any type of integers, or vectors ``(n, units)``; values ``(n,)`` for a
              single unit. Where the graph has several steps with an output, ``(n, steps)`` or ``(n, steps, units)``;
              next-step targets are ``x`` one step later. With the loss `masked`, -100 or NaN is a missing target.
            - ``lengths``, ``(n,)``, are the steps of each sequence that count. A single target of a sequence is asked
              at its last one, so the graph has outputs at these (``elman(..., outputs_at=range(...))``) and the loss
              `masked`.
        epochs: passes over the data; 10 where neither it nor ``steps`` is given.
        steps: updates, instead of epochs.
        batch_size: samples in a mini-batch, 50 by default, or all where there are fewer; an incomplete last one is left
            out of an epoch. Batches of an iterable have their own size.
        optimizer: the name of one (see ``seqlra list optimizers``), a class of ``torch.optim`` or anything else that
            makes one from ``(parameters, lr=...)``, or an optimizer over the parameters of the graph.
        lr: its step size; by default, what suits the rule for a name, or the default of the class.
        schedule: ``constant``, or ``linear``: the step size falls to 0 at the end.
        valid: data to choose the best weights, in any of the forms of ``data``.
        seed: seed of the order of the samples and of the draws of stochastic units.
        callbacks: see `seqlra.Callback`; `Progress`, `EarlyStopping`, `Diagnostics` and `Checkpoint` are ready-made.
        layout: ``time-major`` says that sequences, and targets at their steps, are ``(time, n, ...)``.
        stateful: whether sequences are longer than the graph: they run side by side, all of them in every update, chunk
            by chunk with the state carried over. There is a target at each step.
        compile: whether updates are compiled by torch.compile.
        resume: a file of `Checkpoint` from the same call, to go on from there.

    Returns:
        A row of metrics for each epoch: ``epoch``, ``step``, ``train_loss``, ``train_error`` (percent, for classes),
        ``valid_loss``, ``valid_error``, ``depth`` (see `Step`), ``seconds`` of training so far, and what callbacks add.

    Raises:
        SeqlraError: arguments that make no sense, or data that do not fit the graph.
        Diverged: the loss or the weights are no longer finite; the graph then has the last good weights.
    """
    learns = _rule(rule)
    with seeded(seed, next(graph.parameters()).device):
        task = _task(graph, data, valid, batch_size, Reader(graph, layout, stateful), seed)
        trainer = Trainer(
            graph,
            learns,
            _optimizer(graph, learns, optimizer, lr),
            task,
            _total(epochs, steps, task.steps_per_epoch),
            _schedule(schedule),
            callbacks,
            compiled=compile,
        )
        if resume is not None:
            trainer.resume(Path(resume))
        try:
            trainer.train()
        except Diverged:
            trainer.use_best()
            raise
    record = trainer.records[0]
    if valid is not None and record.epoch:
        trainer.use_best()
    return History(record.history, record.epoch)


def _rule(rule: Rule | str) -> Rule:
    if isinstance(rule, str):
        return rule_named(rule)
    if not isinstance(rule, Rule):
        given = f"the class {rule.__name__}" if isinstance(rule, type) else f"a {type(rule).__name__}"
        raise SeqlraError(f"a rule is an object such as seqlra.LRAFeedback(), or a name; not {given}")
    return rule


def _task(
    graph: Graph, data: Any, valid: Any, batch_size: int | None, reader: Reader, seed: int
) -> Labeled | Batches | Streams:
    held_out = None if valid is None else samples_of(graph, valid, reader)
    found = samples_of(graph, data, reader)
    if isinstance(found, Samples) and not reader.chunked:
        return Labeled(graph, found, held_out, 50 if batch_size is None else batch_size, seed)
    if batch_size is not None:
        raise SeqlraError(
            "batch_size does not go with stateful, or with an iterable, whose batches have their own size"
        )
    if isinstance(found, Batches) and not reader.chunked:
        return Batches(graph, data, reader, held_out, seed)
    if isinstance(found, Batches) or isinstance(held_out, Batches):
        raise SeqlraError("stateful takes whole sequences (x, t), not an iterable of batches")
    return Streams(graph, found, held_out, seed)


def _optimizer(graph: Graph, rule: Rule, given: OptimizerLike, lr: float | None) -> torch.optim.Optimizer:
    if lr is not None and not 0 < lr < float("inf"):
        raise SeqlraError(f"lr must be above 0, not {lr}")
    if isinstance(given, torch.optim.Optimizer):
        return _checked(given, graph, lr)
    if isinstance(given, str):
        return make(given, graph.parameters(), _suited_lr(graph, rule, given) if lr is None else lr)
    if not callable(given):
        raise SeqlraError(f"an optimizer is a name ({', '.join(OPTIMIZERS)}), a class of torch.optim or an optimizer")
    options: dict[str, Any] = {} if lr is None else {"lr": lr}
    if isinstance(given, type) and "fused" in inspect.signature(given).parameters:
        options["fused"] = True
    return given(graph.parameters(), **options)


def _checked(optimizer: torch.optim.Optimizer, graph: Graph, lr: float | None) -> torch.optim.Optimizer:
    """An optimizer of the user's own."""
    own = {p for group in optimizer.param_groups for p in group["params"]}
    if not own <= set(graph.parameters()):
        raise SeqlraError("the optimizer holds other parameters than the graph's: make it from graph.parameters()")
    if lr is not None:
        raise SeqlraError("the optimizer has its own step size; give lr there")
    return optimizer


def _suited_lr(graph: Graph, rule: Rule, optimizer: str) -> float:
    """The step size by which the command line would begin, under a constant schedule."""
    task = "mlp" if time_of(graph) is None else "rnn"
    hidden = [subgraph.f.name for subgraph in graph.subgraphs if subgraph.f is not None]
    given = {name: getattr(rule, name) for name in rule.__dataclass_fields__}
    lr = type(rule).suited(task, hidden[0] if hidden else "identity", optimizer, given).lr
    return lr if task == "mlp" else lr / 10


def _total(epochs: int | None, steps: int | None, steps_per_epoch: int) -> int:
    if epochs is not None and steps is not None:
        raise SeqlraError("give epochs or steps, not both")
    for name, number in (("epochs", epochs), ("steps", steps)):
        if number is not None and number < 1:
            raise SeqlraError(f"{name} must be at least 1, not {number}")
    return steps if steps is not None else (10 if epochs is None else epochs) * steps_per_epoch


def _schedule(name: str) -> str:
    if name not in SCHEDULES:
        raise SeqlraError(f"unknown schedule {name!r}; known: {', '.join(SCHEDULES)}")
    return name
