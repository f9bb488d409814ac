"""A network as a list of computation subgraphs (Section 2.3).

    graph = Graph(mlp(784, [128] * 8, 10, activation="tanh"))

`Graph` is a ``torch.nn.Module`` that checks the list, owns its parameters and computes its output. The entries are in
`seqlra.network.subgraph`, ready-made lists in `seqlra.network.builders`, and `seqlra.network.layers` finds the time
steps of one subgraph, which run as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seqlra.errors import SeqlraError
from seqlra.network.layers import Layer, find_layers, name_and_step
from seqlra.network.subgraph import Input, Subgraph


class Graph(nn.Module):
    """A checked list of inputs and subgraphs, in topological order, with the parameters they name.

    ``weights[name]`` is ``(*stack, source units, units)``, ``biases[name]`` ``(*stack, units)`` and
    ``feedback[name]`` ``(*stack, units, source units)``, a buffer, or a parameter where a rule learns it. All are zero
    until `initialize` fills them. ``leaks[name]`` is ``(*stack, 1 or units)``, the logits of leaks that are trained,
    which begin where the list says. ``rule_state`` holds the state of a learning rule between updates, ``unit_state``
    the state of the units besides weights (the ``slope`` of their f, where a rule anneals it); both are buffers.

    Args:
        nodes: the list, e.g. from `mlp`.
        stack: how many models to train side by side, as a leading axis of every parameter; None for one
            model without that axis.

    Raises:
        SeqlraError: a name used twice, a source that does not come earlier, shared parameters whose
            shapes (or first leaks) differ, no output, an output that is read.
    """

    unchecked = 3
    """So many updates look at the values of their mini-batch first (`seqlra.engine.checks`)."""

    def __init__(self, nodes: Sequence[Input | Subgraph], stack: int | None = None) -> None:
        super().__init__()
        self.stack = () if stack is None else (stack,)
        self.weights, self.biases, self.leaks = Tensors(trained=True), Tensors(trained=True), Tensors(trained=True)
        self.feedback = Tensors(trained=False)
        self.rule_state, self.unit_state = Tensors(trained=False), Tensors(trained=False)
        self.nodes = _checked(nodes)
        self.inputs = tuple(node for node in self.nodes if isinstance(node, Input))
        self.subgraphs = tuple(node for node in self.nodes if isinstance(node, Subgraph))
        self._check_names()
        self._make_parameters()
        self.start_leaks()
        self.layout = find_layers(self.nodes)
        self.routes: dict[Any, Any] = {}  # by rule, the routes of its errors (`seqlra.rules.routes`)

    @torch.no_grad()
    def forward(self, inputs: Tensor | Mapping[str, Tensor]) -> Tensor:
        """The last output of the list at all its steps, ``(*stack, rows, units)``; probabilities under cross-entropy.

        Args:
            inputs: see `seqlra.network.forward.ForwardPass`.

        Raises:
            SeqlraError: inputs that are missing, unknown, or of the wrong shape or type.
        """
        from seqlra.network.forward import ForwardPass  # which computes graphs, so it imports this file
        from seqlra.network.values import explained

        with explained(self, inputs):
            return ForwardPass(self, inputs).last_output

    def __getstate__(self) -> dict[str, Any]:
        """What pickling and copying keep: all but the routes, which are found again."""
        return {**self.__dict__, "routes": {}}

    def sharing(self, nodes: Sequence[Input | Subgraph]) -> Graph:
        """Another list of subgraphs over the same parameters, such as the same RNN unrolled over other steps.

        Raises:
            SeqlraError: the list names parameters that this graph does not have, or has in other shapes.
        """
        alone = Graph(nodes, self.stack[0] if self.stack else None)  # refuses what is wrong with the list itself
        own = {name: tensor.shape for name, tensor in self.state_dict().items()}
        for held, mine in ((alone.weights, self.weights), (alone.feedback, self.feedback)):
            if other := held.diagonal ^ (mine.diagonal & set(held)):
                raise SeqlraError(f"{min(other)!r} is diagonal in one of the two lists and not in the other")
        for name, tensor in alone.state_dict().items():
            if own.get(name) != tensor.shape:
                has = f"has {tuple(own[name])}" if name in own else "does not have it"
                raise SeqlraError(f"the list names {name} {tuple(tensor.shape)}; the graph to share with {has}")
        alone.weights, alone.biases, alone.leaks = self.weights, self.biases, self.leaks
        alone.feedback, alone.rule_state, alone.unit_state = self.feedback, self.rule_state, self.unit_state
        return alone

    @property
    def trained(self) -> tuple[tuple[Tensors, int], ...]:
        """What every rule trains, and how many axes of it belong to one model."""
        return (self.weights, 2), (self.biases, 1), (self.leaks, 1)

    def used_by(self, layer: Layer) -> list[Tensor]:
        """The parameters of a layer: a weight matrix for each of its connections, its bias and its trained leak."""
        used = [self.weights[connection.weight] for connection in layer.into]
        if layer.subgraph.bias is not None:
            used.append(self.biases[layer.subgraph.bias])
        if layer.subgraph.trained_leak is not None:
            used.append(self.leaks[layer.subgraph.trained_leak])
        return used

    @torch.no_grad()
    def start_leaks(self) -> None:
        """Set the leaks that are trained to where the list says that they begin."""
        for subgraph in self.subgraphs:
            if subgraph.trained_leak is not None:
                logits = self.leaks[subgraph.trained_leak]
                logits.copy_(logits.new_tensor(subgraph.leak).logit())

    @property
    def draws(self) -> bool:
        """Whether some of its units are random, so that the same inputs give other outputs each time."""
        return any(subgraph.g is not None and subgraph.g.mean is not None for subgraph in self.subgraphs)

    def declare_feedback(self, name: str, shape: tuple[int, int]) -> None:
        """Add error weights ``(*stack, units, source units)`` that belong to no connection, zero for now."""
        self._declare(self.feedback, name, shape)

    def declare_state(self, name: str, tensor: Tensor) -> None:
        """Store a tensor of one model in ``rule_state``, for every model of the stack; replace an old one."""
        self.rule_state[name] = self._for_each_model(tensor)

    def state(self, name: str, rule: str) -> Tensor:
        """The tensor that the rule stores in ``rule_state`` under that name.

        Raises:
            SeqlraError: it is not there, because the graph was not initialized for the rule.
        """
        if name not in self.rule_state:
            raise SeqlraError(f"{rule} stores {name!r} with the graph: initialize(graph, seed, ..., rule=the rule)")
        return self.rule_state[name]

    @property
    def slope(self) -> Tensor | None:
        """The slope m of hidden units ``z = f(m h)``, ``(*stack, 1, 1)``; None where it is 1."""
        return self.unit_state.get("slope")

    def declare_slope(self) -> None:
        """Give the hidden units a slope, 1 for now."""
        self.unit_state["slope"] = self._for_each_model(torch.ones(1, 1))

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The subgraphs grouped into time steps that run as one, in topological order."""
        return self.layout.layers

    @property
    def output_layers(self) -> tuple[int, ...]:
        """The layers that make up the last output of the list, in the order of their steps (usually one)."""
        last = self.layout.places[self.outputs[-1].name][0]
        numbers = [i for i, layer in enumerate(self.layers) if layer.name == last]
        return tuple(sorted(numbers, key=lambda i: self.layers[i].first))

    @property
    def outputs(self) -> tuple[Subgraph, ...]:
        """The subgraphs whose targets come from the data."""
        return tuple(subgraph for subgraph in self.subgraphs if subgraph.is_output)

    def extra_repr(self) -> str:
        """One line a layer: what it reads, what it computes, and whether errors cross time."""
        buffers = self.layout.buffers.items()
        lines = [f"{name}: {len(b.inputs)} x input of {b.units}" for name, b in buffers if b.inputs]
        for layer in self.layers:
            s = layer.subgraph
            computes = s.loss.name if s.f is None else s.f.name + (f", {s.g.name}" if s.g else "")
            diagonal = {True: ", diagonal", False: ""}
            reads = ", ".join(f"{read.source} ({read.weight}{diagonal[read.diagonal]})" for read in s.reads)
            if s.leak is not None:
                computes += f", leak {s.leak[0]:g}" + (f" to {s.leak[-1]:g}" if len(s.leak) > 1 else "")
                computes += "" if s.trained_leak is None else f" at first, trained ({s.trained_leak})"
            line = f"{s.name}: {s.units} units ({computes}) reading {reads}"
            if layer.steps > 1:
                line += f", and {layer.steps - 1} more steps"
            if any(c.source == layer.name and c.feedback for c in layer.into):
                line += "; its errors go back through time"
            lines.append(line)
        return "\n".join(lines)

    def _for_each_model(self, tensor: Tensor) -> Tensor:
        like = next(self.parameters())
        return tensor.to(like).expand(*self.stack, *tensor.shape).clone()

    def _check_names(self) -> None:
        seen: set[str] = set()
        outputs = {subgraph.name for subgraph in self.outputs}
        for node in self.nodes:
            if node.name in seen:
                raise SeqlraError(f"the name {node.name!r} appears twice in the list of subgraphs")
            for read in node.reads if isinstance(node, Subgraph) else ():
                if read.source not in seen:
                    raise SeqlraError(
                        f"subgraph {node.name!r} reads {read.source!r}, which does not come before it in the list"
                    )
                if read.source in outputs:
                    raise SeqlraError(f"subgraph {node.name!r} reads {read.source!r}, which is an output")
            if isinstance(node, Subgraph) and node.leak is not None and _step_before(node.name) not in seen:
                needs = _step_before(node.name) or "a step in its name, as hidden[1] has, and hidden[0]"
                raise SeqlraError(f"subgraph {node.name!r} leaks, so it needs {needs} before it in the list")
            seen.add(node.name)
        if not self.outputs:
            raise SeqlraError("no subgraph is an output: give the last one an output loss, e.g. 'cross-entropy'")

    def _make_parameters(self) -> None:
        units = {node.name: node.units for node in self.nodes}
        is_input = {node.name for node in self.inputs}
        first: dict[str, tuple[float, ...]] = {}
        for subgraph in self.subgraphs:
            for read in subgraph.reads:
                shape = (units[read.source], subgraph.units)
                if read.diagonal and shape[0] != shape[1]:
                    raise SeqlraError(f"a diagonal connection joins as many units on both sides, not {shape}")
                self._declare(self.weights, read.weight, shape, read.diagonal)
                if read.feedback is not None and read.source not in is_input:
                    self._declare(self.feedback, read.feedback, shape[::-1], read.diagonal)
            if subgraph.bias is not None:
                self._declare(self.biases, subgraph.bias, (subgraph.units,))
            if subgraph.trained_leak is not None and subgraph.leak is not None:
                self._declare(self.leaks, subgraph.trained_leak, (len(subgraph.leak),))
                if first.setdefault(subgraph.trained_leak, subgraph.leak) != subgraph.leak:
                    raise SeqlraError(f"{subgraph.trained_leak!r} is shared by units whose leaks do not begin alike")

    def _declare(self, held: Tensors, name: str, shape: tuple[int, ...], diagonal: bool = False) -> None:
        if "." in name:
            raise SeqlraError(f"the name of a parameter cannot hold a dot: {name!r}")
        shape = (*self.stack, *shape)
        if name not in held:
            held[name] = _zeros(name, shape)
            held.diagonal |= {name} if diagonal else frozenset()
        elif (name in held.diagonal) != diagonal:
            raise SeqlraError(f"{name!r} is shared by connections of which only some are diagonal")
        elif tuple(held[name].shape) != shape:
            raise SeqlraError(f"{name!r} is shared by connections of sizes {tuple(held[name].shape)} and {shape}")


