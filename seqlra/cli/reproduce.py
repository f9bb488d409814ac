"""``seqlra reproduce``."""

from __future__ import annotations

import fnmatch
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from seqlra.cli import options as o
from seqlra.cli.options import option
from seqlra.errors import SeqlraError
from seqlra.optional import require
from seqlra.training.option import BOOKKEEPING, DATA

if TYPE_CHECKING:
    from seqlra.paper.cells import Cell, Machine, Scale
    from seqlra.paper.exhibit import Exhibit, Page
    from seqlra.paper.reproduction import Reproduction
    from seqlra.sweeps.run_store import Group, RunSpec
    from seqlra.sweeps.workers import Workers
    from seqlra.training.trainer import Trainer

SCALE = "Scale"


Name = Annotated[
    str,
    typer.Argument(help="list; a name from it, such as table1, or all; publish or render, to write out the results."),
]
ScaleName = Annotated[
    Literal["quick", "paper"],
    option(SCALE, "quick: minutes on two cores, with fewer epochs and seeds; paper: the paper's epochs."),
]
Epochs = Annotated[int | None, option(SCALE, "Epochs, in place of the scale's.", False)]
Seeds = Annotated[int | None, option(SCALE, "Seeds of each cell, in place of the scale's.", False)]
Only = Annotated[
    str | None, option(SCALE, "Train only the cells whose name fits this pattern, e.g. 'mnist-*lra*'.", False)
]
DataDir = Annotated[Path | None, option(DATA, "Folder with local copies of mnist/ and fashion_mnist/.", "Hub")]
Out = Annotated[Path, option(BOOKKEEPING, "Folder of the runs, tables and figures.")]
From = Annotated[
    list[Path] | None,
    option(BOOKKEEPING, "Take over finished runs of another OUT or a runs.jsonl; may be repeated.", False, "--from"),
]
NoTrain = Annotated[bool, option(BOOKKEEPING, "Only write the pages, of the runs that are there.", name="--no-train")]
To = Annotated[Path | None, option(BOOKKEEPING, "publish, render: the folder they write.", "results/paper, results")]


def reproduce(
    name: Name,
    scale: ScaleName = "quick",
    epochs: Epochs = None,
    seeds: Seeds = None,
    only: Only = None,
    data_dir: DataDir = None,
    device: o.Device = "auto",
    threads: o.Threads = None,
    compile: o.Compile = False,
    jobs: o.Jobs = 1,
    cluster: o.Cluster = None,
    out: Out = Path("runs/paper"),
    sources: From = None,
    no_train: NoTrain = False,
    to: To = None,
    json: o.Json = False,
) -> None:
    """Run a table or figure of the paper, or one beyond it, and set our figures beside the paper's.

        seqlra reproduce list
        seqlra reproduce table1 --data-dir DATA
        seqlra reproduce all --data-dir DATA --out runs/paper
        seqlra reproduce publish --out runs/paper --to results/paper
        seqlra reproduce render --to results

    Each is made of cells: a network, data, a rule. A cell that several need is trained once, and one that is done stays
    done: after Ctrl-C, a crash or kill -9 the same command goes on where it was. OUT gets NAME.md (the figures, the
    paper's, the difference), NAME.json and NAME.png, made anew after every cell, from the longest runs there are.

    publish copies them, and a list of all runs, into TO. render writes TO/measured.md from TO/measured.json and from
    the lines that seqlra bench NAME --json appended to TO/bench-NAME.jsonl.

    Several processes, or a cluster of Dask whose machines share the folder:

        seqlra reproduce table1 --data-dir DATA --jobs 4

    More of one row only, with epochs of your own choice:

        seqlra reproduce table1 --scale paper --only '*lra-fdbk*' --epochs 30

    One table of runs that several machines made:

        seqlra reproduce table1 --from there --from results/paper/runs.jsonl --no-train
    """
    if (sources or no_train) and name in ("list", "publish", "render"):
        raise SeqlraError(f"--from and --no-train go with a table or figure, or with all, not with {name}")
    if name != "render":
        require("paper", "seqlra reproduce", "matplotlib", "sklearn", "threadpoolctl")
    if name == "list":
        _list()
    elif name == "publish":
        _publish(out, to or Path("results/paper"), json)
    elif name == "render":
        _render(to or Path("results"), json)
    else:
        from seqlra.paper.reproduction import Reproduction
        from seqlra.sweeps.workers import Workers

        workers = Workers(jobs, cluster)
        machine = _machine(device, threads if workers.alone or threads else 1, data_dir, compile)
        work = _work(name, only, scale, epochs, seeds, machine)
        _gather(sources or [], out)
        _run(Reproduction(out, machine), work, None if no_train else workers, json)


