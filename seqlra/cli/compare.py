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
from seqlra.cli.labels import Own, Rules, Task, check_task, labels_of, own_options, parameters, refuse_options
from seqlra.cli.options import Cluster, Imports, Jobs, Json, option
from seqlra.errors import SeqlraError
from seqlra.training.option import BOOKKEEPING, TASKS

if TYPE_CHECKING:
    from seqlra.sweeps.comparison import Comparison
    from seqlra.sweeps.run_store import RunSpec
    from seqlra.sweeps.workers import Workers
    from seqlra.training.trainer import Trainer

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
Tuned = Annotated[
    Path | None,
    option(
        COMPARISON,
        "In place of TASK and --rules: the rules of this study of seqlra tune, or of its trials.jsonl, each at its "
        "best settings. Options here win over those of the study.",
        False,
    ),
]
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
    tuned: Tuned = None,
    no_stack: NoStack = False,
    out: Out = None,
    resume: Resume = None,
    jobs: Jobs = 1,
    cluster: Cluster = None,
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

    The rules of a study, each at the settings that seqlra tune found:

        seqlra compare --tuned runs/tuned --seeds 3

    DIR holds compare.json, results.json, table.md, curves.png and a run directory LABEL-seedK of each.
    After Ctrl-C, a crash or kill -9, what is done is not done again, and what was stopped goes on:

        seqlra compare --resume runs/cmp

    With --jobs or --cluster, what is not trained together is trained at the same time; --no-stack makes that all runs:

        seqlra compare mlp --rules lra-fdbk,backprop,dfa --seeds 3 --jobs 4
    """
    from seqlra.sweeps.comparison import Comparison
    from seqlra.sweeps.workers import Workers

    train.import_all(imports)
    workers = Workers(jobs, cluster, tuple(imports or ()))
    if resume is not None:
        refuse_options(context, resume, ("resume", "jobs", "cluster", "imports", "json"))
        comparison = Comparison.open(resume)
    else:
        chosen = _members(context, task, rules, own or [], sweep or [], tuned, {} if workers.alone else {"threads": 1})
        dataset = re.sub("[:/]", "-", chosen[0].config.data.dataset)  # of hf:owner/name
        name = f"compare-{chosen[0].config.task}-{dataset}-{time.strftime('%Y%m%d-%H%M%S')}"
        comparison = Comparison.start(
            out or Path("runs") / name, chosen, f"seqlra {shlex.join(sys.argv[1:])}", not no_stack
        )
    _run(comparison, workers, json)


def _members(
    context: typer.Context,
    task: str | None,
    rules: str | None,
    own: list[str],
    sweep: list[str],
    tuned: Path | None,
    unless_given: dict[str, Any],
) -> list[RunSpec]:
    """The runs of the command line: every label, with every value of a sweep, with every seed; with these options where
    they are not given."""
    from seqlra.sweeps.run_store import RunSpec

    words: list[str] = context.args
    base: dict[str, dict[str, Any]] = {}
    if tuned is not None:
        task, words, base = _of_study(context, task, rules, tuned)
    task = check_task(task)
    labels = {label: each["rule"] for label, each in base.items()} or labels_of(rules, "compare")
    options = own_options(own, labels)
    bases = {label: (base.get(label), {} if base else {"rule": rule}) for label, rule in labels.items()}
    swept = {label: label for label in labels}
    for text in sweep:
        swept, options = _swept(task, text, swept, options)
    seeds = {name: context.params[name] for name in ("seed", "seeds") if train.was_given(context, name)}
    members = []
    for label, before in swept.items():
        study, rule = bases[before]
        given = parameters(context, task, [*words, *options[label]], ANSWERS, study, **rule, **seeds)
        given |= {name: value for name, value in unless_given.items() if given.get(name) is None}
        try:
            members += [RunSpec(label, config) for config in train.configs_of(task, given)]
        except SeqlraError as error:
            raise SeqlraError(f"{label}: {error}") from error
    return members


def _of_study(
    context: typer.Context, task: str | None, rules: str | None, path: Path
) -> tuple[str, list[str], dict[str, dict[str, Any]]]:
    """The task of a study, the options on the command line, and for each label those of the study.

    Raises:
        SeqlraError: the command line has a task or rules of its own.
    """
    from seqlra.sweeps.trials import tuned

    found, base = tuned(path)
    if rules is not None:
        raise SeqlraError(f"--rules does not go with --tuned: the rules are those of the study, {', '.join(base)}")
    if task is None or task in TASKS:
        if task not in (None, found):
            raise SeqlraError(f"the study {path} is of {found}, not of {task}")
        return found, context.args, base
    return found, [task, *context.args], base  # the first option was taken for the task


def _swept(
    task: str, text: str, labels: dict[str, str], options: dict[str, list[str]]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The labels and their own options with each value of a sweep ``NAME=VALUE,VALUE``; a label stands for one of
    ``--rules``, as before."""
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
    for label, of in labels.items():
        for value in values:
            swept = f"{label}-{name}{value}"
            new_labels[swept] = of
            words = (
                [f"--{name}", value]
                if name.replace("-", "_") in known
                else ["--set", f"{name.replace('-', '_')}={value}"]
            )
            new_options[swept] = [*options[label], *words]
    return new_labels, new_options


def _run(comparison: Comparison, workers: Workers, json: bool) -> None:
    from seqlra.cli.show import json_line, table
    from seqlra.sweeps.comparison import table as cells
    from seqlra.training.trainer import Stopped

    try:
        results = comparison.run(
            lambda specs: _watching(comparison, specs), workers, lambda specs: _report(comparison, specs)
        )
    except (Stopped, KeyboardInterrupt):
        raise running.Interrupted(f"stopped; go on with: seqlra compare --resume {comparison.path}") from None
    header, *rows = cells(results)
    table(f"{comparison.title}: {comparison.path}", rows, header, to_stderr=json)
    if json:
        json_line({**results, "out": str(comparison.path)})


@contextmanager
def _watching(comparison: Comparison, specs: Sequence[RunSpec]) -> Iterator[Callable[[Trainer], None]]:
    """Print which runs they are, and show their progress."""
    from seqlra.training.progress import Progress

    print("; ".join(_name(comparison, spec) for spec in specs), file=sys.stderr, flush=True)
    with Progress() as watch:
        yield watch


def _name(comparison: Comparison, spec: RunSpec) -> str:
    return f"{comparison.specs.index(spec) + 1} of {len(comparison.specs)}, {spec.label}, seed {spec.seed}"


def _report(comparison: Comparison, specs: Sequence[RunSpec]) -> None:
    """Print the result of each of these runs."""
    for spec in specs:
        outcome, metric = comparison.outcome(spec) or {}, f"test_{comparison.metric}"
        if outcome.get("diverged"):
            print(f"{_name(comparison, spec)}: {outcome.get('message')}", file=sys.stderr, flush=True)
        elif outcome.get(metric) is not None:
            shown = f"{metric.replace('_', ' ')} {outcome[metric]:.4g}"
            print(f"{_name(comparison, spec)}: {shown}", file=sys.stderr, flush=True)
