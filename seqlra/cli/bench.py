"""``seqlra bench``."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Annotated

import typer

from seqlra.cli.options import Device, Json, Threads
from seqlra.errors import SeqlraError
from seqlra.training.option import hidden_sizes

if TYPE_CHECKING:
    import torch

    from seqlra.bench.timing import Case

app = typer.Typer(no_args_is_help=True)

Rounds = Annotated[int, typer.Option(help="Alternations.", min=1)]
Optimizer = Annotated[str, typer.Option(help="sgd or adam, for both sides.")]


@app.callback()
def bench() -> None:
    """Time our updates against a rival's, alternating in one process; ratios over 1 mean that ours are faster.

    Run nothing else meanwhile: on a busy machine threads wait for each other, and the figures mean little.
    """


@app.command()
def mlp(
    net: Annotated[
        list[str] | None,
        typer.Option(help="HIDDEN@BATCH, such as 128x8@50; may be repeated.", show_default="3x64, 3x256, 8x128, 3x800"),
    ] = None,
    optimizer: Optimizer = "adam",
    compiled: Annotated[
        bool, typer.Option(help="Ours and backprop through torch.compile, too: minutes to compile.")
    ] = True,
    rounds: Rounds = 7,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """LRA-fdbk on a tanh MLP against backprop in PyTorch: eager, with our optimizer, compiled in its fastest mode.

    Also against backprop as a rule of this engine, which shows how much the rule gives and how much the engine, and
    FA of biotorch where it is installed. The first of the means is against the best of PyTorch's for each network.
    """
    from seqlra.bench.mlp import OPTIMIZERS, RIVALS, available, mlp_case
    from seqlra.errors import unknown

    if optimizer not in OPTIMIZERS:
        raise unknown("optimizer", optimizer, OPTIMIZERS)
    nets = [_net(text) for text in net or NETS]
    where, count = _machine(device, threads)
    rivals = [rival for rival in RIVALS if available(rival, where) and (compiled or "compiled" not in rival)]
    kinds = [(False, rival) for rival in rivals]
    kinds += [(True, rival) for rival in rivals if compiled]
    cases = [mlp_case(*sizes, optimizer, rival, where, rounds, ours) for ours, rival in kinds for sizes in nets]
    _report(cases, where, count, rounds, json)


NETS = ("64x3@50", "256x3@50", "128x8@50", "800x3@20")


def _net(text: str) -> tuple[tuple[int, ...], int]:
    hidden, at, batch = text.partition("@")
    if not (at and batch.isdigit() and int(batch) > 0):
        raise SeqlraError(f"cannot read the network {text!r}; accepted: HIDDEN@BATCH, such as 128x8@50")
    return hidden_sizes(hidden), int(batch)


@app.command()
def fit(
    net: Annotated[
        list[str] | None,
        typer.Option(help="HIDDEN@BATCH, such as 64x2@50; may be repeated.", show_default="64x2@50, 256x3@50"),
    ] = None,
    images: Annotated[int, typer.Option(help="Images in an epoch.", min=1)] = 5000,
    epochs: Annotated[int, typer.Option(help="Epochs of a training.", min=1)] = 3,
    rounds: Rounds = 3,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Trainings by seqlra.fit against the loop that a PyTorch user writes: nn.Sequential, Adam, autograd."""
    from seqlra.bench.fit import fit_case

    nets = [_net(text) for text in net or ("64x2@50", "256x3@50")]
    where, count = _machine(device, threads)
    cases = [fit_case(*sizes, images, epochs, where, rounds) for sizes in nets]
    _report(cases, where, count, rounds, json, of="one training")


