"""``seqlra sample``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from seqlra.cli.options import Device, Imports, Json


def sample(
    run: Annotated[Path, typer.Argument(help="A run directory of seqlra train rnn.")],
    prompt: Annotated[str, typer.Option(help="Text to continue.")] = "The ",
    length: Annotated[int, typer.Option(help="Characters (or words) to write.")] = 500,
    temperature: Annotated[float, typer.Option(help="Under 1 bolder, over 1 wilder; 0: always the likeliest.")] = 0.7,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    device: Device = "auto",
    imports: Imports = None,
    json: Json = False,
) -> None:
    """Print text from a trained RNN, character by character.

    Characters of the prompt that training never saw are read as the unknown token; it reports how many.
    """
    from seqlra.analysis.sampling import sample
    from seqlra.cli.show import json_line
    from seqlra.cli.train import import_all
    from seqlra.training.loading import load_network
    from seqlra.training.run_directory import RunDirectory

    import_all(imports)
    graph, vocabulary = load_network(RunDirectory.open(run), device)
    tokens = vocabulary.encode(prompt).to(next(graph.parameters()).device)
    pieces = sample(graph, vocabulary, tokens, length, temperature, seed)
    if unseen := vocabulary.unknown(tokens):
        print(f"note: {unseen} of {len(tokens)} tokens of the prompt were never seen in training", file=sys.stderr)
    out = sys.stderr if json else sys.stdout
    text = prompt
    print(prompt, end="", file=out, flush=True)
    for piece in pieces:
        text += piece
        print(piece, end="", file=out, flush=True)
    print(file=out)
    if json:
        json_line({"run": str(run), "prompt": prompt, "text": text, "unknown_tokens": unseen, "seed": seed})
