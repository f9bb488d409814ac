"""The command line: thin. Commands parse, call the library, and print.

Heavy imports (torch, datasets, matplotlib) wait inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

import typer

from seqlra import torchrun
from seqlra.cli import bench, compare, data, evaluate, labels, listing, report, reproduce, running, sample, train, tune
from seqlra.errors import SeqlraError, SeqlraWarning, first_line

app = typer.Typer(
    name="seqlra",
    help="Train networks without back-propagation, by Local Representation Alignment.\n\nStart with: seqlra train mlp",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(train.app, name="train")
app.add_typer(data.app, name="data")
app.command(name="compare", no_args_is_help=True, context_settings=labels.SETTINGS)(compare.compare)
app.command(name="tune", no_args_is_help=True, context_settings=labels.SETTINGS)(tune.tune)
app.command(name="report", no_args_is_help=True)(report.report)
app.command(name="reproduce", no_args_is_help=True)(reproduce.reproduce)
app.command(name="evaluate")(evaluate.evaluate)
app.command(name="sample")(sample.sample)
app.add_typer(bench.app, name="bench")
app.command(name="list")(listing.show)


def _version(show: bool) -> None:
    if show:
        from seqlra import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Options of every command."""
    if torchrun.processes() > 1 and context.invoked_subcommand != "train":
        raise SeqlraError(f"torchrun is for seqlra train, not for {context.invoked_subcommand}")


def _show_warning(
    shown: Callable[..., None], message: Warning | str, category: type[Warning], *rest: Any, **named: Any
) -> None:
    """Our warnings on one line on standard error, those of others as they are."""
    if issubclass(category, SeqlraWarning):
        print(f"warning: {message}", file=sys.stderr)
    else:
        shown(message, category, *rest, **named)


def main() -> None:
    """The console script; of the processes of torchrun the first one speaks for all."""
    if torchrun.rank() == 0:
        _run()
        return
    printed = StringIO()
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            _run()
    except SystemExit as end:
        if end.code in (1, 2):
            # what is wrong is wrong in the first process, too: it has the time to say so before torchrun ends all
            time.sleep(WAIT_FOR_THE_FIRST)
            print(f"process {torchrun.rank()}: {printed.getvalue().strip()}", file=sys.stderr)
        raise


WAIT_FOR_THE_FIRST = 5.0
"""Seconds that another process of torchrun waits at an error, before it says it itself."""


def _run() -> None:
    """Run a command: errors that the user can fix are one line on standard error, and a status other than 0.

    Such are errors of the user's own code, too: the line says where in it they were. ``SEQLRA_TRACEBACK=1`` shows more.
    """
    os.environ["MPLBACKEND"] = "agg"  # files alone; another that is not there would end a training at its pictures
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # terminals that cannot show every character
    try:
        Path.cwd()
    except OSError as error:
        print(f"error: the working directory is gone ({error.strerror}); go to another one", file=sys.stderr)
        sys.exit(1)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = partial(_show_warning, warnings.showwarning)
            app()
    except running.Interrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(130)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output closed it, as in `seqlra list | head`
        sys.stderr.close()
        sys.exit(141)
    except (Exception, SystemExit) as error:
        if os.environ.get("SEQLRA_TRACEBACK"):
            raise
        if (message := _in_words(error)) is None:  # the ordinary end
            raise
        print(f"error: {message}", file=sys.stderr)
        sys.exit(1)


def _in_words(error: Exception | SystemExit) -> str | None:
    """One line about an error; None for an exit that is no error of ours."""
    if isinstance(error, SeqlraError):
        return str(error)
    from seqlra import own

    if (found := own.report(error)) is not None:
        return str(found)
    if isinstance(error, SystemExit):
        return None
    if isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate memory" in str(error):
        return f"there is not enough memory: {first_line(error)}"
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else first_line(error)
    return (
        f"{type(error).__name__}: {first_line(error)}; this is a mistake of seqlra: please report it with what "
        "SEQLRA_TRACEBACK=1 shows"
    )
