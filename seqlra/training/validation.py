"""Checks by pydantic, reported in one line with the name of the option."""

from __future__ import annotations

from typing import Any, get_args

import annotated_types
from pydantic import ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from seqlra.errors import SeqlraError, unknown
from seqlra.training.option import Option

KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "string": "text", "tuple": "a list"}
"""What is accepted, by how pydantic's types of errors begin."""


class Checked:
    """Base of the parts of a configuration, which are dataclasses of pydantic.

    ``dataclasses.replace`` checks, too.

    Raises:
        SeqlraError: a field is missing, unknown or makes no sense.
    """

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_line(cls, value: Any, handler: Any) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            raise _report(cls, error.errors()[0]) from error


def fields_of(part: type) -> dict[str, FieldInfo]:
    """The fields of a dataclass of pydantic, by name."""
    return part.__pydantic_fields__  # type: ignore[attr-defined]


def option_of(field: FieldInfo) -> Option | None:
    """The option that a field is; None where it is none."""
    return next((each for each in field.metadata if isinstance(each, Option)), None)


def _report(part: type, error: ErrorDetails) -> SeqlraError:
    given, kind = error["input"], error["type"]
    if not error["loc"]:
        return SeqlraError(f"{part.__name__.lower()} must be a table of settings, not {given!r}")
    name = str(error["loc"][0])
    field = fields_of(part).get(name)
    if field is None:
        return unknown("setting", name, fields_of(part))
    option = option_of(field)
    shown = ((option and option.name) or name).replace("_", "-")
    if kind == "missing":
        return SeqlraError(f"{shown} is missing")
    if kind == "literal_error":
        return unknown(shown, given, get_args(field.annotation))
    accepted = _bounds(field) if kind.startswith(("greater", "less", "finite")) else KINDS.get(kind.split("_")[0])
    if accepted is None:
        return SeqlraError(f"{shown} cannot be {given!r}: {error['msg']}")
    return SeqlraError(f"{shown} must be {accepted}, not {given}")


def _bounds(field: FieldInfo) -> str:
    """The bounds of a number, in words."""
    low = high = None
    for bound in field.metadata:
        match bound:
            case annotated_types.Gt(gt):
                return f"above {gt}"
            case annotated_types.Ge(ge):
                low = ge
            case annotated_types.Lt(lt):
                high = lt
    if high is None:
        return "a number" if low is None else f"at least {low}"
    return f"in [{low}, {high})" if field.annotation is float else f"from {low} to {high - 1}"  # type: ignore[operator]
