"""Pictures of a run, and of several side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter, MaxNLocator, ScalarFormatter

from seqlra.analysis.curves import METRICS, Curves
from seqlra.files import write_atomically

MANY_EPOCHS = 30
"""With more of them, points are no longer marked one by one."""

MARKS = 24
"""About how many marks the curves of a comparison have together; the marks distinguish them."""


def save_curve(path: Path, history: Sequence[Mapping[str, Any]], title: str, metric: str = "error") -> None:
    """The learning curve by epoch: the metric while training and on validation, and the depth of credit assignment."""
    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(7, 5.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    marker = "o" if len(epochs) <= MANY_EPOCHS else None
    if all(f"train_{metric}" in row for row in history):
        train = [row[f"train_{metric}"] for row in history]
        above.plot(epochs, train, marker=marker, ms=3, label="training (while learning)")
    above.plot(epochs, [row[f"valid_{metric}"] for row in history], marker=marker, ms=3, label="validation")
    best = min(history, key=lambda row: row[f"valid_{metric}"])
    chosen = best[f"valid_{metric}"]
    above.plot(best["epoch"], chosen, "k*", ms=11, label=f"chosen: {chosen:.2f}")
    above.set(ylabel=METRICS[metric], title=title)
    if metric == "error":
        above.set_ylim(0, None)
    above.grid(alpha=0.3)
    above.legend()
    below.plot(epochs, [row["depth"] for row in history], color="C2", marker=marker, ms=3)
    below.set(ylabel="mean depth\n(subgraphs)", ylim=(0, None))
    below.grid(alpha=0.3)
    by_epoch(below)
    save_figure(figure, path)


def save_curves(path: Path, curves: Sequence[Curves], title: str, metric: str) -> None:
    """The metric on validation by epoch, one color a label: the mean over its seeds, in a band from least to greatest.

    Curves that coincide stay visible: each has marks at its own places, and later lines are thinner.
    """
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.subplots()
    every = [value for each in curves for seed in each.values for value in seed]
    axes.set(ylabel=f"{METRICS[metric]} on validation", title=title)
    if min(every) > 0 and max(every) > 10 * min(every):
        logarithmic(axes)
    for nth, each in enumerate(curves):
        draw_curves(axes, each, nth, len(curves))
    if metric == "error" and axes.get_yscale() == "linear":
        axes.set_ylim(0, None)
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    by_epoch(axes)
    save_figure(figure, path)


def logarithmic(axes: Axes) -> None:
    """Make the vertical axis logarithmic, with labels like 10, not 10^1."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 1)))


