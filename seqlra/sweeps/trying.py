"""The trials of one rule, by Optuna: which settings are tried, and what is kept of each."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seqlra.errors import Diverged, SeqlraError, SeqlraWarning, first_line
from seqlra.optional import require
from seqlra.rules.space import Choice, Dimension
from seqlra.sweeps.search import Search
from seqlra.sweeps.trials import Trial
from seqlra.training.callback import Callback
from seqlra.training.experiment import prepare
from seqlra.training.machine import set_threads
from seqlra.training.runs import trainer_with
from seqlra.training.trainer import Trainer

if TYPE_CHECKING:
    import optuna

PRUNERS = ("median", "asha", "none")
HEARTBEAT = 30
"""Seconds between two signs of life of a trial, where several machines share a storage."""

Report = Callable[[Trial, int, float | None], None]
"""Called after a trial, with how many there will be and the best value so far."""


@dataclass(frozen=True)
class Plan:
    """What all rules of a study have in common.

    Args:
        name: of the study in its storage, where each rule has a study of its own.
        trials: how many each rule has.
        seed: of the sampler, and of the training.
        pruner: one of `PRUNERS`.
        storage: of Optuna, a URL of SQLAlchemy.
        shared: whether other processes may be at work in the storage.
    """

    name: str
    trials: int
    seed: int
    pruner: str
    storage: str
    shared: bool

    def study_of(self, label: str) -> str:
        """The name of the study of a rule."""
        return f"{self.name}/{label}"


class Validation(Callback):
    """Reports the metric of validation after each epoch."""

    def __init__(self, report: Callable[[int, float], None]) -> None:
        self.report = report

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Of the epoch that ended."""
        row = trainer.records[0].history[-1]
        self.report(row["epoch"], row[f"valid_{trainer.task.selects}"])


def try_all(search: Search, plan: Plan, report: Report) -> None:
    """Run the trials of a rule that are left, one after another.

    The sampler of a trial has a seed of its own, made of the plan's and of how many trials were before it. So a search
    that was stopped goes on as if it had not been. Trials that were cut short do not count.

    Raises:
        SeqlraError: Optuna is missing, or its storage cannot be used.
    """
    with storage_of(plan) as storage:
        study = _study(storage, search, plan)
        while (before := _counted(study)) < plan.trials:
            _one(study, search, plan, before)
            done = trials_of(study, search.label)
            if done:
                values = [trial.value for trial in done if trial.state == "done" and trial.value is not None]
                report(done[-1], plan.trials, min(values, default=None))


@contextmanager
def storage_of(plan: Plan) -> Iterator[optuna.storages.BaseStorage]:
    """The storage of a plan; what goes wrong in it is one line.

    Raises:
        SeqlraError: Optuna is missing, or the storage cannot be reached.
    """
    require("tune", "tuning", "optuna")
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    unusable = f"cannot use the storage {masked(plan.storage)}"
    try:
        storage = _opened(plan)
    except (SQLAlchemyError, optuna.exceptions.OptunaError, ImportError, ValueError, RuntimeError) as error:
        raise SeqlraError(f"{unusable}: {masked(first_line(error))}; accepted: a URL of SQLAlchemy") from error
    try:
        yield storage
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise SeqlraError(f"{unusable}: {masked(first_line(error))}") from error
    finally:
        optuna.logging.set_verbosity(before)


def _opened(plan: Plan) -> optuna.storages.BaseStorage:
    import optuna

    options: dict[str, Any] = {"heartbeat_interval": HEARTBEAT} if plan.shared else {}
    if plan.storage.startswith("sqlite"):
        options["engine_kwargs"] = {"connect_args": {"timeout": 60}}  # several processes write
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.storages.RDBStorage(plan.storage, **options)


def masked(text: str) -> str:
    """The text without the password of a URL in it."""
    return re.sub(r"(://[^/\s:@]*):[^@\s]*@", r"\1:***@", text)


def names_in(storage: optuna.storages.BaseStorage) -> list[str]:
    """The names of the studies in a storage."""
    return [study.study_name for study in storage.get_all_studies()]


