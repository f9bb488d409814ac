"""Any list of subgraphs as a torch module whose code is the list, step by step."""

from __future__ import annotations

import operator
import re
from functools import reduce
from itertools import count
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import GraphAppendingTracer
from torch.nn.functional import one_hot

from seqlra.export.chain import output_f
from seqlra.export.units import unit_module
from seqlra.network.graph import Graph
from seqlra.network.layers import Buffer, Place
from seqlra.network.subgraph import Subgraph
from seqlra.network.units import Activation, Discretizer

Value = Any
"""A stand-in for a tensor (`fx.Proxy`), which writes down what is done with it; typed as loosely as torch types it."""


def unrolled_module(graph: Graph, logits: bool, tokens: bool) -> fx.GraphModule:
    """A module that computes the list; ``print(module.code)`` shows how. See `to_torch` for what it takes.

    Raises:
        SeqlraError: a unit of your own that does more than torch operations.
    """
    writer = _Writer(graph)
    writer.read_inputs(tokens)
    last = graph.layout.places[graph.outputs[-1].name][0]
    ends = [*writer.steps_of(last), *(place for places in writer.carried().values() for place in places)]
    for subgraph in _needed(graph, ends):
        writer.write_subgraph(subgraph)
    return writer.finish(last, None if logits else output_f(graph))


def _needed(graph: Graph, ends: list[Place]) -> list[Subgraph]:
    """The subgraphs that these nodes depend on, in the order of the list."""
    needed, found = set(ends), []
    for subgraph in reversed(graph.subgraphs):
        if graph.layout.places[subgraph.name] in needed:
            needed |= {graph.layout.places[read.source] for read in subgraph.reads}
            needed |= set() if subgraph.leak is None else {_before(graph.layout.places[subgraph.name])}
            found.append(subgraph)
    return found[::-1]


def _before(place: Place) -> Place:
    """The step before, whose output a leaky unit remembers."""
    return place[0], place[1] - 1


