"""Curves by epoch, before anything is drawn: the metrics that they may be of, and their bands over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

METRICS = {"error": "error (%)", "bpc": "bits per character", "perplexity": "perplexity per word", "loss": "loss"}
"""For each metric by which validation chooses: its axis."""


@dataclass(frozen=True)
class Curves:
    """The curve of one label of a comparison.

    Args:
        label: its text in the legend.
        values: for each seed the metric on validation after each epoch; a seed that stopped early has fewer.
    """

    label: str
    values: Sequence[Sequence[float]]

    def bands(self) -> list[tuple[float, float, float]]:
        """For each epoch the least, the mean and the greatest over the seeds that came so far."""
        longest = max(map(len, self.values), default=0)
        known = [[seed[nth] for seed in self.values if len(seed) > nth] for nth in range(longest)]
        return [(min(values), math.fsum(values) / len(values), max(values)) for values in known]
