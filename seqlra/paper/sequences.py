"""Beyond the paper: recurrent networks on text and on tasks with memory, by LRA and BPTT, at equal updates and time."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import chain
from pathlib import Path

from matplotlib.figure import Figure

from seqlra.analysis.plotting import save_figure
from seqlra.paper import sequence_alignment, sequence_memory, sequence_text
from seqlra.paper.cells import Cell, Machine, Scale
from seqlra.paper.exhibit import Entry, Exhibit, Page, Section, what_ran
from seqlra.paper.panels import not_run
from seqlra.paper.reproduction import Found, Reproduction
from seqlra.paper.sequence_text import CHOSEN, LR, RULES, chosen

UNALIGNED = ("diff", "bptt")
"""Rules on text without error weights that anything crosses."""


class Sequences(Exhibit):
    """Text, generated tasks and MNIST row by row, by rule."""

    name = "sequences"
    title = "recurrent networks on text and tasks with memory by LRA and BPTT (beyond the paper)"
    quick = Scale(epochs=4)
    paper = Scale(epochs=8, seeds=3)

    def cells(self) -> list[Cell]:
        """Those of the paper's scale, with the embedded data."""
        return self.cells_at("paper", Machine("cpu", 1))

    def cells_at(self, scale: str, machine: Machine) -> list[Cell]:
        """Small networks on text first."""
        return sequence_text.cells(scale, machine) + sequence_memory.cells(scale, machine)

    def page(self, reproduction: Reproduction) -> Page | None:
        """A table each of text, tasks with memory, MNIST and alignment, as far as there are runs."""
        texts, memory = sequence_text.runs(reproduction), sequence_memory.runs(reproduction)
        parts: tuple[tuple[Section | None, list[Entry]], ...] = (
            *sequence_text.sections(texts),
            sequence_memory.section(memory),
            sequence_memory.row_section(reproduction),
            (sequence_alignment.section(_aligned(reproduction)), []),
        )
        sections: list[Section] = [section for section, _ in parts if section]
        entries: list[Entry] = [entry for _, of_part in parts for entry in of_part]
        if not sections:
            return None
        trained = {(each.rule, each.size) for group in texts.values() for each in group}
        rows = (found for _, found in sequence_memory.row_runs(reproduction))
        ran: Iterable[Found] = chain((e.found for group in texts.values() for e in group), memory.values(), rows)
        about = [TEXT, _step_sizes(trained)] if texts else []
        return Page((), entries, [*about, MEMORY, *_missing(reproduction), what_ran(ran)], sections)

    def draw(self, reproduction: Reproduction, path: Path) -> bool:
        """Curves on text by updates and by time, a grid of the tasks with memory, and the alignment."""
        texts = list(sequence_text.longest(sequence_text.runs(reproduction)))
        memory, aligned = sequence_memory.runs(reproduction), _aligned(reproduction)
        below = [bool(memory), any(sequence_alignment.angles(found) for _, found in aligned)]
        count = len(texts) + sum(below)
        if not count:
            return False
        figure = Figure(figsize=(14, 4.6 * count), layout="constrained")
        strips = iter(figure.subfigures(count, 1, squeeze=False).flat)
        for dataset, size, group in texts:
            strip = next(strips)
            left, right = strip.subplots(1, 2, sharey=True)
            sequence_text.draw(left, group, "step")
            sequence_text.draw(right, group, "seconds")
            left.set_ylabel("bits per character on validation")
            strip.suptitle(f"{dataset}, {size} hidden units")
            strip.legend(*left.get_legend_handles_labels(), loc="outside right center")
        if below[0]:
            sequence_memory.draw(next(strips).subplots(), memory)
        if below[1]:
            strip = next(strips)
            axes = strip.subplots()
            sequence_alignment.draw(axes, aligned)
            strip.legend(*axes.get_legend_handles_labels(), loc="outside right center", fontsize="x-small")
        save_figure(figure, path)
        return True


def _aligned(reproduction: Reproduction) -> list[sequence_alignment.Labeled]:
    """The runs of rules with error weights on the largest network and on the longest sequences of each task."""
    texts = list(sequence_text.longest(sequence_text.runs(reproduction)))
    known = [
        (f"{dataset}, {size} units, {each.label}", each.found)
        for dataset, size, group in sorted(texts, key=lambda each: each[1])[-1:]
        for each in group
        if each.rule not in UNALIGNED
    ]
    memory = {place: found for place, found in sequence_memory.runs(reproduction).items() if place[2] == "learned"}
    longest = {task: length for task, length, _ in memory}  # lengths are in order
    for (task, length, rule), found in memory.items():
        if length == longest[task]:
            known.append((f"{task}, length {length}, {sequence_memory.RULES[rule][0]}", found))
    return known


def _missing(reproduction: Reproduction) -> list[str]:
    """What neither scale has trained; what the quick scale lacks at the paper's is named too."""
    cells = {cell.name: cell for cell in Sequences().cells_at("paper", reproduction.machine)}
    return not_run(reproduction, [cell for cell in cells.values() if not reproduction.lengths(cell)])


def _step_sizes(trained: Collection[tuple[str, int]]) -> str:
    """Of the rules and sizes that were trained."""
    table = chosen()
    words = [f"{lr:g} for {RULES[rule][0]} at {size}" for (rule, size), lr in table.items() if (rule, size) in trained]
    if not words:
        return f"Step size {LR:g} for every rule: there is no {CHOSEN.name} that chose another."
    rest = "" if len(words) == len(trained) else f"; {LR:g} for the rest, which was not tuned"
    return f"Step sizes, chosen on validation by `seqlra reproduce sequences-tuning`: {', '.join(words)}{rest}."


TEXT = (
    "Text: one layer, 64 streams, chunks of 50 steps, Adam with a step size that falls to 0. Figures are "
    "means with the range of the seeds. *Behind BPTT* is the mean on test against BPTT of the same size and "
    "updates. *Validation at BPTT's time* is what a rule had reached when the mean training time of BPTT had "
    "passed, on straight lines between the epochs of `metrics.jsonl`; a slower rule is then in the middle of its "
    "schedule, and - is one before its first epoch. Times are of this machine with whatever else it did; `seqlra "
    "bench rnn` measures them apart."
)
MEMORY = (
    "Tasks with memory: 100 units, mini-batches of 20 new sequences, Adam with a step size of 0.001, validation every "
    "100 updates; a task is solved when under 0.01% of the answers are wrong. The error is that of the test sequences."
)
