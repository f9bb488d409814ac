"""Beyond the paper: Elman RNNs on text (Appendix B) by LRA-fdbk, LRA-diff and BPTT, against updates and time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqlra.analysis.plotting import save_figure
from seqlra.paper.cells import Cell, Scale
from seqlra.paper.exhibit import Entry, Exhibit, Page, entry, what_ran
from seqlra.paper.reproduction import Found, Reproduction

DATA = "text-sample"
WIDTHS = (128, 256, 512)
RULES = {"lra-fdbk": "LRA-fdbk", "lra-diff": "LRA-diff", "backprop": "BPTT"}
SHORT = 3
"""Epochs of the shorter training; the step size falls to 0 within those of a run, so a short one is no part of a long
one."""

STYLES = dict(zip(WIDTHS, (":", "--", "-"), strict=True))
COLORS = dict(zip(RULES, ("C0", "C1", "C3"), strict=True))


def cell(rule: str, width: int, epochs: int | None = None) -> Cell:
    """A network of one recurrent layer on the embedded text, with the settings of ``seqlra train rnn``."""
    options: dict[str, Any] = {"dataset": DATA, "hidden": (width,), "rule": rule, "streams": 64, "unroll": 50}
    return Cell(f"{DATA}-elman{width}-{rule}", options, epochs=epochs)


class Sequences(Exhibit):
    """Bits per character by rule, width and length of training."""

    name = "sequences"
    title = "Elman RNNs on text by LRA and BPTT (beyond the paper), test bits per character"
    quick = Scale(epochs=SHORT)
    paper = Scale(epochs=9)

    def cells(self) -> list[Cell]:
        """Every rule at every width, for the shorter training and for that of the scale."""
        return [cell(rule, width, epochs) for width in WIDTHS for epochs in (SHORT, None) for rule in RULES]

    def page(self, reproduction: Reproduction) -> Page | None:
        """One row a width, length of training and rule."""
        rows: list[tuple[str, ...]] = []
        entries: list[Entry] = []
        ran: list[Found] = []
        for width, rule in product(WIDTHS, RULES):
            longest = reproduction.found(cell(rule, width))
            for epochs in sorted({SHORT, longest.epochs} if longest else {SHORT}):
                found = reproduction.found(cell(rule, width), epochs)
                if found is None:
                    continue
                own = entry(f"{RULES[rule]}, {width} units, {epochs} epochs", found, "test_bpc")
                steps = fmean(outcome["steps"] for outcome in found.outcomes)
                seconds = fmean(outcome["train_seconds"] for outcome in found.outcomes)
                shown = (f"{steps:.0f}", f"{seconds:.0f}", f"{found.ms_per_update:.1f}")
                rows.append((RULES[rule], str(width), str(epochs), own.summary(), *shown))
                entries.append(own)
                ran.append(found)
        if not rows:
            return None
        header = ("rule", "units", "epochs", "bits per character", "updates", "seconds", "ms an update")
        return Page([header, *rows], entries, [NOTE, what_ran(ran)])

    def draw(self, reproduction: Reproduction, path: Path) -> bool:
        """Bits per character on validation of the longest runs, against updates and against time."""
        known = {
            (rule, width): found.histories
            for rule, width in product(RULES, WIDTHS)
            if (found := reproduction.found(cell(rule, width)))
        }
        if not known:
            return False
        figure = Figure(figsize=(12.5, 5), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, key, words in ((left, "step", "updates"), (right, "seconds", "seconds of training")):
            for (rule, width), histories in known.items():
                _draw(axes, histories, key, rule, width)
            axes.set_xlabel(words)
            axes.grid(alpha=0.3)
        left.set_ylabel("bits per character on validation")
        figure.legend(*right.get_legend_handles_labels(), title="rule, hidden units", loc="outside right center")
        figure.suptitle("Elman RNNs on the embedded text")
        save_figure(figure, path)
        return True


def _draw(axes: Axes, histories: Sequence[Sequence[dict[str, Any]]], key: str, rule: str, width: int) -> None:
    """The mean over the seeds, from a point for each epoch."""
    epochs = list(zip(*histories, strict=False))
    x = [fmean(row[key] for row in rows) for rows in epochs]
    y = [fmean(row["valid_bpc"] for row in rows) for rows in epochs]
    style = {"linestyle": STYLES[width], "color": COLORS[rule], "marker": "o", "markersize": 3}
    axes.plot(x, y, label=f"{RULES[rule]}, {width}", **style)  # type: ignore[arg-type]


NOTE = (
    "One layer, 64 streams, chunks of 50 steps, Adam with a step size that falls to 0; every rule with the settings of "
    "`seqlra train rnn`. Times are of this machine with whatever else it did; `seqlra bench rnn` measures them apart."
)
