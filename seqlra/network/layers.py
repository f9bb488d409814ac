"""Finding the layers of a list: the time steps of one subgraph, which run as one.

The steps of a subgraph are named ``hidden[1]``, ``hidden[2]``, ... and share their weights. Steps with the same
connections form one `Layer`: their tensors are stacked as ``steps * batch`` rows, and one product serves all of them.
A subgraph without a step, like every one of an MLP, is a layer of one step.

Rows lie in *buffers* and are counted in *blocks* of one batch. ``hidden[0]`` (an input: the state carried in) and the
steps ``hidden[1..T]`` are the blocks 0 .. T of one buffer called ``hidden``.
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
class ConnectionInto:
    """A connection into a layer: its step i reads block ``first + i`` of the buffer ``source``."""

    source: str
    first: int
    weight: str
    feedback: str | None


@dataclass(frozen=True)
class ConnectionOutOf:
    """The other end of a `ConnectionInto`: steps ``reader_steps`` of the layer number ``reader`` read steps ``steps``
    of this layer."""

    reader: int
    connection: ConnectionInto
    steps: range
    reader_steps: range

    @property
    def shift(self) -> int:
        """What to add to a step of this layer for the step of the reader that reads it."""
        return self.reader_steps.start - self.steps.start

    def within(self, steps: range) -> ConnectionOutOf | None:
        """The part of the connection that starts at these steps; None where there is none."""
        low, high = max(steps.start, self.steps.start), min(steps.stop, self.steps.stop)
        if low >= high:
            return None
        return replace(self, steps=range(low, high), reader_steps=range(low + self.shift, high + self.shift))


@dataclass(frozen=True)
class Layer:
    """Time steps of one subgraph that run as one: blocks ``first .. first + steps - 1`` of the buffer ``name``.

    ``subgraph`` is the first of them and represents all. The steps of a ``recurrent`` layer read each other, or leak,
    so their forward pass runs step by step; everything else about them is still one product.
    """

    name: str
    first: int
    steps: int
    subgraph: Subgraph
    into: tuple[ConnectionInto, ...]
    recurrent: bool
    out_of: tuple[ConnectionOutOf, ...] = ()

    @cached_property
    def blocks(self) -> range:
        """Its blocks in its buffer."""
        return range(self.first, self.first + self.steps)

    @cached_property
    def recurrent_connections(self) -> tuple[ConnectionInto, ...]:
        """The connections over which its steps read each other, one after the other."""
        return tuple(c for c in self.into if self.recurrent and c.source == self.name)

    @cached_property
    def feedforward_connections(self) -> tuple[ConnectionInto, ...]:
        """The connections whose sources are computed before the layer runs."""
        return tuple(c for c in self.into if c not in self.recurrent_connections)


@dataclass(frozen=True)
class Buffer:
    """``blocks`` blocks of ``units`` columns, of which ``inputs`` are given rather than computed."""

    units: int
    blocks: int
    inputs: tuple[int, ...]


Place = tuple[str, int]  # a node's buffer and its block there


@dataclass(frozen=True)
class Layout:
    """The layers in topological order, the buffers that they read and write, and where each node's rows lie.

    ``outputs`` holds for each layer the numbers of the output layers that depend on it.
    """

    layers: tuple[Layer, ...]
    buffers: dict[str, Buffer]
    places: dict[str, Place]
    outputs: tuple[tuple[int, ...], ...]

    def computed(self, name: str) -> int:
        """How many steps of a subgraph are computed rather than given."""
        return self.buffers[name].blocks - len(self.buffers[name].inputs)

    def steps_of(self, layer: Layer) -> range:
        """Which of the computed steps of its subgraph a layer holds, counted from 0."""
        given_before = sum(block < layer.first for block in self.buffers[layer.name].inputs)
        return range(layer.first - given_before, layer.first - given_before + layer.steps)

    @cached_property
    def all_outputs(self) -> tuple[int, ...]:
        """The layers that are outputs."""
        return tuple(i for i, layer in enumerate(self.layers) if layer.subgraph.is_output)

    @cached_property
    def given(self) -> dict[str, Buffer]:
        """The buffers that inputs go to, wholly or in part."""
        return {name: buffer for name, buffer in self.buffers.items() if buffer.inputs}

    @cached_property
    def allocated(self) -> dict[str, Buffer]:
        """The buffers that must be allocated before anything writes to them: their blocks come from several places
        (states carried in, a recurrence, several layers), or from one layer of several steps."""
        return {
            name: buffer
            for name, buffer in self.buffers.items()
            if not (len(buffer.inputs) == buffer.blocks or (not buffer.inputs and buffer.blocks == 1))
        }


def find_layers(nodes: Sequence[Input | Subgraph]) -> Layout:
    """Group the subgraphs of a topological list into layers, themselves in topological order.

    The steps of several subgraphs that read each other in turn (A at t reads B at t - 1, B at t reads A at t)
    cannot run one kind after the other; they stay layers of one step each, in the order of the list.
    """
    places = _places(nodes)
    inputs = {node.name for node in nodes if isinstance(node, Input)}
    subgraphs = [node for node in nodes if isinstance(node, Subgraph)]
    order = {subgraph.name: i for i, subgraph in enumerate(subgraphs)}
    apart: set[str] = set()
    while True:
        runs = _runs(subgraphs, places, apart)
        home = {subgraph.name: i for i, run in enumerate(runs) for subgraph in run}
        at = {place: full for full, place in places.items()}
        needs = {
            i: {home[source] for s in run for source in _sources(s, places, at) if source in home} - {i}
            for i, run in enumerate(runs)
        }
        try:
            ranks = list(TopologicalSorter(needs).static_order())
            break
        except CycleError as cycle:
            apart |= {places[runs[i][0].name][0] for i in cycle.args[1]}
    if all(len(run) == 1 for run in runs):
        ranks.sort(key=lambda i: order[runs[i][0].name])  # the order of the list, as a person wrote it
    layers = _with_connections_out([_layer(runs[i], places, inputs) for i in ranks])
    return Layout(layers, _buffers(nodes, places), places, _outputs(layers))


def name_and_step(full: str) -> tuple[str, int]:
    """``("hidden", 3)`` of ``"hidden[3]"``; a name without a step has step -1."""
    match = re.fullmatch(r"(.+)\[(\d+)\]", full)
    return (match[1], int(match[2])) if match else (full, -1)


def _places(nodes: Sequence[Input | Subgraph]) -> dict[str, Place]:
    """Where each node's rows lie: the steps of one name, in order, are the blocks of its buffer."""
    steps: dict[str, list[tuple[int, str]]] = {}
    for node in nodes:
        name, step = name_and_step(node.name)
        steps.setdefault(name, []).append((step, node.name))
    places = {}
    for name, entries in steps.items():
        if len(entries) > 1 and min(entries)[0] < 0:
            raise SeqlraError(f"{name!r} appears in the list both with and without a step")
        places.update({full: (name, block) for block, (_, full) in enumerate(sorted(entries))})
    return places


