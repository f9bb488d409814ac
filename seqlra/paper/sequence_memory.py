"""Tasks with memory by recurrent networks: generated sequences, and MNIST row by row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle

from seqlra.paper.cells import Cell, Machine
from seqlra.paper.exhibit import Entry, Section, entry
from seqlra.paper.panels import Row
from seqlra.paper.reproduction import Found, Reproduction
from seqlra.training.results import spread_text

LENGTHS = {
    "temporal-order": (10, 20, 50, 100),
    "temporal-order-3": (10, 20, 50, 100),
    "adding": (10, 20, 30, 50, 100),
    "copy": (22, 50, 100),  # its pattern, stop and answer take 21 steps
    "permutation": (10, 20, 50, 100),
}
QUICK_TASKS, QUICK_LENGTHS = ("temporal-order", "temporal-order-3", "adding"), (20, 50)
EPOCHS = {"quick": 50, "paper": 100}
"""At most, of 100 updates each; a network that has solved its task stops."""

RULES: dict[str, tuple[str, dict[str, Any]]] = {
    "learned": ("LRA, learned E and F", {"rule": "lra-fdbk", "feedback": "learned", "window": "full"}),
    "random": (
        "LRA, fixed random E and F",
        {"rule": "lra-fdbk", "feedback": "fixed", "window": "full", "carry": "error"},
    ),
    "fixed": ("LRA, fixed E, window 0 (the paper)", {"rule": "lra-fdbk", "feedback": "fixed", "window": 0}),
    "bptt": ("BPTT", {"rule": "backprop"}),
}
ROW_RULES = ("learned", "bptt")
ROW_EPOCHS = {"quick": 3, "paper": 15}


def cell(task: str, length: int, rule: str, epochs: int = EPOCHS["paper"]) -> Cell:
    """One rule on one task of one length."""
    shared = {"hidden": (100,), "batch_size": 20, "lr": 0.001, "mirror_vectors": 10_000, "diagnose": 100}
    made = {"dataset": task, "length": length, "data_dir": None}  # generated, not read
    given = {**made, **shared, **RULES[rule][1]}
    return Cell(f"memory-{task}-{length}-{rule}", given, epochs=epochs, task="rnn")


def row_cell(rule: str, dataset: str = "mnist-sample-rows", epochs: int = ROW_EPOCHS["paper"]) -> Cell:
    """One rule on MNIST row by row."""
    own = {"beta": 0.01} if rule == "learned" else {}  # chosen on validation: with 0.1 it is 0.4% worse
    given = {"dataset": dataset, "hidden": (100,), "diagnose": 100, **RULES[rule][1], **own}
    return Cell(f"rows-{rule}", given, epochs=epochs, task="rnn")


def cells(scale: str, machine: Machine) -> list[Cell]:
    """What a scale trains."""
    quick = scale == "quick"
    generated = [
        cell(task, length, rule, EPOCHS[scale])
        for task in (QUICK_TASKS if quick else LENGTHS)
        for length in (QUICK_LENGTHS if quick else LENGTHS[task])
        for rule in RULES
    ]
    folder = machine.data_dir
    dataset = "mnist-rows" if folder and (Path(folder) / "mnist").is_dir() else "mnist-sample-rows"
    return generated + [row_cell(rule, dataset, ROW_EPOCHS[scale]) for rule in ROW_RULES]


Known = Mapping[tuple[str, int, str], Found]


def runs(reproduction: Reproduction) -> Known:
    """The longest finished runs of generated tasks by task, length and rule."""
    places = ((task, length, rule) for task, lengths in LENGTHS.items() for length, rule in product(lengths, RULES))
    return {place: found for place in places if (found := reproduction.found(cell(*place)))}


def solved(found: Found) -> list[int]:
    """After how many updates each seed that solved its task had done so."""
    return [outcome["solved_at"] for outcome in found.outcomes if outcome["solved_at"] is not None]


def outcome_text(found: Found) -> str:
    """When it was solved, of how many seeds; else the error reached."""
    at, runs = solved(found), len(found.outcomes)
    words = [f"solved at {_range(at)} updates"] if at else []
    if len(at) < runs:
        words = [f"{len(at)} of {runs} {words[0]}"] if at else []
        errors = [o["test_error"] for o in found.outcomes if o["solved_at"] is None and "test_error" in o]
        updates = max(outcome["steps"] for outcome in found.outcomes if outcome["solved_at"] is None)
        words.append(f"{fmean(errors):.1f}% wrong after {updates:,}" if errors else "diverged")
    return "; else ".join(words)


def _range(at: list[int]) -> str:
    return f"{min(at):,}" if min(at) == max(at) else f"{min(at):,} to {max(at):,}"


def section(known: Known) -> tuple[Section | None, list[Entry]]:
    """Task and length by rule: solved after how many updates, or the error."""
    rows: list[Row] = [("task", "length", *(label for label, _ in RULES.values()))]
    for task, length in places(known):
        figures = (outcome_text(known[task, length, rule]) if (task, length, rule) in known else "-" for rule in RULES)
        rows.append((task, str(length), *figures))
    entries = [
        entry(f"{RULES[rule][0]}, {task}, length {length}, test error", found, "test_error")
        for (task, length, rule), found in known.items()
        if found.figure("test_error")["mean"] is not None
    ]
    return (Section("Tasks with memory", rows), entries) if len(rows) > 1 else (None, entries)


def places(known: Known) -> list[tuple[str, int]]:
    """The tasks and lengths that there are runs of."""
    return list(dict.fromkeys((task, length) for task, length, _ in known))


def row_runs(reproduction: Reproduction) -> Iterator[tuple[str, Found]]:
    """The longest finished runs of MNIST row by row, by the words of their rule."""
    for rule in ROW_RULES:
        if found := reproduction.found(row_cell(rule)):
            yield RULES[rule][0], found


def row_section(reproduction: Reproduction) -> tuple[Section | None, list[Entry]]:
    """MNIST row by row: the error by rule."""
    rows: list[Row] = [("rule", "data", "epochs", "test error in percent", "ms an update")]
    entries: list[Entry] = []
    for label, found in row_runs(reproduction):
        data = " and ".join(sorted({outcome["dataset"] for outcome in found.outcomes}))
        error = spread_text(found.figure("test_error"))
        rows.append((label, data, str(found.epochs), error, f"{found.ms_per_update:.1f}"))
        entries.append(entry(f"{label}, {data}, {found.epochs} epochs, test error", found, "test_error"))
    return (Section("MNIST, a row of pixels at each step", rows), entries) if entries else (None, entries)


def draw(axes: Axes, known: Known) -> None:
    """Rules by tasks and lengths: the updates until solved, the mean of the seeds that did; hatched where none did."""
    columns = places(known)
    grid = np.full((len(RULES), len(columns)), math.nan)
    for (across, place), (down, rule) in product(enumerate(columns), enumerate(RULES)):
        if found := known.get((*place, rule)):
            if at := solved(found):
                grid[down, across] = fmean(at)
                axes.text(across, down, f"{fmean(at):.0f}", ha="center", va="center", fontsize="small", color="w")
            else:
                box = Rectangle((across - 0.5, down - 0.5), 1, 1, fill=False, hatch="///", edgecolor="0.6")
                axes.add_patch(box)
    if np.isfinite(grid).any():
        image = axes.imshow(grid, aspect="auto", cmap="viridis", norm=LogNorm(100, max(100 * EPOCHS["paper"], 101)))
        axes.figure.colorbar(image, ax=axes, label="updates until solved")
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(RULES) - 0.5, -0.5))
    axes.set_xticks(range(len(columns)), [f"{task}, {length}" for task, length in columns], rotation=45, ha="right")
    axes.set_yticks(range(len(RULES)), [label for label, _ in RULES.values()])
    axes.set_title("Updates until solved; hatched: not solved, white: not run")