class _Writer:
    """Writes the code of the module, line by line."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.layout = graph, graph.layout
        self.code, self.root = fx.Graph(), nn.Module()
        self.tracer = GraphAppendingTracer(self.code)
        self.values: dict[Place, Value] = {}  # z* of every node; h of outputs
        self.tensors: dict[tuple[str, str], Value] = {}  # by kind and name, those that the module has by now
        self.units: dict[int, str] = {}  # by id, the names of its units
        self.stepped = {self.layout.places[n.name][0] for n in graph.nodes if n.name not in self.layout.buffers}

    def read_inputs(self, tokens: bool) -> None:
        """The arguments of the module: first what is given at every step, then the states."""
        given = self.layout.given
        for states in (False, True):
            for name, buffer in given.items():
                if self._is_state(buffer) != states:
                    continue
                line = self.code.placeholder(_identifier(name))
                line.target = line.name  # that torch made one which is not taken
                x: Value = fx.Proxy(line, self.tracer)
                if tokens and not states:
                    x = one_hot(x, buffer.units).to(self._any_weight())
                apart = len(buffer.inputs) > 1 or (name in self.stepped and not states)
                for nth, block in enumerate(buffer.inputs):
                    self.values[name, block] = x[:, nth] if apart else x

    def write_subgraph(self, subgraph: Subgraph) -> None:
        """Lines for ``h``, ``z`` and ``z*`` of one subgraph; the ``f`` of an output comes at the end."""
        graph = self.graph
        products = [
            self.values[self.layout.places[read.source]]
            @ self._tensor("weight", read.weight, graph.weights[read.weight])
            for read in subgraph.reads
        ]
        value = reduce(operator.add, products)
        if subgraph.bias is not None:
            value = value + self._tensor("bias", subgraph.bias, graph.biases[subgraph.bias])
        if graph.slope is not None and not subgraph.is_output:
            value = value * self._tensor("state", "slope", graph.slope)
        for unit in (subgraph.f, subgraph.g):
            if unit is not None:
                value = self._call(unit, value, subgraph.name)
        if subgraph.leak is not None:
            before = self.values[_before(self.layout.places[subgraph.name])]
            value = before + self._leak(subgraph) * (value - before)
        self.values[self.layout.places[subgraph.name]] = value

    def finish(self, last: str, f: nn.Module | None) -> fx.GraphModule:
        """The line that returns the output and the states carried on, and the module."""
        outputs = self.steps_of(last)
        sequences = [len(b.inputs) for name, b in self.layout.given.items() if name in self.stepped]
        alone = last not in self.stepped or (len(outputs) == 1 and max(sequences, default=1) > 1)
        out = self._side_by_side(outputs, not alone)
        if f is not None:
            self.root.add_module("output", f)
            out = fx.Proxy(self.code.call_module("output", (out.node,)), self.tracer)
        states = [self._side_by_side(places, len(places) > 1) for places in self.carried().values()]
        returned = (out, *states) if states else out
        self.code.output(self.tracer.create_arg(returned))
        self.code.lint()
        return fx.GraphModule(self.root, self.code, "Unrolled")

    def steps_of(self, name: str) -> list[Place]:
        """The places of a subgraph's steps that are computed."""
        buffer = self.layout.buffers[name]
        return [(name, block) for block in range(buffer.blocks) if block not in buffer.inputs]

    def carried(self) -> dict[str, list[Place]]:
        """By name, the last steps of what is given a state before its first ones: the state for what comes next."""
        return {
            name: [(name, block) for block in range(b.blocks - len(b.inputs), b.blocks)]
            for name, b in self.layout.given.items()
            if self._is_state(b) and b.inputs == tuple(range(len(b.inputs)))
        }

    def _is_state(self, buffer: Buffer) -> bool:
        return len(buffer.inputs) < buffer.blocks

    def _side_by_side(self, places: list[Place], stacked: bool) -> Value:
        values = [self.values[place] for place in places]
        return torch.stack(values, 1) if stacked else values[0]

    def _any_weight(self) -> Value:
        return self._tensor("weight", *next(iter(self.graph.weights.items())))

    def _tensor(self, kind: str, name: str, tensor: Tensor) -> Value:
        """A parameter of the module, a copy of the graph's; shared where the graph shares it."""
        if (kind, name) not in self.tensors:
            attribute = self._free_name(f"{kind}_{name}")
            self.root.register_parameter(attribute, nn.Parameter(tensor.detach().clone()))
            self.tensors[kind, name] = fx.Proxy(self.code.get_attr(attribute), self.tracer)
        return self.tensors[kind, name]

    def _leak(self, subgraph: Subgraph) -> Value:
        """A fixed leak is a buffer of the module, a trained one the sigmoid of a parameter."""
        leak, trained = subgraph.leak, subgraph.trained_leak
        if trained is not None:
            if ("leak", trained) not in self.tensors:
                logits = self._tensor("leak_logit", trained, self.graph.leaks[trained])
                self.tensors["leak", trained] = torch.sigmoid(logits)
            return self.tensors["leak", trained]
        assert leak is not None
        name = f"leak_{len(leak)}_{sorted({s.leak for s in self.graph.subgraphs if s.leak is not None}).index(leak)}"
        if ("leak", name) not in self.tensors:
            self.root.register_buffer(name, torch.tensor(leak).to(next(self.graph.parameters())))
            self.tensors["leak", name] = fx.Proxy(self.code.get_attr(name), self.tracer)
        return self.tensors["leak", name]

    def _call(self, unit: Activation | Discretizer, value: Value, name: str) -> Value:
        """A line ``name = unit(value)`` that applies ``f`` or ``g``; subgraphs of the same unit share its module."""
        if id(unit) not in self.units:
            self.units[id(unit)] = self._free_name(f"unit_{unit.name}")
            self.root.add_module(self.units[id(unit)], unit_module(unit))
        line = self.code.create_node("call_module", self.units[id(unit)], (value.node,), name=_identifier(name))
        return fx.Proxy(line, self.tracer)

    def _free_name(self, wanted: str) -> str:
        """A name for an attribute, made of letters, digits and underscores, that is not taken."""
        names = (_identifier(wanted) + (f"_{nth}" if nth else "") for nth in count())
        return next(name for name in names if not hasattr(self.root, name))


def _identifier(name: str) -> str:
    """Letters, digits and underscores; torch makes an identifier of it, but for "self" in a method."""
    plain = re.sub(r"\W+", "_", name).strip("_")
    return "itself" if plain == "self" else plain
