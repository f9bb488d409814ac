"""What tuning searches: the range of a setting, or its values; see `Rule.space` and `seqlra.sweeps.tuning`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from seqlra.errors import SeqlraError


@dataclass(frozen=True)
class Range:
    """The numbers from ``low`` to ``high``, both included.

        >>> Range.around(0.01, 10)
        Range(low=0.001, high=0.1, log=True, whole=False)

    Args:
        low, high: its ends.
        log: whether it is searched by the logarithm, as suits step sizes.
        whole: whether only whole numbers count.

    Raises:
        SeqlraError: ends that are no numbers, or in the wrong order, or not above 0 with ``log``.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise SeqlraError(f"a range goes from a number up to a greater one, not from {self.low:g} to {self.high:g}")
        if self.log and self.low <= 0:
            raise SeqlraError(f"a range by the logarithm begins above 0, not at {self.low:g}")
        if self.whole and not (float(self.low).is_integer() and float(self.high).is_integer()):
            raise SeqlraError(f"a range of whole numbers has such ends, not {self.low:g} and {self.high:g}")

    @classmethod
    def around(cls, value: float, factor: float) -> Range:
        """The range by the logarithm from ``value / factor`` to ``value * factor``."""
        return cls(value / factor, value * factor, log=True)

    def __contains__(self, value: object) -> bool:
        """Whether a setting lies in it."""
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return number and self.low <= value <= self.high and (not self.whole or float(value).is_integer())  # type: ignore[operator, arg-type]

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value."""
        return (int(self.low), int(self.high)) if self.whole else (float(self.low), float(self.high))


@dataclass(frozen=True)
class Choice:
    """Some values: numbers, words, None (off), true and false.

    Raises:
        SeqlraError: less than two values.
    """

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if len(set(self.values)) < 2:
            raise SeqlraError(f"a choice has at least two values, not {', '.join(map(str, self.values)) or 'none'}")

    def __contains__(self, value: object) -> bool:
        """Whether it is one of them."""
        return value in self.values

    @property
    def ends(self) -> tuple[Any, ...]:
        """All of them: each may be one that cannot be used."""
        return self.values


Dimension = Range | Choice


def dimension_of(plain: Mapping[str, Any]) -> Dimension:
    """A dimension from plain data, the fields of its class.

    Raises:
        SeqlraError, TypeError: they are not those of one.
    """
    return Choice(tuple(plain["values"])) if "values" in plain else Range(**plain)
