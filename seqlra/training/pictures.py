"""The pictures of a run directory."""

from __future__ import annotations

from seqlra.analysis.plotting import save_curve, save_diagnostics
from seqlra.training.run_directory import RunDirectory


def save_pictures(run: RunDirectory, title: str, metric: str, diagnosed: bool) -> None:
    """All pictures of a run, from its ``metrics.jsonl``; none before an epoch has ended."""
    if history := run.read_metrics():
        save_curve(run.curve, history, title, metric)
        if diagnosed:
            save_diagnostics(run.diagnostics, history, title)
