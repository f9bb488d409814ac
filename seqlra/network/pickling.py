"""Pickling of units and losses. Their functions are mostly lambdas, so those with a name here are pickled by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any


def by_name(
    of: Any, known: bool, make: Callable[..., Any], *name: object
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """What ``__reduce__`` returns: ``make(*name)`` where that gives it back, else all its fields.

    Your own functions must then be importable, as for every pickle.
    """
    return (make, name) if known else (type(of), tuple(getattr(of, field.name) for field in fields(of)))
