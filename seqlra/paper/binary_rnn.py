"""Beyond the paper: Elman RNNs of binary and of stochastic units on text, by LRA-fdbk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from seqlra.paper import sequences
from seqlra.paper.cells import Cell, Scale
from seqlra.paper.variants import Variants

WIDTH = 256
EPOCHS = 9


def cell(discretizer: str | None) -> Cell:
    """The tanh network of `sequences`, or the same with a discretizer above its units."""
    base = sequences.cell("lra-fdbk", WIDTH, EPOCHS)
    if discretizer is None:
        return base
    return replace(base, name=f"{base.name}-{discretizer}", options={**base.options, "discretizer": discretizer})


class BinaryRNN(Variants):
    """Bits per character by the kind of hidden unit."""

    name = "binary-rnn"
    title = "Elman RNNs of binary and of stochastic units on text by LRA-fdbk (beyond the paper)"
    quick = Scale(epochs=EPOCHS)
    paper = Scale(epochs=EPOCHS)
    metric = "bpc"
    variants: ClassVar[Mapping[str, Cell]] = {"tanh": cell(None), "sign": cell("sign"), "Bernoulli": cell("bernoulli")}
    note = f"One layer of {WIDTH} units on the embedded text, with the settings of `seqlra train rnn`."
