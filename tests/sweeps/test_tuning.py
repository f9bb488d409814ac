"""Oracle: plain runs with the settings that were tried, a search that was not stopped, and counting."""

from __future__ import annotations

import doctest
import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from helpers import Killed

from seqlra import SeqlraError
from seqlra.network.graph import Graph
from seqlra.rules.space import Choice, Dimension, Range
from seqlra.sweeps import trials, trying, tuning
from seqlra.sweeps.search import Search
from seqlra.sweeps.trials import Trial
from seqlra.sweeps.tuning import Tuning
from seqlra.sweeps.tuning_picture import best_so_far
from seqlra.sweeps.workers import Workers
from seqlra.tasks.classification import Classification
from seqlra.training.configure import configure
from seqlra.training.runs import train_runs

RULES = {"lra-fdbk": "lra-fdbk", "k": "lra-diff", "backprop": "backprop"}


def options_of(images: Path, **more: Any) -> dict[str, Any]:
    small = {"dataset": "mnist", "data_dir": str(images), "valid": 60, "hidden": "7,5", "batch_size": 10}
    return {**small, "epochs": 3, "threads": 1, **more}


@pytest.fixture(autouse=True)
def single_precision() -> None:
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Tuning:
    """A study of three rules that ran to its end."""
    torch.set_default_dtype(torch.float32)
    rules = {label: options_of(images, rule=rule) for label, rule in RULES.items()}
    made = Tuning.start(tmp_path_factory.mktemp("study") / "whole", "mlp", rules, trials=6, seed=3, command="it")
    made.run()
    return made


def without_times(found: list[Trial]) -> list[Trial]:
    return [replace(trial, seconds=0) for trial in found]


def pretend(monkeypatch: pytest.MonkeyPatch, value: Callable[[dict[str, Any]], float] | None = None) -> list[Any]:
    """Put a function of the settings in place of training; returns the settings it was called with."""
    called: list[Any] = []

    def value_at(search: Search, settings: dict[str, Any], seed: int, report: Callable[[int, float], None]) -> float:
        called.append((search.label, settings))
        found = value(settings) if value else (math.log10(settings["lr"]) + 2) ** 2
        for epoch in (1, 2, 3):
            report(epoch, found)
        return found

    monkeypatch.setattr(trying, "value_at", value_at)
    return called


def test_every_rule_has_the_same_budget_within_its_space_and_begins_at_what_suits(whole: Tuning, images: Path) -> None:
    found = whole.trials()
    assert [trial.label for trial in found] == [label for label in RULES for _ in range(6)]
    assert [trial.number for trial in found] == [*range(1, 7)] * 3
    for trial in found:
        space = whole.searches[trial.label].space
        assert trial.settings.keys() == space.keys()
        assert all(value in space[name] for name, value in trial.settings.items())
    for label, rule in RULES.items():
        own = [trial for trial in found if trial.label == label]
        config = configure("mlp", **options_of(images, rule=rule))
        suits = {**config.rule, "lr": config.optimization.lr}
        assert own[0].settings == {name: suits[name] for name in own[0].settings}
        assert len({trial.settings["lr"] for trial in own}) == 6


def test_the_best_is_the_least_and_what_a_plain_run_with_these_settings_has(
    whole: Tuning, images: Path, tmp_path: Path
) -> None:
    results = json.loads((whole.path / "results.json").read_text())
    assert [row["label"] for row in results["rows"]] == list(RULES)
    assert (results["metric"], results["trials"], results["seed"]) == ("error", 6, 3)
    for row in results["rows"]:
        own = [trial for trial in whole.trials() if trial.label == row["label"]]
        assert row["done"] + row["pruned"] + row["diverged"] == 6
        assert row["best"]["value"] == min(trial.value for trial in own if trial.state == "done")
        assert row["best"]["value"] <= row["first"] == own[0].value
        options = options_of(images, rule=RULES[row["label"]], seed=3)
        settings = dict(row["best"]["settings"])
        config = configure("mlp", **options, lr=settings.pop("lr"), settings=settings)
        (plain,) = train_runs([config], tmp_path / row["label"])
        assert plain["valid_error"] == row["best"]["value"]
        assert plain["best_epoch"] == row["best"]["best_epoch"]
    assert {path.name for path in whole.path.iterdir()} == {
        "tune.json", "study.db", "trials.jsonl", "results.json", "table.md", "tuning.png",
    }  # fmt: skip
    assert "| k (lra-diff) | " in (whole.path / "table.md").read_text()


