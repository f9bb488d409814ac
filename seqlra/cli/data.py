"""``seqlra data``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="See and fetch datasets.", no_args_is_help=True)


@app.command(name="list")
def list_() -> None:
    """List the datasets and where each comes from."""
    from seqlra.cli.show import table
    from seqlra.tasks.images import DATASETS

    table("datasets", [(name, dataset.about) for name, dataset in DATASETS.items()])


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="A dataset of the Hub: mnist or fashion_mnist.")],
    out: Annotated[Path, typer.Option(help="Folder to put it in, as DIR/<name>/; use it with --data-dir.")] = Path(),
) -> None:
    """Fetch a dataset from the Hub and write it as IDX files for --data-dir."""
    from seqlra.tasks.images import export_images

    export_images(name, out)
    typer.echo(f"wrote {out / name}; use it with --data-dir {out}")
