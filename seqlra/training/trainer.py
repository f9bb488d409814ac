"""Training: epochs of updates, selection on validation, checkpoints, exact resume.

Nothing here knows whether the network is an MLP or an RNN: a `Task` hands out mini-batches by their number and
measures, a rule makes updates, an optimizer steps. One model and a stack of models are trained in the same way: each
has a `Record`, and `Trainer.slice` says where the tensors of model s lie in those of all.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from seqlra.analysis.diagnostics import Averages, diagnose
from seqlra.engine.compiled import CompiledUpdate
from seqlra.engine.recorded import RecordedUpdate
from seqlra.engine.tracing import Outcome, TracedUpdate
from seqlra.engine.update import Step, update
from seqlra.errors import Diverged, SeqlraError
from seqlra.network.graph import Graph
from seqlra.rules import Rule
from seqlra.tasks.guessing import warn_if_guessing
from seqlra.tasks.task import Inputs, Task
from seqlra.training import checkpoint
from seqlra.training.optimizers import lr_at, stepper, with_rates
from seqlra.training.run_directory import RunDirectory, TrainingDirectory
from seqlra.training.settings import Optimization


class Stopped(Exception):
    """The user asked to stop; a checkpoint was written."""


@dataclass
class Record:
    """The progress of one model.

    Attributes:
        run: its directory.
        history: one row of metrics an epoch.
        score, epoch: its best metric on validation, and the epoch of that; 0 before there is one.
        diverged: why its training ended early, as a message; None: it did not.
    """

    run: RunDirectory
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
    """Trains the models of one graph on one task, and writes their directory.

    A model that diverges, or has solved its task, is left as it is then; the others go on.

    Args:
        graph, rule, optimizer, task: what trains what, how, on what.
        settings: epochs or steps, and the schedule.
        directory: where the files go; those of model s into ``directory.runs[s]``.
        checkpoint_seconds: how long to go at most without a checkpoint; every epoch ends with one besides.
        diagnose_every: every how many updates one is diagnosed, from the first on; 0: never.
        compiled: whether updates are compiled rather than recorded; those that are diagnosed run as they are.
        rates: the step size of each model over that of ``settings``, ``(models,)``; None: they are all that.

    Attributes:
        step: updates done; total: updates to do.
        records: the progress of each model.
        best_weights: by name, the weights that validation chose, ``(*stack, ...)``; the first ones before it did.
        seconds: time spent on updates.
        diagnostics: of the current epoch.
    """

    CHECK_EVERY = 50  # updates between two looks at whether the loss is still finite (each look waits for the device)

    def __init__(
        self,
        graph: Graph,
        rule: Rule,
        optimizer: torch.optim.Optimizer,
        task: Task,
        settings: Optimization,
        directory: TrainingDirectory,
        checkpoint_seconds: float = 60.0,
        diagnose_every: int = 0,
        compiled: bool = False,
        rates: Tensor | None = None,
    ) -> None:
        self.graph, self.rule, self.optimizer, self.task = graph, rule, optimizer, task
        self.settings, self.directory = settings, directory
        self.checkpoint_seconds, self.diagnose_every = checkpoint_seconds, diagnose_every
        self.compiled, self.rates = compiled, rates
        self.traced = self._traced()
        step = stepper(optimizer)
        self._step_optimizer = step if rates is None else with_rates(step, graph.parameters(), rates)
        self.total = settings.steps or (settings.epochs or 1) * task.steps_per_epoch
        self.step = 0
        self.seconds = 0.0
        self.records = [Record(run) for run in directory.runs]
        self.best_weights = {name: tensor.detach().clone() for name, tensor in graph.state_dict().items()}
        # one row an update of the current epoch: loss, mistakes (share), depth, each (*stack,)
        self.log = torch.zeros(task.steps_per_epoch, 3, *graph.stack, device=next(graph.parameters()).device)
        self.diagnostics = Averages()
        self._stop = False

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

    def train(self, watch: Callable[[Trainer], None] = lambda trainer: None) -> None:
        """Train to the end, from wherever `resume` left off.

        Args:
            watch: called now and then, to show progress.

        Raises:
            Diverged: the loss or the weights of every model are no longer finite; the last good checkpoint stays.
            Stopped: interrupted by the user; a checkpoint was written.
        """
        if self.diverged:
            raise Diverged(self.records[0].diverged)
        restore = self._catch_interrupts()
        try:
            if self.step == 0:
                self.save()
            while self.step < self.total and not self.done:
                self._some_updates(watch)
                if self.step == self.total or self.step % self.task.steps_per_epoch == 0:
                    self._end_epoch()
                    watch(self)
        finally:
            restore()

    def resume(self) -> None:
        """Restore the state of the checkpoint of the directory.

        Raises:
            SeqlraError: it is damaged, of another version, or of other models.
        """
        state = checkpoint.load(self.directory.checkpoint, self.log.device)
        try:
            self.graph.load_state_dict(state["graph"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.task.load_state(state["task"])
            self.step, self.seconds, self.log = state["step"], state["seconds"], state["log"]
            self.best_weights, self.diagnostics.sums = state["best"]["weights"], state["diagnostics"]
            for record, saved in zip(self.records, state["records"], strict=True):
                record.load_state(saved)
            torch.set_rng_state(state["random"].cpu())
            if state["cuda_random"] is not None and torch.cuda.is_available():
                torch.cuda.set_rng_state(state["cuda_random"].cpu())
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise SeqlraError(f"the checkpoint {self.directory.checkpoint} does not fit its config.json") from error

    def use_best(self) -> None:
        """Give the graph the weights that validation chose."""
        self.graph.load_state_dict(self.best_weights)

    def slice(self, model: int) -> tuple[int, ...]:
        """Where the tensors of a model lie in those of all; the one model of a graph without a stack is all of them."""
        return (model,) if self.graph.stack else ()

    def _some_updates(self, watch: Callable[[Trainer], None]) -> None:
        """Updates until the end of the epoch, with a look at the clock and at the loss now and then."""
        started = last_saved = time.perf_counter()
        end = min(self.total, (self.step // self.task.steps_per_epoch + 1) * self.task.steps_per_epoch)
        while self.step < end:
            self._one_update()
            if self._stop or self.step % self.CHECK_EVERY == 0 or self.step == end:
                self._demand_finite()
                now = time.perf_counter()
                self.seconds += now - started
                if self.step < end:  # the end of an epoch has a checkpoint of its own, after the row of that epoch
                    if self._stop or now - last_saved > self.checkpoint_seconds:
                        self.save()
                        last_saved = time.perf_counter()
                    if self._stop:
                        raise Stopped
                watch(self)
                started = time.perf_counter()

    def _one_update(self) -> None:
        inputs, targets = self.task.batch(self.step)
        self.rule.anneal(self.graph, self.step / self.total)
        step = self._update(inputs, targets)
        lr = lr_at(self.step, self.total, self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self._step_optimizer()
        self.rule.after_step(self.graph, lr / self.settings.lr)
        row = self.log[self.step % len(self.log)]
        row[0] = step.loss
        row[1] = step.mistakes
        row[2] = step.depth
        self.task.after(step)
        self.step += 1

    def _update(self, inputs: Inputs, targets: Tensor) -> Step | Outcome:
        to_diagnose = self.diagnose_every and self.step % self.diagnose_every == 0
        if self.traced is not None and not to_diagnose:
            return self.traced(inputs, targets)
        step = update(self.graph, self.rule, inputs, targets)
        if to_diagnose:
            self.diagnostics.add(diagnose(step))
        return step

    def _traced(self) -> TracedUpdate | None:
        """Updates compiled if asked for; recorded where the rule allows it; None: by the engine itself."""
        if self.compiled:
            return CompiledUpdate(self.graph, self.rule)
        return RecordedUpdate(self.graph, self.rule) if self.rule.repeats and not self.rule.skips else None

    def _end_epoch(self) -> None:
        """Measure on validation, keep the best weights, write metrics and a checkpoint."""
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
        self.diagnostics = Averages()
        self.save()

    def _end_epoch_of(self, model: int, means: Sequence[float], valid: Mapping[str, float]) -> None:
        """The same for one model, given the means of its `log` and its metrics on validation."""
        record, (loss, mistakes, depth) = self.records[model], means
        epoch = math.ceil(self.step / self.task.steps_per_epoch)
        row = {"epoch": epoch, "step": self.step, "train_loss": loss, "train_error": 100 * mistakes}
        row |= {f"valid_{name}": value for name, value in valid.items()}
        row |= {"depth": depth, **self.diagnostics.row(self.slice(model))}
        record.history.append({**row, "seconds": round(self.seconds / len(self.records), 3)})
        if valid[self.task.selects] < record.score:
            record.score, record.epoch = valid[self.task.selects], epoch
            for name, tensor in self.graph.state_dict().items():
                self.best_weights[name][self.slice(model)] = tensor[self.slice(model)]
        record.run.write_metrics(record.history)

    def save(self) -> None:
        """Write a checkpoint of everything that the next update depends on."""
        checkpoint.save(self.directory.checkpoint, self.state())

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
            "diagnostics": self.diagnostics.sums,
            "random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state() if self.log.is_cuda else None,
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
            kept = "weights that validation chose are" if len(self.records) > 1 else "last good checkpoint is"
            record.diverged = (
                f"training diverged at step {step}: the loss or the weights are no longer finite; likely the step size "
                f"(lr {self.settings.lr:g}) or beta is too large, or the bounds c1 and c2 are off. "
                f"The {kept} kept in {record.run.path}"
            )
            if self.diverged:
                raise Diverged(record.diverged)

    def _catch_interrupts(self) -> Callable[[], None]:
        """Let the first Ctrl-C end the run after the update in hand; a second one ends it at once."""

        def stop(signum: int, frame: FrameType | None) -> None:
            if self._stop:
                raise KeyboardInterrupt
            self._stop = True

        try:
            before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not in the main thread, where no signal arrives
            return lambda: None

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        return restore
