"""``seqlra train``."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from seqlra.cli import options as o
from seqlra.cli import running
from seqlra.errors import SeqlraError
from seqlra.training.option import TASKS, setting

if TYPE_CHECKING:
    from seqlra.training.settings import Config

AT_RESUME = {"resume", "device", "json", "threads", "imports"}
"""Options that may go with --resume: they do not change what is computed."""

LONGER = ("epochs", "steps")
"""Options with --resume that make a finished run longer."""

NOT_OF_THE_CONFIG = {"config", "print_config", "out", "resume", "json", "imports"}
"""Options about the files of a run and its reports, which are not settings of the run."""


class Tasks(TyperGroup):
    """Makes the command of a task only when it is needed: importing its options is too slow for ``--help``."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(TASKS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return command_of(cmd_name) if cmd_name in TASKS else None


app = typer.Typer(no_args_is_help=True, cls=Tasks)


@app.callback()
def train() -> None:
    """Train a network; writes a run directory with its configuration, metrics, result, checkpoint and curve."""


def mlp(context: typer.Context) -> None:
    """Train a multilayer perceptron to classify images.

    Without options it trains on an embedded sample of MNIST, offline, in well under a minute.

    The paper's null initialization (Section 3.2):

        seqlra train mlp --dataset mnist --hidden 128x8 --activation sigmoid --weight-init zeros
        --optimizer sgd --lr 0.01 --batch-size 50 --epochs 10

    The settings of a run as a file, and a run from it:

        seqlra train mlp --hidden 128x8 --print-config > deep.toml
        seqlra train mlp --config deep.toml --lr 0.003

    A run that was stopped, and one that has ended and shall be longer:

        seqlra train mlp --resume runs/first

        seqlra train mlp --resume runs/first --epochs 30
    """
    _train_or_resume(context)


def rnn(context: typer.Context) -> None:
    """Train an Elman RNN to predict the next character or word of a text, or on a task with memory.

    Without options it trains on an embedded text, offline, in about a minute. Several hidden sizes are several
    recurrent layers. By default LRA learns its feedback, and errors go back through all steps of a chunk.

    The paper's own rule (Appendix B), whose backward pass is one product over all steps: --feedback fixed. Between the
    two: --window 2 goes back two steps, in three products.

    On your own text: seqlra train rnn --text book.txt --out runs/book, and then
    seqlra sample runs/book --prompt "Once upon"

    Tasks with memory are generated, and done once they are solved, or images step by step (seqlra list datasets):

        seqlra train rnn --dataset temporal-order --length 50 --rule backprop

        seqlra train rnn --dataset mnist-sample-rows --epochs 5
    """
    _train_or_resume(context)


COMMANDS: dict[str, Callable[[typer.Context], None]] = {"mlp": mlp, "rnn": rnn}


@cache
def command_of(task: str) -> Any:
    """The command ``seqlra train mlp`` or ``rnn``, whose options are made from the fields of the configuration."""
    alone = typer.Typer(add_completion=False)
    alone.command(task)(o.with_options(task, COMMANDS[task]))
    return typer.main.get_command(alone)


def _train_or_resume(context: typer.Context) -> None:
    options = context.params
    task = str(context.info_name)
    if sys.stderr.isatty():
        print(f"seqlra train {task}: loading torch and the data", file=sys.stderr, flush=True)
    import_all(options["imports"])
    if options["resume"] is not None:
        _refuse_options(context)
        longer = {name: options[name] for name in LONGER if was_given(context, name)}
        running.resume(task, options["resume"], options["device"], options["threads"], options["json"], longer)
        return
    from seqlra.training.configure import refuse_ignored

    given = given_options(context, task)
    if given.get("seeds") is None and given.get("one_stream"):
        raise SeqlraError("--one-stream is about the models of --seeds N; give that, too")
    configs = configs_of(task, given)
    refuse_ignored({name for name in options if was_given(context, name)}, configs[0])
    if options["print_config"]:
        from seqlra.training import config_file

        print(config_file.write(configs), end="")
        return
    config = configs[0]
    dataset = re.sub("[:/]", "-", config.data.dataset)  # of hf:owner/name
    name = f"{task}-{dataset}-{config.rule['name']}-{time.strftime('%Y%m%d-%H%M%S')}"
    out = options["out"] or Path("runs") / name
    running.start(configs, out, given.get("seeds") is not None, options["json"])


def given_options(
    context: typer.Context, task: str, base: Mapping[str, Any] | None = None, **fixed: Any
) -> dict[str, Any]:
    """The settings from the command line and a file; the command line wins, and ``fixed`` wins over both.

    All win over ``base``, settings that another file has.

    Keywords of `configurations`.

    Raises:
        SeqlraError: the file cannot be read.
    """
    from seqlra import own
    from seqlra.training import config_file
    from seqlra.training.settings import MAY_BE_OWN

    words = {name: value for name, value in context.params.items() if was_given(context, name)}
    path = words.get("config")
    words = {name: value for name, value in words.items() if name not in NOT_OF_THE_CONFIG} | fixed
    if "settings" in words:
        words["settings"] = dict(setting(text) for text in words["settings"])
        _refuse_twice(task, words)
    own.import_named(*(words.get(name) for name in MAY_BE_OWN))
    file = {} if path is None else config_file.read(path, task)
    return config_file.over(task, file if base is None else config_file.over(task, base, file), words)


def _refuse_twice(task: str, words: Mapping[str, Any]) -> None:
    """Raise `SeqlraError` where a setting of the rule has a value by its option and another by ``--set``."""
    from seqlra.training.fields import settings_of

    for name, known in settings_of(task).items():
        if name in words and (known.option.setting or name) in words["settings"]:
            raise SeqlraError(f"--{name.replace('_', '-')} and --set say the same setting; give it once")


def configs_of(task: str, given: Mapping[str, Any]) -> list[Config]:
    """The configurations of these settings, one for each seed; sets the number of threads.

    Raises:
        SeqlraError: no seeds, or values that make no sense.
    """
    from seqlra.training.configure import configurations
    from seqlra.training.machine import set_threads

    configs = configurations(task, **{name: value for name, value in given.items() if value is not None})
    set_threads(configs[0].threads)
    return configs


def import_all(modules: Sequence[str] | None) -> None:
    """Import the modules of ``--import``."""
    from seqlra import own

    for module in modules or ():
        own.import_module(module)


def was_given(context: typer.Context, name: str) -> bool:
    """Whether the user wrote that option."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _refuse_options(context: typer.Context) -> None:
    """A resumed run keeps its options: options that would change it are refused rather than ignored."""
    for name in context.params:
        if name not in (*AT_RESUME, *LONGER) and was_given(context, name):
            option = name.replace("_", "-")
            raise SeqlraError(
                f"--{option} does not go with --resume: a resumed run keeps the options it was started with"
            )
