"""Fingerprints of a rule's code, of settings and of data, so that a run that continues can tell whether they are still
the same."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import sys
import textwrap
import warnings
from collections.abc import Sequence
from typing import Any

from seqlra.data.images import digest_of
from seqlra.data.memory import GeneratedSequences
from seqlra.errors import SeqlraError, SeqlraWarning
from seqlra.rules.base import Rule
from seqlra.tasks.classification import Classification
from seqlra.tasks.prediction import Prediction
from seqlra.tasks.sequences import LabeledSequences
from seqlra.training.machine import versions
from seqlra.training.run_directory import RunDirectory
from seqlra.training.settings import Config


def fingerprint(rule: Rule) -> str:
    """A hash of the source of the rule's classes, without comments and layout. Of a class from outside the package it
    is that of its whole module, whose functions it may call; empty where there is no source, as in a console."""
    code = []
    for cls in type(rule).__mro__:
        package = cls.__module__.partition(".")[0]
        if package in ("builtins", "abc"):
            continue
        try:
            source = inspect.getsource(cls if package == "seqlra" else sys.modules[cls.__module__])
        except (OSError, TypeError, KeyError):
            return ""
        code.append(ast.unparse(ast.parse(textwrap.dedent(source))))
    return hashlib.sha256("\n".join(code).encode()).hexdigest()[:16]


def settings_fingerprint(configs: Sequence[Config], runs: Sequence[RunDirectory]) -> str:
    """A hash of what is computed: all settings but the number of updates, where the data lie, and the machine's.

    Those that came with a later version, which the ``config.json`` of a run does not have, are left out, so that its
    hash stays what it was.
    """
    pairs = zip(configs, runs, strict=True)
    plain = [_among(config.to_dict(), run.read_json(run.config)) for config, run in pairs]
    for each in plain:
        for name in ("device", "threads", "compile", "diagnose", "log", "versions"):
            each.pop(name, None)
        for name in ("data_dir", "text", "valid_text", "test_text", "data"):
            each["data"].pop(name, None)
        for name in ("epochs", "steps"):
            each["optimization"].pop(name, None)
    return hashlib.blake2b(json.dumps(plain, sort_keys=True).encode(), digest_size=8).hexdigest()


def _among(settings: dict[str, Any], known: Any) -> dict[str, Any]:
    """The settings whose names are known, at every depth."""
    return {
        name: _among(value, known[name]) if isinstance(value, dict) else value
        for name, value in settings.items()
        if isinstance(known, dict) and name in known
    }


def data_fingerprint(task: Classification | Prediction | LabeledSequences) -> str:
    """A hash of the data of a task, all splits; empty for sequences that are generated, which follow from a seed."""
    match task:
        case Classification():
            return task.images.digest
        case Prediction():
            tensors = [task.train, *(part for parts in task.held_out.values() for part in parts)]
        case LabeledSequences():
            if isinstance(task.data, GeneratedSequences):
                return ""
            splits = (task.data.train, task.data.valid, task.data.test)
            tensors = [part for split in splits for part in (split.x, split.t)]
    return digest_of(tensor.cpu().numpy() for tensor in tensors)


def versions_of(rule: Rule, task: Classification | Prediction | LabeledSequences) -> dict[str, str]:
    """What a run records of what it depends on besides its settings."""
    return {**versions(), "rule": fingerprint(rule), "data": data_fingerprint(task)}


def check_unchanged(rule: Rule, task: Classification | Prediction | LabeledSequences, config: Config) -> None:
    """Look whether a run goes on with what it began with; runs from before something was recorded say nothing of it.

    Warns where the code of its rule or the version of torch is another.

    Raises:
        SeqlraError: the data are others.
    """
    before = config.versions
    if before.get("data") and before["data"] != data_fingerprint(task):
        raise SeqlraError(f"{config.data.dataset} has changed since the run began: it has other data now")
    if before.get("rule") and before["rule"] != fingerprint(rule):
        _warn(
            f"the code of the rule {type(rule).__name__} has changed since the run began; it goes on with the new code"
        )
    if (torch_then := before.get("torch")) and torch_then != versions()["torch"]:
        _warn(
            f"the run began with torch {torch_then} and goes on with {versions()['torch']}: figures may differ in "
            "their last digits from those of a run left alone"
        )


def _warn(message: str) -> None:
    warnings.warn(message, SeqlraWarning, stacklevel=3)
