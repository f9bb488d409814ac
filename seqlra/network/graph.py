"""A network as a list of computation subgraphs (Section 2.3).

    graph = Graph(mlp(784, [128] * 8, 10, activation="tanh"))

`Graph` is a ``torch.nn.Module`` that checks the list and owns its parameters. The entries themselves are in
`seqlra.network.subgraph`, ready-made lists in `seqlra.network.builders`, and how tied copies are found, so that they
can run
together, in `seqlra.network.layers`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seqlra.errors import SeqlraError
from seqlra.network.layers import TiedCopies, tie
from seqlra.network.subgraph import Input, Subgraph


class Graph(nn.Module):
    """A checked list of inputs and subgraphs, in topological order, with the parameters they name.

    ``weights[name]`` is ``(*stack, source units, units)``, ``biases[name]`` ``(*stack, units)`` and
    ``feedback[name]`` ``(*stack, units, source units)``, a buffer. All are zero until `initialize` fills them.
    ``memory`` holds what a learning rule keeps from step to step (buffers, too); most rules keep nothing.

    Args:
        nodes: the list, e.g. from `mlp`.
        stack: how many models to train side by side, as a leading axis of every parameter; None for one
            model without that axis.

    Raises:
        SeqlraError: a name used twice, a source that does not come earlier, shared parameters whose
            shapes differ, no output, an output that is read.
    """

    def __init__(self, nodes: Sequence[Input | Subgraph], stack: int | None = None) -> None:
        super().__init__()
        self.stack = () if stack is None else (stack,)
        self.weights, self.biases = Tensors(trained=True), Tensors(trained=True)
        self.feedback, self.memory = Tensors(trained=False), Tensors(trained=False)
        self.nodes = tuple(nodes)
        self.inputs = tuple(node for node in self.nodes if isinstance(node, Input))
        self.subgraphs = tuple(node for node in self.nodes if isinstance(node, Subgraph))
        self._check_names()
        self._make_parameters()
        self.layout = tie(self.nodes)
        self.plans: dict[Any, Any] = {}  # by rule, what the engine found out about the two

    def sharing(self, nodes: Sequence[Input | Subgraph]) -> Graph:
        """Another list of subgraphs over the same parameters, such as the same RNN unrolled over other steps.

        Raises:
            SeqlraError: the list names parameters that this graph does not have, or has in other shapes.
        """
        alone = Graph(nodes, self.stack[0] if self.stack else None)  # refuses what is wrong with the list itself
        own = {name: tensor.shape for name, tensor in self.state_dict().items()}
        for name, tensor in alone.state_dict().items():
            if own.get(name) != tensor.shape:
                has = f"has {tuple(own[name])}" if name in own else "does not have it"
                raise SeqlraError(f"the list names {name} {tuple(tensor.shape)}; the graph to share with {has}")
        alone.weights, alone.biases = self.weights, self.biases
        alone.feedback, alone.memory = self.feedback, self.memory
        return alone

    def declare_feedback(self, name: str, shape: tuple[int, int]) -> None:
        """Add error weights ``(*stack, units, source units)`` that belong to no connection, zero for now."""
        self._declare(self.feedback, name, shape)

    def remember(self, name: str, tensor: Tensor) -> None:
        """Keep a tensor of one model in ``memory``, for every model of the stack; what had its name is replaced."""
        like = next(self.parameters())
        self.memory[name] = tensor.to(like).expand(*self.stack, *tensor.shape).clone()

    def recall(self, name: str, rule: str) -> Tensor:
        """What that rule keeps in ``memory`` by that name.

        Raises:
            SeqlraError: it is not there, because the graph was not initialized for the rule.
        """
        if name not in self.memory:
            raise SeqlraError(f"{rule} keeps {name!r} with the graph: initialize(graph, seed, ..., rule=the rule)")
        return self.memory[name]

    @property
    def ties(self) -> tuple[TiedCopies, ...]:
        """The subgraphs grouped into tied copies that run together, in topological order."""
        return self.layout.ties

    @property
    def output_ties(self) -> tuple[int, ...]:
        """The ties that make up the last output of the list, in the order of their steps (usually one)."""
        last = self.layout.places[self.outputs[-1].name][0]
        numbers = [i for i, tied in enumerate(self.ties) if tied.base == last]
        return tuple(sorted(numbers, key=lambda i: self.ties[i].first))

    @property
    def outputs(self) -> tuple[Subgraph, ...]:
        """The subgraphs whose targets come from the data."""
        return tuple(subgraph for subgraph in self.subgraphs if subgraph.is_output)

    def extra_repr(self) -> str:
        """One line for all copies of a subgraph: what it reads, what it computes, and whether errors cross time."""
        lines = [f"{name}: {len(b.inputs)} x input of {b.units}" for name, b in self.layout.bases.items() if b.inputs]
        for tied in self.ties:
            s = tied.subgraph
            computes = s.loss.name if s.f is None else s.f.name + (f", {s.g.name}" if s.g else "")
            reads = ", ".join(f"{read.source} ({read.weight})" for read in s.reads)
            line = f"{s.name}: {s.units} units ({computes}) reading {reads}"
            if tied.copies > 1:
                line += f", and {tied.copies - 1} more copies"
            if any(read.base == tied.base and read.feedback for read in tied.reads):
                line += "; its errors walk back through time"
            lines.append(line)
        return "\n".join(lines)

    def _check_names(self) -> None:
        seen: set[str] = set()
        outputs = {subgraph.name for subgraph in self.outputs}
        for node in self.nodes:
            if node.name in seen:
                raise SeqlraError(f"the name {node.name!r} stands twice in the list of subgraphs")
            for read in node.reads if isinstance(node, Subgraph) else ():
                if read.source not in seen:
                    raise SeqlraError(
                        f"subgraph {node.name!r} reads {read.source!r}, which does not come before it in the list"
                    )
                if read.source in outputs:
                    raise SeqlraError(f"subgraph {node.name!r} reads {read.source!r}, which is an output")
            seen.add(node.name)
        if not self.outputs:
            raise SeqlraError("no subgraph is an output: give the last one an output loss, e.g. 'cross-entropy'")

    def _make_parameters(self) -> None:
        units = {node.name: node.units for node in self.nodes}
        is_input = {node.name for node in self.inputs}
        for subgraph in self.subgraphs:
            for read in subgraph.reads:
                shape = (units[read.source], subgraph.units)
                self._declare(self.weights, read.weight, shape)
                if read.feedback is not None and read.source not in is_input:
                    self._declare(self.feedback, read.feedback, shape[::-1])
            if subgraph.bias is not None:
                self._declare(self.biases, subgraph.bias, (subgraph.units,))

    def _declare(self, held: Tensors, name: str, shape: tuple[int, ...]) -> None:
        if "." in name:
            raise SeqlraError(f"the name of a parameter cannot hold a dot: {name!r}")
        shape = (*self.stack, *shape)
        if name not in held:
            held[name] = _zeros(name, shape)
        elif tuple(held[name].shape) != shape:
            raise SeqlraError(f"{name!r} is shared by connections of sizes {tuple(held[name].shape)} and {shape}")


def _zeros(name: str, shape: tuple[int, ...]) -> Tensor:
    try:
        return torch.zeros(shape)
    except (RuntimeError, TypeError) as error:  # more than the memory, or than 64 bits can count
        raise SeqlraError(f"{name!r} of shape {shape} does not fit into memory; give fewer units") from error


class Tensors(nn.Module, Mapping[str, Tensor]):
    """Named tensors that move and save with a module: parameters, or buffers, which are not trained.

    ``nn.ParameterDict`` would do for parameters, but refuses names such as "keys" or "T".
    """

    def __init__(self, trained: bool) -> None:
        super().__init__()
        self.trained = trained
        self._held: dict[str, Any] = self._parameters if trained else self._buffers

    def __getitem__(self, name: str) -> Tensor:
        return self._held[name]

    def __setitem__(self, name: str, tensor: Tensor) -> None:
        self._held[name] = nn.Parameter(tensor) if self.trained else tensor

    def replace(self, tensors: Mapping[str, Any]) -> None:
        """Hold these as they are, until others replace them; for tracing."""
        self._held.update(tensors)

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def extra_repr(self) -> str:
        """A line for each tensor: its name and shape."""
        return "\n".join(f"{name}: {tuple(tensor.shape)}" for name, tensor in self._held.items())

    __hash__ = nn.Module.__hash__
    __eq__ = nn.Module.__eq__
