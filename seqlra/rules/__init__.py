"""Learning rules, one file a family; all are walks over the same list of subgraphs."""

from __future__ import annotations

from seqlra.errors import SeqlraError, unknown
from seqlra.rules.backprop import Backprop
from seqlra.rules.base import Rows, Rule, Walk
from seqlra.rules.lra import LRADiff, LRAFeedback

RULES: dict[str, type[Rule]] = {rule.name: rule for rule in (LRAFeedback, LRADiff, Backprop)}

__all__ = ["RULES", "Backprop", "LRADiff", "LRAFeedback", "Rows", "Rule", "Walk", "rule"]


def rule(name: str, **settings: object) -> Rule:
    """The rule of that name with these settings; the others keep their defaults.

    Raises:
        SeqlraError: an unknown rule, or a setting that it does not have.
    """
    if name not in RULES:
        raise unknown("rule", name, RULES)
    known = list(RULES[name].__dataclass_fields__)
    for setting in settings:
        if setting not in known:
            raise SeqlraError(f"rule {name!r} has no setting {setting!r}; it has: {', '.join(known)}")
    return RULES[name](**settings)  # type: ignore[arg-type]
