"""K of LRA-diff on the test images (Section 3.1), beside LRA-fdbk: cells of Figure 2 and K = 1, after one epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from seqlra.paper.cells import Cell, Scale
from seqlra.paper.figure2 import diff, fdbk
from seqlra.paper.variants import Variants

DATA = "mnist"
STEPS = (1, 5, 30)


class InnerSteps(Variants):
    """Test error by K, and how long an update takes."""

    name = "inner-steps"
    title = "K of LRA-diff (Section 3.1) after one epoch on MNIST"
    quick = Scale(epochs=1)
    paper = Scale(epochs=1)
    metric = "error"
    variants: ClassVar[Mapping[str, Cell]] = {
        label: replace(cell, epochs=1)
        for label, cell in {
            "LRA-fdbk": fdbk(DATA, 1.0),
            **{f"LRA-diff, K = {steps}": diff(DATA, steps) for steps in STEPS},
        }.items()
    }
    note = "Three layers of 64 tanh units, uniform fan-in weights, plain SGD with the paper's step size of 0.01."
