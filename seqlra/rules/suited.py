"""Defaults for settings that the user does not give. They were measured, and are recorded with every run.

The figures behind the choices, and the commands that repeat them, are in ``results/``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Suited:
    """Defaults that suit a rule on a task.

    Args:
        lr: step size, of an RNN under the linear schedule.
        settings: settings of the rule by name, where they differ from the defaults of its fields.
        feedback_init: how E starts, a name from `FEEDBACK_INITS`.
        across_time: whether recurrent connections have error weights.
    """

    lr: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    feedback_init: str = "fan-out"
    across_time: bool = False
