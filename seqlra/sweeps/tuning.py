"""Tuning: every rule gets the same number of trials to find its settings, and only validation is looked at.

A study is a folder: ``tune.json`` (what is tuned, written before work starts), ``study.db`` (Optuna's, unless the
storage is elsewhere), and of the trials so far ``trials.jsonl``, ``results.json``, ``table.md`` and ``tuning.png``.
`seqlra.sweeps.search` says what is searched, `seqlra.sweeps.trying` runs the trials of one rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from seqlra import markdown, own
from seqlra.analysis.curves import METRICS
from seqlra.errors import SeqlraError, unknown
from seqlra.optional import can_draw
from seqlra.rules.space import Dimension
from seqlra.sweeps import trials
from seqlra.sweeps.comparison import demand_comparable
from seqlra.sweeps.run_store import RunSpec
from seqlra.sweeps.search import Search
from seqlra.sweeps.trials import Trial
from seqlra.sweeps.trying import PRUNERS, Plan, Report, masked, names_in, storage_of, trials_in, try_all
from seqlra.sweeps.workers import Workers
from seqlra.training import fingerprint
from seqlra.training.experiment import describe, prepare, with_changes
from seqlra.training.machine import versions
from seqlra.training.run_directory import Directory
from seqlra.training.settings import MAY_BE_OWN


def say_nothing(trial: Trial, of: int, best: float | None) -> None:
    """The `Report` that says nothing."""


class Tuning(Directory):
    """A study of several rules on one task, and its files.

    >>> from pathlib import Path
    >>> from seqlra.rules.space import Range
    >>> from seqlra.sweeps.tuning import Tuning
    >>> options = {"hidden": (12,), "valid": 13_000, "epochs": 1}
    >>> rules = {name: {"rule": name, **options} for name in ("lra-fdbk", "backprop")}
    >>> space = {"backprop": {"lr": Range(0.0001, 0.1, log=True)}}
    >>> tuning = Tuning.start(Path("runs/tuned"), "mlp", rules, trials=2, space=space)
    >>> results = tuning.run()
    >>> [(row["label"], row["done"] + row["pruned"] + row["diverged"]) for row in results["rows"]]
    [('lra-fdbk', 2), ('backprop', 2)]
    >>> sorted(results["rows"][0]["best"]["settings"])
    ['beta', 'c2', 'lr']
    >>> results["rows"][0]["best"]["value"] <= results["rows"][0]["first"]
    True

    ``Tuning.open(path).run()`` continues one that was stopped.

    Attributes:
        task: ``mlp`` or ``rnn``.
        searches: that of each rule, by its label.
        plan: what they have in common.
        metric: of validation, whose lowest value is searched.
        command: the command line that made it, if any.
        known: the versions, and of each rule a hash of its code and its data, as the study began.
    """

    def __init__(
        self,
        path: Path,
        task: str = "",
        searches: Iterable[Search] = (),
        plan: Plan | None = None,
        metric: str = "",
        command: str = "",
        known: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        super().__init__(path)
        self.task, self.metric, self.command = task, metric, command
        self.searches = {search.label: search for search in searches}
        self.plan = plan or Plan("", 0, 0, PRUNERS[0], "", shared=False)
        self.known = known or {}

    @staticmethod
    def start(
        path: Path,
        task: str,
        rules: Mapping[str, Mapping[str, Any]],
        trials: int = 20,
        seed: int = 0,
        space: Mapping[str, Mapping[str, Dimension]] | None = None,
        pruner: str = "median",
        storage: str | None = None,
        command: str = "",
    ) -> Tuning:
        """Record a new study, after a trial update of each rule.

        Args:
            path: of the folder to make.
            task: ``mlp`` or ``rnn``.
            rules: by label the keywords of `configure`, with the name of the rule as ``rule``.
            trials: how many each rule has.
            seed: of the sampler, and of the training.
            space: by label other ranges than those of the rule, see `Search.of`.
            pruner: ``median`` ends a trial that is worse than the median of those before it at the same epoch,
                ``asha`` keeps a third at epochs 2, 8, 32, ...; ``none`` ends none.
            storage: a URL of SQLAlchemy, for several machines; None: ``study.db`` in the folder.
            command: the command line, for the record.

        Raises:
            SeqlraError: options, ranges or a storage that cannot be used, or a directory that cannot be made.
        """
        _check(trials, seed, pruner, rules)
        searches = [_search(task, label, options, (space or {}).get(label)) for label, options in rules.items()]
        demand_comparable([RunSpec(search.label, search.config_at(search.start, seed)) for search in searches])
        experiments = [search.check(seed) for search in searches]
        plan = Plan(path.name, trials, seed, pruner, storage or "", storage is not None)
        if storage is not None:
            _demand_new(plan)
        known = {
            search.label: fingerprint.versions_of(each.rule, each.task)
            for search, each in zip(searches, experiments, strict=True)
        }
        Directory.create(path)
        metric = experiments[0].task.selects
        tuning = Tuning(path, task, searches, _placed(plan, path), metric, masked(command), known)
        with storage_of(tuning.plan):  # makes the file
            tuning.write_json(tuning.about, tuning.to_dict())
        tuning.started()
        return tuning

    @staticmethod
    def open(path: Path, storage: str | None = None) -> Tuning:
        """An existing study, from its folder.

        Args:
            path: of the folder.
            storage: its URL, where ``tune.json`` leaves out the password.

        Raises:
            SeqlraError: there is none, it is damaged, or it names code that is neither imported nor installed.
        """
        tuning = Tuning(path)
        if not tuning.about.is_file():
            raise SeqlraError(f"{path} is not a study: it has no tune.json")
        plain = tuning.read_json(tuning.about)
        try:
            for each in plain["rules"]:
                for name in MAY_BE_OWN:
                    own.demand_known(each["options"].get(name))
            searches = [Search.from_dict(plain["task"], each) for each in plain["rules"]]
            plan = Plan(**plain["plan"])
            _check(plan.trials, plan.seed, plan.pruner, [search.label for search in searches])
            metric = {name: name for name in METRICS}[plain["metric"]]
            known = {each["label"]: dict(each["versions"]) for each in plain["rules"]}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise SeqlraError(f"{tuning.about} is damaged: {type(error).__name__} {error}") from error
        if storage is not None and not plan.shared:
            raise SeqlraError(f"the study {path} has its trials in study.db, so --storage does not go with it")
        if storage is None and ":***@" in plan.storage:
            raise SeqlraError(f"the study {path} is in {plan.storage}; give it with its password: --storage URL")
        plan = replace(plan, storage=storage or plan.storage)
        return Tuning(path, plain["task"], searches, _placed(plan, path), metric, plain["command"], known)

    @property
    def about(self) -> Path:
        """The path of ``tune.json``."""
        return self.path / "tune.json"

    def to_dict(self) -> dict[str, Any]:
        """``tune.json``, with no password in it."""
        storage = masked(self.plan.storage) if self.plan.shared else ""
        return {
            "command": self.command,
            "task": self.task,
            "metric": self.metric,
            "plan": {**asdict(self.plan), "storage": storage},
            "versions": versions(),
            "rules": [{**each.to_dict(), "versions": self.known[label]} for label, each in self.searches.items()],
        }

    def run(self, workers: Workers | None = None, report: Report = say_nothing) -> dict[str, Any]:
        """Run the trials that are left, and return `results`, which are written at the end, also where it is stopped.

        Args:
            workers: processes of which each tunes one rule at a time; None: this process tunes them all.
            report: called after each trial, in its process.

        Raises:
            SeqlraError: data that have changed since the study began, or a storage that cannot be used.
        """
        with nullcontext() if self.plan.shared else self.locked():
            self.sweep()
            self._check_unchanged()
            try:
                work = ((search, self.plan, report) for search in self.searches.values())
                for _ in (workers or Workers()).map(try_all, work):
                    pass
            finally:
                results = self.write_results()
        return results

    def _check_unchanged(self) -> None:
        """Look whether rules that have trials go on with the data that they began with."""
        counts = Counter(trial.label for trial in self.trials())
        for label, search in self.searches.items():
            if 0 < counts[label] < self.plan.trials:
                config = with_changes(search.config_at(search.start, self.plan.seed), versions=self.known[label])
                experiment = prepare([config], fresh=True)
                fingerprint.check_unchanged(experiment.rule, experiment.task, config)

    def trials(self) -> list[Trial]:
        """All trials so far, rule by rule."""
        with storage_of(self.plan) as storage:
            return [each for search in self.searches.values() for each in trials_in(storage, search, self.plan)]

    def write_results(self) -> dict[str, Any]:
        """Write the files over the trials so far; return `results`."""
        found = self.trials()
        made = results(self, found)
        self.write_text(self.path / trials.NAME, trials.as_text(self.to_dict(), found))
        self.write_json(self.path / "results.json", made)
        lines = [f"**{made['title']}**", "", markdown.table(table(made)), "", f"`{self.command}`"]
        self.write_text(self.path / "table.md", "\n".join(lines[: None if self.command else 3]) + "\n")
        if any(trial.value is not None for trial in found) and can_draw():
            from seqlra.sweeps.tuning_picture import save_tuning

            save_tuning(self.path / "tuning.png", found, made["title"], self.metric)
        return made


def results(tuning: Tuning, found: Sequence[Trial]) -> dict[str, Any]:
    """``results.json``: for each rule its best trial, the value of the first, how many there were, their seconds."""
    configs = [search.config_at({}, tuning.plan.seed) for search in tuning.searches.values()]
    networks, data = {describe(config.network) for config in configs}, configs[0].data.dataset
    rows = []
    for label, search in tuning.searches.items():
        own_trials = [trial for trial in found if trial.label == label]
        best = trials.best(own_trials)
        states = [trial.state for trial in own_trials]
        rows.append(
            {
                "label": label,
                "rule": search.options["rule"],
                "best": None if best is None else asdict(best),
                "first": own_trials[0].value if own_trials else None,
                **{state: states.count(state) for state in ("done", "pruned", "diverged")},
                "seconds": round(sum(trial.seconds for trial in own_trials), 3),
            }
        )
    what = ", ".join([tuning.task, *(networks if len(networks) == 1 else ()), data])
    title = f"{what}: {tuning.plan.trials} trials a rule, seed {tuning.plan.seed}"
    about = {"task": tuning.task, "dataset": data, "title": title, "metric": tuning.metric}
    return {**about, "trials": tuning.plan.trials, "seed": tuning.plan.seed, "versions": versions(), "rows": rows}


def table(made: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The rows of `results` as cells of text, below a header."""
    rows: list[tuple[str, ...]] = [
        ("", f"validation {METRICS[made['metric']]}", "in the first trial", "settings", "trials", "seconds")
    ]
    for row in made["rows"]:
        counts = ", ".join(f"{row[state]} {state}" for state in ("done", "pruned", "diverged") if row[state])
        label = row["label"] if row["rule"] == row["label"] else f"{row['label']} ({row['rule']})"
        best = row["best"] or {"value": None, "settings": {}}
        values = (_number(best["value"]), _number(row["first"]))
        rows.append((label, *values, in_words(best["settings"]) or "-", counts or "none yet", f"{row['seconds']:.1f}"))
    return rows


