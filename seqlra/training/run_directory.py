"""The directories of a training: `RunDirectory` of one run, `StackDirectory` of several that are trained together.

A training reads and writes both as a `TrainingDirectory`, whose ``runs`` are the run directories of its models; that of
one model is its own run directory.

A run directory holds ``config.json`` (the resolved configuration), ``metrics.jsonl`` (one object an epoch),
``result.json``, ``checkpoint.pt``, ``curve.png`` and ``diagnostics.png``; for text also ``vocabulary.json``. Where a
run diverged, ``failed.json`` takes the place of ``result.json``.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import Any, Self

from seqlra.errors import SeqlraError, first_line
from seqlra.files import TEMPORARY, write_atomically

NUMBER = (int, float)
RESULT: dict[str, tuple[type, ...]] = {
    "rule": (str,),
    "seed": (int,),
    "steps": (int,),
    "epochs": (int,),
    "best_epoch": (int,),
    "train_seconds": NUMBER,
}
"""The types of what ``result.json`` and ``failed.json`` hold besides metrics."""

ROW: dict[str, tuple[type, ...]] = {"epoch": (int,), "step": (int,), "seconds": NUMBER}
"""The same of a row of ``metrics.jsonl``."""


def _demand(path: Path, plain: Mapping[str, Any], types: Mapping[str, tuple[type, ...]]) -> None:
    """Raise `SeqlraError` where what a file has of these is of another type; metrics are numbers."""
    for name, accepted in types.items():
        if name in plain and (not isinstance(plain[name], accepted) or isinstance(plain[name], bool)):
            raise SeqlraError(f"{path} is damaged: {name} cannot be {plain.get(name)!r:.40}")
    for name, value in plain.items():
        if name.startswith(("test_", "valid_", "train_", "mean_")) and not isinstance(value, (*NUMBER, NoneType)):
            raise SeqlraError(f"{path} is damaged: {name} cannot be {value!r:.40}")


class Directory:
    """A folder at ``path`` that is never written over, with JSON files that are whole or not there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    STARTING = ".starting"
    """In a directory from when it is made until what it is about is written; where it is left, a start was cut short,
    and there is nothing to lose."""

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make a new directory; an empty one will do. `started` ends what begins here.

        Raises:
            SeqlraError: it exists and holds something (nothing is ever overwritten), or cannot be written.
        """
        made = cls(path)
        try:
            if path.exists() and not (path / cls.STARTING).exists() and (not path.is_dir() or any(path.iterdir())):
                raise SeqlraError(f"{path} exists already; choose another --out, or continue that run with --resume")
            made.make()
            (path / cls.STARTING).touch()
            for left in path.iterdir():
                if left.is_dir() and not left.is_symlink():
                    shutil.rmtree(left)
                elif left.name != cls.STARTING:
                    left.unlink()
        except OSError as error:
            raise SeqlraError(f"cannot write to {path}: {error.strerror}") from error
        return made

    def started(self) -> None:
        """Say that the directory says what it is about."""
        (self.path / self.STARTING).unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training here meanwhile.

        Raises:
            SeqlraError: another process is training here.
        """
        try:
            held = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise SeqlraError(f"cannot write to {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise SeqlraError(f"another process is training in {self.path}; wait for its end, or stop it") from None
        finally:
            os.close(held)

    def make(self) -> None:
        """Make the folder where it is not there yet.

        Raises:
            SeqlraError: it cannot be made, or not be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise SeqlraError(f"cannot write to {self.path}: {error.strerror}") from error

    def sweep(self) -> None:
        """Remove files that a kill left half written."""
        for left in self.path.glob(TEMPORARY):
            left.unlink(missing_ok=True)

    def write_json(self, path: Path, content: Mapping[str, Any]) -> None:
        """Write one JSON file, whole or not at all."""
        self.write_text(path, json.dumps(content, indent=2) + "\n")

    def write_text(self, path: Path, text: str) -> None:
        """Write one file of text, whole or not at all."""
        write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))

    def read_json(self, path: Path) -> dict[str, Any]:
        """One JSON file of this folder.

        Raises:
            SeqlraError: it is missing or damaged.
        """
        try:
            return self._plain(path, path.read_text(encoding="utf-8"))
        except OSError as error:
            raise SeqlraError(f"cannot read {path}: {error.strerror}") from error

    def read_json_lines(self, path: Path) -> list[dict[str, Any]]:
        """A file of this folder with a JSON object in every line.

        Raises:
            SeqlraError: it is damaged.
        """
        return [self._plain(path, line) for line in path.read_text(encoding="utf-8").splitlines()]

    @staticmethod
    def _plain(path: Path, text: str) -> dict[str, Any]:
        """A JSON object of a file."""
        try:
            plain = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SeqlraError(f"{path} is damaged: {first_line(error)}") from error
        if not isinstance(plain, dict):
            raise SeqlraError(f"{path} is damaged: it must hold an object, not {plain!s:.40}")
        return plain


class TrainingDirectory(Directory):
    """The files of a training, of one model or of several.

    Attributes:
        about: the path of what says what is trained; it is written last before training starts, so where it is, all
            the others are.
        checkpoint, result: the paths of the checkpoint and the result of the whole training.
        runs: the run directory of each model.
    """

    def __init__(self, path: Path, about: str, runs: Sequence[RunDirectory]) -> None:
        super().__init__(path)
        self.about = path / about
        self.checkpoint = path / "checkpoint.pt"
        self.result = path / "result.json"
        self.runs = list(runs)

    @staticmethod
    def open(path: Path) -> TrainingDirectory:
        """An existing training, whichever kind it is.

        Raises:
            SeqlraError: there is none at ``path``, or its ``stack.json`` is damaged.
        """
        return StackDirectory.open(path) if StackDirectory(path).about.is_file() else RunDirectory.open(path)


class RunDirectory(TrainingDirectory):
    """The files of one run.

    Attributes:
        config, metrics, failed, curve, diagnostics, vocabulary: their paths.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "config.json", [self])
        self.config = self.about
        self.metrics = path / "metrics.jsonl"
        self.failed = path / "failed.json"
        self.curve = path / "curve.png"
        self.diagnostics = path / "diagnostics.png"
        self.vocabulary = path / "vocabulary.json"

    @staticmethod
    def open(path: Path) -> RunDirectory:
        """An existing run.

        Raises:
            SeqlraError: there is no run at ``path``.
        """
        run = RunDirectory(path)
        if not run.config.is_file():
            of_many = f"; it holds several, such as {path / '*'}" if StackDirectory(path).about.is_file() else ""
            raise SeqlraError(f"{path} is not a run directory: it has no config.json{of_many}")
        return run

    def write_metrics(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Write ``metrics.jsonl``, whole or not at all."""
        self.write_text(self.metrics, "".join(json.dumps(row) + "\n" for row in history))

    def outcome(self) -> dict[str, Any] | None:
        """The result of a run that is done, one that diverged too (``diverged`` says so); None before.

        Raises:
            SeqlraError: it is damaged.
        """
        for path, diverged in ((self.result, False), (self.failed, True)):
            if path.exists():
                found = self.read_json(path)
                _demand(path, found, RESULT)
                return {**found, "diverged": diverged}
        return None

    def read_metrics(self) -> list[dict[str, Any]]:
        """The rows of ``metrics.jsonl``; none where no epoch has ended yet.

        Raises:
            SeqlraError: it is damaged.
        """
        if not self.metrics.exists():
            return []
        rows = self.read_json_lines(self.metrics)
        for row in rows:
            _demand(self.metrics, row, ROW)
        return rows


class StackDirectory(TrainingDirectory):
    """The files of models that are trained together, each of which has a run directory of its own besides.

    ``stack.json`` says where those are. ``checkpoint.pt`` is that of all models until they are done; ``result.json``
    and ``curves.png`` summarize the results.

    Args:
        path: where it is.
        folders: the run directory of each model, relative to ``path``.

    Attributes:
        folders: as given.
        curves: the path of the picture.
    """

    def __init__(self, path: Path, folders: Sequence[str] = ()) -> None:
        runs = [RunDirectory(Path(os.path.normpath(path / folder))) for folder in folders]
        super().__init__(path, "stack.json", runs)
        self.curves = path / "curves.png"
        self.folders = tuple(folders)

    @staticmethod
    def open(path: Path) -> StackDirectory:
        """An existing stack, whose runs are folders in it.

        Raises:
            SeqlraError: there is none at ``path``, or its ``stack.json`` is damaged, or names runs elsewhere.
        """
        stack = StackDirectory(path)
        if not stack.about.is_file():
            raise SeqlraError(f"{path} holds no models that are trained together: it has no stack.json")
        folders = stack.named()
        for folder in folders:
            inside = Path(folder).name == folder and (path / folder).resolve().parent == path.resolve()
            if not inside or folders.count(folder) > 1:
                raise SeqlraError(f"{stack.about} is damaged: {folder!r} is not a run in a folder of its own there")
        return StackDirectory(path, folders)

    def named(self) -> list[str]:
        """The folders that ``stack.json`` names.

        Raises:
            SeqlraError: it is damaged.
        """
        folders = self.read_json(self.about).get("runs")
        if not (isinstance(folders, list) and folders and all(isinstance(folder, str) for folder in folders)):
            raise SeqlraError(f"{self.about} is damaged: it names no runs")
        return folders

    def remove(self) -> None:
        """Remove the folder, ``stack.json`` first, so that whatever is left of it is no stack."""
        self.about.unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)
