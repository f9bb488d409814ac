"""Beyond the paper: every rule for recurrent networks on text and on tasks with memory, each with its own step size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from itertools import product
from statistics import fmean
from typing import Any

from seqlra.paper.cells import Cell, Machine, Scale
from seqlra.paper.exhibit import Entry, Exhibit, Page, Section, entry, what_ran
from seqlra.paper.panels import Row, not_run
from seqlra.paper.reproduction import Found, Reproduction
from seqlra.paper.sequence_memory import outcome_text, solved
from seqlra.paper.sequence_text import CHUNKS, TEXTS, TextRun, at_equal_time, gap, text
from seqlra.training.results import spread_text

MIRROR: dict[str, Any] = {"feedback": "learned", "mirror_vectors": 10_000}
BPTT = "bptt"
RULES: dict[str, tuple[str, dict[str, Any]]] = {
    BPTT: ("BPTT (and RTRL, whose gradient it is)", {"rule": "backprop"}),
    "all-steps": ("LRA, learned, all steps", {"rule": "lra-fdbk", **MIRROR}),
    "window2": ("LRA, learned, window 2", {"rule": "lra-fdbk", "window": 2, **MIRROR}),
    "window0": ("LRA, learned, window 0", {"rule": "lra-fdbk", "window": 0, **MIRROR}),
    "rflo": ("RFLO, random E", {"rule": "rflo"}),
    "rflo-learned": ("RFLO, learned E", {"rule": "rflo", **MIRROR}),
    "e-prop": ("e-prop, symmetric", {"rule": "e-prop"}),
    "snap-1": ("SnAp-1", {"rule": "snap-1"}),
    "uoro": ("UORO", {"rule": "uoro"}),
    "dfa": ("DFA", {"rule": "dfa"}),
    "dni": ("DNI", {"rule": "dni"}),
    "bptt-trained": ("BPTT, trained leak", {"rule": "backprop", "train_leak": True}),
    "all-steps-trained": ("LRA, learned, all steps, trained leak", {"rule": "lra-fdbk", **MIRROR, "train_leak": True}),
    "e-prop-trained": ("e-prop, symmetric, trained leak", {"rule": "e-prop", "train_leak": True}),
}
"""By the end of a cell's name: the words of a row, and the options that differ. RTRL's updates are BPTT's over a chunk,
so it is not trained."""

ON_TEXT_ALONE = ("dfa", "dni", "bptt-trained", "all-steps-trained", "e-prop-trained")
"""DFA needs an output at every step, and DNI a later chunk; leaks are trained there alone to save time."""

UNITS, UNROLL = 64, 50
TEXT_LRS, MEMORY_LRS = (0.003, 0.01, 0.03, 0.1), (0.001, 0.003, 0.01, 0.03)
"""Four step sizes for every rule: an equal budget."""

LEAK = {"text": 0.5, "memory": 0.1}
"""Of every network here: traces are there for units that leak."""

TASKS = {"temporal-order": 20, "adding": 20, "copy": 22}
UPDATES = {"quick": 626, "paper": 2504}
EPOCHS = {"quick": 10, "paper": 50}
"""Of 100 updates, of tasks with memory."""


def text_cell(rule: str, lr: float, dataset: str = "text-sample", updates: int = UPDATES["paper"]) -> Cell:
    """A rule on text with a step size."""
    shared = {"hidden": (UNITS,), "leak": LEAK["text"], "streams": 64, "unroll": UNROLL, "optimizer": "adam"}
    given = {"dataset": dataset, **shared, "schedule": "linear", "steps": updates, "lr": lr, "diagnose": 100}
    epochs = math.ceil(updates / CHUNKS[dataset])
    return Cell(f"online-{TEXTS[dataset]}-{rule}-lr{lr:g}", {**given, **RULES[rule][1]}, epochs=epochs)


def memory_cell(task: str, rule: str, lr: float, epochs: int = EPOCHS["paper"]) -> Cell:
    """A rule on a task with memory with a step size."""
    made = {"dataset": task, "length": TASKS[task], "data_dir": None, "hidden": (UNITS,), "leak": LEAK["memory"]}
    given = {**made, "batch_size": 20, "lr": lr, "diagnose": 100, **RULES[rule][1]}
    return Cell(f"online-{task}-{rule}-lr{lr:g}", given, epochs=epochs, task="rnn")


class Online(Exhibit):
    """Text and tasks with memory by every rule, at the step size that is best for each on validation."""

    name = "online"
    title = "every rule for recurrent networks on text and tasks with memory (beyond the paper)"
    quick = Scale(epochs=EPOCHS["quick"])
    paper = Scale(epochs=EPOCHS["paper"], seeds=3)

    def cells(self) -> list[Cell]:
        """Those of the paper's scale, on the embedded text."""
        return self.cells_at("paper", Machine("cpu", 1))

    def cells_at(self, scale: str, machine: Machine) -> list[Cell]:
        """Text first, then task by task; UORO, which takes longest, last."""
        dataset, rules = text(machine), [rule for rule in RULES if rule not in ON_TEXT_ALONE]
        on_text = [text_cell(rule, lr, dataset, UPDATES[scale]) for rule in RULES for lr in TEXT_LRS]
        on_tasks = product(TASKS, rules, MEMORY_LRS)
        cells = [*on_text, *(memory_cell(task, rule, lr, EPOCHS[scale]) for task, rule, lr in on_tasks)]
        return sorted(cells, key=lambda cell: bool(cell.options["rule"] == "uoro"))

    def page(self, reproduction: Reproduction) -> Page | None:
        """A table of text and one of every task."""
        texts, memory = _texts(reproduction), _memory(reproduction)
        dataset = text(reproduction.machine)
        parts = [_text_section(texts, dataset), *(_task_section(task, memory[task]) for task in TASKS if memory[task])]
        sections = [section for section, _ in parts if len(section.rows) > 1]
        if not sections:
            return None
        ran: Iterable[Found] = [found for known in (texts, *memory.values()) for _, found in known.values()]
        wanted = self.cells_at("paper", reproduction.machine)
        missing = not_run(reproduction, [cell for cell in wanted if not reproduction.lengths(cell)])
        return Page((), [each for _, of in parts for each in of], [NOTE, *missing, what_ran(ran)], sections)


