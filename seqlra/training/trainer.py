"""Training: epochs of updates, selection on validation, exact resume. It is the only loop: `seqlra.fit` and the command
line differ in their callbacks (`seqlra.training.callback`).

Nothing here knows whether the network is an MLP or an RNN: a `Task` hands out mini-batches by their number and
measures, a rule makes updates, an optimizer steps. One model and a stack of models are trained in the same way: each
has a `Record`, and `Trainer.slice` says where the tensors of model s lie in those of all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqlra.engine.compiled import CompiledUpdate
from seqlra.engine.parallel import ParallelUpdate
from seqlra.engine.recorded import RecordedUpdate
from seqlra.engine.tracing import Outcome, TracedUpdate
from seqlra.engine.update import Step, update
from seqlra.errors import Diverged, SeqlraError
from seqlra.network.graph import Graph
from seqlra.rules import Rule
from seqlra.tasks.guessing import warn_if_guessing
from seqlra.tasks.task import Inputs, Task
from seqlra.training import checkpoint
from seqlra.training.callback import Callback
from seqlra.training.optimizers import lr_at, stepper, with_rates
from seqlra.training.restoring import misfit


class Stopped(Exception):
    """The user asked to stop; a checkpoint was written."""


@dataclass
class Record:
    """The progress of one model.

    Attributes:
        kept: where its weights are when it diverges, for the message about it.
        history: one row of metrics an epoch.
        score, epoch: its best metric on validation, and the epoch of that; 0 before there is one.
        diverged: why its training ended early, as a message; None: it did not.
    """

    kept: str = "the graph"
    history: list[dict[str, Any]] = field(default_factory=list)
    score: float = math.inf
    epoch: int = 0
    diverged: str | None = None

    def state(self) -> dict[str, Any]:
        """The record as a checkpoint holds it."""
        return {"history": self.history, "score": self.score, "epoch": self.epoch, "diverged": self.diverged}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """The reverse of `state`."""
        self.history, self.score, self.epoch = state["history"], state["score"], state["epoch"]
        self.diverged = state["diverged"]


class Trainer:
    """Trains the models of one graph on one task.

    A model that diverges, or has solved its task, is left as it is then; the others go on.

    Args:
        graph, rule, optimizer, task: what trains what, how, on what.
        total: how many updates.
        schedule: see `seqlra.training.optimizers.lr_at`; ``constant`` leaves the step size of the optimizer alone.
        callbacks: called in this order.
        compiled: whether updates are compiled rather than recorded; those that a callback wants to see run as they are.
        rates: the step size of each model over that of the optimizer, ``(models,)``; None: they are all that.
        kept: of each model, see `Record`; None: in the graph.
        parallel: whether this is one of several processes that share the rows of every mini-batch.

    Attributes:
        step: updates done.
        epoch: the epoch of the next update, from 1 on.
        records: the progress of each model.
        best_weights: by name, the weights that validation chose, ``(*stack, ...)``; the first ones before it did, and
            those of the last epoch where there is no validation.
        seconds: time spent on updates.
        interrupted: whether the user asked to stop.

    Raises:
        SeqlraError: two callbacks with one ``key``.
    """

    CHECK_EVERY = 50  # updates between two looks at whether the loss is still finite (each look waits for the device)

    def __init__(
        self,
        graph: Graph,
        rule: Rule,
        optimizer: torch.optim.Optimizer,
        task: Task,
        total: int,
        schedule: str = "constant",
        callbacks: Sequence[Callback] = (),
        compiled: bool = False,
        rates: Tensor | None = None,
        kept: Sequence[str] | None = None,
        parallel: bool = False,
    ) -> None:
        self.graph, self.rule, self.optimizer, self.task = graph, rule, optimizer, task
        self.total, self.schedule, self.callbacks = total, schedule, callbacks
        self.compiled, self.rates = compiled, rates
        self.parallel = ParallelUpdate(graph, rule) if parallel else None
        self.traced = None if parallel else self._traced()
        step = stepper(optimizer)
        self._step_optimizer = step if rates is None else with_rates(step, graph.parameters(), rates)
        self._first_lrs = [float(group["lr"]) for group in optimizer.param_groups]
        self.step = 0
        self.seconds = 0.0
        models = graph.stack[0] if graph.stack else 1
        self.records = [Record() for _ in range(models)] if kept is None else [Record(place) for place in kept]
        self.best_weights = {name: tensor.detach().clone() for name, tensor in graph.state_dict().items()}
        # one row an update of the current epoch: loss, mistakes (share), depth, each (*stack,)
        self.log = torch.zeros(task.steps_per_epoch, 3, *graph.stack, device=next(graph.parameters()).device)
        self.interrupted = self._stopping = False
        self._watching_updates = [each for each in callbacks if type(each).on_update_end is not Callback.on_update_end]
        self._wanting = [each for each in callbacks if type(each).wants_step is not Callback.wants_step]
        self._with_state = {each.key: each for each in callbacks if each.key}
        if len(self._with_state) < sum(bool(each.key) for each in callbacks):
            raise SeqlraError("two callbacks keep their state in a checkpoint under one key; give one of them")

    @property
    def diverged(self) -> bool:
        """Whether every model has diverged, so that there is nothing left to train."""
        return all(each.diverged for each in self.records)

    @property
    def done(self) -> bool:
        """Whether every model has diverged or solved its task."""
        return all(each.diverged or self.solved_at(each) is not None for each in self.records)

    def solved_at(self, record: Record) -> int | None:
        """After how many updates a model was found to have solved its task; None: not so far."""
        last = record.history[-1] if record.history else {}
        valid = {name.removeprefix("valid_"): value for name, value in last.items() if name.startswith("valid_")}
        return last["step"] if valid and self.task.solved(valid) else None

    @property
    def epoch(self) -> int:
        """The epoch of the next update, from 1 on; at the end the last one."""
        return min(self.step, self.total - 1) // self.task.steps_per_epoch + 1

    @property
    def epoch_ended(self) -> bool:
        """Whether the last update was the last of its epoch."""
        return self._stopping or self.step == self.total or self.step % self.task.steps_per_epoch == 0

    def stop(self) -> None:
        """End training after the update in hand; its epoch ends there, too."""
        self._stopping = True

    def train(self) -> None:
        """Train to the end, from wherever `resume` left off.

        Raises:
            Diverged: the loss or the weights of every model are no longer finite; the last good checkpoint stays.
            Stopped: interrupted by the user; a checkpoint was written.
        """
        if self.diverged:
            raise Diverged(self.records[0].diverged)
        self._stopping = False
        begun: list[Callback] = []
        try:
            for callback in self.callbacks:
                begun.append(callback)
                callback.on_train_begin(self)
            while self.step < self.total and not self.done and not self._stopping:
                self._some_updates()
                if self.epoch_ended:
                    self._end_epoch()
        finally:
            for callback in begun:
                callback.on_train_end(self)

    def resume(self, path: Path, settings: str = "") -> None:
        """Restore the state of a checkpoint.

        Args:
            path: the file.
            settings: the fingerprint of what is trained, to be compared with that of the file where both have one.

        Raises:
            SeqlraError: it is damaged, of another version, or of other models or settings.
        """
        state = checkpoint.load(path, self.log.device)
        wrong = misfit(state, self.state(), self.optimizer, self.total)
        if settings and state.get("settings") not in (None, "", settings):
            wrong = "it has other settings than config.json, which was changed since"
        if wrong is not None:
            raise SeqlraError(f"the checkpoint {path} does not fit this training: {wrong}")
        try:
            self.graph.load_state_dict(state["graph"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.task.load_state(state["task"])
            self.step, self.seconds, self.log = state["step"], float(state["seconds"]), state["log"]
            self.best_weights = dict(state["best"]["weights"])
            for key, callback in self._with_state.items():
                callback.load_state(state[key])
            for record, saved in zip(self.records, state["records"], strict=True):
                record.load_state(saved)
            torch.set_rng_state(state["random"].cpu())
            if state["cuda_random"] is not None and torch.cuda.is_available():
                torch.cuda.set_rng_state(state["cuda_random"].cpu())
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise SeqlraError(f"the checkpoint {path} does not fit this training") from error

    def use_best(self) -> None:
        """Give the graph the weights that validation chose."""
        self.graph.load_state_dict(self.best_weights)

    def slice(self, model: int) -> tuple[int, ...]:
        """Where the tensors of a model lie in those of all; the one model of a graph without a stack is all of them."""
        return (model,) if self.graph.stack else ()

    def _some_updates(self) -> None:
        """Updates until the end of the epoch, with a look at the loss, and at callbacks, now and then."""
        for callback in self.callbacks:
            callback.on_epoch_begin(self)
        started = time.perf_counter()
        while True:
            self._one_update()
            for callback in self._watching_updates:
                callback.on_update_end(self)
            ended = self.epoch_ended
            if ended or self.interrupted or self.step % self.CHECK_EVERY == 0:
                self._demand_finite()
                self.seconds += time.perf_counter() - started
                for callback in self.callbacks:
                    callback.on_check(self)
                if ended or self.epoch_ended:
                    return
                started = time.perf_counter()

    def _one_update(self) -> None:
        inputs, targets = self.task.batch(self.step)
        self.rule.anneal(self.graph, self.step / self.total)
        step = self._update(inputs, targets)
        groups = self.optimizer.param_groups
        if self.schedule != "constant":
            for group, first in zip(groups, self._first_lrs, strict=True):
                group["lr"] = lr_at(self.step, self.total, first, self.schedule)
        self._step_optimizer()
        self.rule.after_step(self.graph, groups[0]["lr"] / self._first_lrs[0])
        row = self.log[self.step % len(self.log)]
        row[0] = step.loss
        row[1] = step.mistakes
        row[2] = step.depth
        self.task.after(step)
        self.step += 1

    def _update(self, inputs: Inputs, targets: Tensor) -> Step | Outcome:
        wanted = [callback for callback in self._wanting if callback.wants_step(self)]
        if not wanted and (shared := self.parallel or self.traced) is not None:
            return shared(inputs, targets)
        step = update(self.graph, self.rule, inputs, targets)
        for callback in wanted:
            callback.on_before_optimizer_step(self, step)
        # what callbacks saw is the whole mini-batch; processes go on with what all of them have, bit for bit
        return step if self.parallel is None else self.parallel(inputs, targets)

    def _traced(self) -> TracedUpdate | None:
        """Updates compiled if asked for; recorded where the rule allows it; None: by the engine itself."""
        if self.compiled:
            return CompiledUpdate(self.graph, self.rule)
        return RecordedUpdate(self.graph, self.rule) if self.rule.repeats and not self.rule.skips else None

    def _end_epoch(self) -> None:
        """Measure on validation, and keep the best weights."""
        done = (self.step - 1) % len(self.log) + 1
        means = self.log[:done].mean(0).reshape(3, -1).T.tolist()
        valid = self.task.evaluate(self.graph, "valid")
        if self.step == self.task.steps_per_epoch:
            warn_if_guessing(self.task, valid)
        for record, metrics, finite in zip(self.records, valid, self._weights_are_finite(), strict=True):
            if self.solved_at(record) is not None:  # what becomes of it in a stack no longer counts
                continue
            if not finite or not all(math.isfinite(value) for value in metrics.values()):
                self._note_divergence(record, self.step)
        for model, record in enumerate(self.records):
            if record.diverged is None and self.solved_at(record) is None:
                self._end_epoch_of(model, means[model], valid[model])
        for callback in self.callbacks:
            callback.on_epoch_end(self)

    def _end_epoch_of(self, model: int, means: Sequence[float], valid: Mapping[str, float]) -> None:
        """The same for one model, given the means of its `log` and its metrics on validation."""
        record, (loss, mistakes, depth) = self.records[model], means
        epoch = math.ceil(self.step / self.task.steps_per_epoch)
        row: dict[str, Any] = {"epoch": epoch, "step": self.step}
        row |= {f"train_{name}": value for name, value in self.task.train_metrics(loss, mistakes).items()}
        row |= {f"valid_{name}": value for name, value in valid.items()} | {"depth": depth}
        for callback in self.callbacks:
            row |= callback.metrics(self, model)
        record.history.append({**row, "seconds": round(self.seconds / len(self.records), 3)})
        if not valid or valid[self.task.selects] < record.score:
            record.score, record.epoch = valid.get(self.task.selects, math.inf), epoch
            for name, tensor in self.graph.state_dict().items():
                self.best_weights[name][self.slice(model)] = tensor[self.slice(model)]

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds: the tensors of all models, and a list with the record of each."""
        return {
            "graph": self.graph.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "task": self.task.state(),
            "step": self.step,
            "seconds": self.seconds,
            "records": [record.state() for record in self.records],
            "best": {"weights": self.best_weights},
            "log": self.log,
            "diagnostics": {},
            "random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state() if self.log.is_cuda else None,
            **{key: dict(callback.state()) for key, callback in self._with_state.items()},
        }

    def _weights_are_finite(self) -> list[bool]:
        """Whether they are, for each model."""
        finite = [p.isfinite().flatten(len(self.graph.stack)).all(-1) for p in self.graph.parameters()]
        return torch.stack(finite).all(0).view(-1).tolist()

    def _demand_finite(self) -> None:
        """Note of each model the first update of this epoch whose loss is not finite."""
        done = (self.step - 1) % len(self.log) + 1
        bad = (~self.log[:done, 0].isfinite()).view(done, -1).cpu()
        for record, when in zip(self.records, bad.T, strict=True):
            if when.any() and self.solved_at(record) is None:
                self._note_divergence(record, self.step - done + int(when.nonzero()[0]) + 1)

    def _note_divergence(self, record: Record, step: int) -> None:
        """Note that this model diverged, unless it had before; raise `Diverged` where all have."""
        if record.diverged is None:
            many = len(self.records) > 1
            what = "weights that validation chose are" if many else "last good weights are"
            record.diverged = (
                f"training diverged at step {step}: the loss or the weights are no longer finite; likely the step size "
                f"(lr {self._first_lrs[0]:g}) or beta is too large, or the bounds c1 and c2 are off. "
                f"The {what} kept in {record.kept}"
            )
            if self.diverged:
                raise Diverged(record.diverged)
