"""Ready-made lists of subgraphs: multilayer perceptrons and Elman networks unrolled over time.

They return an ordinary list, which you may look at, change, or write by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from seqlra.errors import SeqlraError, unknown
from seqlra.network.losses import LocalLoss, OutputLoss
from seqlra.network.subgraph import Connection, Input, Subgraph, whole
from seqlra.network.units import Activation, Discretizer


def mlp(
    inputs: int,
    hidden: Sequence[int],
    classes: int,
    activation: str | Activation = "tanh",
    discretizer: str | Discretizer | None = None,
    loss: str | LocalLoss = "log-penalty",
    output: str | OutputLoss = "cross-entropy",
) -> list[Input | Subgraph]:
    """The list of subgraphs of a multilayer perceptron, layer 1 first: n layers are n subgraphs.

    Parameters are named as in the paper: ``W1 b1 .. Wn bn`` and error weights ``E2 .. En``, where
    ``E_l (n_l, n_{l-1})`` carries the error of layer l to layer l - 1.

    Args:
        inputs, hidden, classes: numbers of units; ``hidden`` has one entry a hidden layer.
        activation, discretizer, loss: ``f``, ``g`` and the local loss of every hidden subgraph.
        output: the loss of the last subgraph, which brings its own ``f``.
    """
    hidden = _sizes(hidden)
    nodes: list[Input | Subgraph] = [Input("x", inputs)]
    for layer, units in enumerate([*hidden, classes], start=1):
        feedback = None if layer == 1 else f"E{layer}"
        reads = [Connection(nodes[-1].name, f"W{layer}", feedback)]
        bias = f"b{layer}"
        if layer <= len(hidden):
            nodes.append(Subgraph(f"layer{layer}", units, reads, activation, discretizer, loss, bias))
        else:
            nodes.append(Subgraph("output", units, reads, loss=output, bias=bias))
    return nodes


def elman(
    inputs: int,
    hidden: Sequence[int],
    outputs: int,
    steps: int,
    activation: str | Activation = "tanh",
    discretizer: str | Discretizer | None = None,
    loss: str | LocalLoss = "l2",
    output: str | OutputLoss = "cross-entropy",
    across_time: bool = False,
    outputs_at: Sequence[int] | None = None,
    leak: float | Sequence[float] | None = None,
    recurrence: Literal["full", "diagonal"] = "full",
    train_leak: bool = False,
) -> list[Input | Subgraph]:
    """The list of subgraphs of an Elman network unrolled over ``steps`` steps (Appendix B, eq. 12).

    With one recurrent layer it is 2T subgraphs, ``hidden[t]`` and ``output[t]`` for t = 1 .. T, whose steps
    share ``W`` (input), ``V`` (recurrent), ``U`` (output) and the biases ``b`` and ``c``; ``E`` brings the error of an
    output to the hidden units of the same step. It reads ``x[t]`` and the state ``hidden[0]`` carried in. Further
    layers read the one below; names then carry the number of the layer: ``hidden1[t]``, ``W1 V1 b1 E1``.

    Args:
        inputs: units of ``x[t]``; for tokens, the size of the vocabulary.
        hidden: units of each recurrent layer, the first one lowest.
        outputs: units of ``output[t]``.
        steps: T.
        activation, discretizer, loss: ``f``, ``g`` and the local loss of the hidden subgraphs (L2 as in eq. 14).
        output: ``"cross-entropy"`` for tokens, ``"gaussian"`` for the linear output of eq. 12.
        across_time: give the recurrent connections error weights ``F`` too, so that errors go back through time.
            The paper's have none: then only the forward pass is sequential.
        outputs_at: the steps t that have an ``output[t]``: ``[steps]`` for a target at the last one only. None: all.
            Without ``across_time`` no error comes to the hidden units of the other steps.
        leak: leaky units ``z_t = (1 - leak) z_{t-1} + leak f(h_t)``, with one number in (0, 1] for all, or one for each
            unit (then every layer has that many). None, as 1: no leak.
        recurrence: ``"diagonal"``: each unit reads its own last output and that of no other unit of its layer, so V is
            one weight a unit.
        train_leak: train the leak, which is then ``sigmoid(a)`` and starts at ``leak``, in (0, 1): the logit a is a
            parameter of each layer, one number or one for each unit.

    Raises:
        SeqlraError: no layer, no step, outputs at no step or at steps that do not exist, an unknown recurrence, or a
            leak that is out of bounds.
    """
    hidden = _sizes(hidden)
    if whole("steps", steps) < 1 or not hidden:
        raise SeqlraError(f"an Elman network needs at least one step and one layer, not {steps} and {len(hidden)}")
    if recurrence not in ("full", "diagonal"):
        raise unknown("recurrence", recurrence, ["full", "diagonal"])
    asked = _steps_with_outputs(steps, outputs_at)
    layers = [""] if len(hidden) == 1 else [str(number) for number in range(1, len(hidden) + 1)]
    nodes: list[Input | Subgraph] = [Input(f"hidden{n}[0]", units) for n, units in zip(layers, hidden, strict=True)]
    for t in range(1, steps + 1):
        below, feedback = f"x[{t}]", None
        nodes.append(Input(below, inputs))
        for n, units in zip(layers, hidden, strict=True):
            name = f"hidden{n}"
            back = f"F{n}" if across_time else None
            recurrent = Connection(f"{name}[{t - 1}]", f"V{n}", back, recurrence == "diagonal")
            reads = [Connection(below, f"W{n}", feedback), recurrent]
            trained = f"a{n}" if train_leak else None
            nodes.append(Subgraph(f"{name}[{t}]", units, reads, activation, discretizer, loss, f"b{n}", leak, trained))
            below, feedback = f"{name}[{t}]", f"E{n}"
        if t in asked:
            nodes.append(Subgraph(f"output[{t}]", outputs, [Connection(below, "U", feedback)], loss=output, bias="c"))
    return nodes


def _sizes(hidden: Any) -> Sequence[int]:
    if isinstance(hidden, str) or not isinstance(hidden, Iterable):
        raise SeqlraError(f"hidden takes a list with the units of each hidden layer, such as [128, 64], not {hidden!r}")
    return list(hidden)


def _steps_with_outputs(steps: int, outputs_at: Sequence[int] | None) -> set[int]:
    every = set(range(1, steps + 1))
    asked = every if outputs_at is None else set(outputs_at)
    if not asked or not asked <= every:
        raise SeqlraError(f"outputs_at takes steps from 1 to {steps}, at least one; given: {sorted(asked)}")
    return asked
