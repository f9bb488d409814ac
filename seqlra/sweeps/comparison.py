"""Several rules, or settings, side by side on one task: one run for each label and seed, one table, one picture.

A comparison is a store of runs, ``<label>-seed<k>/`` for each, with ``compare.json`` (what is compared, written before
work starts), and ``results.json``, ``table.md`` and ``curves.png`` over the runs that are done. What can be trained
together is: the seeds of a label, and labels that differ only in what models of a stack may differ in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from seqlra import markdown
from seqlra.analysis.curves import METRICS, Curves
from seqlra.engine.update import update
from seqlra.errors import SeqlraError
from seqlra.optional import can_draw
from seqlra.sweeps.run_store import RunSpec, RunStore, Watching, groups, show_nothing
from seqlra.sweeps.workers import Workers, train_all
from seqlra.training.data_settings import Text
from seqlra.training.experiment import describe, prepare
from seqlra.training.machine import versions
from seqlra.training.results import spread, spread_text
from seqlra.training.run_directory import Directory, RunDirectory
from seqlra.training.settings import Config


def say_nothing(specs: Sequence[RunSpec]) -> None:
    """The report that says nothing."""


class Comparison(RunStore):
    """One comparison, and its files.

    >>> from pathlib import Path
    >>> from seqlra.sweeps.comparison import Comparison
    >>> from seqlra.sweeps.run_store import RunSpec
    >>> from seqlra.training.configure import configure
    >>> options = {"hidden": (12,), "valid": 13_000, "epochs": 1}
    >>> specs = [
    ...     RunSpec(rule, configure("mlp", **options, rule=rule, seed=seed))
    ...     for rule in ("lra-fdbk", "backprop")
    ...     for seed in (0, 1)
    ... ]
    >>> comparison = Comparison.start(Path("runs/rules"), specs)
    >>> results = comparison.run()
    >>> [(row["label"], row["seeds"]) for row in results["rows"]]
    [('lra-fdbk', [0, 1]), ('backprop', [0, 1])]
    >>> results["rows"][0]["test_error"]["mean"] < 90
    True

    ``Comparison.open(path).run()`` continues one that was stopped.

    Attributes:
        specs: its runs, in their order.
        metric: the metric of validation: "error", "bpc" or "perplexity".
        command: the command line that made it, if any.
        stacked: whether runs are trained together.
    """

    def __init__(
        self,
        path: Path,
        specs: Sequence[RunSpec] = (),
        metric: str = "error",
        command: str = "",
        stacked: bool = True,
    ) -> None:
        super().__init__(path)
        self.specs, self.metric, self.command, self.stacked = tuple(specs), metric, command, stacked

    @staticmethod
    def start(path: Path, specs: Sequence[RunSpec], command: str = "", stacked: bool = True) -> Comparison:
        """Record a new comparison, after a trial update of each label.

        Raises:
            SeqlraError: two runs with one name, runs of several tasks, a configuration that cannot be used, or a
                directory that cannot be made.
        """
        demand_comparable(specs)
        by_label = Comparison(path, specs).by_label()
        together = [group.specs for group in groups(specs)] if stacked else [each[:1] for each in by_label.values()]
        metrics = [_try(each) for each in together]
        Directory.create(path)
        comparison = Comparison(path, specs, metrics[0], command, stacked)
        plain = [{"label": spec.label, "config": spec.config.to_dict()} for spec in specs]
        about = {"command": command, "metric": comparison.metric, "stacked": stacked, "versions": versions()}
        comparison.write_json(comparison.about, {**about, "members": plain})
        comparison.started()
        return comparison

    @staticmethod
    def open(path: Path) -> Comparison:
        """An existing comparison.

        Raises:
            SeqlraError: there is none at ``path``, or its ``compare.json`` is damaged.
        """
        comparison = Comparison(path)
        if not comparison.about.is_file():
            raise SeqlraError(f"{path} is not a comparison: it has no compare.json")
        plain = comparison.read_json(comparison.about)
        try:
            specs = [RunSpec(each["label"], Config.from_dict(each["config"])) for each in plain["members"]]
            demand_comparable(specs)
            stacked = bool(plain.get("stacked", False))  # comparisons from before there were stacks
            metric = {name: name for name in METRICS}[plain["metric"]]
            return Comparison(path, specs, metric, plain["command"], stacked)
        except (KeyError, TypeError, SeqlraError) as error:
            raise SeqlraError(f"{comparison.about} is damaged: {error}") from error

    @property
    def about(self) -> Path:
        """The path of ``compare.json``."""
        return self.path / "compare.json"

    @property
    def title(self) -> str:
        """One line for tables and pictures: the task, the network where all have the same, the data."""
        networks = {describe(spec.config.network) for spec in self.specs}
        config = self.specs[0].config
        return ", ".join([config.task, *(networks if len(networks) == 1 else ()), config.data.dataset])

    def by_label(self) -> dict[str, list[RunSpec]]:
        """The runs of each label, in their order."""
        labels: dict[str, list[RunSpec]] = {}
        for spec in self.specs:
            labels.setdefault(spec.label, []).append(spec)
        return labels

    def run(
        self,
        watching: Watching = show_nothing,
        workers: Workers | None = None,
        report: Callable[[Sequence[RunSpec]], None] = say_nothing,
    ) -> dict[str, Any]:
        """Run what is not done yet, in groups where possible; return `results`, which are written after each group.

        A stopped run continues from its checkpoint; a run that diverges is recorded, and the rest continue.

        Args:
            watching: shows the progress of what is trained in this process.
            workers: other processes that train; None: this one does.
            report: called with the runs of a group that is done.

        Raises:
            Stopped, SeqlraError: see `RunStore.train`; with workers, `train_all`.
        """
        with self.locked():
            for specs in self._trained(watching, workers or Workers()):
                self.write_results()
                report(specs)
            return self.write_results()

    def _trained(self, watching: Watching, workers: Workers) -> Iterator[Sequence[RunSpec]]:
        """Train what is left; each time, the runs that are done."""
        if not workers.alone:
            yield from train_all(self, groups(self.specs), workers, self.stacked)
            return
        for group in groups(self.specs):
            for specs in self.left(group.name, group.specs, self.stacked):
                self.train(group.name, specs, watching)
                yield specs

    def results(self) -> dict[str, Any]:
        """The results so far: one row a label, over the seeds that are done; see `row`."""
        rows = []
        for label, specs in self.by_label().items():
            outcomes = [self.outcome(spec) for spec in specs]
            try:
                rows.append({"label": label, **row([outcome for outcome in outcomes if outcome], self.metric)})
            except KeyError as error:
                raise SeqlraError(f"a result.json of {label} in {self.path} is damaged: it has no {error}") from error
        done = sum(len(each["members"]) for each in rows)
        config = self.specs[0].config
        about = {"task": config.task, "dataset": config.data.dataset, "title": self.title, "metric": self.metric}
        return {**about, "done": done, "of": len(self.specs), "versions": versions(), "rows": rows}

    def write_results(self) -> dict[str, Any]:
        """Write ``results.json``, ``table.md`` and ``curves.png`` over the runs that are done; return `results`."""
        results = self.results()
        self.write_json(self.path / "results.json", results)
        self.write_text(self.path / "table.md", self._markdown(results))
        curves = [self._curves(each) for each in results["rows"] if each["members"]]
        if any(any(curve.values) for curve in curves) and can_draw():
            from seqlra.analysis.plotting import save_curves

            save_curves(self.path / "curves.png", curves, self.title, self.metric)
        return results

    def _curves(self, of: Mapping[str, Any]) -> Curves:
        chosen = spread_text(of[f"test_{self.metric}"])
        note = f", {len(of['diverged'])} diverged" if of["diverged"] else ""
        histories = [RunDirectory(self.path / each["run"]).read_metrics() for each in of["members"]]
        key = f"valid_{self.metric}"
        values = [[row[key] for row in history if row.get(key) is not None] for history in histories]
        return Curves(f"{of['label']}: test {chosen}{note}", values)

    def _markdown(self, results: Mapping[str, Any]) -> str:
        lines = [f"**{self.title}**", "", markdown.table(table(results))]
        if self.command:
            lines += ["", f"`{self.command}`"]
        return "\n".join(lines) + "\n"


def row(outcomes: Sequence[Mapping[str, Any]], metric: str) -> dict[str, Any]:
    """The results of one label over its seeds, as one row of ``results.json``.

    ``test_<metric>``, ``valid_<metric>``, ``ms_per_update`` and ``mean_depth`` are each a `spread`: ``mean``, ``min``,
    ``max`` and ``all`` (in the order of ``seeds``; None where a seed diverged before its first epoch ended).
    ``diverged`` holds the seeds that diverged; their figures are of the weights that validation chose before that.
    Models that are trained together share their time equally.
    """
    steps = [(outcome["train_seconds"], outcome["steps"]) for outcome in outcomes]
    return {
        "rule": outcomes[0]["rule"] if outcomes else None,
        "seeds": [outcome["seed"] for outcome in outcomes],
        "diverged": [outcome["seed"] for outcome in outcomes if outcome["diverged"]],
        **{f"{split}_{metric}": spread(o.get(f"{split}_{metric}") for o in outcomes) for split in ("test", "valid")},
        "ms_per_update": spread(1000 * seconds / count if count else None for seconds, count in steps),
        "mean_depth": spread(outcome.get("mean_depth") for outcome in outcomes),
        "best_epochs": [outcome["best_epoch"] for outcome in outcomes],
        "members": list(outcomes),
    }


def table(results: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The rows of `Comparison.results` as cells of text, below a header."""
    metric = results["metric"]
    header = (
        "",
        f"test {METRICS[metric]}",
        "on validation",
        "ms an update of one model",
        "mean depth",
        "best epoch",
        "notes",
    )
    rows: list[tuple[str, ...]] = [header]
    for each in results["rows"]:
        figures = [spread_text(each[f"{split}_{metric}"]) for split in ("test", "valid")]
        others = [spread_text(each[name], ranged=False) for name in ("ms_per_update", "mean_depth")]
        label = each["label"] if each["rule"] in (None, each["label"]) else f"{each['label']} ({each['rule']})"
        epochs = ", ".join(str(epoch) for epoch in each["best_epochs"])
        rows.append((label, *figures, *others, epochs, _notes(each)))
    return rows


