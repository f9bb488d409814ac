"""Units as torch modules: ``nn.Tanh`` and its like for those with a name, else the torch operations that they do."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import FunctionType
from typing import Any

import einops
from torch import Tensor, fx, nn

from seqlra.errors import SeqlraError, first_line
from seqlra.network.losses import OUTPUT_LOSSES, OutputLoss
from seqlra.network.units import ACTIVATIONS, Activation, Discretizer

MODULES: dict[str, type[nn.Module]] = {
    "identity": nn.Identity,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "hard-tanh": nn.Hardtanh,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
}
"""The module of every activation that has a name; called without arguments, it makes that activation."""


def is_named(unit: Activation, name: str) -> bool:
    """Whether it is the activation of that name, not one of your own that is called so, too."""
    return unit is ACTIVATIONS[name]


def unit_module(unit: Activation | Discretizer) -> nn.Module:
    """A module that computes ``f`` or ``g``.

    Raises:
        SeqlraError: a unit of your own that does more than torch operations.
    """
    if isinstance(unit, Discretizer):
        return traced(unit.g, unit.name)
    known = unit.name in MODULES and is_named(unit, unit.name)
    return MODULES[unit.name]() if known else traced(unit.f, unit.name)


def output_module(loss: OutputLoss) -> nn.Module | None:
    """A module that computes the ``f`` of an output, such as ``nn.Softmax``; None where the output is linear.

    Raises:
        SeqlraError: an output loss of your own whose ``f`` does more than torch operations.
    """
    if loss.f is OUTPUT_LOSSES["gaussian"].f:
        return None
    return nn.Softmax(-1) if loss.f is OUTPUT_LOSSES["cross-entropy"].f else traced(loss.f, loss.name)


def traced(f: Callable[[Tensor], Tensor], name: str) -> nn.Module:
    """The torch operations of a function, as a module whose code they are; a copy of what is a module already.

    The graph of operations is found by one call with a stand-in for the tensor (`torch.fx`), whose values are not
    known. So a function whose Python depends on them has no such module.

    Raises:
        SeqlraError: it has none.
    """
    if isinstance(f, nn.Module):
        return copy.deepcopy(f)
    whole: Any = f if isinstance(f, FunctionType) else lambda z: f(z)  # built-in functions cannot be traced themselves
    tracer = fx.Tracer(autowrap_functions=(einops.rearrange, einops.reduce, einops.repeat))
    try:
        code = tracer.trace(whole)
    except Exception as error:  # whatever a function of a user raises where it gets no tensor
        raise SeqlraError(
            f"{name!r} has no form as a torch module, which takes a function of torch operations alone: "
            f"{first_line(error)}"
        ) from error
    return fx.GraphModule(tracer.root, code, "".join(filter(str.isalnum, name.title())) or "Unit")
