"""The page of a report: one HTML file with all that it needs in it, also the library of its charts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqlra.analysis.curves import METRICS
from seqlra.errors import SeqlraError
from seqlra.files import write_atomically
from seqlra.optional import require
from seqlra.report import figures
from seqlra.report.found import Entry

MARK = "<!doctype html><!-- a report of seqlra -->"
"""How every page begins, so that no other file is taken for an older page and written over."""

HERE = Path(__file__).parent


def render(entries: Sequence[Entry], title: str) -> str:
    """The whole page.

    Raises:
        SeqlraError: plotly or jinja2 is not installed.
    """
    require("report", "a report", "jinja2", "plotly")
    from jinja2 import Environment
    from plotly.offline import get_plotlyjs

    table = [figures.table_row(entry) for entry in entries]
    differing, common = figures.settings(entries)
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(_part("page.html"))
    return template.render(
        mark=MARK,
        title=title,
        style=_part("page.css"),
        script=_part("page.js"),
        library=get_plotlyjs(),
        table=figures.cells(table),
        differing=differing,
        common=common,
        how=figures.how(entries),
        labels=[entry.label for entry in entries],
        data=_data(entries, table),
    )


def write(path: Path, page: str) -> None:
    """Write a page, over an older one too.

    Raises:
        SeqlraError: there is a file that is no such page, or the folder cannot be written.
    """
    try:
        if path.exists() and (not path.is_file() or not _begins(path)):
            raise SeqlraError(f"{path} exists and is no report; choose another --out")
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SeqlraError(f"cannot write {path}: {error.strerror}") from error
    write_atomically(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))


def _begins(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MARK)) == MARK.encode()


def _data(entries: Sequence[Entry], table: Sequence[dict[str, Any]]) -> str:
    """What the script draws, as JSON that can stand in a script of HTML."""
    metrics = [each["metric"] for each in table if each["metric"]]
    plain = {"entries": figures.curves(entries), "metric": metrics[0] if metrics else None, "axes": METRICS}
    return json.dumps(plain, allow_nan=False).replace("<", "\\u003c")


def _part(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
