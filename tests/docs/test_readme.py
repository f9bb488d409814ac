"""The README's Python runs as printed, and its commands exist."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
import torch
import typer

from seqlra import SeqlraError
from seqlra.cli import app, main
from seqlra.sweeps import comparison

README = (Path(__file__).parents[2] / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SHELL = "\n".join(re.findall(r"```(?:sh|console)\n(.*?)```", README, re.DOTALL))
COMMANDS = sorted(set(re.findall(r"^(?:\$ |.*bin/)?seqlra (.*)$", SHELL, re.MULTILINE)))


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_the_python_runs(
    code: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
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


@pytest.mark.parametrize("command", [command for command in COMMANDS if re.match("compare (mlp|rnn)", command)])
def test_what_is_compared_has_options_of_train(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def start(path: Path, members: list[object], command: str, stacked: bool) -> None:
        raise SeqlraError(f"{len(members)} would train")

    monkeypatch.setattr(comparison.Comparison, "start", start)
    monkeypatch.setattr(sys, "argv", ["seqlra", *shlex.split(command, comments=True)])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err.endswith("would train\n")


def test_there_is_something_to_test() -> None:
    assert len(PYTHON) >= 2
    assert len(COMMANDS) >= 4
