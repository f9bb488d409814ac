"""The forward pass: what every subgraph computes from the inputs.

Tensors are ``(*stack, rows, units)`` with ``rows = steps * batch``: the rows of the first step come first, then those
of the second, and so on. The layers of an MLP have one step, so their rows are the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from seqlra.errors import SeqlraError
from seqlra.network.given import fit_input
from seqlra.network.graph import Graph
from seqlra.network.layers import Buffer, ConnectionInto, Layer
from seqlra.network.scalars import vector

TRACE = "trace of "
"""How the names begin of what a learning rule carries from chunk to chunk beside the states."""


class ForwardPass:
    """The state of a graph after a forward pass.

    Args:
        graph: the graph.
        inputs: the rows of each input: ``(batch, units)`` for ``"x"``; ``(T * batch, units)``, under the name
            ``"x"``, for ``"x[1]" .. "x[T]"``. A leading stack axis is allowed. Tokens are integers without
            the last axis. A single tensor is enough where the graph has one kind of input. Arrays, lists and other
            types of numbers are converted. What `carried` returned after the last chunk may be given, too.

    Attributes:
        h, z: for each layer of the graph, its pre-activations and outputs, ``(*stack, rows, units)``.
        u: for each layer ``f(h)``, which is z unless the layer leaks.
        leaks: for each layer its leak, fixed ``(1 or units,)``, trained ``(*stack, 1, 1 or units)``; None: it has none.
        batch: the rows of one step.
        traces: by name, what the rule carried here from the chunk before, ``(*stack, batch, ...)``.
        traces_left: by name, what it carries on to the next; it puts that here.

    Raises:
        SeqlraError: inputs that are missing, unknown, or of the wrong shape or type.
    """

    def __init__(self, graph: Graph, inputs: Tensor | Mapping[str, Tensor]) -> None:
        self.graph = graph
        inputs, self.traces = _without_traces(graph, inputs)
        self.traces_left: dict[str, Tensor] = {}
        wanted, allocated = graph.layout.given, graph.layout.allocated
        _demand_plain_mode()
        like = next(graph.parameters())
        given = {
            name: fit_input(name, tensor, wanted[name].units, graph.stack, like)
            for name, tensor in _named(inputs, wanted).items()
        }
        first = next(iter(wanted))
        self.batch = _rows(given[first]) // len(wanted[first].inputs)
        for name, buffer in wanted.items():
            _check(name, given[name], buffer, self.batch)
        # z* of every buffer, all its blocks under each other; inputs that nothing else shares are their own buffer
        self._store = {name: tensor for name, tensor in given.items() if name not in allocated}
        for name, buffer in allocated.items():
            self._allocate(name, buffer, given.get(name))
        self._weights, self._biases = graph.weights, graph.biases
        self.leaks = [_leak(graph, layer, like) for layer in graph.layers]
        self.h: list[Tensor] = []
        self.z: list[Tensor] = []
        self.u: list[Tensor] = []
        for layer, leak in zip(graph.layers, self.leaks, strict=True):
            self._run(layer, leak)

    def source(self, connection: ConnectionInto, steps: range) -> Tensor:
        """The rows that these steps of a layer read over one of its connections (tokens: integers)."""
        store = self._store[connection.source]
        rows = self.rows(range(connection.first + steps.start, connection.first + steps.stop))
        return rows_of(store, rows) if store.dtype.is_floating_point else store[..., rows]

    def rows(self, steps: range) -> slice:
        """Where the rows of these steps (or blocks) lie."""
        return slice(steps.start * self.batch, steps.stop * self.batch)

    def output(self, number: int) -> Tensor:
        """z* of a layer, ``(*stack, rows, units)``: what its readers see."""
        layer = self.graph.layers[number]
        return self._store[layer.name][..., self.rows(layer.blocks), :]

    @property
    def last_output(self) -> Tensor:
        """The last output of the list at all its steps, ``(*stack, rows, units)``."""
        layers = self.graph.output_layers
        return self.z[layers[0]] if len(layers) == 1 else torch.cat([self.z[i] for i in layers], -2)

    def carried(self) -> dict[str, Tensor]:
        """By name, the state that the next chunk starts from: as many last steps as were given (`null_state`), and the
        traces of the rule."""
        given = {name: self.batch * len(buffer.inputs) for name, buffer in _stateful(self.graph).items()}
        states = {name: self._store[name][..., -rows:, :] for name, rows in given.items()}
        return states | self.traces | self.traces_left

    def _allocate(self, name: str, buffer: Buffer, given: Tensor | None) -> None:
        """A buffer whose blocks come from several places: states carried in, a recurrence, several layers."""
        like = next(self.graph.parameters())
        store = like.new_empty(*self.graph.stack, buffer.blocks * self.batch, buffer.units)
        for nth, block in enumerate(buffer.inputs):
            assert given is not None
            store[..., self.rows(range(block, block + 1)), :] = given[..., self.rows(range(nth, nth + 1)), :]
        self._store[name] = store

    def _run(self, layer: Layer, leak: Tensor | None) -> None:
        """One layer: lines "Run feedforward pass" of Algorithm 2, for all its steps at once."""
        h = self._pre_activation(layer)
        if layer.recurrent_connections or leak is not None:
            self._through_time(layer, h, leak)
            return
        z = self._f(layer, h)
        z_star = z if layer.subgraph.g is None else layer.subgraph.g.g(z)
        if layer.name in self._store:
            self._store[layer.name][..., self.rows(layer.blocks), :] = z_star
        else:
            self._store[layer.name] = z_star
        self.h.append(h)
        self.z.append(z)
        self.u.append(z)

    def _f(self, layer: Layer, h: Tensor) -> Tensor:
        """``z = f(h)``; where the graph has a slope, ``h`` of a hidden layer is first made ``slope * h``."""
        if layer.subgraph.f is None:
            return layer.subgraph.loss.f(h)  # type: ignore[union-attr]  # an output's f belongs to its loss
        if self.graph.slope is not None:
            h.mul_(self.graph.slope)
        return layer.subgraph.f.f(h)

    def _pre_activation(self, layer: Layer) -> Tensor:
        """``sum(source @ W) + b`` over connections whose sources are already there, ``(*stack, rows, units)``."""
        bias = None if layer.subgraph.bias is None else self._biases[layer.subgraph.bias]
        total: Tensor | None = None
        for connection in layer.feedforward_connections:
            source, weight = self.source(connection, range(layer.steps)), self._weights[connection.weight]
            total = _product(source, weight, bias) if total is None else total + _product(source, weight, None)
        if total is None:  # a recurrence without input
            like = next(self.graph.parameters())
            total = like.new_zeros(*self.graph.stack, layer.steps * self.batch, layer.subgraph.units)
            if bias is not None:
                total += bias.unsqueeze(-2)
        return total

    def _through_time(self, layer: Layer, h: Tensor, leak: Tensor | None) -> None:
        """The recurrence, step after step, completing ``h`` in place: the only sequential part of LRA-fdbk."""
        g = layer.subgraph.g
        z_star = self._store[layer.name][..., self.rows(layer.blocks), :]
        z = z_star if g is None else torch.empty_like(h)
        u = z if leak is None else torch.empty_like(h)
        weights = [self._weights[connection.weight] for connection in layer.recurrent_connections]
        for step, after in pairwise(range(layer.steps + 1)):
            now = self.rows(range(step, after))
            h_now = h[..., now, :]
            for connection, weight in zip(layer.recurrent_connections, weights, strict=True):
                _add_product(h_now, self.source(connection, range(step, after)), weight)
            z_now = self._f(layer, h_now)
            if leak is not None:
                u[..., now, :] = z_now
                before = self.rows(range(layer.first + step - 1, layer.first + step))
                z_now = torch.lerp(self._store[layer.name][..., before, :], z_now, leak)
            z[..., now, :] = z_now
            if g is not None:
                z_star[..., now, :] = g.g(z_now)
        self.h.append(h)
        self.z.append(z)
        self.u.append(u)


def null_state(graph: Graph, batch: int) -> dict[str, Tensor]:
    """The null state ``z_0 = 0`` (Appendix B) of every recurrent layer that is given one, ``(*stack, batch, units)``
    (with as many rows for each step that is given, should that be more than one)."""
    like = next(graph.parameters())
    return {
        name: like.new_zeros(*graph.stack, batch * len(buffer.inputs), buffer.units)
        for name, buffer in _stateful(graph).items()
    }


def _leak(graph: Graph, layer: Layer, like: Tensor) -> Tensor | None:
    leak, trained = layer.subgraph.leak, layer.subgraph.trained_leak
    if trained is not None:
        return graph.leaks[trained].sigmoid().unsqueeze(-2)
    return None if leak is None else vector(leak, like)


def _stateful(graph: Graph) -> dict[str, Buffer]:
    return {name: b for name, b in graph.layout.buffers.items() if 0 < len(b.inputs) < b.blocks}


def _product(source: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``source @ weight + bias``; tokens pick rows of the weights instead, which is the same with one-hot rows."""
    if not source.dtype.is_floating_point:
        if bias is not None:
            weight = weight + bias.unsqueeze(-2)  # once for each symbol rather than once for each token
        if source.dim() == 1:
            return weight.index_select(-2, source)
        # tokens of its own for each model of a stack
        return weight.gather(-2, source.unsqueeze(-1).expand(*source.shape, weight.shape[-1]))
    if bias is not None and weight.dim() == 2:
        return torch.addmm(bias, source, weight)
    product = source @ weight
    return product if bias is None else product + bias.unsqueeze(-2)