@app.command()
def stack(
    models: Annotated[int, typer.Option(help="How many.", min=1)] = 16,
    hidden: Annotated[str, typer.Option(help="Hidden layers of each.")] = "128x8",
    batch: Annotated[int, typer.Option(help="Images in a mini-batch.", min=1)] = 50,
    optimizer: Optimizer = "adam",
    compiled: Annotated[bool, typer.Option(help="Both through torch.compile, too.")] = True,
    rounds: Rounds = 7,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Many models trained as one stack against one after another, by the same engine."""
    from seqlra.bench.stack import stack_case

    where, count = _machine(device, threads)
    sizes = hidden_sizes(hidden)
    ways = [(shared, ours) for ours in (False, True)[: 1 + compiled] for shared in (False, True)]
    cases = [stack_case(models, sizes, batch, optimizer, shared, where, rounds, ours) for shared, ours in ways]
    _report(cases, where, count, rounds, json)


@app.command()
def rnn(
    hidden: Annotated[int | None, typer.Option(help="Recurrent units.", min=1, show_default="256")] = None,
    streams: Annotated[int, typer.Option(help="Parallel streams.", min=1)] = 64,
    unroll: Annotated[int, typer.Option(help="K, steps of an update.", min=1)] = 50,
    symbols: Annotated[int, typer.Option(help="Size of the vocabulary.", min=2)] = 65,
    rounds: Rounds = 9,
    epsilon: Annotated[
        float,
        typer.Option(help="For a second case, on text: skip predictions whose loss is under this; 0: no such case."),
    ] = 0.5,
    compiled: Annotated[
        bool, typer.Option("--compiled", help="The first case through torch.compile, too: a minute to compile.")
    ] = False,
    online: Annotated[
        bool, typer.Option("--online", help="Time and memory of every online rule instead, at 128, 256, 512 units.")
    ] = False,
    rules: Annotated[
        str | None, typer.Option(help="With --online, which rules, such as rflo,snap-1.", show_default="all")
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """LRA-fdbk on an Elman network against torch.nn.RNN with autograd BPTT, with the same optimizer."""
    from seqlra.bench.rnn import RULES, rnn_case, rnn_skip_case

    where, count = _machine(device, threads)
    if online:
        if compiled:
            raise SeqlraError("--compiled goes without --online")
        sizes = (hidden,) if hidden else (128, 256, 512)
        _report(_online_cases(rules, sizes, streams, unroll, symbols, where, rounds), where, count, rounds, json)
        return
    if rules is not None:
        raise SeqlraError("--rules says which rules --online times; give that, too")
    hidden = hidden or 256
    cases = [rnn_case(label, hidden, streams, unroll, symbols, where, rounds) for label in RULES]
    if compiled:
        cases.append(rnn_case(next(iter(RULES)), hidden, streams, unroll, symbols, where, rounds, compiled))
    if epsilon:
        cases.append(rnn_skip_case(hidden, streams, unroll, where, rounds, epsilon))
    _report(cases, where, count, rounds, json)


def _online_cases(
    rules: str | None, sizes: tuple[int, ...], streams: int, unroll: int, symbols: int, where: torch.device, rounds: int
) -> list[Case]:
    """The online rules at every size; those that are too large are named on standard error."""
    from seqlra.bench.rnn import ONLINE, online_case
    from seqlra.errors import unknown

    chosen = list(ONLINE) if rules is None else [name.strip() for name in rules.split(",")]
    for name in chosen:
        if name not in ONLINE:
            raise unknown("rule", name, ONLINE)
    cases = []
    for size in sizes:
        for label in chosen:
            case = online_case(label, size, streams, unroll, symbols, where, rounds)
            if case is None:
                typer.echo(f"{label} at {size} units is too large: its traces take too many operations", err=True)
            else:
                cases.append(case)
    if not cases:
        raise SeqlraError("every rule is too large at these sizes; give fewer --hidden units, --streams or --unroll")
    return cases


def _machine(device: str, threads: int | None) -> tuple[torch.device, int]:
    from seqlra.training.machine import pick_device, set_threads

    return pick_device(device), set_threads(threads)


def _report(
    cases: list[Case], where: torch.device, threads: int, rounds: int, json: bool, of: str = "one update"
) -> None:
    """A table for people, JSON for scripts: ratios with their spread, medians, and the distance to the limit."""
    import torch

    from seqlra.bench.timing import matmul_rate
    from seqlra.cli.show import json_line, table
    from seqlra.training.machine import versions

    rate = matmul_rate(where)
    rows = []
    measured = any(c.ours_mib is not None for c in cases)
    for c in cases:
        share = c.of_limit(rate)
        limit = "" if share is None else f"{100 * share:.0f} %"
        ratio = f"{c.ratio:.2f} ({c.ratio_low:.2f} .. {c.ratio_high:.2f})"
        memory = (f"{c.ours_mib:.1f}", f"{c.rival_mib:.1f}") if measured else ()
        rows.append((c.case, ratio, f"{c.ours_ms:.2f}", f"{c.rival_ms:.2f}", *memory, limit, c.rival))
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else "cpu"
    title = f"{of} on {name}, {threads} threads, torch {torch.__version__}, median of {rounds} alternations; "
    title += f"limit: matrix products at {1e-9 * rate:.0f} GFLOP/s"
    memory = ("ours MiB", "rival MiB") if measured else ()
    table(title, rows, ("case", "ratio", "ours ms", "rival ms", *memory, "of limit", "rival"), to_stderr=json)
    means = _geometric_means(cases)
    if len(means) < len(cases):
        table(
            "geometric means of the ratios", [(which, f"{mean:.2f}") for which, mean in means.items()], to_stderr=json
        )
    if json:
        machine = {"device": name, "threads": threads, "versions": versions(), "gflops_limit": 1e-9 * rate}
        results = [{**c.to_dict(), "of_limit": c.of_limit(rate)} for c in cases]
        json_line({**machine, "cases": results, "geometric_means": means})


def _geometric_means(cases: list[Case]) -> dict[str, float]:
    """Over the networks, by comparison: ours, plain or compiled, against each rival, and against the best of torch's
    for each network, which comes first."""
    from seqlra.bench.mlp import BEST, of_torch

    ratios: dict[str, list[float]] = {}
    best: dict[str, dict[str, float]] = {}
    for case in cases:
        ours = "ours, compiled" if case.case.endswith("compiled") else "ours"
        rival = case.rival.partition(" (")[0]  # without the mode of torch.compile
        ratios.setdefault(f"{ours} against {rival}", []).append(case.ratio)
        if of_torch(rival):
            of = best.setdefault(f"{ours} against {BEST}", {})
            of[case.case] = min(case.ratio, of.get(case.case, case.ratio))
    headline = {which: list(of.values()) for which, of in best.items()}
    return {which: statistics.geometric_mean(of) for which, of in {**headline, **ratios}.items()}
