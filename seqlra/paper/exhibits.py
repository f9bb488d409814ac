"""Every table and figure of the paper, by name, and the pages beyond them."""

from __future__ import annotations

from seqlra.errors import unknown
from seqlra.paper.binary_rnn import BinaryRNN
from seqlra.paper.claims import Claims
from seqlra.paper.exhibit import Exhibit
from seqlra.paper.figure2 import Figure2
from seqlra.paper.figure3 import Figure3
from seqlra.paper.figure4 import Figure4
from seqlra.paper.figure5 import Figure5
from seqlra.paper.figure6 import Figure6
from seqlra.paper.figure7 import Figure7
from seqlra.paper.inner_steps import InnerSteps
from seqlra.paper.learned_feedback import LearnedFeedbackOfMLPs
from seqlra.paper.online import Online
from seqlra.paper.rnn_settings import RNNSettings
from seqlra.paper.sequences import Sequences
from seqlra.paper.sequences_tuning import SequencesTuning
from seqlra.paper.table1 import Table1
from seqlra.paper.table2 import Table2
from seqlra.paper.table3 import Table3
from seqlra.paper.table4 import Table4
from seqlra.paper.tiny_shakespeare import TinyShakespeare

EXHIBITS: dict[str, Exhibit] = {
    exhibit.name: exhibit
    for exhibit in (
        *(Table1(), Table2(), Table3(), Table4()),
        *(Figure2(), Figure3(), Figure4(), Figure5(), Figure6(), Figure7()),
        *(InnerSteps(), LearnedFeedbackOfMLPs(), Sequences(), SequencesTuning(), Online()),
        *(BinaryRNN(), TinyShakespeare(), RNNSettings(), Claims()),
    )
}
APART = ("learned-feedback", "sequences", "sequences-tuning", "online", "tiny-shakespeare", "rnn-settings")
"""Exhibits that are not part of "all": they need a text that the paper does not use, or go beyond it at length."""


def exhibits(name: str) -> list[Exhibit]:
    """The exhibit of that name; for "all" every exhibit except those of `APART`.

    Raises:
        SeqlraError: there is none.
    """
    if name == "all":
        return [exhibit for exhibit in EXHIBITS.values() if exhibit.name not in APART]
    if name not in EXHIBITS:
        raise unknown("table or figure", name, ["all", *EXHIBITS])
    return [EXHIBITS[name]]
