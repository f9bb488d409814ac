"""The figures of a report as plain data: the table, the curves, the settings, how it was run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from seqlra.analysis.curves import METRICS
from seqlra.report.found import Entry, Run
from seqlra.sweeps.comparison import row
from seqlra.training import config_file
from seqlra.training.logger import flat
from seqlra.training.results import spread_text

NOT_SETTINGS = ("seed", "versions", "log")
"""Parts of a configuration that do not say what is trained."""

CHOOSING = ("bpc", "perplexity", "error", "loss")
"""The metrics by which validation chooses; a run has the first of them that it measures."""


def metric_of(entry: Entry) -> str | None:
    """The metric by which validation chose; None where no epoch has ended."""
    for run in entry.runs:
        for found in (run.outcome or {}, *run.rows[:1]):
            for metric in CHOOSING:
                if f"valid_{metric}" in found:
                    return metric
    return None


def table_row(entry: Entry) -> dict[str, Any]:
    """A line of the table: figures over the seeds that are done as `seqlra.training.results.spread` has them."""
    metric, outcomes = metric_of(entry), [run.outcome for run in entry.runs if run.outcome]
    known = row(outcomes, metric) if metric is not None and outcomes else {}
    return {
        "label": entry.label,
        "title": entry.title,
        "rule": entry.runs[0].config.rule["name"],
        "source": str(entry.source),
        "metric": metric,
        "seeds": [run.config.seed for run in entry.runs],
        "done": len(outcomes),
        "test": known.get(f"test_{metric}"),
        "valid": known.get(f"valid_{metric}"),
        "ms_per_update": known.get("ms_per_update"),
        "best_epochs": known.get("best_epochs", []),
        "notes": [note for run in entry.runs if (note := _note(run))],
    }


def _note(run: Run) -> str:
    seed = f"seed {run.config.seed}"
    if run.outcome is None:
        return f"{seed}: not ended, epoch {run.rows[-1]['epoch']} is done" if run.rows else f"{seed}: no epoch yet"
    if run.outcome["diverged"]:
        return f"{seed}: diverged in epoch {run.outcome['epochs'] + 1}"
    return f"{seed}: solved at update {run.outcome['solved_at']}" if run.outcome.get("solved_at") else ""


def cells(table: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The lines of the table as text."""
    return [
        {
            "label": each["label"],
            "title": each["title"],
            "metric": METRICS[each["metric"]] if each["metric"] else "",
            "test": _figure(each["test"]),
            "valid": _figure(each["valid"]),
            "ms": _figure(each["ms_per_update"]),
            "best": ", ".join(map(str, each["best_epochs"])) or "–",
            "notes": "; ".join(each["notes"]),
        }
        for each in table
    ]


def _figure(over_seeds: Mapping[str, Any] | None) -> dict[str, str]:
    """The mean over seeds, and below it their range."""
    if over_seeds is None:
        return {"mean": "–", "range": ""}
    known = [value for value in over_seeds["all"] if value is not None]
    between = f"{over_seeds['min']:.2f} to {over_seeds['max']:.2f}" if len(known) > 1 else ""
    return {"mean": spread_text(over_seeds, ranged=False), "range": between}


def curves(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The curves of each entry: ``label`` and ``runs``, each with ``seed`` and ``columns``, the values of every metric
    by flat name, one for each epoch; None where there is none, or none that is finite."""
    return [
        {"label": each.label, "runs": [{"seed": run.config.seed, "columns": _columns(run.rows)} for run in each.runs]}
        for each in entries
    ]


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    flattened = [flat(each) for each in rows]
    names = dict.fromkeys(name for each in flattened for name in each)
    return {name: [_plain(each.get(name)) for each in flattened] for name in names}


def _plain(value: Any) -> Any:
    """What JSON has a word for and a curve has a place for."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if number and math.isfinite(value) else None


def settings(entries: Sequence[Entry]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The settings in which entries differ, each with its ``values`` in the order of the entries, and those that they
    have in common. What an entry does not have is empty."""
    of_each = [_settings(each.runs[0].config.to_dict()) for each in entries]
    parts = {part: None for each in of_each for part in (name.partition("/")[0] for name in each)}
    known = dict.fromkeys(name for each in of_each for name in each)
    names = [name for part in parts for name in known if name.partition("/")[0] == part]
    differing, common = [], {}
    for name in names:
        values = [each.get(name, "") for each in of_each]
        if len(set(values)) > 1:
            differing.append({"name": name.replace("/", " "), "values": values})
        else:
            common[name.replace("/", " ")] = values[0]
    return differing, common


def _settings(plain: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: _text(value) for name, value in flat({k: v for k, v in plain.items() if k not in NOT_SETTINGS}).items()
    }


def _text(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case list() | tuple():
            return ", ".join(map(_text, value))
    return str(value)


def how(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """How each entry was run: its command, machine, versions, seeds, and its settings as a file."""
    return [
        {
            "label": each.label,
            "title": each.title,
            "facts": {
                "folder": str(each.source),
                "command": each.command,
                "seeds": ", ".join(str(run.config.seed) for run in each.runs),
                "device": _one_of(run.config.device for run in each.runs),
                "threads": _one_of(str(run.config.threads) for run in each.runs),
                "versions": _one_of(_versions(run) for run in each.runs),
            },
            "file": config_file.write([each.runs[0].config]),
        }
        for each in entries
    ]


def _versions(run: Run) -> str:
    known = (run.outcome or {}).get("versions") or run.config.versions
    return ", ".join(f"{name} {value}" for name, value in known.items() if name not in ("rule", "data"))


def _one_of(values: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(value for value in values if value))