Chosen = Mapping[str, tuple[float, Found]]
"""By rule its best step size, and its runs with that."""


Score = Callable[[Found], tuple[float, float] | None]
"""What is best on validation when it is lowest; None: all diverged."""


def bits(found: Found) -> tuple[float, float] | None:
    """The mean of the bits per character."""
    mean = found.figure("valid_bpc")["mean"]
    return None if mean is None else (0.0, mean)


def updates_or_error(found: Found) -> tuple[float, float] | None:
    """After how many updates a task was solved, on average, where every seed solved it, which comes before all that did
    not; then the mean error."""
    at, mean = solved(found), found.figure("valid_error")["mean"]
    if at and len(at) == len(found.outcomes):
        return 0.0, fmean(at)
    return None if mean is None else (1.0, mean)


def best(tried: Mapping[float, Found], score: Score) -> tuple[float, Found] | None:
    """Of runs by step size the best; None where all diverged."""
    scores = {lr: known for lr, found in tried.items() if (known := score(found)) is not None}
    lr = min(scores, key=lambda each: scores[each], default=None)
    return None if lr is None else (lr, tried[lr])


def _chosen(reproduction: Reproduction, cells: Mapping[str, Mapping[float, Cell]], score: Score) -> Chosen:
    """By rule its best step size, among the runs of the longest training that all of its step sizes have."""
    chosen = {}
    for rule, tried in cells.items():
        common = set.intersection(*(reproduction.lengths(cell) for cell in tried.values()))
        if common:
            runs = {lr: reproduction.found(cell, max(common)) for lr, cell in tried.items()}
            if found := best({lr: each for lr, each in runs.items() if each is not None}, score):
                chosen[rule] = found
    return chosen


