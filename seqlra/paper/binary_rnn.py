"""Beyond the paper: Elman RNNs of binary and of stochastic units on text, by LRA-fdbk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from seqlra.paper.cells import Cell, Scale
from seqlra.paper.variants import Variants

WIDTH = 256
EPOCHS = 9


def cell(discretizer: str | None) -> Cell:
    """A tanh network, or the same with a discretizer above its units."""
    options: dict[str, Any] = {"dataset": "text-sample", "hidden": (WIDTH,), "streams": 64, "unroll": 50}
    name = f"text-sample-elman{WIDTH}-lra-fdbk{'' if discretizer is None else f'-{discretizer}'}"
    return Cell(name, {**options, "rule": "lra-fdbk", "discretizer": discretizer}, epochs=EPOCHS)


class BinaryRNN(Variants):
    """Bits per character by the kind of hidden unit."""

    name = "binary-rnn"
    title = "Elman RNNs of binary and of stochastic units on text by LRA-fdbk (beyond the paper)"
    quick = Scale(epochs=EPOCHS)
    paper = Scale(epochs=EPOCHS)
    metric = "bpc"
    variants: ClassVar[Mapping[str, Cell]] = {"tanh": cell(None), "sign": cell("sign"), "Bernoulli": cell("bernoulli")}
    note = f"One layer of {WIDTH} units on the embedded text, with the settings of `seqlra train rnn`."
