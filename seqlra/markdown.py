"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]]) -> str:
    """A table, one line a row, without a newline at the end.

    Args:
        rows: its cells as text, the header first. A ``|`` in a cell is escaped, a line break becomes a space.

    Raises:
        ValueError: there is no header, or a row has more or fewer cells than the header.
    """
    if not rows:
        raise ValueError("a table needs a header")
    for row in rows:
        if len(row) != len(rows[0]):
            raise ValueError(f"a row has {len(row)} cells, the header {len(rows[0])}: {row}")
    header, *lines = ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    return "\n".join([header, "|---" * len(rows[0]) + "|", *lines])


def _cell(text: str) -> str:
    return " ".join(text.splitlines()).replace("|", "\\|")
