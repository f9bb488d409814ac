"""Pictures of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seqlra.checkpoint import write_atomically

METRICS: dict[str, tuple[str, Callable[[Mapping[str, Any]], float]]] = {
    "error": ("error (%)", lambda row: row["train_error"]),
    "bpc": ("bits per character", lambda row: row["train_loss"] / math.log(2)),
    "perplexity": ("perplexity per word", lambda row: math.exp(row["train_loss"])),
}
"""For each metric by which validation chooses: its axis, and its value over the training of an epoch."""


def save_curve(path: Path, history: Sequence[Mapping[str, Any]], title: str, metric: str = "error") -> None:
    """The learning curve by epoch: the metric while training and on validation, and the depth of credit assignment."""
    axis, train = METRICS[metric]
    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(7, 5.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    marker = "o" if len(epochs) <= 30 else None
    above.plot(epochs, [train(row) for row in history], marker=marker, ms=3, label="training (while learning)")
    above.plot(epochs, [row[f"valid_{metric}"] for row in history], marker=marker, ms=3, label="validation")
    best = min(history, key=lambda row: row[f"valid_{metric}"])
    chosen = best[f"valid_{metric}"]
    above.plot(best["epoch"], chosen, "k*", ms=11, label=f"chosen: {chosen:.2f}")
    above.set(ylabel=axis, title=title)
    if metric == "error":
        above.set_ylim(0, None)
    above.grid(alpha=0.3)
    above.legend()
    below.plot(epochs, [row["depth"] for row in history], color="C2", marker=marker, ms=3)
    below.set(xlabel="epoch", ylabel="mean depth\n(subgraphs)", ylim=(0, None))
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    below.grid(alpha=0.3)
    FigureCanvasAgg(figure)
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=120))
