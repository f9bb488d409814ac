"""``seqlra data``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="List and fetch datasets.", no_args_is_help=True)


@app.command(name="list")
def list_() -> None:
    """List the datasets and where each comes from."""
    from seqlra.cli.show import table
    from seqlra.data.images import DATASETS
    from seqlra.data.text import TEXTS

    known = DATASETS | TEXTS
    rows = [(n, d.about, "embedded" if d.embedded else f"Hub ({d.hub}), or --data-dir") for n, d in known.items()]
    table("datasets", rows)


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="mnist, fashion_mnist or tiny_shakespeare.")],
    out: Annotated[Path, typer.Option(help="Folder to put it in, as DIR/<name>/; use it with --data-dir.")] = Path(),
) -> None:
    """Fetch a dataset from the Hub and write it as files for --data-dir."""
    from seqlra.data.images import DATASETS, export_images
    from seqlra.data.text import TEXTS, export_text
    from seqlra.errors import unknown

    if name not in DATASETS | TEXTS:
        raise unknown("dataset", name, DATASETS | TEXTS)
    (export_images if name in DATASETS else export_text)(name, out)
    typer.echo(f"wrote {out / name}; use it with --data-dir {out}")