def _list() -> None:
    from seqlra.cli.show import table
    from seqlra.paper.exhibits import EXHIBITS

    def shown(scale: Scale) -> str:
        return f"{scale.epochs} epoch{'s'[: scale.epochs - 1]}, {scale.seeds} seed{'s'[: scale.seeds - 1]}"

    rows = [
        (each.name, each.title, str(len(cells)), shown(each.quick), shown(each.paper), cells[0].name)
        for each in EXHIBITS.values()
        if (cells := each.cells())
    ]
    table("the paper", rows, ("", "", "cells", "quick", "paper", "such as"))


def _publish(store: Path, to: Path, json: bool) -> None:
    from seqlra.cli.show import json_line
    from seqlra.paper.publishing import publish

    runs = publish(store, to)
    print(f"{runs} runs: {to}", file=sys.stderr)
    if json:
        json_line({"to": str(to), "runs": runs})


def _gather(sources: Sequence[Path], store: Path) -> None:
    from seqlra.paper.gathering import gather

    for source in sources:
        print(f"{gather(source, store)} runs taken over from {source}", file=sys.stderr)


def _render(folder: Path, json: bool) -> None:
    from seqlra.cli.show import json_line
    from seqlra.paper.rendering import render

    page = render(folder)
    print(f"page: {page}", file=sys.stderr)
    if json:
        json_line({"page": str(page)})


def _machine(device: str, threads: int | None, data_dir: Path | None, compile: bool) -> Machine:
    from seqlra.paper.cells import Machine
    from seqlra.training.machine import pick_device, set_threads

    folder = None if data_dir is None else str(data_dir.resolve())
    return Machine(pick_device(device).type, set_threads(threads), folder, compile)


def _work(name: str, only: str | None, scale: str, epochs: int | None, seeds: int | None, machine: Machine) -> Work:
    """The exhibits of a name, the cells of each that match ``only``, and their scale."""
    from seqlra.paper.exhibits import exhibits

    every = [(each, each.cells_at(scale, machine)) for each in exhibits(name)]
    work = [(each, _fitting(cells, only), _scale(each, scale, epochs, seeds)) for each, cells in every]
    if only is not None and not any(cells for _, cells, _ in work):
        raise SeqlraError(f"no cell of {name} fits --only {only!r}; seqlra reproduce list names some")
    return work


def _fitting(cells: Sequence[Cell], only: str | None) -> list[Cell]:
    return [cell for cell in cells if only is None or fnmatch.fnmatchcase(cell.name, only)]


def _scale(exhibit: Exhibit, name: str, epochs: int | None, seeds: int | None) -> Scale:
    from seqlra.paper.cells import Scale

    given = {"quick": exhibit.quick, "paper": exhibit.paper}[name]
    for option_name, value in (("epochs", epochs), ("seeds", seeds)):
        if value is not None and value < 1:
            raise SeqlraError(f"{option_name} must be at least 1, not {value}")
    return Scale(epochs or given.epochs, seeds or given.seeds)


Work = Sequence[tuple["Exhibit", "list[Cell]", "Scale"]]


def _run(reproduction: Reproduction, work: Work, workers: Workers | None, json: bool) -> None:
    """Train what is left, unless there are no workers, and write and show the pages."""
    from seqlra.cli.running import Interrupted
    from seqlra.cli.show import json_line, table
    from seqlra.training.trainer import Stopped

    pages: dict[str, Any] = {}
    todo = None if workers is None else Todo(reproduction, work)
    try:
        if workers is not None and todo is not None and not workers.alone:
            _train_by(workers, reproduction, work, todo)
        for exhibit, cells, scale in work:
            if todo is not None:
                _train(exhibit, reproduction, cells, scale, todo)
            elif unlike := reproduction.unlike(cells):
                other = f"{len(unlike)} runs with other settings than those of this version, such as {unlike[0]}"
                print(f"{exhibit.name} shows {other}", file=sys.stderr)
            if (page := _page(exhibit, reproduction, strict=workers is not None or len(work) == 1)) is not None:
                pages[exhibit.name] = [entry.to_dict() for entry in page.entries]
                for title, shown in [(exhibit.title, page.rows), *((s.heading, s.rows) for s in page.sections)]:
                    if shown:
                        header, *rows = (tuple(cell.replace("**", "") for cell in row) for row in shown)
                        table(f"{exhibit.name}: {title}", rows, header, to_stderr=json)
    except (Stopped, KeyboardInterrupt):
        raise Interrupted(f"stopped; go on with: {shlex.join(['seqlra', *sys.argv[1:]])}") from None
    if not pages:
        raise SeqlraError(f"{reproduction.path} has no runs to show yet; begin with: seqlra reproduce table1")
    print(f"tables and figures: {reproduction.path}", file=sys.stderr)
    if json:
        json_line({"out": str(reproduction.path), "exhibits": pages})


def _train(exhibit: Exhibit, reproduction: Reproduction, cells: list[Cell], scale: Scale, todo: Todo) -> None:
    """Train and measure what is left of an exhibit; each time, write its page."""
    from seqlra.paper.exhibit import write

    for group in reproduction.groups(cells, scale):
        for members in reproduction.left(group.name, group.specs):
            reproduction.train(group.name, members, todo.watching)
            write(exhibit, reproduction)
    exhibit.measure(reproduction, cells)


