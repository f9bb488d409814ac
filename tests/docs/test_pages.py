"""The Python of the README and of every page of the documentation runs as printed, and their commands exist."""

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
from seqlra.sweeps import comparison, tuning

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in [ROOT / "README.md", ROOT / "results/README.md", *sorted((ROOT / "docs").rglob("*.md"))]
}
PYTHON = {
    name: blocks for name, page in PAGES.items() if (blocks := re.findall(r"```python\n(.*?)```", page, re.DOTALL))
}
SHELL = "\n".join(
    block for page in PAGES.values() for block in re.findall(r"```(?:sh|console)\n(.*?)```", page, re.DOTALL)
)
COMMANDS = sorted(set(re.findall(r"^ *(?:\$ |.*bin/)?seqlra (.*?)(?: > .*)?$", SHELL, re.MULTILINE)))


@pytest.mark.parametrize("page", PYTHON)
def test_the_python_runs(
    page: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blocks of a page, one after another, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    torch.set_default_dtype(torch.float32)
    names: dict[str, object] = {"__name__": "page"}
    for code in PYTHON[page]:
        exec(compile(code, page, "exec", dont_inherit=True), names)
        printed = capsys.readouterr().out
        for line in re.findall(r"^#> (.*)$", code, re.MULTILINE):
            assert line in printed


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


@pytest.mark.parametrize("command", [command for command in COMMANDS if re.match("(compare|tune) (mlp|rnn)", command)])
def test_what_is_compared_has_options_of_train(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def start(path: Path, *given: object) -> None:
        raise SeqlraError("they would train")

    monkeypatch.setattr(comparison.Comparison, "start", start)
    monkeypatch.setattr(tuning.Tuning, "start", start)
    monkeypatch.setattr(sys, "argv", ["seqlra", *shlex.split(command, comments=True)])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err.endswith("would train\n")


def test_there_is_something_to_test() -> None:
    assert len(PYTHON) >= 2
    assert len(COMMANDS) >= 4