def test_a_trial_measures_validation_alone(whole: Tuning, monkeypatch: pytest.MonkeyPatch) -> None:
    looked, evaluate = set(), Classification.evaluate

    def watched(self: Classification, graph: Graph, split: str) -> list[dict[str, float]]:
        looked.add(split)
        return evaluate(self, graph, split)

    monkeypatch.setattr(Classification, "evaluate", watched)
    search, reported = whole.searches["k"], []
    value = trying.value_at(search, dict(search.start), 3, lambda epoch, value: reported.append((epoch, value)))
    assert looked == {"valid"}
    assert [epoch for epoch, _ in reported] == [1, 2, 3]
    assert value == min(value for _, value in reported) == whole.trials()[6].value


@pytest.mark.parametrize(("stop", "at"), [(KeyboardInterrupt, 3), (Killed, 6)])
def test_what_was_stopped_goes_on_as_if_it_had_not_been(
    stop: type[BaseException], at: int, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(name: str) -> Tuning:
        rules = {label: options_of(images, rule=label) for label in ("lra-fdbk", "backprop")}
        return Tuning.start(tmp_path / name, "mlp", rules, trials=5, seed=1)

    pretend(monkeypatch)
    first = start("whole")
    first.run()

    def value(settings: dict[str, Any]) -> float:
        if len(called) == at:
            raise stop
        return (math.log10(settings["lr"]) + 2) ** 2

    called = pretend(monkeypatch, value)
    cut = start("cut")
    with pytest.raises(stop):
        cut.run()
    assert sum(trial.label == "lra-fdbk" for trial in cut.trials()) == min(at - 1, 5)
    lines = (cut.path / "trials.jsonl").read_text().splitlines()
    assert len(lines) == 1 + len(cut.trials())
    pretend(monkeypatch)
    results = Tuning.open(cut.path).run()
    assert without_times(cut.trials()) == without_times(first.trials())
    assert [row["done"] + row["pruned"] for row in results["rows"]] == [5, 5]
    study = optuna.load_study(
        study_name=cut.plan.study_of("lra-fdbk" if at < 6 else "backprop"), storage=cut.plan.storage
    )
    assert [trial.state.name for trial in study.trials].count("FAIL") == 1
    assert "RUNNING" not in [trial.state.name for trial in study.trials]
    again = pretend(monkeypatch)
    Tuning.open(cut.path).run()
    assert again == []  # nothing is left


def test_several_processes_find_what_one_finds(whole: Tuning, images: Path, tmp_path: Path) -> None:
    rules = {label: options_of(images, rule=RULES[label]) for label in ("k", "backprop")}
    both = Tuning.start(tmp_path / "both", "mlp", rules, trials=6, seed=3)
    both.run(Workers(jobs=2))
    assert without_times(both.trials()) == without_times(whole.trials()[6:])


def test_a_trial_that_diverges_counts_and_is_never_the_best(images: Path, tmp_path: Path) -> None:
    rules = {"backprop": options_of(images, rule="backprop", optimizer="sgd", activation="relu", lr=0.1)}
    space: dict[str, dict[str, Dimension]] = {"backprop": {"lr": Choice((0.1, 1e30))}}
    made = Tuning.start(tmp_path / "study", "mlp", rules, trials=5, space=space)
    (row,) = made.run()["rows"]
    found = made.trials()
    assert {(trial.settings["lr"], trial.state) for trial in found} == {(0.1, "done"), (1e30, "diverged")}
    assert (row["done"] + row["diverged"], row["diverged"]) == (5, sum(t.state == "diverged" for t in found))
    assert all((trial.value is None) == (trial.state == "diverged") for trial in found)
    assert row["best"]["settings"] == {"lr": 0.1}
    assert "diverged" in (made.path / "table.md").read_text()


def test_where_all_diverge_there_is_no_best(images: Path, tmp_path: Path) -> None:
    rules = {"backprop": options_of(images, rule="backprop", optimizer="sgd", activation="relu")}
    made = Tuning.start(tmp_path / "study", "mlp", rules, 2, space={"backprop": {"lr": Range(1e29, 1e30)}})
    (row,) = made.run()["rows"]
    assert (row["best"], row["diverged"]) == (None, 2)
    assert not (made.path / "tuning.png").exists()
    with pytest.raises(SeqlraError, match="backprop has no trial in "):
        trials.tuned(made.path)


def test_what_is_worse_than_the_median_is_pruned_but_not_in_its_first_epoch(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = pretend(monkeypatch, lambda settings: float(len(called)))  # each worse than those before
    rules = {"backprop": options_of(images, rule="backprop")}
    made = Tuning.start(tmp_path / "study", "mlp", rules, trials=8)
    made.run()
    found = made.trials()
    assert [trial.state for trial in found] == ["done"] * 4 + ["pruned"] * 4
    assert [trial.epochs for trial in found] == [3] * 4 + [2] * 4
    assert [trial.value for trial in found] == [1, 2, 3, 4, 5, 6, 7, 8]
    called = pretend(monkeypatch, lambda settings: float(len(called)))
    none = Tuning.start(tmp_path / "none", "mlp", rules, trials=8, pruner="none")
    assert none.run()["rows"][0]["done"] == 8


def test_the_search_comes_closer_than_chance(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    rules = {"backprop": options_of(images, rule="backprop")}
    made = Tuning.start(tmp_path / "study", "mlp", rules, trials=18, pruner="none")
    made.run()
    early, late = made.trials()[1:5], made.trials()[-5:]
    assert sum(trial.value or 0 for trial in late) / 5 < 0.3 * sum(trial.value or 0 for trial in early) / 4


def test_what_has_a_value_is_not_searched_unless_it_is_named(images: Path) -> None:
    options = options_of(images, rule="lra-diff", beta=0.3, settings={"c2": 4.0})
    assert set(Search.of("mlp", "k", options).space) == {"lr", "steps"}
    space: dict[str, Dimension] = {"beta": Range(0.1, 1), "inner-steps": Range(2, 4), "momentum": Range(0, 0.5)}
    search = Search.of("mlp", "k", {**options, "optimizer": "rmsprop"}, space)
    assert search.space["steps"] == Range(2, 4, whole=True)  # K is a whole number
    assert search.start == {"lr": 0.001, "beta": 0.3, "momentum": 0.0}  # K is 1, outside, and left to the sampler
    config = search.config_at({"lr": 0.02, "beta": 0.5, "steps": 3, "momentum": 0.25}, seed=4)
    assert (config.optimization.lr, config.optimization.momentum, config.seed) == (0.02, 0.25, 4)
    assert [config.rule[name] for name in ("beta", "steps", "c2")] == [0.5, 3, 4.0]
    with pytest.raises(SeqlraError, match="nothing is left to tune: lr have values already"):
        Search.of("mlp", "b", options_of(images, rule="backprop", lr=0.1))
    with pytest.raises(SeqlraError, match="'valid' cannot be tuned for backprop; accepted: lr"):
        Search.of("mlp", "b", options_of(images, rule="backprop"), {"valid": Range(20, 60)})


def test_a_range_that_a_rule_refuses_is_one_before_anything_is_tried(images: Path, tmp_path: Path) -> None:
    for label, name, dimension, words in (
        ("lra-fdbk", "beta", Range(-1, 1), "lra-fdbk: beta must be above 0"),
        ("backprop", "lr", Range(0, 1), "backprop: lr must be above 0"),
        ("backprop", "activation", Choice(("tanh", "cosine")), "backprop: unknown activation 'cosine'"),
    ):
        rules = {label: options_of(images, rule=label)}
        with pytest.raises(SeqlraError, match=words):
            Tuning.start(tmp_path / "study", "mlp", rules, space={label: {name: dimension}})
    assert not (tmp_path / "study").exists()


OWN = """
from dataclasses import dataclass
import seqlra
from seqlra.rules.space import Range

@dataclass(frozen=True)
class Halved(seqlra.Backprop):
    factor: float = 0.5

    @classmethod
    def space(cls, lr, settings):
        return {**super().space(lr, settings), "factor": Range(0.25, 2 * settings["factor"])}
"""


def test_a_rule_of_ones_own_declares_its_space(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_rules_to_tune.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    called = pretend(monkeypatch)
    name = "my_rules_to_tune:Halved"
    made = Tuning.start(tmp_path / "study", "mlp", {"half": options_of(images, rule=name)}, trials=4)
    made.run()
    assert made.searches["half"].space["factor"] == Range(0.25, 1.0)
    assert called[0][1]["factor"] == 0.5
    assert all(0.25 <= settings["factor"] <= 1 for _, settings in called)
    monkeypatch.delitem(sys.modules, "my_rules_to_tune")
    for read in (Tuning.open, trials.tuned):  # a file runs no code
        with pytest.raises(SeqlraError, match="only a file names it"):
            read(made.path)


def test_a_copy_of_the_trials_says_what_was_tuned_without_optuna(
    whole: Tuning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "kept.json"
    copy.write_bytes((whole.path / "trials.jsonl").read_bytes())
    monkeypatch.setitem(sys.modules, "optuna", None)
    task, found = trials.tuned(copy)
    assert (task, list(found)) == ("mlp", list(RULES))
    assert trials.tuned(whole.path) == (task, found)
    for row in json.loads((whole.path / "results.json").read_text())["rows"]:
        config = configure(task, **found[row["label"]])
        held = {**config.rule, "lr": config.optimization.lr}
        assert {name: held[name] for name in row["best"]["settings"]} == row["best"]["settings"]
    with pytest.raises(SeqlraError, match=r"pip install 'seqlra\[tune\]'"):
        whole.trials()


def test_a_storage_elsewhere_is_shared_and_keeps_its_password_to_itself(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch)
    url = f"sqlite:///{tmp_path}/all.db"
    rules = {"backprop": options_of(images, rule="backprop")}
    made = Tuning.start(tmp_path / "study", "mlp", rules, trials=3, storage=url)
    with made.locked():  # another process may be at work there
        Tuning.open(made.path).run()
    assert (len(made.trials()), (made.path / "study.db").exists()) == (3, False)
    with pytest.raises(SeqlraError, match="has a study study already"):
        Tuning.start(tmp_path / "other" / "study", "mlp", rules, trials=3, storage=url)
    assert trying.masked("mysql://me:secret@host/db x") == "mysql://me:***@host/db x"
    hidden = Tuning(tmp_path, plan=replace(made.plan, storage="mysql://me:secret@host/db"), known={})
    assert "secret" not in json.dumps(hidden.to_dict())
    about = json.loads(made.about.read_text())
    about["plan"]["storage"] = "mysql://me:***@host/db"
    made.about.write_text(json.dumps(about))
    with pytest.raises(SeqlraError, match="give it with its password"):
        Tuning.open(made.path)
    assert Tuning.open(made.path, url).trials() == made.trials()


def test_data_that_changed_since_are_noticed(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def value(settings: dict[str, Any]) -> float:
        if len(called) == 2:
            raise KeyboardInterrupt
        return 1.0

    called = pretend(monkeypatch, value)
    made = Tuning.start(tmp_path / "study", "mlp", {"b": options_of(images, rule="backprop")}, trials=3)
    with pytest.raises(KeyboardInterrupt):
        made.run()
    about = json.loads(made.about.read_text())
    about["rules"][0]["versions"]["data"] = "others"
    made.about.write_text(json.dumps(about))
    with pytest.raises(SeqlraError, match="has changed since"):
        Tuning.open(made.path).run()


def test_a_damaged_study_is_said_to_be(whole: Tuning, tmp_path: Path) -> None:
    good = json.loads(whole.about.read_text())
    (tmp_path / "trials.jsonl").write_text("{}\n")
    with pytest.raises(SeqlraError, match="damaged"):
        trials.tuned(tmp_path)
    for bad in (
        "{",
        "{}",
        json.dumps({**good, "metric": "beauty"}),
        json.dumps({**good, "rules": []}),
        json.dumps({**good, "rules": [{"label": "b"}]}),
        json.dumps({**good, "plan": {"trials": 3}}),
    ):
        (tmp_path / "tune.json").write_text(bad)
        with pytest.raises(SeqlraError):
            Tuning.open(tmp_path)


def test_the_best_so_far_is_of_trials_that_were_done() -> None:
    def trial(state: str, value: float | None) -> Trial:
        return Trial("b", 1, state, value, {}, 1, 1, 0.0)

    states = [("diverged", None), ("done", 5.0), ("pruned", 2.0), ("done", 7.0), ("done", 4.0), ("done", 4.0)]
    found = [trial(*each) for each in states]
    assert best_so_far(found) == [math.inf, 5, 5, 5, 4, 4]
    assert trials.best(found) is found[4]
    assert trials.best(found[:1]) is None


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = doctest.DocTestFinder(recurse=False).find(tuning.Tuning, "Tuning", globs={})
    assert doctest.DocTestRunner().run(example).failed == 0
