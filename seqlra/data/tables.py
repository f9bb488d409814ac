"""Tables in files: .csv with a header, and .parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seqlra.errors import SeqlraError, first_line

FORMATS = (".npz", ".csv", ".parquet")
"""What rows of the user's own may be in."""


def read_table(path: Path) -> Any:
    """A table as a data frame, whose columns have different names.

    Raises:
        SeqlraError: it cannot be read, or has two columns of one name.
    """
    import pandas  # which is slow to import; `datasets` needs it, so it is there

    if path.suffix not in FORMATS:
        raise SeqlraError(f"{path.name} is none of the formats {', '.join(FORMATS)}")
    try:
        table = pandas.read_csv(path) if path.suffix == ".csv" else pandas.read_parquet(path)
    except Exception as error:  # whatever a damaged file makes the readers raise
        raise SeqlraError(f"cannot read {path}: {getattr(error, 'strerror', None) or first_line(error)}") from error
    table.columns = [str(name) for name in table.columns]
    if len(set(table.columns)) < len(table.columns):
        raise SeqlraError(f"{path} must have columns of different names; found {list(table.columns)}")
    return table


def demand_column(path: Path, table: Any, column: str) -> None:
    """Raise `SeqlraError` where a table has no such column."""
    if column not in table.columns:
        raise SeqlraError(f"{path} has no column {column!r}; it has {', '.join(table.columns)}")


def column_of_text(path: Path, column: str) -> list[str | None]:
    """The rows of a column of text; None where one is empty.

    Raises:
        SeqlraError: as of `read_table`; no such column, or one of something else than text.
    """
    table = read_table(path)
    demand_column(path, table, column)
    rows = [row if isinstance(row, str) else None for row in table[column]]
    if any(row is None and not empty for row, empty in zip(rows, table[column].isna(), strict=True)):
        raise SeqlraError(f"the column {column!r} of {path} is {table[column].dtype}, and not text")
    return rows