def draw_curves(axes: Axes, curves: Curves, nth: int, of: int, apart: bool = True) -> None:
    """Draw one label of several, the ``nth`` (from 0): a line through its means, with marks where no other has any, or
    (not ``apart``) at the epochs, up to `MANY_EPOCHS` of them."""
    low, means, high = np.array(curves.bands()).reshape(-1, 3).T
    above = (of - 1 - nth) / max(of - 1, 1)  # from 1, drawn first, to 0, drawn last
    style: dict[str, Any] = {
        "label": curves.label,
        "color": f"C{nth % 10}",
        "linewidth": 1.2 + 1.6 * above,
        "marker": "osD^vPX*<>hd"[nth % 12],
        "markersize": 6 + 4 * above,
    }
    if len(means) < 2:  # no line: a single point, or only an entry of the legend
        beside = np.full(len(means), 0.5 + (nth + 0.5) / of)
        axes.errorbar(beside, means, [means - low, high - means], **style)
        return
    epochs = np.arange(1, len(means) + 1)
    rounds = max(MARKS // of, 2)  # of marks, one a label in each
    marks = 1 + (len(epochs) - 1) * (np.arange(rounds) + (nth + 0.5) / of) / rounds
    if not apart and len(epochs) <= MANY_EPOCHS:
        marks = epochs.astype(float)
    x = np.union1d(epochs, marks)
    straight = axes.get_yscale() == "linear"
    y = np.interp(x, epochs, means) if straight else np.exp(np.interp(x, epochs, np.log(means)))
    broken = ("-", "--", "-.", ":")[nth % 4]
    axes.plot(x, y, linestyle=broken, markevery=np.searchsorted(x, marks).tolist(), **style)
    if len(curves.values) > 1:
        axes.fill_between(epochs, low, high, color=style["color"], alpha=0.2, linewidth=0)


def save_diagnostics(path: Path, history: Sequence[Mapping[str, Any]], title: str) -> None:
    """The diagnostics in the rows of ``metrics.jsonl``, one panel each: the angle to backprop's updates by epoch and by
    time step, the norms of updates, how often they were clipped, the depth."""
    kinds = {
        _angle: ("angle",),
        _angle_steps: ("angle_steps",),
        _update_norms: ("update_norms",),
        _clipped: ("clipped_c1", "clipped_c2"),
        _depth: ("depth",),
    }
    drawn = [draw for draw, keys in kinds.items() if any(key in row for row in history for key in keys)]
    figure = Figure(figsize=(12, 3.6 * math.ceil(len(drawn) / 2)), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(math.ceil(len(drawn) / 2), 2, squeeze=False).flat
    for draw, axes in zip(drawn, panels, strict=False):
        draw(axes, history)
        axes.grid(alpha=0.3)
    for axes in panels[len(drawn) :]:
        axes.remove()
    save_figure(figure, path)


def _angle(axes: Axes, history: Sequence[Mapping[str, Any]]) -> None:
    _line(axes, history, lambda row: row.get("angle"), color="k", linewidth=3, label="whole network")
    _lines(axes, history, "angle_layers")
    axes.set(title="Angle between the update and backprop's")
    _degrees(axes)
    by_epoch(axes)


def _angle_steps(axes: Axes, history: Sequence[Mapping[str, Any]]) -> None:
    last = [row for row in history if row.get("angle_steps")][-1]
    degrees = np.array(last["angle_steps"], dtype=float)  # None is nan
    axes.plot(np.arange(1, len(degrees) + 1), degrees, color="C1", label="hidden subgraphs")
    axes.set(title=f"The same at each time step, epoch {last['epoch']}", xlabel="time step of the unrolled network")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    _degrees(axes)


def _update_norms(axes: Axes, history: Sequence[Mapping[str, Any]]) -> None:
    _lines(axes, history, "update_norms")
    axes.set(title="Norm of the updates before the optimizer", ylabel="Euclidean norm", yscale="log")
    by_epoch(axes)


def _clipped(axes: Axes, history: Sequence[Mapping[str, Any]]) -> None:
    _lines(axes, history, "clipped_c2", 100, "{} (c2)")
    _lines(axes, history, "clipped_c1", 100, "{} (c1)", (":", "-."))
    axes.set(title="How often Normalize clips", ylabel="% of displacements (c2)\nand of updates (c1)", ylim=(-4, 104))
    by_epoch(axes)


def _depth(axes: Axes, history: Sequence[Mapping[str, Any]]) -> None:
    _line(axes, history, lambda row: row["depth"], color="C2")
    axes.set(title="Depth of credit assignment", ylabel="subgraphs a prediction", ylim=(0, None))
    by_epoch(axes)


def _lines(
    axes: Axes,
    history: Sequence[Mapping[str, Any]],
    key: str,
    factor: float = 1,
    label: str = "{}",
    styles: tuple[str, str] = ("-", "--"),
) -> None:
    """A thin line for each name under ``key``, violet to yellow in their order; vectors in the other style."""
    names = list(dict.fromkeys(name for row in history for name in row.get(key, ())))
    vectors = [name for name in names if name.startswith(("biases.", "leaks."))]
    for name in names:
        alike = vectors if name in vectors else [other for other in names if other not in vectors]
        color = colormaps["viridis"](0.9 * alike.index(name) / max(len(alike) - 1, 1))

        def value(row: Mapping[str, Any], name: str = name) -> float | None:
            found = row.get(key, {}).get(name)
            return None if found is None else factor * found

        words = label.format(name.removeprefix("weights.").removeprefix("biases.").removeprefix("leaks."))
        _line(axes, history, value, color=color, lw=1.2, linestyle=styles[name in vectors], label=words)
    if names:
        _legend_beside(axes)


def _line(
    axes: Axes, history: Sequence[Mapping[str, Any]], value: Callable[[Mapping[str, Any]], float | None], **style: Any
) -> None:
    """A line by epoch through the epochs that have a value."""
    epochs, values = np.array([row["epoch"] for row in history]), np.array([value(row) for row in history], float)
    known = np.isfinite(values)  # None is nan
    marker = "o" if len(history) <= MANY_EPOCHS else None
    axes.plot(epochs[known], values[known], marker=marker, markersize=3, **style)


def _degrees(axes: Axes) -> None:
    axes.axhline(90, color="C3", linestyle="--", linewidth=1, label="90°: no descent")
    axes.set(ylabel="degrees", ylim=(-4, 184 if axes.dataLim.ymax > 95 else 100))
    _legend_beside(axes)


def _legend_beside(axes: Axes) -> None:
    many = len(axes.get_legend_handles_labels()[0])
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1), ncols=math.ceil(many / 14))


def by_epoch(axes: Axes) -> None:
    """Label the horizontal axis with whole epochs."""
    axes.set(xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def save_figure(figure: Figure, path: Path) -> None:
    """Write a picture as PNG, whole or not at all."""
    FigureCanvasAgg(figure)
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a $ is one of a file's name
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=120))
