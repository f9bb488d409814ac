"""What `seqlra compare` and `seqlra tune` have in common: labels with a rule each, and options of ``seqlra train``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from seqlra.cli import train
from seqlra.cli.options import option
from seqlra.errors import SeqlraError, unknown
from seqlra.training.option import TASKS

RULES = "Rules"

Task = Annotated[
    str | None, typer.Argument(help="mlp or rnn; the options of seqlra train mlp (or rnn) follow.", metavar="TASK")
]
Rules = Annotated[str | None, option(RULES, "Rules with commas between: RULE, or LABEL=RULE.", False)]
Own = Annotated[
    list[str] | None,
    option(RULES, '"LABEL: options" for that one alone, which win over those for all; as often as needed.', False),
]

SETTINGS = {"ignore_unknown_options": True, "allow_extra_args": True}
"""Unknown options are those of ``seqlra train``, which reads them itself."""


def check_task(task: str | None) -> str:
    """The task.

    Raises:
        SeqlraError: there is none of that name.
    """
    if task not in TASKS:
        hint = " (write it before the options)" if task and task.startswith("-") else ""
        raise SeqlraError(f"{unknown('task', task or '', TASKS)}{hint}")
    return task


def labels_of(text: str | None, what: str) -> dict[str, str]:
    """The rule of each label, from ``RULE,LABEL=RULE,...``.

    Args:
        text: of ``--rules``.
        what: is done with them, for the error where there is no text.

    Raises:
        SeqlraError: it cannot be read, or is not there.
    """
    if text is None:
        raise SeqlraError(f"say what to {what}: --rules lra-fdbk,backprop (seqlra list rules names them all)")
    labels: dict[str, str] = {}
    for entry in text.split(","):
        label, named, rule = (part.strip() for part in entry.partition("="))
        if not label or (named and not rule):
            raise SeqlraError(f"cannot read {entry!r} in --rules {text!r}; accepted: RULE or LABEL=RULE, with commas")
        if label in labels:
            raise SeqlraError(f"{label!r} appears twice in --rules; give each its own label: a={label},b={label}")
        labels[label] = rule or label
    return labels


def own_options(own: list[str], labels: Mapping[str, object]) -> dict[str, list[str]]:
    """The own options of each label, from every ``LABEL: options``."""
    options: dict[str, list[str]] = {label: [] for label in labels}
    for text in own:
        label, colon, words = (part.strip() for part in text.partition(":"))
        if not colon or not words:
            raise SeqlraError(f"cannot read --own {text!r}; accepted: --own 'LABEL: options', e.g. 'dfa: --lr 0.03'")
        if label not in labels:
            raise SeqlraError(f"--own {text!r} is for {label!r}, which is not in --rules; there: {', '.join(labels)}")
        try:
            options[label] += shlex.split(words)
        except ValueError as error:
            raise SeqlraError(f"cannot read --own {text!r}: {error}") from error
    return options


def parameters(
    context: typer.Context,
    task: str,
    words: list[str],
    answers: Mapping[str, str],
    base: Mapping[str, Any] | None = None,
    **fixed: Any,
) -> dict[str, Any]:
    """The words as options of ``seqlra train``, read by that command itself.

    Args:
        context: of the command, whose name is that of ``seqlra compare`` or ``tune``.
        task: ``mlp`` or ``rnn``.
        words: the options as they were written.
        answers: options that one run cannot have here, and what to do instead.
        base: options from a file, over which all others win.
        fixed: options that win over all others.
    """
    parsed = train.command_of(task).make_context(f"{context.info_name} {task}", list(words), parent=context.parent)
    for name, answer in answers.items():
        if train.was_given(parsed, name):
            name = name.replace("_", "-")
            raise SeqlraError(
                f"--{name} cannot be an option of one run in a {_WHOLE[str(context.info_name)]}: {answer}"
            )
    return train.given_options(parsed, task, base, **fixed)


_WHOLE = {"compare": "comparison", "tune": "study"}


def refuse_options(context: typer.Context, resume: object, accepted: tuple[str, ...]) -> None:
    """What is resumed keeps its options: options that would change it are refused rather than ignored."""
    command = str(context.info_name)
    given = [name for name in context.params if name not in accepted and train.was_given(context, name)]
    words = [
        *(context.params[name] if name == "task" else f"--{name.replace('_', '-')}" for name in given),
        *context.args,
    ]
    if words:
        raise SeqlraError(
            f"{words[0]} does not go with --resume: a resumed {_WHOLE[command]} keeps the options it was started with; "
            f"go on with: seqlra {command} --resume {resume}"
        )
