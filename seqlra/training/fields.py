"""The settings of a task by the names of their options, read off the fields of the configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, get_args, get_origin

from pydantic_core import PydanticUndefined

from seqlra.errors import unknown
from seqlra.training.data_settings import DATA_OF
from seqlra.training.option import TASKS, ByTask, Option, Unset
from seqlra.training.settings import Config, Models, Network, Optimization, RuleOptions
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
def settings_of(task: str, kind: str | None = None) -> Mapping[str, Setting]:
    """The settings of a run of a task by name, in the order of ``--help``.

    Args:
        task: ``mlp`` or ``rnn``.
        kind: of its data; None: the settings of all kinds, at the defaults of the first that has them.

    Raises:
        SeqlraError: an unknown task.
    """
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    kinds = [data for data in DATA_OF[task] if kind in (None, data.kind)]
    found: dict[str, Setting] = {}
    for part in (*kinds, Network, RuleOptions, Optimization, Config):
        for setting in _settings_in(part, task, [data.kind for data in kinds]):
            found.setdefault(setting.name, setting)
    return found


@cache
def settings_of_several() -> Mapping[str, Setting]:
    """The settings that say how many runs there are, and not what one of them is."""
    return {setting.name: setting for setting in _settings_in(Models, TASKS[0], ["images"])}


def _settings_in(part: type, task: str, kinds: Sequence[str]) -> Iterator[Setting]:
    for name, field in fields_of(part).items():
        option = option_of(field)
        having = [] if option is None or task not in option.tasks else [k for k in kinds if k not in option.without]
        if option is not None and having:
            own = None if field.default is PydanticUndefined else field.default
            default = own if option.default is Unset else option.default
            if isinstance(default, ByTask):
                option = replace(option, open_as=_in_words(option, {kind: default.of(kind) for kind in having}))
                default = default.of(having[0])
            yield Setting(option.name or name, part, name, option, default, option.kind or _kind(field.annotation))


def _in_words(option: Option, defaults: Mapping[str, Any]) -> str | bool:
    """The defaults of several kinds of data; where they agree, what the option says itself."""
    if len(set(defaults.values())) == 1:
        return option.open_as
    kinds = {value: " or ".join(kind for kind in defaults if defaults[kind] == value) for value in defaults.values()}
    return "; ".join(f"{value} ({of})" for value, of in kinds.items() if value is not None)


def _kind(annotation: Any) -> type:
    """The type of a field's text: what stands beside None, and a word for one of several."""
    if get_origin(annotation) is Literal:
        return str
    return next((each for each in get_args(annotation) if each is not type(None)), annotation)
