"""Text by recurrent networks: the rules, their cells, and what came out by size of the network."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from seqlra.errors import SeqlraError
from seqlra.paper.cells import Cell, Machine
from seqlra.paper.exhibit import Entry, Section, entry
from seqlra.paper.panels import Row
from seqlra.paper.reproduction import Found, Reproduction
from seqlra.training.results import spread, spread_text

TEXTS = {"tiny_shakespeare": "text", "text-sample": "sample"}
"""The texts, and how the names of their cells begin."""

CHUNKS = {"tiny_shakespeare": 313, "text-sample": 275}
"""How many updates of 64 streams of 50 steps a pass over a text has."""

SIZES = (128, 256, 512)
UPDATES = {"quick": 1000, "paper": 2500}
"""By scale."""
LRA: dict[str, Any] = {"rule": "lra-fdbk", "feedback": "learned", "mirror_vectors": 10_000}
RULES: dict[str, tuple[str, dict[str, Any]]] = {
    "full": ("LRA, learned E and F, whole walk", {**LRA, "window": "full"}),
    "window4": ("LRA, learned, window 4", {**LRA, "window": 4}),
    "window2": ("LRA, learned, window 2", {**LRA, "window": 2}),
    "window0": ("LRA, learned, window 0", {**LRA, "window": 0}),
    "fixed": ("LRA, fixed E (the paper)", {"rule": "lra-fdbk", "feedback": "fixed"}),
    "diff": ("LRA-diff", {"rule": "lra-diff"}),
    "fa": ("FA, learned", {"rule": "fa", "feedback": "learned", "mirror_vectors": 10_000}),
    "bptt": ("BPTT", {"rule": "backprop"}),
}
"""By the end of a cell's name: the words of a row, and the options that differ."""

BPTT = "bptt"
SECOND = 256, ("full", "fixed", "bptt")
"""The size and the rules that are trained on a second text, with the step sizes of the first: it has no part in any
choice."""

SLOW = ("window2", "window0", "fa")
"""Rules that the quick scale leaves out."""

LR = 0.01
"""The step size of a rule that has no choice of its own for the size of the network."""

CHOSEN = Path(__file__).parents[2] / "results" / "paper" / "sequences-tuning.json"
"""What `seqlra reproduce sequences-tuning` wrote, where it was kept."""


def text(machine: Machine) -> str:
    """Tiny Shakespeare where the machine has it, else the embedded text."""
    folder = machine.data_dir
    return "tiny_shakespeare" if folder and (Path(folder) / "tiny_shakespeare").is_dir() else "text-sample"


