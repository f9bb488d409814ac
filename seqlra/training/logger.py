"""What every log of a training has in common: TensorBoard, Weights & Biases, MLflow (`seqlra.training.loggers`).

A log gets each row of metrics once, at the number of its update, also where a training is stopped and goes on, and
where a row could not be written at first. What goes wrong in a log never ends the training.
"""

from __future__ import annotations

import json
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from seqlra.errors import SeqlraWarning, first_line
from seqlra.files import write_atomically
from seqlra.optional import require
from seqlra.training.callback import Callback
from seqlra.training.trainer import Trainer


class Logger(Callback, ABC):
    """Base of callbacks that keep a log of one model.

    A log opens with the training and closes with it. As a context it stays open until its end, for `finish`.

    Args:
        settings: hyperparameters to record, nested as they like.
        model: which of the models of a stack, from 0.

    Attributes:
        logged: the update of the last row in the log; 0 before there is one.
    """

    LIBRARY: ClassVar[str]
    """The module that it needs."""

    TITLE: ClassVar[str]
    """Its name in messages."""

    def __init__(self, settings: Mapping[str, Any] | None = None, model: int = 0) -> None:
        require("log", f"the log of {self.TITLE}", self.LIBRARY)
        self.settings, self.model = flat(settings or {}), model
        self.logged = 0
        self._opened = self._given_up = self._warned = self._stays_open = False

    @abstractmethod
    def open(self, step: int) -> None:
        """Begin a log, or go on with that of a training that had ``step`` updates; sets `logged`."""

    @abstractmethod
    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add the metrics of an epoch that ended with this update."""

    @abstractmethod
    def summarize(self, result: Mapping[str, Any]) -> None:
        """Add the result of a training, by flat names."""

    @abstractmethod
    def close(self, whole: bool) -> None:
        """End the log; ``whole`` says whether the training came to its end."""

    def __enter__(self) -> Self:
        self._stays_open = True
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._stays_open = False
        self._close(error is None)

    def on_train_begin(self, trainer: Trainer) -> None:
        """Open the log; one that cannot be opened is not tried again."""
        self._opened = self._guarded(lambda: self.open(trainer.step))
        self._given_up = not self._opened

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Write the rows that are not in the log yet."""
        self._guarded(lambda: self._write_rows(trainer))

    def on_train_end(self, trainer: Trainer) -> None:
        """Close the log, unless its context does."""
        if not self._stays_open:
            self._close(trainer.step == trainer.total or trainer.done)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Add the result of the whole training, such as the metrics on the test split."""
        self._guarded(lambda: self.summarize(flat(result)))

    def _write_rows(self, trainer: Trainer) -> None:
        for row in trainer.records[self.model].history:
            if row["step"] > self.logged:
                self.write(row["step"], numbers(row))
                self.logged = row["step"]

    def _close(self, whole: bool) -> None:
        if self._opened:
            self._guarded(lambda: self.close(whole))
        self._opened = False

    def _guarded(self, action: Callable[[], None]) -> bool:
        """Whether it went well; the first time that it does not, a warning says why."""
        if self._given_up:
            return False
        try:
            action()
        except Exception as error:  # whatever a library, a disk or a server may raise
            if not self._warned:
                message = f"cannot log to {self.TITLE}: {first_line(error)}; the training goes on"
                warnings.warn(message, SeqlraWarning, stacklevel=2)
            self._warned = True
            return False
        return True


class Memory:
    """A small JSON file in which a log notes how to go on: its id, and the last row that it has.

    Args:
        path: the file; None: nothing is noted.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def read(self) -> dict[str, Any]:
        """What is noted; empty where nothing is, or nothing that can be read."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8")) if self.path is not None else {}
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def write(self, content: Mapping[str, Any]) -> None:
        """Note this instead."""
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, lambda temporary: temporary.write_text(json.dumps(content), encoding="utf-8"))


def flat(nested: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested mappings as one, with ``/`` between the names: ``{"network/hidden": (12, 8)}``."""
    found: dict[str, Any] = {}
    for name, value in nested.items():
        found |= flat(value, f"{before}{name}/") if isinstance(value, Mapping) else {f"{before}{name}": value}
    return found


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers of a row of metrics by flat names, those of lists by their places: ``angle_steps/0``."""
    return dict(_numbers(flat({name: value for name, value in row.items() if name != "step"})))


def _numbers(named: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in named.items():
        if isinstance(value, list | tuple):
            yield from _numbers({f"{name}/{nth}": each for nth, each in enumerate(value)})
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield name, value
