"""``seqlra compare``."""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqlra.cli import running, train
from seqlra.cli.options import Imports, Json, option
from seqlra.errors import SeqlraError, unknown
from seqlra.training.option import BOOKKEEPING, TASKS

if TYPE_CHECKING:
    from seqlra.sweeps.comparison import Comparison
    from seqlra.sweeps.run_store import RunSpec
    from seqlra.training.trainer import Trainer

SETTINGS = {"ignore_unknown_options": True, "allow_extra_args": True}
"""Unknown options are those of ``seqlra train``, which reads them itself."""

COMPARISON = "Comparison"
ANSWERS = {
    "rule": "name the rules in --rules",
    "seed": "it belongs to the whole comparison: --seed is the first of --seeds N",
    "seeds": "it belongs to the whole comparison",
    "out": "it belongs to the whole comparison",
    "resume": "go on with: seqlra compare --resume DIR",
    "json": "it belongs to the whole comparison",
    "imports": "it belongs to the whole comparison",
    "print_config": "print that of one with: seqlra train mlp --print-config",
}
"""Options of ``seqlra train`` that one member cannot have, and what to do instead."""


Task = Annotated[
    str | None, typer.Argument(help="mlp or rnn; the options of seqlra train mlp (or rnn) follow.", metavar="TASK")
]
Rules = Annotated[str | None, option(COMPARISON, "Rules with commas between: RULE, or LABEL=RULE.", False)]
Own = Annotated[
    list[str] | None,
    option(COMPARISON, '"LABEL: options" for that one alone, which win over those for all; as often as needed.', False),
]
Sweep = Annotated[
    list[str] | None,
    option(
        COMPARISON,
        "NAME=VALUE,VALUE,...: each label with each value of an option or a setting of its rule; several make a grid.",
        False,
    ),
]
Seeds = Annotated[int, option(COMPARISON, "How many seeds each has.")]
Seed = Annotated[int, option(COMPARISON, "The first seed.")]
NoStack = Annotated[bool, option(COMPARISON, "Train one run after the other, rather than together.", name="--no-stack")]
Out = Annotated[Path | None, option(BOOKKEEPING, "Directory to make.", "runs/<name>")]
Resume = Annotated[Path | None, option(BOOKKEEPING, "Go on with this comparison; it has its own options.", False)]


def compare(
    context: typer.Context,
    task: Task = None,
    rules: Rules = None,
    own: Own = None,
    sweep: Sweep = None,
    seeds: Seeds = 1,
    seed: Seed = 0,
    no_stack: NoStack = False,
    out: Out = None,
    resume: Resume = None,
    imports: Imports = None,
    json: Json = False,
) -> None:
    """Compare rules, or settings of them, on one task: one table, one picture, one JSON object.

    Every option of seqlra train mlp (or rnn) is accepted besides, and holds for all; see seqlra train mlp --help.
    So is a file of them, --config FILE, whose seed and seeds are those of the comparison.

        seqlra compare mlp --rules lra-fdbk,backprop --seeds 3 --out runs/cmp

    Options for one alone, so that each gets the settings that suit it:

        seqlra compare mlp --rules lra-fdbk,backprop --own "backprop: --lr 0.003" --hidden 128x8 --epochs 10

    Two settings of one rule, each under a label:

        seqlra compare mlp --rules k1=lra-diff,k5=lra-diff --own "k5: --inner-steps 5"

    A sweep; labels that differ in --lr, --beta, --c1, --c2 or their start alone are trained together, as one stack:

        seqlra compare mlp --rules lra-fdbk --sweep beta=0.01,0.1,1 --sweep lr=0.001,0.003

    DIR holds compare.json, results.json, table.md, curves.png and a run directory LABEL-seedK of each.
    After Ctrl-C, a crash or kill -9, what is done is not done again, and what was stopped goes on:

        seqlra compare --resume runs/cmp
    """
    from seqlra.sweeps.comparison import Comparison

    train.import_all(imports)
    if resume is not None:
        _refuse_options(context, resume)
        comparison = Comparison.open(resume)
    else:
        chosen = _members(context, task, rules, own or [], sweep or [])
        dataset = re.sub("[:/]", "-", chosen[0].config.data.dataset)  # of hf:owner/name
        name = f"compare-{task}-{dataset}-{time.strftime('%Y%m%d-%H%M%S')}"
        comparison = Comparison.start(
            out or Path("runs") / name, chosen, f"seqlra {shlex.join(sys.argv[1:])}", not no_stack
        )
    _run(comparison, json)


def _refuse_options(context: typer.Context, resume: Path) -> None:
    """A resumed comparison keeps its options: options that would change it are refused rather than ignored."""
    given = [
        name for name in context.params if name not in ("resume", "imports", "json") and train.was_given(context, name)
    ]
    words = [
        *(context.params[name] if name == "task" else f"--{name.replace('_', '-')}" for name in given),
        *context.args,
    ]
    if words:
        raise SeqlraError(
            f"{words[0]} does not go with --resume: a resumed comparison keeps the options it was started with; "
            f"go on with: seqlra compare --resume {resume}"
        )