@cache
def chosen(path: Path = CHOSEN) -> Mapping[tuple[str, int], float]:
    """The step size that was chosen on validation, by the end of a cell's name and the number of units.

    Raises:
        SeqlraError: the file is there and damaged.
    """
    if not path.exists():
        return {}
    try:
        table = json.loads(path.read_text())["chosen"].items()
        return {(rule, int(size)): float(lr) for rule, sizes in table for size, lr in sizes.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SeqlraError(f"{path} is damaged: {error!r}") from error


def options(rule: str, size: int, dataset: str, updates: int, lr: float) -> dict[str, Any]:
    """Of `configure`, for one run."""
    shared = {"hidden": (size,), "streams": 64, "unroll": 50, "optimizer": "adam", "schedule": "linear"}
    return {"dataset": dataset, **shared, "steps": updates, "lr": lr, **RULES[rule][1]}


def cell(rule: str, size: int, dataset: str = "text-sample", updates: int = 2500, lr: float | None = None) -> Cell:
    """One rule at one size, with the step size that was chosen for it."""
    lr = chosen().get((rule, size), LR) if lr is None else lr
    epochs = math.ceil(updates / CHUNKS[dataset])
    made = {**options(rule, size, dataset, updates, lr), "diagnose": 100}
    return Cell(f"{TEXTS[dataset]}-{size}-{rule}-lr{lr:g}", made, epochs=epochs)


def cells(scale: str, machine: Machine) -> list[Cell]:
    """What a scale trains, small networks first."""
    quick, dataset, updates = scale == "quick", text(machine), UPDATES[scale]
    first = [
        cell(rule, size, dataset, updates)
        for size in (SIZES[:2] if quick else SIZES)
        for rule in RULES
        if not (quick and rule in SLOW)
    ]
    size, rules = SECOND
    second = "text-sample"
    return first if quick or dataset == second else first + [cell(rule, size, second, updates) for rule in rules]


@dataclass(frozen=True)
class TextRun:
    """The finished runs of one rule at one size, all of one length."""

    rule: str
    size: int
    found: Found

    @property
    def label(self) -> str:
        """The words of its rule."""
        return RULES[self.rule][0]

    @property
    def updates(self) -> int:
        """How many it was trained for; of one that diverged, how many it came to."""
        return max(outcome["steps"] for outcome in self.found.outcomes)

    @property
    def seconds(self) -> float:
        """Of training, the mean over the seeds."""
        return fmean(outcome["train_seconds"] for outcome in self.found.outcomes)

    def after(self, seconds: float) -> list[float]:
        """Bits per character on validation after so many seconds of training, of each seed that has an epoch by then.

        Straight lines join the epochs; behind the last one it stays.
        """
        reached = []
        for history in self.found.histories:
            times = [row["seconds"] for row in history]
            if times and times[0] <= seconds:
                reached.append(float(np.interp(seconds, times, [row["valid_bpc"] for row in history])))
        return reached


Known = Mapping[tuple[str, int, int], Sequence[TextRun]]


def runs(reproduction: Reproduction) -> Known:
    """All finished runs by text, size and epochs, each in the order of the rules."""
    found: dict[tuple[str, int, int], list[TextRun]] = {}
    for dataset, size in product(TEXTS, SIZES):
        made = {rule: cell(rule, size, dataset) for rule in RULES}
        for epochs in sorted({n for each in made.values() for n in reproduction.lengths(each)}):
            for rule, each in made.items():
                if runs := reproduction.found(each, epochs):
                    found.setdefault((dataset, size, epochs), []).append(TextRun(rule, size, runs))
    return found


def sections(known: Known) -> list[tuple[Section | None, list[Entry]]]:
    """One for each text."""
    return [
        _section(f"Text: {dataset}", {key: group for key, group in known.items() if key[0] == dataset})
        for dataset in TEXTS
    ]


def _section(heading: str, known: Known) -> tuple[Section | None, list[Entry]]:
    """Rule by size: bits per character, how far from BPTT, time."""
    rows: list[Row] = [HEADER]
    entries: list[Entry] = []
    for group in known.values():
        rival = next((each for each in group if each.rule == BPTT), None)
        for each in group:
            own = each.found.figure("test_bpc")
            if own["mean"] is None:
                figures = ("diverged", "-", "-")
            else:
                name = f"{each.label}, {each.size} units, {each.updates:,} updates"
                entries.append(entry(name, each.found, "test_bpc"))
                figures = (spread_text(own, digits=3), gap(own["mean"], rival), at_equal_time(each, rival))
            time = (f"{each.found.ms_per_update:.1f}", f"{each.seconds:.0f}")
            rows.append((each.label, str(each.size), f"{each.updates:,}", *figures, *time))
    return (Section(heading, rows), entries) if len(rows) > 1 else (None, entries)


HEADER = (
    *("rule", "units", "updates", "test bits per character", "behind BPTT"),
    *("validation at BPTT's time", "ms an update", "seconds"),
)


def gap(mean: float, rival: TextRun | None) -> str:
    """How much more than BPTT's, in percent."""
    theirs = None if rival is None else rival.found.figure("test_bpc")["mean"]
    return "-" if theirs is None else f"{100 * (mean / theirs - 1):+.1f}%"


def at_equal_time(each: TextRun, rival: TextRun | None) -> str:
    """Bits per character on validation at the end of BPTT's training."""
    return "-" if rival is None else spread_text(spread(each.after(rival.seconds)), digits=3)


def longest(known: Known) -> Iterator[tuple[str, int, Sequence[TextRun]]]:
    """By text and size, the runs of the most epochs."""
    for place in dict.fromkeys((dataset, size) for dataset, size, _ in known):
        epochs = max(epochs for *where, epochs in known if tuple(where) == place)
        yield *place, known[*place, epochs]


def draw(axes: Axes, group: Sequence[TextRun], key: str) -> None:
    """Bits per character on validation against updates (``step``) or ``seconds``: a line through the means."""
    for each in group:
        epochs = list(zip(*each.found.histories, strict=False))
        if epochs:
            x = [fmean(row[key] for row in rows) for rows in epochs]
            y = [fmean(row["valid_bpc"] for row in rows) for rows in epochs]
            color = f"C{list(RULES).index(each.rule)}"
            axes.plot(x, y, label=each.label, color=color, marker="o", markersize=3)
    axes.set(xlabel={"step": "updates", "seconds": "seconds of training"}[key])
    axes.grid(alpha=0.3)