def _texts(reproduction: Reproduction) -> Chosen:
    dataset = text(reproduction.machine)
    made = {rule: {lr: text_cell(rule, lr, dataset) for lr in TEXT_LRS} for rule in RULES}
    return _chosen(reproduction, made, bits)


def _memory(reproduction: Reproduction) -> dict[str, Chosen]:
    rules = [rule for rule in RULES if rule not in ON_TEXT_ALONE]
    made = {task: {rule: {lr: memory_cell(task, rule, lr) for lr in MEMORY_LRS} for rule in rules} for task in TASKS}
    return {task: _chosen(reproduction, cells, updates_or_error) for task, cells in made.items()}


def angle_text(found: Found) -> str:
    """Degrees between the updates and BPTT's in the last epoch, the mean of the seeds."""
    last = [history[-1].get("angle") for history in found.histories if history]
    known = [degrees for degrees in last if degrees is not None]
    return f"{fmean(known):.0f}°" if known else "-"


def seconds_until_solved(found: Found) -> str:
    """How long it took to solve a task: updates times the time of one, the mean of the seeds that did."""
    at = solved(found)
    return f"{fmean(at) * found.ms_per_update / 1000:.1f}" if at else "-"


def _text_section(known: Chosen, dataset: str) -> tuple[Section, list[Entry]]:
    head = ("rule", "lr", "updates", "test bits per character", "behind BPTT")
    rows: list[Row] = [(*head, "validation at BPTT's time", "angle to BPTT", "ms an update")]
    entries: list[Entry] = []
    rival = TextRun("", UNITS, known[BPTT][1]) if BPTT in known else None
    for rule, (lr, found) in known.items():
        label, each, figure = RULES[rule][0], TextRun("", UNITS, found), found.figure("test_bpc")
        entries.append(entry(f"{label}, text, lr {lr:g}", found, "test_bpc"))
        figures = (spread_text(figure, digits=3), gap(figure["mean"], rival), at_equal_time(each, rival))
        time = (angle_text(found), f"{found.ms_per_update:.1f}")
        rows.append((label, f"{lr:g}", f"{each.updates:,}", *figures, *time))
    return Section(f"Text: {dataset}", rows), entries


def _task_section(task: str, known: Chosen) -> tuple[Section, list[Entry]]:
    head = ("rule", "lr", "outcome", "seconds until then", "test error in percent", "angle to BPTT", "ms an update")
    rows: list[Row] = [head]
    entries: list[Entry] = []
    for rule, (lr, found) in known.items():
        label, error = RULES[rule][0], spread_text(found.figure("test_error"), digits=1)
        entries.append(entry(f"{label}, {task}, lr {lr:g}", found, "test_error"))
        outcome = outcome_text(found) if solved(found) else "not solved"
        figures = (seconds_until_solved(found), error, angle_text(found), f"{found.ms_per_update:.1f}")
        rows.append((label, f"{lr:g}", outcome, *figures))
    return Section(f"{task}, length {TASKS[task]}", rows), entries


NOTE = (
    f"One layer of {UNITS} leaky tanh units (leak {LEAK['text']:g} on text, {LEAK['memory']:g} on tasks), Adam. Every "
    "rule has four step sizes, the same for all, and the best on validation is shown: of a task the one that solves "
    f"it in the fewest updates, or else has the least error. Text: 64 streams, chunks of {UNROLL} steps, a step size "
    "that falls to 0; *validation at BPTT's time* is what a rule had reached when BPTT was done. Tasks: mini-batches "
    "of 20 new sequences. The angle is that between the updates of all parameters and those "
    "of BPTT, over the last epoch. RTRL is BPTT forward in time, so it has no row of its own. DFA needs an "
    "output at every step and DNI chunks that follow each other, so they are on text alone, as are trained leaks (one "
    "number, from the same start; in all other rows the leak is fixed). Times are of this machine "
    "with whatever else it did, and of models trained side by side; `seqlra bench rnn --online` measures them apart."
)
