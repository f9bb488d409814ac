"""Learning rules, one file a family; all are walks over the same list of subgraphs."""

from __future__ import annotations

from seqlra.errors import SeqlraError, unknown
from seqlra.rules.backprop import Backprop
from seqlra.rules.base import Rows, Rule, Walk
from seqlra.rules.dtp import DifferenceTargetPropagation
from seqlra.rules.estimators import (
    PassThroughSTE,
    Reinforce,
    SigmoidAdjustedSTE,
    SlopeAnnealing,
    VarianceAdjustedReinforce,
)
from seqlra.rules.feedback import DirectFeedbackAlignment, FeedbackAlignment
from seqlra.rules.lra import LRADiff, LRAFeedback

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
    )
}

__all__ = [
    "RULES",
    "Backprop",
    "DifferenceTargetPropagation",
    "DirectFeedbackAlignment",
    "FeedbackAlignment",
    "LRADiff",
    "LRAFeedback",
    "PassThroughSTE",
    "Reinforce",
    "Rows",
    "Rule",
    "SigmoidAdjustedSTE",
    "SlopeAnnealing",
    "VarianceAdjustedReinforce",
    "Walk",
    "rule",
]


def rule(name: str, **settings: object) -> Rule:
    """The rule of that name with these settings; the others keep their defaults.

    Raises:
        SeqlraError: an unknown rule, or a setting that it does not have or that makes no sense.
    """
    if name not in RULES:
        raise unknown("rule", name, RULES)
    known = list(RULES[name].__dataclass_fields__)
    for setting in settings:
        if setting not in known:
            raise SeqlraError(f"rule {name!r} has no setting {setting!r}; it has: {', '.join(known)}")
    try:
        return RULES[name](**settings)  # type: ignore[arg-type]
    except TypeError as error:  # a word where a number is wanted
        raise SeqlraError(f"rule {name!r} cannot be made of {settings}: {error}") from error