def _notes(of: Mapping[str, Any]) -> str:
    if not of["members"]:
        return "not run yet"
    notes = []
    for outcome in of["members"]:
        if outcome["diverged"]:
            notes.append(f"seed {outcome['seed']} diverged in epoch {outcome['epochs'] + 1}")
    return ", ".join(notes)


def demand_comparable(specs: Sequence[RunSpec]) -> None:
    """Raise `SeqlraError` unless there are runs, each with a folder of its own, of one task on one device."""
    if not specs:
        raise SeqlraError("a comparison needs at least one run")
    folders: dict[str, str] = {}
    for spec in specs:
        if (name := spec.folder.lower()) in folders:  # some file systems take A and a for the same
            raise SeqlraError(f"two runs of the comparison would both be {folders[name]}; give each its own label")
        folders[name] = spec.folder
        for setting, value in _common(spec.config).items():
            first = _common(specs[0].config).get(setting)
            if value != first:
                raise SeqlraError(
                    f"{spec.label} has another {setting} than {specs[0].label} ({value}, not {first}); "
                    "all runs of a comparison have the same data, device and threads"
                )


def _common(config: Config) -> dict[str, Any]:
    """The settings that all runs have in common: data, device and threads."""
    data = config.to_dict()["data"]
    if isinstance(config.data, Text):  # streams and steps may differ, as the mini-batch of images may
        del data["streams"], data["unroll"]
    return {"task": config.task, **data, "device": config.device, "threads": config.threads}


def _try(specs: Sequence[RunSpec]) -> str:
    """Make one update of runs that are trained together, to report errors before anything trains; return the metric of
    validation.

    Raises:
        SeqlraError: it cannot run.
    """
    try:
        experiment = prepare([spec.config for spec in specs], fresh=True)
        update(experiment.graph, experiment.rule, *experiment.task.batch(0))
    except SeqlraError as error:
        raise SeqlraError(f"{specs[0].label}: {error}") from error
    return experiment.task.selects
