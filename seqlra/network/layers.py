"""Finding tied copies, so that they run together.

Copies of one subgraph over time are named ``hidden[1]``, ``hidden[2]``, ... and share their weights. Those that
also read alike form one `TiedCopies`: their tensors lie under each other as ``copies * batch`` rows, and one
product serves them all. A subgraph without a step, like every layer of an MLP, is a tie of one copy.

Rows are counted in *blocks* of one batch. ``hidden[0]`` (an input: the state carried in) and the copies
``hidden[1..T]`` are the blocks 0 .. T of one storage called ``hidden``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from graphlib import CycleError, TopologicalSorter

from seqlra.errors import SeqlraError
from seqlra.network.subgraph import Input, Subgraph


@dataclass(frozen=True)
class Read:
    """What the copies of a tie read: copy i reads block ``first + i`` of the storage ``base``."""

    base: str
    first: int
    weight: str
    feedback: str | None


@dataclass(frozen=True)
class Reader:
    """The other end of a `Read`: copies ``mine`` of a tie are read by copies ``theirs`` of ``tie``."""

    tie: int
    read: Read
    mine: range
    theirs: range


@dataclass(frozen=True)
class TiedCopies:
    """Copies ``first .. first + copies - 1`` (blocks) of one subgraph, which run as one.

    ``subgraph`` is the first copy and speaks for all of them. ``recurrent`` copies read each other, so
    their forward pass is a walk; everything else about them is still one product.
    """

    base: str
    first: int
    copies: int
    subgraph: Subgraph
    reads: tuple[Read, ...]
    recurrent: bool
    readers: tuple[Reader, ...] = ()

    @cached_property
    def within(self) -> tuple[Read, ...]:
        """The reads over which its copies read each other, one after the other."""
        return tuple(read for read in self.reads if self.recurrent and read.base == self.base)

    @cached_property
    def outer(self) -> tuple[Read, ...]:
        """The other reads, whose sources are there before it runs."""
        return tuple(read for read in self.reads if read not in self.within)


@dataclass(frozen=True)
class Base:
    """A storage: ``blocks`` blocks of ``units`` columns, of which ``inputs`` are fed rather than computed."""

    units: int
    blocks: int
    inputs: tuple[int, ...]


Place = tuple[str, int]  # a node's storage and its block there


@dataclass(frozen=True)
class Layout:
    """Which subgraphs run together, in topological order, the storages they read from and write to, and where in
    these each node's rows lie; ``outputs`` are by tie the numbers of the output ties that depend on it."""

    ties: tuple[TiedCopies, ...]
    bases: dict[str, Base]
    places: dict[str, Place]
    outputs: tuple[tuple[int, ...], ...]

    def computed(self, base: str) -> int:
        """How many copies of a subgraph are computed rather than fed."""
        return self.bases[base].blocks - len(self.bases[base].inputs)

    def steps(self, tied: TiedCopies) -> range:
        """Which of the computed copies of its subgraph a tie holds, counted from 0."""
        fed_before = sum(block < tied.first for block in self.bases[tied.base].inputs)
        return range(tied.first - fed_before, tied.first - fed_before + tied.copies)

    @cached_property
    def all_outputs(self) -> tuple[int, ...]:
        """The ties that are outputs."""
        return tuple(i for i, tied in enumerate(self.ties) if tied.subgraph.is_output)

    @cached_property
    def fed(self) -> dict[str, Base]:
        """The storages that inputs go to, wholly or in part."""
        return {name: base for name, base in self.bases.items() if base.inputs}

    @cached_property
    def apart(self) -> dict[str, Base]:
        """The storages whose blocks come from several places (states carried in, a walk, several ties), or from one
        tie of several copies, and that must be there before those write to them."""
        return {
            name: base
            for name, base in self.bases.items()
            if not (len(base.inputs) == base.blocks or (not base.inputs and base.blocks == 1))
        }


def _places(nodes: Sequence[Input | Subgraph]) -> dict[str, Place]:
    """Where each node's rows lie, by name: the steps of a base, in order, are its blocks."""
    steps: dict[str, list[tuple[int, str]]] = {}
    for node in nodes:
        match = re.fullmatch(r"(.+)\[(\d+)\]", node.name)
        base, step = (match[1], int(match[2])) if match else (node.name, -1)
        steps.setdefault(base, []).append((step, node.name))
    places = {}
    for base, entries in steps.items():
        if len(entries) > 1 and min(entries)[0] < 0:
            raise SeqlraError(f"{base!r} stands in the list both with and without a step")
        places.update({name: (base, block) for block, (_, name) in enumerate(sorted(entries))})
    return places


def _alike(subgraph: Subgraph, places: dict[str, Place]) -> tuple[object, ...]:
    """What two neighboring copies must have in common to run as one."""
    block = places[subgraph.name][1]
    reads = tuple((places[r.source][0], places[r.source][1] - block, r.weight, r.feedback) for r in subgraph.reads)
    return (reads, subgraph.f, subgraph.g, subgraph.loss, subgraph.bias)


