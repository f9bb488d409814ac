"""From torch modules to a graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from seqlra.engine.initialization import initialize
from seqlra.errors import SeqlraError
from seqlra.export.recurrent import ElmanModule
from seqlra.export.units import MODULES
from seqlra.network.builders import elman, mlp
from seqlra.network.graph import Graph
from seqlra.network.losses import OUTPUT_LOSSES, LocalLoss, OutputLoss, output_loss
from seqlra.network.subgraph import Input, Subgraph
from seqlra.network.units import activation

NAMES = {module: name for name, module in MODULES.items()}
SETTINGS = {nn.Hardtanh: {"min_val": -1, "max_val": 1}, nn.Softplus: {"beta": 1, "threshold": 20}}
"""The activations that have settings, and the values that they have in a graph."""


def from_torch(
    *modules: nn.Module,
    steps: int = 1,
    outputs_at: Sequence[int] | None = None,
    across_time: bool = False,
    loss: str | LocalLoss | None = None,
    output: str | OutputLoss | None = None,
    seed: int = 0,
) -> Graph:
    """A graph with a copy of the weights of torch modules, to train further with any rule.

        graph = from_torch(nn.Sequential(nn.Linear(784, 128), nn.Tanh(), nn.Linear(128, 10)), output="cross-entropy")
        graph = from_torch(net.rnn, net.head, steps=50)  # an nn.RNN, and the nn.Linear that reads it

    Subgraphs and parameters have the names that `mlp` and `elman` give. The two biases of a layer of ``nn.RNN`` become
    their sum. A module of your own is refused, because its ``forward`` could do anything: give its parts, in order.

    Args:
        modules: a multilayer perceptron: ``nn.Linear`` with activations between them, in ``nn.Sequential`` or not. Or
            an Elman network: one ``nn.RNN`` or more, then ``nn.Linear``; or an `ElmanModule`. Either may end in
            ``nn.Softmax``.
        steps, outputs_at, across_time: of an Elman network, as for `elman`.
        loss: the local loss of hidden subgraphs; None for that of `mlp` or `elman`.
        output: the loss of the output. None: ``"cross-entropy"`` where the modules end in ``nn.Softmax``, else
            ``"gaussian"``, whose linear output is that of the modules. Give ``"cross-entropy"`` where they end in
            logits.
        seed: of the error weights, which torch modules do not have; ``initialize(graph, seed)`` draws them.

    Raises:
        SeqlraError: a module without a counterpart in a graph (the message names the first); sizes that do not fit.
    """
    if len(modules) == 1 and isinstance(modules[0], ElmanModule) and not modules[0].every_step:
        outputs_at = outputs_at or [steps]
    parts, of_output = _without_softmax(list(_parts(modules)), output)
    losses: dict[str, Any] = {"output": of_output, **({} if loss is None else {"loss": loss})}
    if parts and isinstance(parts[0], nn.RNN):
        layers = _recurrent_layers(parts)
        inputs, hidden, outputs = _sizes(layers)
        over_time: dict[str, Any] = {"steps": steps, "across_time": across_time, "outputs_at": outputs_at}
        nodes = elman(inputs, hidden, outputs, **over_time, **losses)
    else:
        layers = _linear_layers(parts)
        inputs, hidden, outputs = _sizes(layers)
        nodes = mlp(inputs, hidden, outputs, **losses)
    return _filled(nodes, layers, seed)


@dataclass(frozen=True)
class _Layer:
    """What a layer of modules becomes: the subgraphs with the bias ``name``, their ``f`` (None for an output) and
    their parameters, the weights by name, ``(source units, units)``."""

    name: str
    f: str | None
    weights: dict[str, Tensor]
    bias: Tensor | None


def _parts(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """The modules, with those that hold others in a known order replaced by what they hold."""
    for module in modules:
        if type(module) is nn.Sequential:
            yield from _parts(module)
        elif isinstance(module, ElmanModule):
            yield from _parts([*module.rnns, module.linear, *([] if module.f is None else [module.f])])
        else:
            yield module


def _without_softmax(parts: list[nn.Module], output: str | OutputLoss | None) -> tuple[list[nn.Module], OutputLoss]:
    """The parts before the softmax, and the loss of the output."""
    if parts and type(parts[-1]) is nn.Softmax:
        axes = (-1, 2) if isinstance(parts[0], nn.RNN) else (-1, 1)
        loss = output_loss("cross-entropy" if output is None else output)
        if parts[-1].dim not in axes or loss.f is not OUTPUT_LOSSES["cross-entropy"].f:
            raise _unfit(parts[-1])
        return parts[:-1], loss
    return parts, output_loss("gaussian" if output is None else output)


def _linear_layers(parts: Sequence[nn.Module]) -> list[_Layer]:
    """The layers of a multilayer perceptron; two ``nn.Linear`` in a row have units ``identity`` between them."""
    linears: list[nn.Linear] = []
    units: list[str] = []
    for nth, part in enumerate(parts, start=1):
        if type(part) is nn.Linear:
            units += ["identity"] * (len(linears) - len(units))
            linears.append(part)
        elif _is_activation(part) and len(units) < len(linears) and nth < len(parts):
            units.append(NAMES[type(part)])
        else:
            raise _unfit(part)
    if not linears:
        raise SeqlraError(f"there is no nn.Linear; {_ACCEPTED}")
    for linear, after in pairwise(linears):
        _check_sizes(linear.out_features, after, after.in_features)
    return [
        _Layer(f"b{nth}", f, {f"W{nth}": linear.weight.mT}, linear.bias)
        for nth, (linear, f) in enumerate(zip(linears, [*units, None], strict=True), start=1)
    ]


def _recurrent_layers(parts: Sequence[nn.Module]) -> list[_Layer]:
    """The layers of an Elman network."""
    rnns: list[nn.RNN] = []
    for part in parts:
        if not isinstance(part, nn.RNN):
            break
        if part.bidirectional or part.dropout:
            raise _unfit(part)
        if rnns:
            _check_sizes(rnns[-1].hidden_size, part, part.input_size)
        rnns.append(part)
    after = parts[len(rnns) :]
    if not after:
        raise SeqlraError(f"no nn.Linear comes after nn.RNN; {_ACCEPTED}")
    linear = after[0]
    if type(linear) is not nn.Linear or len(after) > 1:
        raise _unfit(after[1] if type(linear) is nn.Linear else linear)
    _check_sizes(rnns[-1].hidden_size, linear, linear.in_features)
    whole = [(rnn, level) for rnn in rnns for level in range(rnn.num_layers)]
    numbers = [""] if len(whole) == 1 else [str(nth) for nth in range(1, len(whole) + 1)]
    layers = [_recurrent_layer(*each, n) for each, n in zip(whole, numbers, strict=True)]
    return [*layers, _Layer("c", None, {"U": linear.weight.mT}, linear.bias)]


def _recurrent_layer(rnn: nn.RNN, level: int, number: str) -> _Layer:
    into, recurrent = (getattr(rnn, f"weight_{kind}_l{level}").mT for kind in ("ih", "hh"))
    bias = getattr(rnn, f"bias_ih_l{level}") + getattr(rnn, f"bias_hh_l{level}") if rnn.bias else None
    return _Layer(f"b{number}", rnn.nonlinearity, {f"W{number}": into, f"V{number}": recurrent}, bias)


def _sizes(layers: Sequence[_Layer]) -> tuple[int, list[int], int]:
    """The units of the input, of every hidden layer, and of the output."""
    shapes = [next(iter(layer.weights.values())).shape for layer in layers]
    return shapes[0][0], [units for _, units in shapes[:-1]], shapes[-1][1]


@torch.no_grad()
def _filled(nodes: Sequence[Input | Subgraph], layers: Sequence[_Layer], seed: int) -> Graph:
    """The list with the units and the parameters of the layers."""
    by_name = {layer.name: layer for layer in layers}

    def changed(node: Input | Subgraph) -> Input | Subgraph:
        if isinstance(node, Input):
            return node
        assert node.bias is not None
        layer = by_name[node.bias]
        f = None if layer.f is None else activation(layer.f)
        return replace(node, f=f, bias=None if layer.bias is None else node.bias)

    like = next(iter(layers[0].weights.values()))
    graph = initialize(Graph([changed(node) for node in nodes]).to(like), seed)
    for layer in layers:
        for name, weight in layer.weights.items():
            graph.weights[name].copy_(weight)
        if layer.bias is not None:
            graph.biases[layer.name].copy_(layer.bias)
    return graph


def _is_activation(module: nn.Module) -> bool:
    settings = SETTINGS.get(type(module), {})
    return type(module) in NAMES and all(getattr(module, name) == value for name, value in settings.items())


def _check_sizes(units: int, reader: nn.Module, reads: int) -> None:
    if units != reads:
        raise SeqlraError(f"{_named(reader)} reads {reads} units, and the layer before it has {units}")


def _unfit(module: nn.Module) -> SeqlraError:
    return SeqlraError(f"a graph has no counterpart for {_named(module)} there; {_ACCEPTED}")


def _named(module: nn.Module) -> str:
    return f"{type(module).__name__}({module.extra_repr()})"


_ACCEPTED = (
    f"accepted: nn.Linear with {', '.join(module.__name__ for module in NAMES)} between them, or tanh and relu nn.RNN "
    "(one direction, no dropout) and then nn.Linear; at the end nn.Softmax"
)
