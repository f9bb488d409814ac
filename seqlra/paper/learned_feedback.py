"""Beyond the paper: LRA-fdbk with learned feedback in MLPs of stochastic units, and from null initialization."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from seqlra.paper import table1, table3
from seqlra.paper.cells import Cell, Scale
from seqlra.paper.variants import Variants

FEEDBACK: dict[str, dict[str, Any]] = {
    "fixed": {"feedback": "fixed"},
    "learned": {"feedback": "learned", "feedback_init": "gaussian"},
    "learned, decay 0.001": {"feedback": "learned", "feedback_init": "gaussian", "feedback_decay": 0.001},
    "learned from a mirror": {"feedback": "learned", "feedback_init": "mirror"},
}
NETWORKS = {
    "2x200 Bernoulli units (Table 3)": table3.cell("lra-fdbk", "mnist"),
    "8x128 sigmoid from zeros (Table 1)": table1.cell("mnist", "sigmoid", "lra-fdbk", 0.0),
    "8x128 tanh from zeros (Table 1)": table1.cell("mnist", "tanh", "lra-fdbk", 0.0),
}


def variant(network: str, feedback: str) -> Cell:
    """A cell of the paper's table with this kind of feedback."""
    base, given = NETWORKS[network], FEEDBACK[feedback]
    name = feedback.replace(",", "").replace(" ", "-")
    return replace(base, name=f"{base.name}-{name}", options={**base.options, **given})


class LearnedFeedbackOfMLPs(Variants):
    """Error on MNIST by network and kind of feedback."""

    name = "learned-feedback"
    title = "LRA-fdbk with fixed and with learned feedback on MNIST, error in percent (beyond the paper)"
    quick = Scale(epochs=5)
    paper = Scale(epochs=20, seeds=3)
    metric = "error"
    variants: ClassVar[Mapping[str, Cell]] = {
        f"{network}, {feedback}": variant(network, feedback)
        for network, base in NETWORKS.items()
        for feedback in FEEDBACK
        if base.options.get("weight_init") != "zeros" or feedback != "learned from a mirror"  # it would see nothing
    }
    note = (
        "Settings and step sizes are those of the tables, which were chosen for fixed feedback. Errors of Bernoulli "
        "units are of one draw."
    )