def _sources(subgraph: Subgraph, places: dict[str, Place], at: dict[Place, str]) -> list[str]:
    """The nodes that must be computed before it: those that it reads, and its own step before if it leaks."""
    sources = [read.source for read in subgraph.reads]
    if subgraph.leak is not None:
        name, block = places[subgraph.name]
        sources.append(at[name, block - 1])
    return sources


def _alike(subgraph: Subgraph, places: dict[str, Place]) -> tuple[object, ...]:
    """What two neighboring steps must have in common to run as one."""
    block = places[subgraph.name][1]
    reads = tuple((places[r.source][0], places[r.source][1] - block, r.weight, r.feedback) for r in subgraph.reads)
    return (reads, subgraph.f, subgraph.g, subgraph.loss, subgraph.bias, subgraph.leak, subgraph.trained_leak)


def _buffers(nodes: Sequence[Input | Subgraph], places: dict[str, Place]) -> dict[str, Buffer]:
    buffers: dict[str, Buffer] = {}
    for node in nodes:
        name, block = places[node.name]
        seen = buffers.get(name, Buffer(node.units, 0, ()))
        if seen.units != node.units:
            raise SeqlraError(f"the steps of {name!r} have {seen.units} and {node.units} units")
        given = (block,) if isinstance(node, Input) else ()
        buffers[name] = Buffer(node.units, seen.blocks + 1, tuple(sorted(seen.inputs + given)))
    return buffers


def _reads_ahead(subgraph: Subgraph, places: dict[str, Place]) -> bool:
    """Whether it reads a later step of its own, as the backward half of a bidirectional RNN does."""
    name, block = places[subgraph.name]
    return any(places[r.source][0] == name and places[r.source][1] > block for r in subgraph.reads)


def _runs(subgraphs: Iterable[Subgraph], places: dict[str, Place], apart: set[str]) -> list[list[Subgraph]]:
    """Maximal runs of neighboring steps that are alike and go forward in time; a name in ``apart`` has none."""
    runs: list[list[Subgraph]] = []
    for subgraph in sorted(subgraphs, key=lambda s: places[s.name]):
        name, block = places[subgraph.name]
        if runs and name not in apart and not _reads_ahead(subgraph, places):
            last = runs[-1][-1]
            if places[last.name] == (name, block - 1) and _alike(last, places) == _alike(subgraph, places):
                runs[-1].append(subgraph)
                continue
        runs.append([subgraph])
    return runs


def _outputs(layers: tuple[Layer, ...]) -> tuple[tuple[int, ...], ...]:
    """For each layer the outputs that depend on it; an output depends on itself."""
    found: list[set[int]] = [{i} if layer.subgraph.is_output else set() for i, layer in enumerate(layers)]
    for i, layer in reversed(list(enumerate(layers))):
        found[i].update(*(found[out.reader] for out in layer.out_of))
    return tuple(tuple(sorted(numbers)) for numbers in found)


def _layer(run: list[Subgraph], places: dict[str, Place], inputs: set[str]) -> Layer:
    name, first = places[run[0].name]
    into, recurrent = [], run[0].leak is not None and len(run) > 1
    for nth, read in enumerate(run[0].reads):
        source, source_first = places[read.source]
        all_inputs = all(subgraph.reads[nth].source in inputs for subgraph in run)
        into.append(ConnectionInto(source, source_first, read.weight, None if all_inputs else read.feedback))
        recurrent |= source == name and first < source_first + len(run) and source_first < first + len(run)
    return Layer(name, first, len(run), run[0], tuple(into), recurrent)


def _with_connections_out(layers: list[Layer]) -> tuple[Layer, ...]:
    """Note for every layer who reads it, and which steps."""
    complete = []
    for layer in layers:
        out_of = []
        for nth, reader in enumerate(layers):
            for connection in reader.into:
                if connection.source != layer.name:
                    continue
                low = max(layer.first, connection.first)
                high = min(layer.blocks.stop, connection.first + reader.steps)
                if low < high:
                    reader_steps = range(low - connection.first, high - connection.first)
                    steps = range(low - layer.first, high - layer.first)
                    out_of.append(ConnectionOutOf(nth, connection, steps, reader_steps))
        complete.append(replace(layer, out_of=tuple(out_of)))
    return tuple(complete)