def trials_in(storage: optuna.storages.BaseStorage, search: Search, plan: Plan) -> list[Trial]:
    """The trials of a rule that count, so far."""
    if plan.study_of(search.label) not in names_in(storage):
        return []
    import optuna

    return trials_of(optuna.load_study(study_name=plan.study_of(search.label), storage=storage), search.label)


def trials_of(study: optuna.Study, label: str) -> list[Trial]:
    """The trials of a study that count, so far."""
    ended = [each for each in study.get_trials(deepcopy=False) if each.state.name in ("COMPLETE", "PRUNED")]
    return [_trial(each, label, nth + 1) for nth, each in enumerate(ended)]


def _trial(frozen: optuna.trial.FrozenTrial, label: str, number: int) -> Trial:
    values = frozen.intermediate_values
    pruned = frozen.state.name == "PRUNED"
    value = frozen.value if not pruned else min(values.values(), default=None)
    state = "pruned" if pruned else "done" if value is not None and math.isfinite(value) else "diverged"
    return Trial(
        label,
        number,
        state,
        None if state == "diverged" else value,
        frozen.params,
        len(values),
        min(values, key=lambda epoch: values[epoch], default=0),
        round(frozen.duration.total_seconds() if frozen.duration else 0.0, 3),
    )


def _study(storage: optuna.storages.BaseStorage, search: Search, plan: Plan) -> optuna.Study:
    """The study of a rule, without trials that a kill left behind."""
    import optuna

    study = optuna.create_study(
        storage=storage,
        study_name=plan.study_of(search.label),
        pruner=_pruner(plan.pruner),
        load_if_exists=True,
    )
    if not plan.shared:  # others show by their heartbeat that they live
        for cut in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            study.tell(cut.number, state=optuna.trial.TrialState.FAIL)
    return study


def _pruner(name: str) -> optuna.pruners.BasePruner:
    """The pruner of that name. The first epoch of a trial prunes nothing: small steps begin slowly."""
    import optuna

    match name:
        case "median":
            return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2)
        case "asha":
            return optuna.pruners.SuccessiveHalvingPruner(min_resource=2)
    return optuna.pruners.NopPruner()


def _counted(study: optuna.Study) -> int:
    """How many trials have ended or are under way."""
    return sum(each.state.name not in ("FAIL", "WAITING") for each in study.get_trials(deepcopy=False))


def _one(study: optuna.Study, search: Search, plan: Plan, before: int) -> None:
    """One trial; the first is that of the settings that suit."""
    import optuna

    waiting = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,))
    if before == 0 and search.start and not waiting:
        study.enqueue_trial(dict(search.start))
    seed = int(np.random.SeedSequence([plan.seed, before]).generate_state(1)[0])
    study.sampler = optuna.samplers.TPESampler(n_startup_trials=max(3, plan.trials // 4), seed=seed)

    def objective(trial: optuna.Trial) -> float:
        settings = {name: _suggest(trial, name, dimension) for name, dimension in search.space.items()}

        def report(epoch: int, value: float) -> None:
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        return value_at(search, settings, plan.seed, report)

    study.optimize(objective, n_trials=1)


def _suggest(trial: optuna.Trial, name: str, dimension: Dimension) -> Any:
    if isinstance(dimension, Choice):
        return trial.suggest_categorical(name, dimension.values)
    low, high = dimension.ends
    if dimension.whole:
        return trial.suggest_int(name, int(low), int(high), log=dimension.log)
    return trial.suggest_float(name, low, high, log=dimension.log)


def value_at(search: Search, settings: dict[str, Any], seed: int, report: Callable[[int, float], None]) -> float:
    """Train with these settings; the lowest metric of validation over the epochs, infinity where it diverged.

    No file is written, and the test split is not looked at.
    """
    config = search.config_at(settings, seed)
    set_threads(config.threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SeqlraWarning)  # that it learns nothing, the value says
        trainer = trainer_with(prepare([config], fresh=True), [Validation(report)])
        try:
            trainer.train()
        except Diverged:
            return math.inf
    return trainer.records[0].score
