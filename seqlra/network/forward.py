"""The forward pass: what every subgraph computes from the inputs.

Tensors are ``(*stack, rows, units)`` with ``rows = copies * batch``: the copies of a tie lie under each other
in the order of their steps. An MLP's layers are ties of one copy, so their rows are the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor

from seqlra.errors import SeqlraError
from seqlra.network.graph import Graph
from seqlra.network.layers import Base, Read, TiedCopies


class ForwardPass:
    """The state of a graph after a forward pass.

    Args:
        graph: the graph.
        inputs: the rows of each input: ``(batch, units)`` for ``"x"``; ``(T * batch, units)``, under the name
            ``"x"``, for ``"x[1]" .. "x[T]"``. A leading stack axis is allowed. Tokens are integers without
            the last axis. A lone tensor will do where the graph has one kind of input.

    Attributes:
        h, z: for each tie of the graph, its pre-activations and outputs, ``(*stack, rows, units)``.
        batch: the rows of one copy.

    Raises:
        SeqlraError: inputs that are missing, unknown, or of the wrong shape or type.
    """

    def __init__(self, graph: Graph, inputs: Tensor | Mapping[str, Tensor]) -> None:
        self.graph = graph
        fed, apart = graph.layout.fed, graph.layout.apart
        given = _named(inputs, fed)
        first = next(iter(fed))
        self.batch = _rows(given[first]) // len(fed[first].inputs)
        for name, base in fed.items():
            _check(name, given[name], base, self.batch, graph)
        # z* of every base, all its blocks under each other; inputs that nothing else shares are their own storage
        self._store = {name: tensor for name, tensor in given.items() if name not in apart}
        for name, base in apart.items():
            self._allocate(name, base, given.get(name))
        self._weights, self._biases = graph.weights, graph.biases
        self._slope = graph.memory.get("slope")
        self.h: list[Tensor] = []
        self.z: list[Tensor] = []
        for tied in graph.ties:
            self._run(tied)

    def source(self, read: Read, copies: range) -> Tensor:
        """The rows that these copies of a tie read over one of their connections (tokens: integers)."""
        store = self._store[read.base]
        rows = self.rows(range(read.first + copies.start, read.first + copies.stop))
        return rows_of(store, rows) if store.dtype.is_floating_point else store[..., rows]

    def rows(self, copies: range) -> slice:
        """Where the rows of these copies (or blocks) lie."""
        return slice(copies.start * self.batch, copies.stop * self.batch)

    def output(self, tie: int) -> Tensor:
        """z* of a tie, ``(*stack, rows, units)``: what its readers see."""
        tied = self.graph.ties[tie]
        return self._store[tied.base][..., self.rows(range(tied.first, tied.first + tied.copies)), :]

    def carried(self) -> dict[str, Tensor]:
        """By base, the state that a next chunk starts from: as many of the last copies as were fed (`null_state`)."""
        fed = {name: self.batch * len(base.inputs) for name, base in _stateful(self.graph).items()}
        return {name: self._store[name][..., -rows:, :] for name, rows in fed.items()}

    def _allocate(self, name: str, base: Base, given: Tensor | None) -> None:
        """A storage whose blocks come from several places: states carried in, a walk, several ties."""
        like = next(self.graph.parameters())
        store = like.new_empty(*self.graph.stack, base.blocks * self.batch, base.units)
        for nth, block in enumerate(base.inputs):
            assert given is not None
            store[..., self.rows(range(block, block + 1)), :] = given[..., self.rows(range(nth, nth + 1)), :]
        self._store[name] = store

    def _run(self, tied: TiedCopies) -> None:
        """One tie: lines "Run feedforward pass" of Algorithm 2, for all its copies at once."""
        drive = self._drive(tied)
        if tied.within:
            self._walk(tied, drive)
            return
        z = self._f(tied, drive)
        z_star = z if tied.subgraph.g is None else tied.subgraph.g.g(z)
        if tied.base in self._store:
            self._store[tied.base][..., self.rows(range(tied.first, tied.first + tied.copies)), :] = z_star
        else:
            self._store[tied.base] = z_star
        self.h.append(drive)
        self.z.append(z)

    def _f(self, tied: TiedCopies, h: Tensor) -> Tensor:
        """``z = f(h)``; where a rule anneals the slope of the hidden units, ``h`` is first made ``slope * h``."""
        if tied.subgraph.f is None:
            return tied.subgraph.loss.f(h)  # type: ignore[union-attr]  # an output's f belongs to its loss
        if self._slope is not None:
            h.mul_(self._slope)
        return tied.subgraph.f.f(h)

    def _drive(self, tied: TiedCopies) -> Tensor:
        """``sum(source @ W) + b`` over connections whose sources are already there, ``(*stack, rows, units)``."""
        bias = None if tied.subgraph.bias is None else self._biases[tied.subgraph.bias]
        total: Tensor | None = None
        for read in tied.outer:
            source, weight = self.source(read, range(tied.copies)), self._weights[read.weight]
            total = _product(source, weight, bias) if total is None else total + _product(source, weight, None)
        if total is None:  # a recurrence without input
            like = next(self.graph.parameters())
            total = like.new_zeros(*self.graph.stack, tied.copies * self.batch, tied.subgraph.units)
            if bias is not None:
                total += bias.unsqueeze(-2)
        return total

    def _walk(self, tied: TiedCopies, h: Tensor) -> None:
        """The recurrence, step after step, completing ``h`` in place: the only sequential part of LRA-fdbk."""
        g = tied.subgraph.g
        z_star = self._store[tied.base][..., self.rows(range(tied.first, tied.first + tied.copies)), :]
        z = z_star if g is None else torch.empty_like(h)
        weights = [self._weights[read.weight] for read in tied.within]
        for step, after in pairwise(range(tied.copies + 1)):
            now = self.rows(range(step, after))
            h_now = h[..., now, :]
            for read, weight in zip(tied.within, weights, strict=True):
                _add_product(h_now, self.source(read, range(step, after)), weight)
            z_now = self._f(tied, h_now)
            z[..., now, :] = z_now
            if g is not None:
                z_star[..., now, :] = g.g(z_now)
        self.h.append(h)
        self.z.append(z)


def null_state(graph: Graph, batch: int) -> dict[str, Tensor]:
    """The null state ``z_0 = 0`` (Appendix B) of every recurrent base that is fed one, ``(*stack, batch, units)``
    (with as many rows for each step that is fed, should that be more than one)."""
    like = next(graph.parameters())
    return {
        name: like.new_zeros(*graph.stack, batch * len(base.inputs), base.units)
        for name, base in _stateful(graph).items()
    }


def _stateful(graph: Graph) -> dict[str, Base]:
    return {name: base for name, base in graph.layout.bases.items() if 0 < len(base.inputs) < base.blocks}


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


def _named(inputs: Tensor | Mapping[str, Tensor], fed: Mapping[str, Base]) -> dict[str, Tensor]:
    given = {next(iter(fed)): inputs} if isinstance(inputs, Tensor) else dict(inputs)
    if set(given) != set(fed):
        raise SeqlraError(f"the graph reads the inputs {', '.join(fed)}; given: {', '.join(given)}")
    return given


def _check(name: str, tensor: Tensor, base: Base, batch: int, graph: Graph) -> None:
    dtype, vectors = next(graph.parameters()).dtype, tensor.dtype.is_floating_point
    if vectors and tensor.dtype != dtype:
        raise SeqlraError(f"input {name!r} is {tensor.dtype}, the graph {dtype}; convert one with .to()")
    own_axes = 2 if vectors else 1
    if tensor.shape[:-own_axes] not in ((), graph.stack) or (vectors and tensor.shape[-1] != base.units):
        raise SeqlraError(
            f"input {name!r} takes rows of {base.units} numbers, or one integer a row for tokens; "
            f"given: a tensor of shape {tuple(tensor.shape)} of {tensor.dtype}"
        )
    if _rows(tensor) != batch * len(base.inputs) or batch == 0:
        raise SeqlraError(f"input {name!r} needs {len(base.inputs)} x {batch} rows; given: {_rows(tensor)}")


def _rows(tensor: Tensor) -> int:
    return tensor.shape[-2] if tensor.dtype.is_floating_point else tensor.shape[-1]