def _checked(nodes: Any) -> tuple[Input | Subgraph, ...]:
    listed = tuple(nodes) if isinstance(nodes, Iterable) and not isinstance(nodes, (str, nn.Module)) else (nodes,)
    for node in listed:
        if not isinstance(node, (Input, Subgraph)):
            raise SeqlraError(f"a graph is a list of Input and Subgraph, as from seqlra.mlp; given: {node!r:.60}")
    return listed


def _step_before(name: str) -> str | None:
    base, step = name_and_step(name)
    return None if step < 0 else f"{base}[{step - 1}]"


def _zeros(name: str, shape: tuple[int, ...]) -> Tensor:
    try:
        return torch.zeros(shape)
    except (RuntimeError, TypeError) as error:  # more than the memory, or than 64 bits can count
        raise SeqlraError(f"{name!r} of shape {shape} does not fit into memory; give fewer units") from error


def over_units(update: Tensor, parameter: Tensor) -> Tensor:
    """An update unit by unit ``(..., units)`` as that of a parameter: the sum over units that share one number."""
    return update if update.shape[-1] == parameter.shape[-1] else update.sum(-1, keepdim=True)


class Tensors(nn.Module, Mapping[str, Tensor]):
    """Named tensors that move and save with a module: parameters, which are trained, or buffers.

    ``nn.ParameterDict`` would do for parameters, but refuses names such as "keys" or "T".
    """

    diagonal: frozenset[str] = frozenset()
    """The names of those whose entries off the diagonal are 0 and stay so."""

    filled = False
    """Whether somebody chose the values: `initialize`, a state that was loaded, or a first update that found some."""

    def __init__(self, trained: bool) -> None:
        super().__init__()
        self.trained = trained
        self._names: dict[str, None] = {}  # a set that keeps its order

    def train_one(self, name: str) -> None:
        """Make a buffer a parameter, so that optimizers find it."""
        if name in self._buffers:
            self._parameters[name] = nn.Parameter(self._buffers.pop(name))  # type: ignore[arg-type]

    def __getitem__(self, name: str) -> Tensor:
        return self._parameters[name] if name in self._parameters else self._buffers[name]  # type: ignore[return-value]

    def __setitem__(self, name: str, tensor: Tensor) -> None:
        self._names[name] = None
        if self.trained:
            self._parameters[name] = nn.Parameter(tensor)
        else:
            self._buffers[name] = tensor

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def extra_repr(self) -> str:
        """A line for each tensor: its name and shape."""
        return "\n".join(f"{name}: {tuple(tensor.shape)}" for name, tensor in self.items())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self.filled = self.filled or any(prefix + name in state_dict for name in self)

    __hash__ = nn.Module.__hash__
    __eq__ = nn.Module.__eq__


def grad_of(parameter: Tensor) -> Tensor:
    """``p.grad``, made where there is none yet."""
    if parameter.grad is None:
        parameter.grad = torch.empty_like(parameter)
    return parameter.grad


def on_diagonal(matrix: Tensor) -> Tensor:
    """``(..., units, units)`` with all entries off the diagonal 0."""
    return matrix.diagonal(dim1=-2, dim2=-1).diag_embed()
