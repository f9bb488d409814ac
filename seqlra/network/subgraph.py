"""The computation subgraph (Section 2.3). Every network is a list of them."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from seqlra.errors import SeqlraError
from seqlra.network.losses import OUTPUT_LOSSES, LocalLoss, OutputLoss, local_loss, output_loss
from seqlra.network.units import Activation, Discretizer, activation, discretizer


def whole(what: str, number: Any) -> int:
    """A whole number as it is.

    Raises:
        SeqlraError: it is something else.
    """
    try:
        return operator.index(number)
    except TypeError:
        raise SeqlraError(f"{what} must be a whole number, not {number!r:.60}") from None


@dataclass(frozen=True)
class Input:
    """A tensor ``(..., batch, units)`` that the graph reads but does not compute.

    For tokens, give the size of the vocabulary as ``units`` and pass integers ``(..., batch)``.
    """

    name: str
    units: int


@dataclass(frozen=True)
class Connection:
    """How a subgraph reads an earlier one (or an input).

    ``weight`` names a matrix ``(source units, units)``; connections that name the same one share it.
    ``feedback`` names the error weights E ``(units, source units)`` that carry an error back over this
    connection; None means that no error returns this way (always so where the source is an input).
    ``diagonal``: each unit reads the one of its number alone. W and E are matrices still, whose other entries are 0 and
    stay 0 under every rule.
    """

    source: str
    weight: str
    feedback: str | None = None
    diagonal: bool = False


@dataclass(frozen=True, init=False)
class Subgraph:
    """One computation subgraph: ``h = sum(source @ W) + b``, ``z = f(h)``, ``z* = g(z)``, and a loss.

    A leaky one remembers its output at the step before: ``z_t = (1 - leak) z_{t-1} + leak f(h_t)``. ``hidden[t]`` then
    needs ``hidden[t-1]`` before it in the list.

    Args:
        name: its name; ``"hidden[3]"`` says that it is ``hidden`` at step 3.
        units: how many units it has.
        reads: what it reads, each a `Connection` or just the name of an input or an earlier subgraph,
            which gets weights and feedback of its own.
        f: an activation, by name or your own `Activation`. An output's ``f`` belongs to its loss.
        g: a discretizer, by name or your own `Discretizer`, or None. Outputs have none (Appendix A).
        loss: a local loss by name or your own `LocalLoss`; for an output its `OutputLoss` (or the name of
            one, such as ``"cross-entropy"``).
        bias: the name of its bias vector; names may be shared. None for no bias; by default its own.
        leak: the share of ``f(h_t)`` in the output of a leaky unit, in (0, 1]; one number, or one for each unit.
            None, as 1: a unit without memory. An output has no leak. Neither have units with a ``g``: a state that is
            carried to the next step must be z itself, and others see only g(z).
        trained_leak: the name of a parameter a, if the leak is trained: it is ``sigmoid(a)``, which stays in (0, 1),
            and starts at ``leak``. Names may be shared by units that start alike. None: the leak is fixed.

    Raises:
        SeqlraError: unknown names, no units, nothing read, LWTA blocks that do not divide the units, a leak that is not
            in (0, 1] (trained: in (0, 1)), or of units that cannot have one.
    """

    name: str
    units: int
    reads: tuple[Connection, ...]
    f: Activation | None
    g: Discretizer | None
    loss: LocalLoss | OutputLoss
    bias: str | None
    leak: tuple[float, ...] | None
    trained_leak: str | None

    def __init__(
        self,
        name: str,
        units: int,
        reads: Iterable[str | Connection],
        f: str | Activation | None = None,
        g: str | Discretizer | None = None,
        loss: str | LocalLoss | OutputLoss = "log-penalty",
        bias: str | None = "",
        leak: float | Sequence[float] | None = None,
        trained_leak: str | None = None,
    ) -> None:
        is_output = isinstance(loss, OutputLoss) or loss in OUTPUT_LOSSES
        if is_output and (f is not None or g is not None):
            raise SeqlraError(f"subgraph {name!r} is an output: its f belongs to its loss and it has no g")
        if whole(f"subgraph {name!r}: units", units) < 1:
            raise SeqlraError(f"subgraph {name!r} needs at least one unit, not {units}")
        fields = {
            "name": name,
            "units": units,
            "reads": tuple(
                r if isinstance(r, Connection) else Connection(r, f"{r}-{name}", f"{r}-{name}") for r in reads
            ),
            "f": None if is_output else activation(f or "tanh"),
            "g": discretizer(g),
            "loss": output_loss(loss) if is_output else local_loss(loss),  # type: ignore[arg-type]
            "bias": name if bias == "" else bias,
            "leak": _leak(name, units, leak),
            "trained_leak": trained_leak,
        }
        for field, value in fields.items():
            object.__setattr__(self, field, value)
        if not self.reads:
            raise SeqlraError(f"subgraph {name!r} reads nothing")
        if self.g is not None:
            self.g.check(units)
        if self.leak is not None and (is_output or self.g is not None):
            raise SeqlraError(f"subgraph {name!r} has a leak, which goes with hidden units without a discretizer g")
        if self.trained_leak is not None and (self.leak is None or 1 in self.leak):
            raise SeqlraError(f"the leak of {name!r} is trained, so it must start in (0, 1), not at {leak}")

    @property
    def is_output(self) -> bool:
        """Whether its target comes from the data."""
        return isinstance(self.loss, OutputLoss)


def _leak(name: str, units: int, leak: float | Sequence[float] | None) -> tuple[float, ...] | None:
    """One number for all units, or one for each; None where all are 1."""
    if leak is None:
        return None
    shares = tuple(float(share) for share in ([leak] if isinstance(leak, (int, float)) else leak))
    if len(shares) not in (1, units) or not all(0 < share <= 1 for share in shares):
        raise SeqlraError(f"the leak of {name!r} must be in (0, 1], one number or {units}; given: {leak}")
    return None if all(share == 1 for share in shares) else shares