def _members(
    context: typer.Context, task: str | None, rules: str | None, own: list[str], sweep: list[str]
) -> list[RunSpec]:
    """The runs of the command line: every label, with every value of a sweep, with every seed."""
    from seqlra.sweeps.run_store import RunSpec

    if task not in TASKS:
        hint = " (write it before the options)" if task and task.startswith("-") else ""
        raise SeqlraError(f"{unknown('task', task or '', TASKS)}{hint}")
    labels = _labels(rules)
    options = _own_options(own, labels)
    for text in sweep:
        labels, options = _swept(task, text, labels, options)
    seeds = {name: context.params[name] for name in ("seed", "seeds") if train.was_given(context, name)}
    members = []
    for label, rule in labels.items():
        given = _parameters(context, task, [*context.args, *options[label]], rule=rule, **seeds)
        try:
            members += [RunSpec(label, config) for config in train.configs_of(task, given)]
        except SeqlraError as error:
            raise SeqlraError(f"{label}: {error}") from error
    return members


def _labels(text: str | None) -> dict[str, str]:
    """The rule of each label, from ``RULE,LABEL=RULE,...``."""
    if text is None:
        raise SeqlraError("say what to compare: --rules lra-fdbk,backprop (seqlra list rules names them all)")
    labels: dict[str, str] = {}
    for entry in text.split(","):
        label, named, rule = (part.strip() for part in entry.partition("="))
        if not label or (named and not rule):
            raise SeqlraError(f"cannot read {entry!r} in --rules {text!r}; accepted: RULE or LABEL=RULE, with commas")
        if label in labels:
            raise SeqlraError(f"{label!r} appears twice in --rules; give each its own label: a={label},b={label}")
        labels[label] = rule or label
    return labels


def _own_options(own: list[str], labels: dict[str, str]) -> dict[str, list[str]]:
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


def _swept(
    task: str, text: str, labels: dict[str, str], options: dict[str, list[str]]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The labels and their own options with each value of a sweep ``NAME=VALUE,VALUE``."""
    name, equals, listed = (part.strip() for part in text.partition("="))
    values = [value.strip() for value in listed.split(",")]
    if not (name and equals and all(values)):
        raise SeqlraError(f"cannot read --sweep {text!r}; accepted: NAME=VALUE,VALUE,... such as beta=0.01,0.1,1")
    if len(set(values)) < len(values):
        raise SeqlraError(f"--sweep {text!r} names a value twice")
    name = name.removeprefix("--").replace("_", "-")
    if name.replace("-", "_") in ANSWERS:
        raise SeqlraError(f"--{name} cannot be swept: {ANSWERS[name.replace('-', '_')]}")
    known = {each.name for each in train.command_of(task).params}
    new_labels, new_options = {}, {}
    for label, rule in labels.items():
        for value in values:
            swept = f"{label}-{name}{value}"
            new_labels[swept] = rule
            words = (
                [f"--{name}", value]
                if name.replace("-", "_") in known
                else ["--set", f"{name.replace('-', '_')}={value}"]
            )
            new_options[swept] = [*options[label], *words]
    return new_labels, new_options


def _parameters(context: typer.Context, task: str, words: list[str], **fixed: Any) -> dict[str, Any]:
    """The words as options of ``seqlra train``, read by that command itself; ``fixed`` wins over them."""
    parsed = train.command_of(task).make_context(f"compare {task}", list(words), parent=context.parent)
    for name, answer in ANSWERS.items():
        if train.was_given(parsed, name):
            name = name.replace("_", "-")
            raise SeqlraError(f"--{name} cannot be an option of one run in a comparison: {answer}")
    return train.given_options(parsed, task, **fixed)


def _run(comparison: Comparison, json: bool) -> None:
    from seqlra.cli.show import json_line, table
    from seqlra.sweeps.comparison import table as cells
    from seqlra.training.trainer import Stopped

    try:
        results = comparison.run(lambda specs: _watching(comparison, specs))
    except (Stopped, KeyboardInterrupt):
        raise running.Interrupted(f"stopped; go on with: seqlra compare --resume {comparison.path}") from None
    header, *rows = cells(results)
    table(f"{comparison.title}: {comparison.path}", rows, header, to_stderr=json)
    if json:
        json_line({**results, "out": str(comparison.path)})


@contextmanager
def _watching(comparison: Comparison, specs: Sequence[RunSpec]) -> Iterator[Callable[[Trainer], None]]:
    """Print which runs they are, show their progress, and print the result of each."""
    from seqlra.training.progress import Progress

    names = [
        f"{comparison.specs.index(spec) + 1} of {len(comparison.specs)}, {spec.label}, seed {spec.seed}"
        for spec in specs
    ]
    print("; ".join(names), file=sys.stderr, flush=True)
    with Progress() as watch:
        yield watch
    for spec, name in zip(specs, names, strict=True):
        _report(comparison, spec, name)


def _report(comparison: Comparison, spec: RunSpec, name: str) -> None:
    outcome, metric = comparison.outcome(spec) or {}, f"test_{comparison.metric}"
    if outcome.get("diverged"):
        print(f"{name}: {outcome.get('message')}", file=sys.stderr, flush=True)
    elif outcome.get(metric) is not None:
        print(f"{name}: {metric.replace('_', ' ')} {outcome[metric]:.4g}", file=sys.stderr, flush=True)
