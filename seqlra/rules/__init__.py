"""Learning rules, one file a family. `seqlra.rules.base` says what a rule is, `seqlra.rules.backward` runs it."""

from __future__ import annotations

from dataclasses import fields
from types import NoneType
from typing import Any, get_args, get_type_hints

from torch import Tensor

from seqlra import own
from seqlra.errors import SeqlraError, unknown
from seqlra.rules.backprop import Backprop
from seqlra.rules.backward import BackwardPass
from seqlra.rules.base import Rule
from seqlra.rules.dni import DNI
from seqlra.rules.dtp import DifferenceTargetPropagation
from seqlra.rules.eprop import EProp
from seqlra.rules.estimators import (
    PassThroughSTE,
    Reinforce,
    SigmoidAdjustedSTE,
    SlopeAnnealing,
    VarianceAdjustedReinforce,
)
from seqlra.rules.feedback import DirectFeedbackAlignment, FeedbackAlignment
from seqlra.rules.lra import LRADiff, LRAFeedback
from seqlra.rules.rflo import RFLO
from seqlra.rules.rtrl import RTRL
from seqlra.rules.snap import SnAp1
from seqlra.rules.uoro import UORO
from seqlra.rules.views import ConnectionView, LayerView

RULES: dict[str, type[Rule]] = {
    rule.name: rule
    for rule in (
        LRAFeedback,
        LRADiff,
        Backprop,
        FeedbackAlignment,
        DirectFeedbackAlignment,
        DifferenceTargetPropagation,
        PassThroughSTE,
        SigmoidAdjustedSTE,
        SlopeAnnealing,
        Reinforce,
        VarianceAdjustedReinforce,
        RFLO,
        EProp,
        SnAp1,
        RTRL,
        UORO,
        DNI,
    )
}

__all__ = [
    "DNI",
    "RFLO",
    "RTRL",
    "RULES",
    "UORO",
    "Backprop",
    "BackwardPass",
    "ConnectionView",
    "DifferenceTargetPropagation",
    "DirectFeedbackAlignment",
    "EProp",
    "FeedbackAlignment",
    "LRADiff",
    "LRAFeedback",
    "LayerView",
    "PassThroughSTE",
    "Reinforce",
    "Rule",
    "SigmoidAdjustedSTE",
    "SlopeAnnealing",
    "SnAp1",
    "VarianceAdjustedReinforce",
    "rule",
]


def rule_class(name: str) -> type[Rule]:
    """The rule of that name; ``my_rules:MyRule`` is a class of your own, see `seqlra.own.find`.

    Raises:
        SeqlraError: there is none.
    """
    if name in RULES:
        return RULES[name]
    if not own.is_own(name):
        raise unknown("rule", name, [*RULES, "or module:Class for your own"])
    found: type[Rule] = own.find(name, Rule, "a rule")
    if not isinstance(found, type):
        raise SeqlraError(f"{name!r} is not a rule: it must be a class that extends seqlra.Rule")
    return found


def rule(name: str, **settings: object) -> Rule:
    """The rule of that name with these settings; all other settings have their defaults.

    Raises:
        SeqlraError: an unknown rule, or a setting that it does not have or that makes no sense.
    """
    wanted = rule_class(name)
    known = [field.name for field in fields(wanted) if field.init]
    hints = _types(wanted)
    for setting, value in settings.items():
        if setting not in known:
            raise SeqlraError(f"rule {name!r} has no setting {setting!r}; it has: {', '.join(known)}")
        if (accepted := _misfit(value, hints.get(setting))) is not None:
            raise SeqlraError(f"{setting} must be {accepted}, not {'off' if value is None else value!r:.60}")
    try:
        return wanted(**settings)  # type: ignore[arg-type]
    except TypeError as error:  # a word in place of a number
        raise SeqlraError(f"rule {name!r} cannot be made of {settings}: {error}") from error


LARGE = 1e38
"""About the largest number in single precision."""

KINDS: dict[Any, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}
"""What is accepted, by the type of a field."""


def _types(wanted: type[Rule]) -> dict[str, Any]:
    """The types of a rule's settings; none where a rule of one's own names some that are not there."""
    try:
        return get_type_hints(wanted)
    except NameError:
        return {}


def _misfit(value: object, hint: Any) -> str | None:
    """What a field of this type accepts, where the value is none of it; a tensor has a value for each model."""
    kinds = [kind for kind in get_args(hint) or (hint,) if kind is not NoneType]
    optional = NoneType in get_args(hint)
    if isinstance(value, Tensor) or (value is None and optional) or not all(kind in KINDS for kind in kinds):
        return None
    if any(_is_a(value, kind) for kind in kinds):
        return None
    return " or ".join([*(KINDS[kind] for kind in kinds), *(["off"] if optional else [])])


def _is_a(value: object, kind: type) -> bool:
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    if kind is float:
        return isinstance(value, (int, float)) and abs(value) < LARGE
    return isinstance(value, kind)
