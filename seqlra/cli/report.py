"""``seqlra report``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from seqlra.cli.options import Imports, Json, option
from seqlra.training.option import BOOKKEEPING

Directories = Annotated[
    list[Path],
    typer.Argument(help="Folders of runs, of several seeds, of comparisons, in any mixture.", metavar="DIR..."),
]
Out = Annotated[
    Path | None,
    option(BOOKKEEPING, "The page; an older one is written over.", "DIR/report.html, of several ./report.html"),
]
Title = Annotated[str | None, option(BOOKKEEPING, "Its headline.", "the names of the folders")]
Open = Annotated[bool, option(BOOKKEEPING, "Show it in the browser.", name="--open")]


def report(
    directories: Directories,
    out: Out = None,
    title: Title = None,
    show: Open = False,
    imports: Imports = None,
    json: Json = False,
) -> None:
    """Write one HTML page over trained runs: a table, curves to look into, diagnostics, the settings that differ.

        seqlra report runs/cmp

        seqlra report runs/cmp runs/first runs/seeds --out all.html --title "All of them" --open

    The page is one file that needs no network. Runs that have not ended are on it as far as they are: run the command
    again for more. Curves can be drawn by epoch, update or seconds, on a log scale; a click on a name hides its curves.

    Needs: pip install 'seqlra\\[report]'
    """
    from seqlra.cli.show import json_line
    from seqlra.cli.train import import_all
    from seqlra.report import figures, page
    from seqlra.report.found import find

    import_all(imports)
    entries = find(directories)
    if out is None:
        out = (directories[0] if len(directories) == 1 else Path()) / "report.html"
    page.write(out, page.render(entries, title or ", ".join(path.absolute().name for path in directories)))
    print(
        f"{len(entries)} {'setting' if len(entries) == 1 else 'settings'} on {out}",
        file=sys.stderr if json else sys.stdout,
    )
    if json:
        json_line({"out": str(out), "rows": [figures.table_row(entry) for entry in entries]})
    if show:
        typer.launch(str(out.absolute()))