def in_words(settings: Mapping[str, Any]) -> str:
    """Settings in one line, numbers to four digits."""
    return ", ".join(f"{name} {f'{v:.4g}' if isinstance(v, float) else v}" for name, v in settings.items())


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _search(task: str, label: str, options: Mapping[str, Any], space: Mapping[str, Dimension] | None) -> Search:
    try:
        return Search.of(task, label, options, space)
    except SeqlraError as error:
        raise SeqlraError(f"{label}: {error}") from error


def _check(trials: int, seed: int, pruner: str, labels: Iterable[str]) -> None:
    if trials < 1:
        raise SeqlraError(f"each rule needs at least one trial, not {trials}")
    if pruner not in PRUNERS:
        raise unknown("pruner", pruner, PRUNERS)
    if not list(labels):
        raise SeqlraError("a study needs at least one rule")
    if seed < 0:
        raise SeqlraError(f"seed must be from 0 on, not {seed}")


def _placed(plan: Plan, path: Path) -> Plan:
    """The plan with the storage that lies in the folder, unless it has another."""
    return plan if plan.shared else replace(plan, storage=f"sqlite:///{(path / 'study.db').absolute()}")


def _demand_new(plan: Plan) -> None:
    with storage_of(plan) as storage:
        if any(name.startswith(f"{plan.name}/") for name in names_in(storage)):
            raise SeqlraError(
                f"the storage {masked(plan.storage)} has a study {plan.name} already; give this one another --out"
            )
