"""Every table and figure of the paper, by name, and one page beyond it."""

from __future__ import annotations

from seqlra.errors import unknown
from seqlra.paper.exhibit import Exhibit
from seqlra.paper.sequences import Sequences
from seqlra.paper.table1 import Table1
from seqlra.paper.table2 import Table2
from seqlra.paper.table3 import Table3
from seqlra.paper.table4 import Table4

EXHIBITS: dict[str, Exhibit] = {
    exhibit.name: exhibit for exhibit in (Table1(), Table2(), Table3(), Table4(), Sequences())
}


def exhibits(name: str) -> list[Exhibit]:
    """The one of that name, or "all".

    Raises:
        SeqlraError: there is none.
    """
    if name == "all":
        return list(EXHIBITS.values())
    if name not in EXHIBITS:
        raise unknown("table or figure", name, ["all", *EXHIBITS])
    return [EXHIBITS[name]]
