"""A fingerprint of a rule's code, so that a run that continues can tell whether its rule is still the same."""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import textwrap
import warnings
from collections.abc import Mapping

from seqlra.errors import SeqlraWarning
from seqlra.rules.base import Rule


def fingerprint(rule: Rule) -> str:
    """A hash of the source of the rule's classes, without comments and layout. Of a class from outside the package it
    is that of its whole module, whose functions it may call; empty where there is no source, as in a console."""
    code = []
    for cls in type(rule).__mro__:
        package = cls.__module__.partition(".")[0]
        if package in ("builtins", "abc"):
            continue
        try:
            source = inspect.getsource(cls if package == "seqlra" else sys.modules[cls.__module__])
        except (OSError, TypeError, KeyError):
            return ""
        code.append(ast.unparse(ast.parse(textwrap.dedent(source))))
    return hashlib.sha256("\n".join(code).encode()).hexdigest()[:16]


def warn_if_changed(rule: Rule, versions: Mapping[str, str]) -> None:
    """Warn where a run began with other code of its rule; runs from before that was recorded say nothing."""
    before = versions.get("rule")
    if before and before != fingerprint(rule):
        warnings.warn(
            f"the code of the rule {type(rule).__name__} has changed since the run began; it goes on with the new code",
            SeqlraWarning,
            stacklevel=2,
        )
