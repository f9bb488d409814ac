"""The units of the paper: activations ``f`` with their derivative, discretizers ``g``.

A subgraph computes ``z = f(h)`` and passes ``z* = g(z)`` on (Section 2.3.2). Targets are set for
``z``, so ``g`` needs no derivative. Every function here is elementwise or works on the last axis,
for tensors of any leading shape ``(..., units)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from seqlra import own
from seqlra.errors import SeqlraError, unknown
from seqlra.network.pickling import by_name
from seqlra.network.scalars import scalar


@dataclass(frozen=True)
class Activation:
    """A differentiable unit: ``z = f(h)``.

    ``derivative(h, z)`` returns ``f'(h)``. It gets both the pre-activation and the output,
    because the output often gives it at less cost (tanh: ``1 - z**2``). At a kink it is the
    right-hand derivative: with relu6'(0) = 0 a network that starts from zero is dead.
    """

    name: str
    f: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor, Tensor], Tensor]
    about: str = "a unit of your own"

    def __reduce__(self) -> Any:
        return by_name(self, ACTIVATIONS.get(self.name) is self, activation, self.name)


@dataclass(frozen=True)
class Discretizer:
    """What a subgraph does to ``z`` before others read it: ``z* = g(z)``.

    Random draws come from torch's global generator, as those of ``torch.nn.Dropout`` do.
    ``block`` is the size of the blocks in which units compete; it must divide the layer.
    ``mean`` is the expectation ``E[g(z)]`` of a ``g`` that draws; None says that ``g`` does not draw.
    """

    name: str
    g: Callable[[Tensor], Tensor]
    about: str = "a discretizer of your own"
    block: int = 1
    mean: Callable[[Tensor], Tensor] | None = None

    def __reduce__(self) -> Any:
        known = self.name in _DISCRETIZERS and _discretizer(self.name, self.block) is self
        return by_name(self, known, _discretizer, self.name, self.block)

    def check(self, units: int) -> None:
        """Raise `SeqlraError` unless ``units`` can be cut into blocks."""
        if self.block < 1 or units % self.block:
            raise SeqlraError(
                f"{self.name} competes in blocks of {self.block}, which does not divide a layer of {units} units"
            )


def _between(h: Tensor, low: float, high: float) -> Tensor:
    return ((h >= low) & (h < high)).to(h.dtype)


def _tanh(h: Tensor) -> Tensor:
    """Hyperbolic tangent; in single precision on the CPU as 2 sigmoid(2 h) - 1, which torch computes in less than half
    the time of its tanh, with a difference of at most 2e-7 (`tests/network/test_units.py`)."""
    if h.is_cuda or h.dtype != torch.float32:
        return torch.tanh(h)
    return torch.add(scalar(-1.0, h), (h + h).sigmoid_(), alpha=2)


ACTIVATIONS: dict[str, Activation] = {
    unit.name: unit
    for unit in (
        Activation("identity", lambda h: h, lambda h, z: torch.ones_like(h), "z = h"),
        Activation("sigmoid", torch.sigmoid, lambda h, z: torch.addcmul(z, z, z, value=-1), "logistic, in (0, 1)"),
        Activation(
            "tanh", _tanh, lambda h, z: torch.addcmul(scalar(1.0, z), z, z, value=-1), "hyperbolic tangent, in (-1, 1)"
        ),
        Activation("hard-tanh", lambda h: h.clamp(-1, 1), lambda h, z: _between(h, -1, 1), "h cut to [-1, 1]"),
        Activation("relu", torch.relu, lambda h, z: (h >= 0).to(h.dtype), "max(0, h)"),
        Activation("relu6", lambda h: h.clamp(0, 6), lambda h, z: _between(h, 0, 6), "h cut to [0, 6]"),
        Activation(
            "softplus",
            torch.nn.functional.softplus,
            lambda h, z: torch.sigmoid(h),
            "log(1 + exp(h)) (Glorot et al. 2011)",
        ),
        Activation(
            "softsign",
            torch.nn.functional.softsign,
            lambda h, z: (1 - z.abs()).square(),
            "h / (1 + |h|) (Glorot and Bengio 2010)",
        ),
    )
}


def _winner(z: Tensor, block: int) -> Tensor:
    """LWTA, eq. 7: in each block the largest keeps its value, the first of equals wins, the rest are 0."""
    blocks = rearrange(z, "... (blocks k) -> ... blocks k", k=block)
    winner = torch.zeros_like(blocks).scatter_(-1, blocks.argmax(-1, keepdim=True), 1)
    return rearrange(winner * blocks, "... blocks k -> ... (blocks k)")


def _shares(z: Tensor, block: int) -> Tensor:
    """SLWTA, eq. 8: the softmax within each block."""
    blocks = rearrange(z, "... (blocks k) -> ... blocks k", k=block)
    return rearrange(blocks.softmax(-1), "... blocks k -> ... (blocks k)")


def _drawn(z: Tensor, block: int) -> Tensor:
    """SLWTA, sampled: one unit of each block is 1, drawn with the probabilities of eq. 8."""
    # argmax of (logit + Gumbel noise) is a categorical draw; -log(Exp(1)) is Gumbel noise.
    noise = -torch.empty_like(z).exponential_().log()
    blocks = rearrange(z + noise, "... (blocks k) -> ... blocks k", k=block)
    one_hot = torch.zeros_like(blocks).scatter_(-1, blocks.argmax(-1, keepdim=True), 1)
    return rearrange(one_hot, "... blocks k -> ... (blocks k)")


_DISCRETIZERS: dict[str, Callable[[int], Discretizer]] = {
    make(1).name: make  # each makes the discretizer for a block size
    for make in (
        lambda _: Discretizer("sign", torch.sign, "-1, 0 or 1 (Section 2.3.2)"),
        lambda _: Discretizer("heaviside", lambda z: (z >= 0).to(z.dtype), "1 where z >= 0, else 0 (footnote 6)"),
        lambda _: Discretizer(
            "bernoulli",
            lambda z: (torch.rand_like(z) < z).to(z.dtype),
            "1 with probability z, else 0; for z in [0, 1], so for sigmoid units",
            mean=lambda z: z.clamp(0, 1),
        ),
        lambda k: Discretizer("lwta", lambda z: _winner(z, k), "only the largest of each block is not 0 (eq. 7)", k),
        lambda k: Discretizer("slwta", lambda z: _shares(z, k), "softmax within each block (eq. 8)", k),
        lambda k: Discretizer(
            "slwta-sampled",
            lambda z: _drawn(z, k),
            "one unit of each block, drawn from eq. 8",
            k,
            mean=lambda z: _shares(z, k),
        ),
    )
}

DISCRETIZERS: dict[str, str] = {name: make(1).about for name, make in _DISCRETIZERS.items()}
"""Known discretizers with one line about each; `discretizer` makes them."""


def activation(unit: str | Activation) -> Activation:
    """The activation of that name, or of your own: an `Activation`, or ``module:name`` of one (`seqlra.own.find`)."""
    if isinstance(unit, Activation):
        return unit
    if own.is_own(unit):
        return own.find(unit, Activation, "an activation")
    if unit not in ACTIVATIONS:
        raise unknown("activation", unit, ACTIVATIONS)
    return ACTIVATIONS[unit]


def discretizer(unit: str | Discretizer | None, block: int = 4) -> Discretizer | None:
    """The discretizer of that name, competing in blocks of ``block`` units where it competes.

    ``None`` and ``"none"`` mean ``g(z) = z``. One of your own is a `Discretizer`, or ``module:name`` of one.
    """
    if unit is None or unit == "none":
        return None
    if isinstance(unit, Discretizer):
        return unit
    if own.is_own(unit):
        return own.find(unit, Discretizer, "a discretizer")
    if unit not in _DISCRETIZERS:
        raise unknown("discretizer", unit, ["none", *_DISCRETIZERS])
    return _discretizer(unit, _DISCRETIZERS[unit](block).block)


@cache  # time steps form one layer only if they have the same g, not just equal ones
def _discretizer(name: str, block: int) -> Discretizer:
    return _DISCRETIZERS[name](block)
