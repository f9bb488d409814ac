"""``seqlra bench``."""

from __future__ import annotations

from typing import Annotated

import typer

from seqlra.cli.options import Device, Json, Threads

app = typer.Typer(no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Time our updates against a rival's, alternating in one process; ratios over 1 mean that ours are faster."""


@app.command()
def rnn(
    hidden: Annotated[int, typer.Option(help="Recurrent units.", min=1)] = 256,
    streams: Annotated[int, typer.Option(help="Parallel streams.", min=1)] = 64,
    unroll: Annotated[int, typer.Option(help="K, steps of an update.", min=1)] = 50,
    symbols: Annotated[int, typer.Option(help="Size of the vocabulary.", min=2)] = 65,
    rounds: Annotated[int, typer.Option(help="Alternations.", min=1)] = 9,
    epsilon: Annotated[
        float, typer.Option(help="For a second case, on text: skip samples whose loss is under this; 0: no such case.")
    ] = 0.01,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """LRA-fdbk on an Elman network against torch.nn.RNN with autograd BPTT, with the same optimiser."""
    import torch

    from seqlra.bench import rnn_case, rnn_skip_case
    from seqlra.cli.show import json_line, table
    from seqlra.experiments import pick_device, set_threads, versions

    where = pick_device(device)
    count = set_threads(threads)
    cases = [rnn_case(hidden, streams, unroll, symbols, where, rounds)]
    if epsilon:
        cases.append(rnn_skip_case(hidden, streams, unroll, where, rounds, epsilon))
    rows = []
    for c in cases:
        ratio = f"{c.ratio:.2f} ({c.ratio_low:.2f} .. {c.ratio_high:.2f})"
        rows.append((c.case, ratio, f"{c.ours_ms:.2f}", f"{c.rival_ms:.2f}", c.rival))
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else "cpu"
    title = f"one update on {name}, {count} threads, torch {torch.__version__}, median of {rounds} alternations"
    table(title, rows, ("case", "ratio", "ours ms", "rival ms", "rival"), to_stderr=json)
    if json:
        measured = {"device": name, "threads": count, "versions": versions()}
        json_line({**measured, "cases": [case.to_dict() for case in cases]})
