"""The angle between error weights and the transposed weights that they stand for, over training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean

from matplotlib.axes import Axes

from seqlra.paper.exhibit import Section
from seqlra.paper.panels import Row
from seqlra.paper.reproduction import Found

Labeled = tuple[str, Found]
"""What was trained, in words, and its runs."""


def angles(found: Found) -> dict[str, list[float]]:
    """By name of the error weights, E from the output and F across time, degrees by epoch: the mean of the seeds."""
    by_name: dict[str, list[float]] = {}
    for rows in zip(*found.histories, strict=False):
        for name in rows[0].get("alignment", {}):
            by_name.setdefault(name, []).append(fmean(row["alignment"][name] for row in rows))
    return by_name


def section(known: Iterable[Labeled]) -> Section | None:
    """Angles at the first and at the last epoch; a random matrix is at 90 degrees."""
    rows: list[Row] = [("", "error weights", "first epoch", "last epoch", "epochs")]
    for label, found in known:
        for name, degrees in angles(found).items():
            rows.append((label, name, f"{degrees[0]:.1f}°", f"{degrees[-1]:.1f}°", str(len(degrees))))
    return Section("Alignment of E with U^T and of F with V^T", rows) if len(rows) > 1 else None


def draw(axes: Axes, known: Sequence[Labeled]) -> None:
    """Angles by share of training, since the runs differ in length: E as a line, F as dashes."""
    for nth, (label, found) in enumerate(known):
        for name, degrees in angles(found).items():
            style = "--" if name.startswith("F") else "-"
            share = [epoch / len(degrees) for epoch in range(1, len(degrees) + 1)]
            words = "_" if name.startswith("F") else label  # one line of the legend for both
            axes.plot(share, degrees, style, color=f"C{nth % 10}", label=words)
    axes.set(xlabel="share of training", ylabel="degrees", title="Angle of E to U^T (line) and of F to V^T (dashed)")
    axes.grid(alpha=0.3)
