"""The picture of a study: how the best value fell from trial to trial, and which step sizes gave which values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seqlra.analysis.curves import METRICS
from seqlra.analysis.plotting import logarithmic, save_figure
from seqlra.sweeps.trials import Trial


def best_so_far(trials: Sequence[Trial]) -> list[float]:
    """After each trial the lowest value of those that were done; infinity before there was one."""
    values = [trial.value if trial.state == "done" and trial.value is not None else np.inf for trial in trials]
    return [float(value) for value in np.minimum.accumulate(values)] if values else []


def save_tuning(path: Path, trials: Sequence[Trial], title: str, metric: str) -> None:
    """Draw the trials of each rule in one color; the right half is there where a step size was tuned."""
    labels = list(dict.fromkeys(trial.label for trial in trials))
    with_lr = any("lr" in trial.settings for trial in trials)
    figure = Figure(figsize=(11 if with_lr else 6.5, 5), layout="constrained")
    places: list[Axes] = list(np.atleast_1d(figure.subplots(1, 1 + with_lr, sharey=True)))
    values = [trial.value for trial in trials if trial.value is not None]
    if min(values) > 0 and max(values) > 10 * min(values):
        logarithmic(places[0])
    for nth, label in enumerate(labels):
        own = [trial for trial in trials if trial.label == label]
        style: dict[str, Any] = {"color": f"C{nth % 10}", "marker": "osD^vPX*<>hd"[nth % 12]}
        so_far = [value if np.isfinite(value) else np.nan for value in best_so_far(own)]
        places[0].plot(range(1, len(own) + 1), so_far, drawstyle="steps-post", ms=4, label=label, **style)
        if with_lr:
            _by_step_size(places[1], own, style)
    places[0].set(xlabel="trial", ylabel=f"{METRICS[metric]} on validation", title="best so far")
    places[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    places[0].legend()
    for place in places:
        place.grid(alpha=0.3, which="both")
    figure.suptitle(title)
    save_figure(figure, path)


def _by_step_size(place: Axes, trials: Sequence[Trial], style: Mapping[str, Any]) -> None:
    """One mark a trial that has a value: full where it is done, hollow where it was pruned."""
    place.set(xlabel="step size", xscale="log", title="every trial (hollow: pruned)")
    place.xaxis.set_major_formatter("{x:g}")
    place.xaxis.set_minor_formatter("")
    for state, faces in (("done", style["color"]), ("pruned", "none")):
        chosen = [trial for trial in trials if trial.state == state and "lr" in trial.settings]
        points = [(trial.settings["lr"], trial.value) for trial in chosen if trial.value is not None]
        sizes, values = np.array(points).reshape(-1, 2).T
        place.scatter(sizes, values, 28, marker=style["marker"], facecolors=faces, edgecolors=style["color"])
