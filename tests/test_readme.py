"""The README's Python runs as printed, and its commands exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
import typer

from seqlra.cli import app

README = (Path(__file__).parents[1] / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SHELL = "\n".join(re.findall(r"```(?:sh|console)\n(.*?)```", README, re.DOTALL))
COMMANDS = sorted(set(re.findall(r"^(?:\$ |.*bin/)?seqlra (.*)$", SHELL, re.MULTILINE)))


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_the_python_runs(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_default_dtype(torch.float32)
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    for line in re.findall(r"^#> (.*)$", code, re.M):
        assert line in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_parse(command: str) -> None:
    arguments = shlex.split(command, comments=True)
    parser = typer.main.get_command(app)
    context = parser.make_context("seqlra", [], resilient_parsing=True)
    while hasattr(parser, "commands") and arguments:
        name = arguments.pop(0)
        parser = parser.get_command(context, name)
        assert parser is not None, f"no command {name}"
        context = parser.make_context(name, [], parent=context, resilient_parsing=True)
    parser.parse_args(parser.context_class(parser, **parser.context_settings), arguments)


def test_there_is_something_to_test() -> None:
    assert len(PYTHON) >= 2
    assert len(COMMANDS) >= 4
