"""``seqlra tune``."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqlra.cli import running, train
from seqlra.cli.labels import Own, Rules, Task, check_task, labels_of, own_options, parameters, refuse_options
from seqlra.cli.options import Cluster, Imports, Jobs, Json, option
from seqlra.errors import SeqlraError
from seqlra.training.option import BOOKKEEPING, setting

if TYPE_CHECKING:
    from seqlra.rules.space import Dimension
    from seqlra.sweeps.trials import Trial
    from seqlra.sweeps.tuning import Tuning
    from seqlra.sweeps.workers import Workers

STUDY = "Study"
ANSWERS = {
    "rule": "name the rules in --rules",
    "seed": "it belongs to the whole study",
    "seeds": "a trial has one; train what was tuned with more: seqlra compare --tuned DIR --seeds N",
    "one_stream": "a trial has one seed",
    "out": "it belongs to the whole study",
    "resume": "go on with: seqlra tune --resume DIR",
    "json": "it belongs to the whole study",
    "imports": "it belongs to the whole study",
    "print_config": "print that of one with: seqlra train mlp --print-config",
}
"""Options of ``seqlra train`` that trials cannot have, and what to do instead."""

Space = Annotated[
    list[str] | None,
    option(
        STUDY,
        'NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=VALUE,VALUE: what to search, for the rules that have it; or "LABEL: '
        'NAME=..." for one alone. May be repeated.',
        "lr and settings of each rule, around what suits",
    ),
]
Trials = Annotated[int, option(STUDY, "How many each rule has; the first is at the settings that suit.")]
Seed = Annotated[int, option(STUDY, "Of the search, and of the training.")]
Pruner = Annotated[
    str, option(STUDY, "When a trial ends early: median (worse than half of the others), asha, or none: never.")
]
Storage = Annotated[
    str | None,
    option(STUDY, "Where Optuna keeps the trials: a URL of SQLAlchemy, for several machines.", "DIR/study.db"),
]
Out = Annotated[Path | None, option(BOOKKEEPING, "Directory to make.", "runs/<name>")]
Resume = Annotated[Path | None, option(BOOKKEEPING, "Go on with this study; it has its own options.", False)]


def tune(
    context: typer.Context,
    task: Task = None,
    rules: Rules = None,
    own: Own = None,
    space: Space = None,
    trials: Trials = 20,
    seed: Seed = 0,
    pruner: Pruner = "median",
    storage: Storage = None,
    jobs: Jobs = 1,
    cluster: Cluster = None,
    out: Out = None,
    resume: Resume = None,
    imports: Imports = None,
    json: Json = False,
) -> None:
    """Find the settings of rules on one task, with the same number of trials for each, by Optuna.

    Only validation is looked at. The first trial of a rule has the settings that suit it, so the best is no worse.

        seqlra tune mlp --rules lra-fdbk,backprop,dfa --trials 20 --out runs/tuned

    Then train each rule at its best settings, and look at the test set once:

        seqlra compare --tuned runs/tuned --seeds 3

    Every option of seqlra train mlp (or rnn) is accepted besides, and holds for all; see seqlra train mlp --help. A
    setting that has a value there is not searched, unless --space names it:

        seqlra tune mlp --rules lra-fdbk,backprop --hidden 128x8 --epochs 5 --beta 0.1 --own "backprop: --momentum 0"

        seqlra tune mlp --rules lra-fdbk,k=lra-diff --space lr=0.0001:0.1:log --space "k: inner-steps=1,3,10"

    DIR holds tune.json, study.db (Optuna's), trials.jsonl (all trials, small enough to keep), results.json, table.md
    and tuning.png. After Ctrl-C, a crash or kill -9 it goes on as if it had not been stopped:

        seqlra tune --resume runs/tuned

    With --storage, several machines may each say that at the same time.
    """
    from seqlra.sweeps.tuning import Tuning
    from seqlra.sweeps.workers import Workers

    train.import_all(imports)
    workers = Workers(jobs, cluster, tuple(imports or ()))
    if resume is not None:
        refuse_options(context, resume, ("resume", "storage", "jobs", "cluster", "imports", "json"))
        tuning = Tuning.open(resume, storage)
    else:
        options = _options(context, check_task(task), labels_of(rules, "tune"), own or [], workers)
        seed = _seed(context, seed, options)
        ranges = _spaces(space or [], str(task), options)
        dataset = next(iter(options.values())).get("dataset") or "own"
        name = f"tune-{task}-{Path(dataset).name}-{time.strftime('%Y%m%d-%H%M%S')}"
        tuning = Tuning.start(
            out or Path("runs") / name,
            str(task),
            options,
            trials,
            seed,
            ranges,
            pruner,
            storage,
            f"seqlra {shlex.join(sys.argv[1:])}",
        )
    _run(tuning, workers, json)


def _options(
    context: typer.Context, task: str, labels: dict[str, str], own: list[str], workers: Workers
) -> dict[str, dict[str, Any]]:
    """The options of each label, as plain data: all of them but its seed."""
    from seqlra.training.fields import settings_of

    paths = {name for name, known in settings_of(task).items() if known.kind is Path}
    words, options = own_options(own, labels), {}
    for label, rule in labels.items():
        given = parameters(context, task, [*context.args, *words[label]], ANSWERS, rule=rule)
        given = {name: value for name, value in given.items() if value is not None}
        given |= {name: str(Path(given[name]).absolute()) for name in paths & given.keys()}
        if not workers.alone:
            given.setdefault("threads", 1)
        options[label] = given
    return options


def _seed(context: typer.Context, seed: int, options: dict[str, dict[str, Any]]) -> int:
    """The seed of the study: of the command line, or of a file; a file's seeds are not for trials."""
    for given in options.values():
        seed = seed if train.was_given(context, "seed") else given.get("seed", seed)
        for name in ("seed", "seeds", "one_stream"):
            given.pop(name, None)
    return seed


def _spaces(texts: list[str], task: str, options: dict[str, dict[str, Any]]) -> dict[str, dict[str, Dimension]]:
    """What every ``--space`` says, by label."""
    from seqlra.sweeps.search import may_tune

    spaces: dict[str, dict[str, Dimension]] = {label: {} for label in options}
    for text in texts:
        before, equals, values = (part.strip() for part in text.partition("="))
        label, colon, name = (part.strip() for part in before.rpartition(":"))
        if not (equals and name and values):
            raise SeqlraError(
                f"cannot read --space {text!r}; accepted: NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=VALUE,VALUE, such "
                "as lr=0.001:0.1:log; LABEL: before it for one rule alone"
            )
        if colon and label not in options:
            raise SeqlraError(
                f"--space {text!r} is for {label!r}, which is not in --rules; there: {', '.join(options)}"
            )
        name = name.removeprefix("--").replace("-", "_")
        having = [label] if colon else [each for each in options if may_tune(task, options[each]["rule"], name)]
        if not having:
            raise SeqlraError(f"--space {text!r}: none of {', '.join(options)} has a setting {name.replace('_', '-')}")
        for each in having:
            spaces[each][name] = _dimension(text, values)
    return spaces


def _dimension(text: str, values: str) -> Dimension:
    """``LOW:HIGH``, ``LOW:HIGH:log`` or ``VALUE,VALUE,...``."""
    from seqlra.rules.space import Choice, Range

    try:
        if ":" not in values:
            return Choice(tuple(setting(f"value={value}")[1] for value in values.split(",")))
        low, high, *log = values.split(":")
        if log not in ([], ["log"]):
            raise SeqlraError(f"{':'.join(log)!r} after the range; accepted: log")
        return Range(float(low), float(high), log=bool(log))
    except (SeqlraError, ValueError) as error:
        raise SeqlraError(f"cannot read --space {text!r}: {error}") from error


def _run(tuning: Tuning, workers: Workers, json: bool) -> None:
    from seqlra.cli.show import json_line, table
    from seqlra.sweeps.tuning import table as cells

    try:
        results = tuning.run(workers, _say)
    except KeyboardInterrupt:
        raise running.Interrupted(f"stopped; go on with: seqlra tune --resume {tuning.path}") from None
    header, *rows = cells(results)
    table(f"{results['title']}: {tuning.path}", rows, header, to_stderr=json)
    if json:
        json_line({**results, "out": str(tuning.path)})


def _say(trial: Trial, of: int, best: float | None) -> None:
    """One line about a trial."""
    from seqlra.sweeps.tuning import in_words

    outcome = trial.state if trial.value is None else f"{trial.value:.2f}"
    ended = f" (pruned after epoch {trial.epochs})" if trial.state == "pruned" else ""
    lowest = "" if best is None else f", best {best:.2f}"
    print(
        f"{trial.label}, trial {trial.number} of {of}: {outcome}{ended}{lowest}, {trial.seconds:.1f} s: "
        f"{in_words(trial.settings)}",
        file=sys.stderr,
        flush=True,
    )