def _page(exhibit: Exhibit, reproduction: Reproduction, strict: bool) -> Page | None:
    """Write the page of an exhibit. Unless ``strict``, one that runs do not suffice for is left out, and a line says
    so."""
    from seqlra.paper.exhibit import write

    try:
        return write(exhibit, reproduction)
    except SeqlraError as error:
        if strict:
            raise
        print(f"{exhibit.name} is left out: {error}", file=sys.stderr)
        return None


def _train_by(workers: Workers, reproduction: Reproduction, work: Work, todo: Todo) -> None:
    """Train all that is left by other processes; each time, write what it changes."""
    from seqlra.paper.exhibit import write
    from seqlra.sweeps.workers import train_all

    reproduction.make()
    users: dict[str, list[Exhibit]] = {}
    groups: dict[tuple[str, ...], Group] = {}
    for exhibit, cells, scale in work:
        for group in reproduction.groups(cells, scale):
            groups.setdefault(tuple(spec.folder for spec in group.specs), group)
            for spec in group.specs:
                users.setdefault(spec.folder, []).append(exhibit)
    started = time.perf_counter()
    for specs in train_all(reproduction, list(groups.values()), workers):
        todo.ended(specs, time.perf_counter() - started)
        for exhibit in dict.fromkeys(each for spec in specs for each in users[spec.folder]):
            write(exhibit, reproduction)


class Todo:
    """Prints what is left to train, and about how long it takes, on standard error: before every group, or where other
    processes train, behind it."""

    def __init__(self, reproduction: Reproduction, work: Work) -> None:
        self.reproduction = reproduction
        self.left: dict[str, float] = {}
        for _, cells, scale in work:
            for group in reproduction.groups(cells, scale):
                for members in reproduction.left(group.name, group.specs):
                    self.left |= {member.folder: effort(member) for member in members}
        self.of, self.done, self.seconds = len(self.left), 0.0, 0.0

    @contextmanager
    def watching(self, members: Sequence[RunSpec]) -> Iterator[Callable[[Trainer], None]]:
        """See `seqlra.sweeps.run_store.Watching`."""
        from seqlra.training.progress import Progress

        names = ", ".join(member.folder for member in members)
        print(f"{self.of - len(self.left) + 1} of {self.of}{self._time_left()}: {names}", file=sys.stderr, flush=True)
        started = time.perf_counter()
        with Progress() as watch:
            yield watch
        self._count(members, self.seconds + time.perf_counter() - started)

    def ended(self, members: Sequence[RunSpec], seconds: float) -> None:
        """These are done, so many seconds after the first began."""
        self._count(members, seconds)
        names = ", ".join(member.folder for member in members)
        print(f"{self.of - len(self.left)} of {self.of}{self._time_left()}: {names}", file=sys.stderr, flush=True)

    def _count(self, members: Sequence[RunSpec], seconds: float) -> None:
        self.seconds = seconds
        self.done += sum(self.left.pop(member.folder, 0.0) for member in members)

    def _time_left(self) -> str:
        if not self.done:
            return ""
        minutes = sum(self.left.values()) * self.seconds / self.done / 60
        return f", about {minutes:.0f} minutes left" if minutes >= 1 else ", less than a minute left"


def effort(member: RunSpec) -> float:
    """About how long a run takes, in arbitrary units, from the number of its updates and the size of its layers."""
    from seqlra.training.data_settings import Generated, Pixels, Text

    config, data = member.config, member.config.data
    hidden, factor = config.network.hidden, 1.0
    if isinstance(data, Text):  # tokens pick rows of the weights; the hidden units read themselves
        rows, samples, sizes = data.streams * data.unroll, 900_000, [*hidden, *hidden, 64]
    elif isinstance(data, Generated):  # an epoch is 100 updates; the state reads itself at every step
        batch = config.optimization.batch_size or 1
        rows, samples, sizes = batch * data.length, 100 * batch * data.length, [*hidden, *hidden, 10]
    elif isinstance(data, Pixels):  # by rows, of which an image has 28
        rows, samples, sizes = 28 * (config.optimization.batch_size or 1), 28 * 50_000, [28, *hidden, *hidden, 10]
    else:
        rows, samples, sizes = config.optimization.batch_size or 1, 50_000, [784, *hidden, 10]
    weights = sum(below * above for below, above in pairwise(sizes))
    update = 3e5 * len(sizes) + rows * weights  # what every layer costs, whatever its size, and its products
    if config.rule["name"] == "dtp":
        factor = 2.0
    updates = config.optimization.steps or (config.optimization.epochs or 1) * samples / rows
    factor += 0.7 * (config.rule.get("steps", 1) - 1)
    return factor * update * updates
