"""The pictures of a run directory, and of a stack of runs; none without matplotlib, which is imported to draw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seqlra.analysis.curves import Curves
from seqlra.optional import can_draw
from seqlra.training.results import spread_text
from seqlra.training.run_directory import RunDirectory, StackDirectory


def save_pictures(run: RunDirectory, title: str, metric: str, diagnosed: bool) -> None:
    """All pictures of a run, from its ``metrics.jsonl``; none before an epoch has ended."""
    if (history := run.read_metrics()) and can_draw():
        from seqlra.analysis.plotting import save_curve, save_diagnostics

        save_curve(run.curve, history, title, metric)
        if diagnosed:
            save_diagnostics(run.diagnostics, history, title)


def save_stack_picture(stack: StackDirectory, result: Mapping[str, Any], title: str, metric: str) -> None:
    """The curves of all runs of a stack, given its `summary`; none before an epoch has ended."""
    histories = [[row[f"valid_{metric}"] for row in run.read_metrics()] for run in stack.runs]
    if any(histories) and can_draw():
        from seqlra.analysis.plotting import save_curves

        text = f"test {spread_text(result[f'test_{metric}'])}"
        save_curves(stack.curves, [Curves(text, histories)], title, metric)
