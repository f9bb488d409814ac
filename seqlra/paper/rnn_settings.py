"""Beyond the paper: which settings help an Elman RNN on Tiny Shakespeare, changed one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from seqlra.paper.cells import Cell, Scale
from seqlra.paper.tiny_shakespeare import EPOCHS, UPDATES, cell
from seqlra.paper.variants import Variants


class RNNSettings(Variants):
    """Bits per character with one setting changed from the defaults of `seqlra train rnn`."""

    name = "rnn-settings"
    title = "settings of an Elman RNN on Tiny Shakespeare, one changed at a time (beyond the paper)"
    quick = Scale(epochs=EPOCHS)
    paper = Scale(epochs=EPOCHS)
    metric = "bpc"
    splits = ("valid",)  # settings are chosen on it
    variants: ClassVar[Mapping[str, Cell]] = {
        "null initialization": cell("zeros", weight_init="zeros"),
        "uniform fan-in (eq. 5)": cell("fan-in", weight_init="fan-in"),
        "Gaussian 0.05": cell("gaussian", weight_init="gaussian"),
        "lr 0.005": cell("lr0.005", lr=0.005),
        "lr 0.02": cell("lr0.02", lr=0.02),
        "beta 1": cell("beta1", settings={"beta": 1.0}),
        "c2 10": cell("c2-10", settings={"c2": 10.0}),
        "log-penalty": cell("log-penalty", loss="log-penalty"),
        "E of std 0.1": cell("feedback0.1", feedback_std=0.1),
        "RMSprop, lr 0.003": cell("rmsprop", optimizer="rmsprop", lr=0.003),
        "BPTT, lr 0.005": cell("backprop-lr0.005", "backprop", lr=0.005),
        "BPTT, lr 0.02": cell("backprop-lr0.02", "backprop", lr=0.02),
        "BPTT, uniform fan-in": cell("backprop-fan-in", "backprop", weight_init="fan-in"),
        "LRA-diff, lr 0.005": cell("lra-diff-lr0.005", "lra-diff", lr=0.005),
        "LRA-diff, lr 0.02": cell("lra-diff-lr0.02", "lra-diff", lr=0.02),
    }
    note = (
        f"The network and the {UPDATES:,} updates of `seqlra reproduce tiny-shakespeare`, by LRA-fdbk unless the row "
        "names another rule."
    )
