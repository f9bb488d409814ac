"""Pictures of a network's accuracy and confidence (Section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from seqlra.analysis.evaluation import Answers
from seqlra.analysis.plotting import save_figure

COLUMNS, ROWS = 6, 2
"""The images of one block: the most certain, the least certain."""


def save_reliability(path: Path, answers: Answers, mean_field: Answers, title: str) -> None:
    """Accuracy against confidence by bin, with its 95% interval, beside that of the mean-field pass and the diagonal
    where both are equal; below, the share of rows in each bin."""
    bins, calibration_error = answers.reliability(), answers.metrics()["calibration_error"]
    figure = Figure(figsize=(5.5, 7), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    known = [bin for bin in bins if bin.count]
    middle, width = [(bin.low + bin.high) / 2 for bin in known], bins[0].high - bins[0].low
    rows = sum(bin.count for bin in known)
    above.bar(middle, [bin.accuracy for bin in known], width, color="C0", alpha=0.6, edgecolor="C0", label="accuracy")
    at, right = ([getattr(bin, name) for bin in known] for name in ("confidence", "accuracy"))
    around = np.array([np.abs(np.array(bin.interval) - bin.accuracy) for bin in known]).T
    above.errorbar(at, right, around, fmt="o", color="C0", ms=4, capsize=2, label="with its 95% interval")
    means = [bin for bin in mean_field.reliability() if bin.count]
    above.plot([b.confidence for b in means], [b.accuracy for b in means], "x-", color="C1", ms=5, label="mean field")
    above.plot([0, 1], [0, 1], "--", color="0.3", lw=1, label="calibrated: accuracy equals confidence")
    above.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), title=f"{title}\ncalibration error {calibration_error:.2f}%")
    figure.legend(*above.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    below.bar(middle, [100 * bin.count / rows for bin in known], width, color="0.6", edgecolor="0.4")
    below.set(xlabel="confidence (mean probability of the chosen class)", ylabel=f"share of\n{rows:,} answers (%)")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    save_figure(figure, path)


def save_certainty(path: Path, images: Tensor, answers: Answers, title: str) -> None:
    """The images ``(n, height, width)`` of which the network is most certain and least certain, each with its true and
    its chosen class, and the probability of that, with its standard deviation over the samples; wrong ones in red."""
    order = answers.confidence.argsort(descending=True).tolist()
    count = min(COLUMNS * ROWS, len(order))
    figure = Figure(figsize=(10, 9.5), layout="constrained")
    figure.suptitle(f"{title}\nprobability of the chosen class ± its standard deviation over the samples")
    blocks = {"most certain": order[:count], "least certain": order[::-1][:count]}
    for part, (name, rows) in zip(figure.subfigures(2, 1, squeeze=False).flat, blocks.items(), strict=True):
        _block(part, name, images, answers, rows)
    save_figure(figure, path)


def _block(figure: Any, title: str, images: Tensor, answers: Answers, rows: Sequence[int]) -> None:
    figure.suptitle(title, fontweight="bold")
    places = list(figure.subplots(ROWS, COLUMNS).flat)
    for axes in places:
        axes.axis("off")
    for axes, row in zip(places, rows, strict=False):
        truth, chosen = int(answers.truth[row]), int(answers.chosen[row])
        axes.imshow(images[row].cpu().numpy(), cmap="gray_r", vmin=0, vmax=1)
        axes.set_title(
            f"true {truth}, chosen {chosen}\n{answers.confidence[row]:.3f} ± {answers.spread[row]:.3f}",
            fontsize=9,
            color="black" if truth == chosen else "C3",
        )
