"""Pictures of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seqlra.checkpoint import write_atomically


def save_curve(path: Path, history: Sequence[Mapping[str, Any]], title: str) -> None:
    """The learning curve: training and validation error in percent, and the depth of credit assignment, by epoch."""
    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(7, 5.5), layout="constrained")
    error, depth = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    marker = "o" if len(epochs) <= 30 else None
    error.plot(epochs, [row["train_error"] for row in history], marker=marker, ms=3, label="training (while learning)")
    error.plot(epochs, [row["valid_error"] for row in history], marker=marker, ms=3, label="validation")
    best = min(history, key=lambda row: row["valid_error"])
    error.plot(best["epoch"], best["valid_error"], "k*", ms=11, label=f"chosen: {best['valid_error']:.2f}%")
    error.set(ylabel="error (%)", ylim=(0, None), title=title)
    error.grid(alpha=0.3)
    error.legend()
    depth.plot(epochs, [row["depth"] for row in history], color="C2", marker=marker, ms=3)
    depth.set(xlabel="epoch", ylabel="mean depth\n(subgraphs updated)", ylim=(0, None))
    depth.xaxis.set_major_locator(MaxNLocator(integer=True))
    depth.grid(alpha=0.3)
    FigureCanvasAgg(figure)
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=120))
