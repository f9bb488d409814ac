"""The trials of a study as text: ``trials.jsonl``, one object a line.

The first line says what was tuned, each other one is a trial: its settings, what became of it, its value. The file is
small and needs no database, so that it can be kept beside the results that used its settings.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seqlra.errors import SeqlraError, first_line
from seqlra.sweeps.search import Search

NAME = "trials.jsonl"


@dataclass(frozen=True)
class Trial:
    """One training of a rule with settings that were tried.

    Args:
        label: of the rule.
        number: among its trials, from 1 on.
        state: ``done``, ``pruned`` (it was no longer promising) or ``diverged``.
        value: the best metric of validation over its epochs; None where it diverged.
        settings: what was tried.
        epochs, best_epoch: how many it had, and the one of ``value``.
        seconds: of wall time.
    """

    label: str
    number: int
    state: str
    value: float | None
    settings: Mapping[str, Any]
    epochs: int
    best_epoch: int
    seconds: float


def best(trials: Iterable[Trial]) -> Trial | None:
    """The first of the trials with the lowest value among those that are done; None: none is."""
    done = [trial for trial in trials if trial.state == "done" and trial.value is not None]
    return min(done, key=lambda trial: trial.value or 0.0, default=None)


def as_text(about: Mapping[str, Any], trials: Sequence[Trial]) -> str:
    """The content of ``trials.jsonl``."""
    return "".join(json.dumps(line) + "\n" for line in [about, *map(asdict, trials)])


def tuned(path: Path) -> tuple[str, dict[str, dict[str, Any]]]:
    """The task of a study, and for each label the options of a run at its best settings, keywords of `configure`.

    Args:
        path: of a study, or of its ``trials.jsonl``, or of a copy of that.

    Raises:
        SeqlraError: it is no study, or damaged, or a rule has no trial that is done.
    """
    file = path / NAME if path.is_dir() else path
    if not file.is_file():
        raise SeqlraError(f"{path} is not a study: there is no {file}")
    try:
        about, *lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        searches = [Search.from_dict(about["task"], each) for each in about["rules"]]
        trials = [Trial(**line) for line in lines]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SeqlraError) as error:
        raise SeqlraError(f"{file} is damaged: {first_line(error)}") from error
    found = {search.label: best(each for each in trials if each.label == search.label) for search in searches}
    for label, chosen in found.items():
        if chosen is None:
            raise SeqlraError(f"{label} has no trial in {file} that is done, so nothing is known of its settings")
    return about["task"], {
        each.label: each.options_at(chosen.settings) for each in searches if (chosen := found[each.label])
    }
