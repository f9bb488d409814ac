"""Options that several commands share, and those of a run, made from the fields of its configuration."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqlra.training.option import BOOKKEEPING, COMPILE, DATA, DATA_DIR, DEVICE, THREADS, Option

if TYPE_CHECKING:
    from seqlra.training.fields import Setting


def option(panel: str, text: str, open_as: str | bool = True, name: str | None = None) -> Any:
    """An option of a panel of ``--help``; ``open_as`` says what happens if the user does not give it."""
    return typer.Option(*([name] if name else []), help=text, rich_help_panel=panel, show_default=open_as)


def _as_option(known: Option, name: str | None = None) -> Any:
    return option(known.panel, known.help, known.open_as, name)


MANY = "Processes and machines"

DataDir = Annotated[Path | None, option(DATA, DATA_DIR, "Hub or embedded", "--data-dir")]
Compile = Annotated[bool, _as_option(COMPILE, "--compile")]
Device = Annotated[str, _as_option(DEVICE)]
Threads = Annotated[int | None, _as_option(THREADS)]
Json = Annotated[bool, option(BOOKKEEPING, "Print one JSON object as the last line of output.", name="--json")]
Jobs = Annotated[
    int,
    option(MANY, "So many processes, each with one thread unless --threads says otherwise."),
]
Cluster = Annotated[
    str | None,
    option(MANY, "Train on a cluster: the address of a scheduler of Dask, such as tcp://host:8786.", False),
]
Imports = Annotated[
    list[str] | None,
    option(
        BOOKKEEPING,
        "A module with code of your own that the files given here name; they alone import none that is not installed. "
        "May be repeated.",
        False,
        "--import",
    ),
]


def _parameter(name: str, kind: Any, default: Any, shown: Any) -> inspect.Parameter:
    """An option of a command, by the name of its parameter."""
    annotation = Annotated[kind if default is not None else kind | None, shown]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


SETTINGS = _parameter(
    "settings",
    list[str],
    None,
    option("Rule", "NAME=VALUE: any setting of the rule, such as noise=0.2 of dtp; may be repeated.", False, "--set"),
)
OF_THE_COMMAND = [
    _parameter(
        "config", Path, None, option(BOOKKEEPING, "TOML with any of these settings; options here win over it.", False)
    ),
    _parameter(
        "print_config",
        bool,
        False,
        option(BOOKKEEPING, "Print the whole configuration as such a file, and exit.", name="--print-config"),
    ),
    _parameter("out", Path, None, option(BOOKKEEPING, "Run directory to create.", "runs/<name>")),
    _parameter("resume", Path, None, option(BOOKKEEPING, "Continue this run with its own options.", False)),
    inspect.Parameter("imports", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Imports),
    inspect.Parameter("json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Json),
]
"""Options of a training that are not settings of one run."""


def with_options(task: str, command: Callable[[typer.Context], None]) -> Callable[..., None]:
    """The command with all options of a task."""

    @wraps(command)
    def run(context: typer.Context, **options: Any) -> None:
        command(context)

    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    parameters = [context, *_options_of(task)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _options_of(task: str) -> Iterator[inspect.Parameter]:
    """In the order of ``--help``."""
    from seqlra.training.fields import settings_of, settings_of_several

    for name, known in settings_of(task).items():
        if known.option.flag:
            yield _of_a_setting(known)
        if name == "reduction":
            yield SETTINGS
        if name == "seed":
            yield from map(_of_a_setting, settings_of_several().values())
    yield from OF_THE_COMMAND


def _of_a_setting(known: Setting) -> inspect.Parameter:
    flag = f"--{known.name.replace('_', '-')}"  # of a bool, without its --no- form
    return _parameter(known.name, known.kind, known.default, _as_option(known.option, flag))