def _add_product(h: Tensor, source: Tensor, weight: Tensor) -> None:
    """``h += source @ weight`` in place."""
    if weight.dim() == 2:
        h.addmm_(source, weight)
    else:
        h.baddbmm_(source.expand(*weight.shape[:-2], -1, -1), weight)


def rows_of(tensor: Tensor, rows: slice) -> Tensor:
    """``tensor[..., rows, :]``, without the cost of a view where these are all its rows."""
    return tensor if rows.start == 0 and rows.stop == tensor.shape[-2] else tensor[..., rows, :]


def _without_traces(graph: Graph, inputs: Any) -> tuple[Any, dict[str, Tensor]]:
    """The inputs of the graph, and the traces of its layers."""
    if not isinstance(inputs, Mapping):
        return inputs, {}
    traces = {name: given for name, given in inputs.items() if str(name).startswith(TRACE)}
    known = {TRACE + layer.name for layer in graph.layers}
    if not traces.keys() <= known:
        raise SeqlraError(f"no layer has the traces {', '.join(traces.keys() - known)}; accepted: those of `carried`")
    return {name: given for name, given in inputs.items() if name not in traces}, traces


def _named(inputs: Any, wanted: Mapping[str, Buffer]) -> dict[str, Any]:
    given = dict(inputs) if isinstance(inputs, Mapping) else {next(iter(wanted)): inputs}
    if set(given) != set(wanted):
        raise SeqlraError(f"the graph reads the inputs {', '.join(wanted)}; given: {', '.join(map(str, given))}")
    return given


def _check(name: str, tensor: Tensor, buffer: Buffer, batch: int) -> None:
    if _rows(tensor) != batch * len(buffer.inputs) or batch == 0:
        raise SeqlraError(f"input {name!r} needs {len(buffer.inputs)} x {batch} rows; given: {_rows(tensor)}")


def _demand_plain_mode() -> None:
    if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
        raise SeqlraError(
            "torch.autocast does not go with seqlra; leave it, and choose faster products by "
            "torch.set_float32_matmul_precision"
        )


def _rows(tensor: Tensor) -> int:
    return tensor.shape[-2] if tensor.dtype.is_floating_point else tensor.shape[-1]
