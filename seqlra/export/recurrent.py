"""An Elman network as ``nn.RNN`` and ``nn.Linear``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from seqlra.export.chain import fill, linear, output_f, own_parameters
from seqlra.export.units import is_named
from seqlra.network.graph import Graph
from seqlra.network.layers import Layer


class ElmanModule(nn.Module):
    """``nn.RNN``, then ``nn.Linear``, for any number of steps; the batch comes first.

    Attributes:
        rnns: one ``nn.RNN`` for all neighboring layers of the same size and ``f``; usually one in all.
        linear: the output layer.
        f: what makes the output of it, such as ``nn.Softmax``; None for a linear output, or for logits.
        every_step: whether there is an output at every step, or at the last one only.
        symbols: the size of the vocabulary where ``x`` holds tokens; None where it holds numbers.
    """

    def __init__(
        self, rnns: Iterable[nn.RNN], linear: nn.Linear, f: nn.Module | None, every_step: bool, symbols: int | None
    ) -> None:
        super().__init__()
        self.rnns, self.linear, self.f = nn.ModuleList(rnns), linear, f
        self.every_step, self.symbols = every_step, symbols

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """The output, and the state of each ``nn.RNN`` after the last step.

        Args:
            x: ``(batch, steps, inputs)``; for tokens, integers ``(batch, steps)``.
            states: for each ``nn.RNN`` its state before the first step, ``(layers, batch, units)``; none for zeros.

        Returns:
            The output ``(batch, steps, outputs)``, or ``(batch, outputs)`` if it is that of the last step only; then
            the states.
        """
        if self.symbols is not None:
            x = one_hot(x, self.symbols).to(self.linear.weight)
        after = []
        for rnn, state in zip(self.rnns, states or [None] * len(self.rnns), strict=True):
            x, now = rnn(x, state)
            after.append(now)
        out = self.linear(x if self.every_step else x[:, -1])
        return (out if self.f is None else self.f(out), *after)


@dataclass(frozen=True)
class Elman:
    """The layers of a graph that is an Elman network, the lowest first, and its output."""

    hidden: tuple[Layer, ...]
    output: Layer
    every_step: bool


def find_elman(graph: Graph) -> Elman | None:
    """The Elman network of tanh or relu units that a graph is, with an output at every step or at the last; else None.

    Its hidden layers read, at every step, the layer below (the lowest: the input) and their own state one step before.
    """
    *hidden, output = graph.layers
    sequences = [name for name, buffer in graph.layout.buffers.items() if len(buffer.inputs) == buffer.blocks]
    if len(sequences) != 1 or not hidden or not own_parameters(tuple(layer.subgraph for layer in graph.layers)):
        return None
    below, first, steps = sequences[0], 0, graph.layout.buffers[sequences[0]].blocks
    for layer in hidden:
        if graph.layout.buffers[layer.name].inputs != (0,) or not _is_recurrent(layer, below, first, steps):
            return None
        below, first = layer.name, 1
    read = [(connection.source, connection.first) for connection in output.into]
    every_step = output.steps == steps and read == [(below, 1)]
    at_the_end = output.steps == 1 and read == [(below, steps)]
    if len(graph.outputs) != output.steps or not (every_step or at_the_end):
        return None
    return Elman(tuple(hidden), output, every_step)


def _is_recurrent(layer: Layer, below: str, first: int, steps: int) -> bool:
    """Whether it is one layer of an Elman network over so many steps, which reads ``below`` from that block on."""
    f = layer.subgraph.f
    return (
        f is not None
        and (is_named(f, "tanh") or is_named(f, "relu"))
        and layer.subgraph.g is None
        and layer.subgraph.leak is None
        and (layer.first, layer.steps) == (1, steps)
        and sorted((c.source, c.first) for c in layer.into) == sorted([(below, first), (layer.name, 0)])
    )


def elman_module(graph: Graph, elman: Elman, logits: bool, tokens: bool) -> ElmanModule:
    """The same network as a torch module."""

    def kind(layer: Layer) -> tuple[int, str, bool]:
        subgraph = layer.subgraph
        assert subgraph.f is not None
        return subgraph.units, subgraph.f.name, subgraph.bias is not None

    rnns = [_rnn(graph, list(alike), *which) for which, alike in groupby(elman.hidden, kind)]
    output = elman.output.subgraph
    symbols = rnns[0].input_size if tokens else None
    f = None if logits else output_f(graph)
    return ElmanModule(rnns, linear(graph, output, output.reads[0]), f, elman.every_step, symbols)


def _rnn(graph: Graph, layers: list[Layer], units: int, f: str, bias: bool) -> nn.RNN:
    """Layers of one kind. ``nn.RNN`` has two biases a layer; the graph's one is the first, the second is 0."""
    weights = [{c.source == layer.name: graph.weights[c.weight] for c in layer.into} for layer in layers]
    like = weights[0][False]
    rnn = nn.RNN(like.shape[0], units, len(layers), f, bias, batch_first=True, dtype=like.dtype, device=like.device)
    for nth, layer in enumerate(layers):
        fill(getattr(rnn, f"weight_ih_l{nth}"), weights[nth][False].mT, graph.slope)
        fill(getattr(rnn, f"weight_hh_l{nth}"), weights[nth][True].mT, graph.slope)
        if layer.subgraph.bias is not None:
            fill(getattr(rnn, f"bias_ih_l{nth}"), graph.biases[layer.subgraph.bias], graph.slope)
            torch.nn.init.zeros_(getattr(rnn, f"bias_hh_l{nth}"))
    return rnn
