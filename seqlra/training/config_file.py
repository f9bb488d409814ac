"""Configuration files: TOML with the settings of a run by the names of their options, and a table ``[rule]``."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seqlra import own
from seqlra.errors import SeqlraError, first_line, unknown
from seqlra.files import demand_file
from seqlra.training.fields import settings_of, settings_of_several
from seqlra.training.settings import MAY_BE_OWN, Config, RuleOptions


def read(path: Path, task: str) -> dict[str, Any]:
    """The settings of a configuration file, as keywords of `configurations`.

    Keys are options with - or _; what the table ``[rule]`` holds besides ``name`` is ``settings``, ``"off"`` for None.

    Raises:
        SeqlraError: the file cannot be read, or has unknown keys.
    """
    demand_file(path)
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SeqlraError(f"cannot read the configuration {path}: {first_line(error)}") from error
    known = [*settings_of(task), *settings_of_several()]
    options: dict[str, Any] = {}
    for key, value in found.items():
        name = key.replace("-", "_")
        if name not in known:
            raise unknown(f"setting in {path}:", key, [each.replace("_", "-") for each in known])
        if name in options:
            raise SeqlraError(f"{key} appears twice in {path}, with - and with _")
        if isinstance(value, dict) and name != "rule":
            raise SeqlraError(f"{key} in {path} must be one value, not a table; [rule] is the only table")
        options[name] = value
    if isinstance(options.get("rule"), dict):
        settings = options.pop("rule")
        if "name" in settings:
            options["rule"] = settings.pop("name")
        options["settings"] = {name: None if value == "off" else value for name, value in settings.items()}
    return options


def write(configs: Sequence[Config]) -> str:
    """The configuration file that gives these configurations, which differ in their seeds alone."""
    config, lines = configs[0], []
    parts = (config.data, config.network, config.optimization, config)
    held_by = {type(part): part for part in parts}
    for setting in settings_of(config.task, config.data.kind).values():
        if setting.part is not RuleOptions:
            value = getattr(held_by[setting.part], setting.field)
            value = setting.option.none if value is None else value
            if value is not None:
                lines.append(_line(setting.name.replace("_", "-"), value))
    if len(configs) > 1:
        lines.append(_line("seeds", len(configs)))
    lines += ["", "[rule]", *(_line(name, "off" if value is None else value) for name, value in config.rule.items())]
    return "\n".join(lines) + "\n"


def over(task: str, file: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a file; given settings win over them.

    Settings that stand beside the name of a rule are not another rule's.

    Raises:
        SeqlraError: the file alone names code that is neither imported nor installed.
    """
    for name in MAY_BE_OWN:
        if name in file and name not in given:
            own.demand_known(file[name])
    merged, of_rule = {**file, **given}, dict(file.get("settings", {}))
    if "rule" in file and merged["rule"] != file["rule"]:
        of_rule = {}
    for name, setting in settings_of(task).items():
        if setting.part is RuleOptions and name in given:
            of_rule.pop(setting.option.setting or name, None)
    return {**merged, "settings": {**of_rule, **given.get("settings", {})}}


def _line(name: str, value: object) -> str:
    return f"{name} = {_toml(value)}"


def _toml(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case tuple() | list():
            return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
