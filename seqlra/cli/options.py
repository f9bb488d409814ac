"""Options that several commands share, and how their text is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seqlra.errors import SeqlraError

DATA, NETWORK, RULE, OPTIMISATION, BOOKKEEPING = (
    "Data",
    "Network",
    "Rule",
    "Optimisation",
    "Bookkeeping",
)

DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder with local copies, DIR/<dataset>/.", rich_help_panel=DATA, show_default="Hub or embedded"
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.", rich_help_panel=BOOKKEEPING)]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object as the last line of output.", rich_help_panel=BOOKKEEPING)
]


def hidden_sizes(text: str) -> tuple[int, ...]:
    """``"256,128"`` is two layers, ``"128x8"`` eight layers of 128 units; they combine.

    Raises:
        SeqlraError: anything else.
    """
    sizes: list[int] = []
    try:
        for part in text.split(","):
            units, _, layers = part.strip().partition("x")
            sizes += [int(units)] * (int(layers) if layers else 1)
    except ValueError:
        sizes = []
    if not sizes or min(sizes) < 1:
        raise SeqlraError(f"cannot read the hidden sizes {text!r}; accepted: 256,128 or 128x8 (8 layers of 128)")
    return tuple(sizes)


def bound(name: str, text: str) -> float | None:
    """A bound such as c1: a number above 0, or ``off``.

    Raises:
        SeqlraError: anything else.
    """
    if text == "off":
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise SeqlraError(f"{name} must be a number above 0, or off; not {text!r}")
    return value