def _bases(nodes: Sequence[Input | Subgraph], places: dict[str, Place]) -> dict[str, Base]:
    bases: dict[str, Base] = {}
    for node in nodes:
        base, block = places[node.name]
        seen = bases.get(base, Base(node.units, 0, ()))
        if seen.units != node.units:
            raise SeqlraError(f"the copies of {base!r} have {seen.units} and {node.units} units")
        fed = (block,) if isinstance(node, Input) else ()
        bases[base] = Base(node.units, seen.blocks + 1, tuple(sorted(seen.inputs + fed)))
    return bases


def _reads_ahead(subgraph: Subgraph, places: dict[str, Place]) -> bool:
    """Whether it reads a later step of its own base, as the backward half of a bidirectional RNN does."""
    base, block = places[subgraph.name]
    return any(places[r.source][0] == base and places[r.source][1] > block for r in subgraph.reads)


def _runs(subgraphs: Iterable[Subgraph], places: dict[str, Place], apart: set[str]) -> list[list[Subgraph]]:
    """Maximal runs of neighboring copies that are alike and walk forward in time; a base in ``apart`` has none."""
    runs: list[list[Subgraph]] = []
    for subgraph in sorted(subgraphs, key=lambda s: places[s.name]):
        base, block = places[subgraph.name]
        if runs and base not in apart and not _reads_ahead(subgraph, places):
            last = runs[-1][-1]
            if places[last.name] == (base, block - 1) and _alike(last, places) == _alike(subgraph, places):
                runs[-1].append(subgraph)
                continue
        runs.append([subgraph])
    return runs


def tie(nodes: Sequence[Input | Subgraph]) -> Layout:
    """Group the subgraphs of a topological list into ties, themselves in topological order.

    Copies of several subgraphs that read each other in turn (A at t reads B at t - 1, B at t reads A at t)
    cannot run one kind after the other; they stay ties of one copy each, in the order of the list.
    """
    places = _places(nodes)
    inputs = {node.name for node in nodes if isinstance(node, Input)}
    subgraphs = [node for node in nodes if isinstance(node, Subgraph)]
    order = {subgraph.name: i for i, subgraph in enumerate(subgraphs)}
    apart: set[str] = set()
    while True:
        runs = _runs(subgraphs, places, apart)
        home = {subgraph.name: i for i, run in enumerate(runs) for subgraph in run}
        needs = {
            i: {home[r.source] for s in run for r in s.reads if r.source in home} - {i} for i, run in enumerate(runs)
        }
        try:
            ranks = list(TopologicalSorter(needs).static_order())
            break
        except CycleError as cycle:
            apart |= {places[runs[i][0].name][0] for i in cycle.args[1]}
    if all(len(run) == 1 for run in runs):
        ranks.sort(key=lambda i: order[runs[i][0].name])  # the order of the list, as a person wrote it
    ties = _with_readers([_tied(runs[i], places, inputs) for i in ranks])
    return Layout(ties, _bases(nodes, places), places, _outputs(ties))


def _outputs(ties: tuple[TiedCopies, ...]) -> tuple[tuple[int, ...], ...]:
    """By tie, the outputs that depend on it; an output depends on itself."""
    found: list[set[int]] = [{i} if tied.subgraph.is_output else set() for i, tied in enumerate(ties)]
    for i, tied in reversed(list(enumerate(ties))):
        found[i].update(*(found[reader.tie] for reader in tied.readers))
    return tuple(tuple(sorted(numbers)) for numbers in found)


def _tied(run: list[Subgraph], places: dict[str, Place], inputs: set[str]) -> TiedCopies:
    base, first = places[run[0].name]
    reads, recurrent = [], False
    for nth, read in enumerate(run[0].reads):
        source_base, source_first = places[read.source]
        all_inputs = all(subgraph.reads[nth].source in inputs for subgraph in run)
        reads.append(Read(source_base, source_first, read.weight, None if all_inputs else read.feedback))
        recurrent |= source_base == base and first < source_first + len(run) and source_first < first + len(run)
    return TiedCopies(base, first, len(run), run[0], tuple(reads), recurrent)


def _with_readers(ties: list[TiedCopies]) -> tuple[TiedCopies, ...]:
    """Tell every tie who reads it, and which blocks."""
    complete = []
    for tied in ties:
        readers = []
        for nth, other in enumerate(ties):
            for read in other.reads:
                if read.base != tied.base:
                    continue
                low = max(tied.first, read.first)
                high = min(tied.first + tied.copies, read.first + other.copies)
                if low < high:
                    theirs = range(low - read.first, high - read.first)
                    readers.append(Reader(nth, read, range(low - tied.first, high - tied.first), theirs))
        complete.append(replace(tied, readers=tuple(readers)))
    return tuple(complete)
