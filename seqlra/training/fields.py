"""The settings of a task by the names of their options, read off the fields of the configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args, get_origin

from pydantic_core import PydanticUndefined

from seqlra.errors import unknown
from seqlra.training.option import TASKS, ByTask, Option, Unset
from seqlra.training.settings import DATA_OF, Config, Models, Network, Optimization, RuleOptions
from seqlra.training.validation import fields_of, option_of


@dataclass(frozen=True)
class Setting:
    """A setting of a task.

    Args:
        name: of the option, with underscores.
        part, field: where it is held.
        option: its words.
        default: as the user would write it; None where it is left open.
        kind: the type of its text.
    """

    name: str
    part: type
    field: str
    option: Option
    default: Any
    kind: type


@cache
def settings_of(task: str) -> Mapping[str, Setting]:
    """The settings of a run of a task by name, in the order of ``--help``.

    Raises:
        SeqlraError: an unknown task.
    """
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    parts = (DATA_OF[task], Network, RuleOptions, Optimization, Config)
    return {setting.name: setting for part in parts for setting in _settings_in(part, task)}


@cache
def settings_of_several() -> Mapping[str, Setting]:
    """The settings that say how many runs there are, and not what one of them is."""
    return {setting.name: setting for setting in _settings_in(Models, TASKS[0])}


def _settings_in(part: type, task: str) -> Iterator[Setting]:
    for name, field in fields_of(part).items():
        option = option_of(field)
        if option is not None and task in option.tasks:
            own = None if field.default is PydanticUndefined else field.default
            default = own if option.default is Unset else option.default
            default = getattr(default, task) if isinstance(default, ByTask) else default
            yield Setting(option.name or name, part, name, option, default, option.kind or _kind(field.annotation))


def _kind(annotation: Any) -> type:
    """The type of a field's text: what stands beside None, and a word for one of several."""
    if get_origin(annotation) is Literal:
        return str
    return next((each for each in get_args(annotation) if each is not type(None)), annotation)
