"""Oracle: the run alone. Slice s of a stack equals it, up to rounding, in all its files; a stack that was stopped or
killed equals the uninterrupted one bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Killed, Run, folder_of
from torch import Tensor

from seqlra import SeqlraError
from seqlra.analysis import plotting
from seqlra.data.images import Split
from seqlra.errors import Diverged
from seqlra.tasks.classification import Classification
from seqlra.training import checkpoint, progress, runs
from seqlra.training.configure import configure
from seqlra.training.experiment import Experiment, prepare, with_changes
from seqlra.training.results import spread
from seqlra.training.run_directory import RunDirectory, StackDirectory
from seqlra.training.runs import begin, train
from seqlra.training.settings import Config
from seqlra.training.trainer import Stopped, Trainer

OF_A_CLOCK = {"train_seconds", "samples_per_second", "tokens_per_second", "ms_per_update", "seconds", "out"}
SEEDS = (3, 0, 7)


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "fine.txt"
    path.write_text("the cat sat on the mat and the rat ran, as fast as rats can. " * 40)
    return path


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take longer than the training here."""
    monkeypatch.setattr(runs, "save_pictures", lambda *_: None)
    monkeypatch.setattr(plotting, "save_curves", lambda *_: None)


def mlp(images: Path, settings: dict[str, Any] | None = None, **given: Any) -> Config:
    options = {"hidden": (12, 8), "valid": 70, "batch_size": 20, "epochs": 3, "diagnose": 4, "dataset": "mnist"}
    return configure("mlp", settings=settings, **{**options, "data_dir": str(images), **given}, device="cpu", threads=1)


def rnn(text: Path, settings: dict[str, Any] | None = None, **given: Any) -> Config:
    options = {"hidden": (9,), "text": str(text), "streams": 5, "unroll": 40, "epochs": 2, "diagnose": 4}
    return configure("rnn", settings=settings, **{**options, **given}, device="cpu", threads=1)


def seeded(config: Config, seeds: Sequence[int] = SEEDS) -> list[Config]:
    return [with_changes(config, seed=seed) for seed in seeds]


def in_double(experiment: Experiment) -> Experiment:
    """The same over images in float64; everything else is float64 by torch's default."""
    if isinstance(task := experiment.task, Classification):
        parts = {name: task.images.part(name) for name in ("train", "valid", "test")}
        task.images = replace(task.images, **{n: Split(p.x.double(), p.t, p.rows) for n, p in parts.items()})
    return experiment


def trained_alone(config: Config, path: Path) -> RunDirectory:
    run, experiment = RunDirectory.create(path), in_double(prepare([config], fresh=True))
    begin(experiment, run)
    train(experiment, run)
    return run


def stack_in(path: Path, configs: Sequence[Config]) -> tuple[Experiment, StackDirectory]:
    experiment = in_double(prepare(configs, fresh=True))
    StackDirectory.create(path)
    stack = StackDirectory(path, [f"model{nth}" for nth in range(len(configs))])
    begin(experiment, stack)
    return experiment, stack


def trained(path: Path, configs: Sequence[Config]) -> StackDirectory:
    experiment, stack = stack_in(path, configs)
    train(experiment, stack)
    return stack


def close(one: Any, other: Any, where: str = "", exactly: bool = False) -> None:
    """Two things of plain containers, numbers and tensors are the same, numbers up to rounding unless ``exactly``."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for name in one.keys() - OF_A_CLOCK - {"random"}:
            close(one[name], other[name], f"{where}/{name}", exactly)
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for nth, pair in enumerate(zip(one, other, strict=True)):
            close(*pair, f"{where}/{nth}", exactly)
    elif isinstance(one, Tensor):
        assert one.shape == other.shape, where
        torch.testing.assert_close(
            one, other, msg=lambda words: f"{where}: {words}", **({"rtol": 0, "atol": 0} if exactly else {})
        )
    elif isinstance(one, float):
        rounding = 1e-5 if "angle" in where else 1e-9  # an angle of 0 is one of the square root of rounding
        assert other == (one if exactly else pytest.approx(one, rel=1e-7, abs=rounding)), where
    else:
        assert one == other, where


def assert_same_run(one: RunDirectory, other: RunDirectory, exactly: bool = False) -> None:
    """In all files of the two: results, metrics, and the checkpoints with the moments of the optimizer."""
    files = [{path.name for path in run.path.iterdir()} - {"curve.png", "diagnostics.png"} for run in (one, other)]
    assert files[0] == files[1]
    assert "result.json" in files[0]
    for name in ("config.json", "result.json"):
        close(*(run.read_json(run.path / name) for run in (one, other)), name, exactly)
    close(one.read_metrics(), other.read_metrics(), "metrics", exactly)
    close(checkpoint.load(one.checkpoint), checkpoint.load(other.checkpoint), "checkpoint", exactly)


MLPS: dict[str, dict[str, Any]] = {
    "lra-fdbk, adam": {},
    "lra-fdbk, sgd": {"optimizer": "sgd"},
    "lra-fdbk, momentum, schedule": {"optimizer": "sgd", "momentum": 0.9, "schedule": "linear"},
    "lra-fdbk, bounds per batch": {"settings": {"c1": 0.05, "c2": 0.3, "c2_per": "batch"}},
    "lra-fdbk, epsilon, skip": {"settings": {"epsilon": 0.001, "skip": True}},
    "lra-fdbk, epsilon per batch": {"settings": {"epsilon": 0.01, "epsilon_per": "batch"}},
    "lra-diff, K = 3": {"rule": "lra-diff", "settings": {"steps": 3}},
    "backprop, rmsprop": {"rule": "backprop", "optimizer": "rmsprop", "momentum": 0.5},
    "backprop, nadam": {"rule": "backprop", "optimizer": "nadam"},
    "fa, sgd": {"rule": "fa", "optimizer": "sgd"},
    "dfa, adamw": {"rule": "dfa", "optimizer": "adamw"},
    "dtp": {"rule": "dtp", "settings": {"noise": 0.0}},
    "slope annealing": {"rule": "ste-slope", "discretizer": "sign"},
    "winner-take-all": {"discretizer": "lwta"},
}
RNNS: dict[str, dict[str, Any]] = {
    "lra-fdbk, adam": {},
    "lra-diff, sgd": {"rule": "lra-diff", "optimizer": "sgd"},
    "backprop, two layers": {"rule": "backprop", "hidden": (9, 6)},
    "fa": {"rule": "fa"},
    "dfa, words": {"rule": "dfa", "tokens": "words"},
    "across time": {"across_time": True, "steps": 7},
}


@pytest.mark.parametrize("given", MLPS.values(), ids=MLPS)
def test_each_mlp_is_its_run_alone(given: dict[str, Any], images: Path, tmp_path: Path, no_pictures: None) -> None:
    configs = seeded(mlp(images, **given))
    stack = trained(tmp_path / "stack", configs)
    for config, run in zip(configs, stack.runs, strict=True):
        assert_same_run(run, trained_alone(config, tmp_path / f"alone{config.seed}"))


@pytest.mark.parametrize("given", RNNS.values(), ids=RNNS)
def test_each_rnn_is_its_run_alone(given: dict[str, Any], text: Path, tmp_path: Path, no_pictures: None) -> None:
    configs = seeded(rnn(text, **given))
    stack = trained(tmp_path / "stack", configs)
    for config, run in zip(configs, stack.runs, strict=True):
        assert_same_run(run, trained_alone(config, tmp_path / f"alone{config.seed}"))


def test_on_one_stream_each_is_its_run_alone_on_that_stream(images: Path, tmp_path: Path, no_pictures: None) -> None:
    configs = seeded(mlp(images, data_seed=5))
    experiment = prepare(configs)
    assert experiment.task.batch(0)[0].shape == (20, 30)  # type: ignore[union-attr]  # the same for all: no stack axis
    stack = trained(tmp_path / "stack", configs)
    for config, run in zip(configs, stack.runs, strict=True):
        assert_same_run(run, trained_alone(config, tmp_path / f"alone{config.seed}"))
    assert len({run.read_json(run.result)["valid_loss"] for run in stack.runs}) == len(SEEDS)


def test_models_of_one_seed_may_start_in_different_ways(images: Path, tmp_path: Path, no_pictures: None) -> None:
    first = trained_alone(mlp(images, epochs=1), tmp_path / "first")
    base = mlp(images)
    starts: list[dict[str, Any]] = [
        {"weight_init": "zeros"},
        {"weight_init": "gaussian", "weight_std": 0.3},
        {"feedback_init": "fan-out"},
        {"feedback_std": 0.2},
        {"init_from": str(first.path)},
    ]
    configs = [with_changes(base, network=with_changes(base.network, **start)) for start in starts]
    stack = trained(tmp_path / "stack", configs)
    for nth, (config, run) in enumerate(zip(configs, stack.runs, strict=True)):
        assert_same_run(run, trained_alone(config, tmp_path / f"alone{nth}"))


SWEPT: dict[str, dict[str, Any]] = {
    "adam": {},
    "sgd, bounds": {"optimizer": "sgd", "settings": {"c1": 0.05}},
    "momentum, schedule, c2 per batch": {
        "optimizer": "sgd",
        "momentum": 0.9,
        "schedule": "linear",
        "settings": {"c2": 0.3, "c2_per": "batch"},
    },
    "rmsprop, c2 off": {"optimizer": "rmsprop", "momentum": 0.5, "settings": {"c2": None}},
    "nadam, lra-diff": {"optimizer": "nadam", "rule": "lra-diff", "settings": {"steps": 2}},
    "adamw, epsilon": {"optimizer": "adamw", "settings": {"epsilon": 0.001}},
}


def swept(base: Config) -> list[Config]:
    """Three step sizes with as many values of beta and of the bounds that are on; the seed alone differs once, too."""
    configs = []
    for factor, seed in ((1.0, 3), (4.0, 3), (0.3, 3), (0.3, 5)):
        settings = {name: value * factor for name, value in base.rule.items() if name in ("beta", "c1", "c2") and value}
        moved = with_changes(base.optimization, lr=base.optimization.lr * factor)
        configs.append(with_changes(base, seed=seed, optimization=moved, rule={**base.rule, **settings}))
    return configs


@pytest.mark.parametrize("given", SWEPT.values(), ids=SWEPT)
def test_models_may_differ_in_step_size_and_settings(
    given: dict[str, Any], images: Path, tmp_path: Path, no_pictures: None
) -> None:
    configs = swept(mlp(images, **given))
    stack = trained(tmp_path / "stack", configs)
    for nth, (config, run) in enumerate(zip(configs, stack.runs, strict=True)):
        assert_same_run(run, trained_alone(config, tmp_path / f"alone{nth}"))
    assert len({run.read_json(run.result)["valid_loss"] for run in stack.runs}) == len(configs)


def test_settings_alone_may_differ_and_so_may_those_of_rnns(text: Path, tmp_path: Path, no_pictures: None) -> None:
    base = rnn(text, settings={"c1": 0.2, "c2": 0.1})
    configs = [with_changes(base, rule={**base.rule, "beta": beta}) for beta in (0.1, 0.5)]
    configs += swept(base)[1:]
    stack = trained(tmp_path / "stack", configs)
    for nth, (config, run) in enumerate(zip(configs, stack.runs, strict=True)):
        assert_same_run(run, trained_alone(config, tmp_path / f"alone{nth}"))


def test_settings_that_make_no_sense_are_refused_in_a_stack_too(images: Path) -> None:
    base = mlp(images)
    with pytest.raises(SeqlraError, match="beta must be above 0, not -1"):
        prepare([base, with_changes(base, rule={**base.rule, "beta": -1})])


def test_what_a_training_shares_cannot_differ(images: Path, text: Path) -> None:
    base = mlp(images)
    for other, words in (
        (mlp(images, hidden=(12, 9)), r"network hidden is \(12, 9\) and \(12, 8\)"),
        (mlp(images, optimizer="nadam"), "optimization optimizer is nadam and adam"),
        (mlp(images, settings={"c1": 0.5}), "rule c1 is on and off"),
        (mlp(images, settings={"epsilon": 0.5}), "rule epsilon is 0.5 and 0.0"),
        (mlp(images, valid=60), "data valid is 60 and 70"),
        (mlp(images, data_seed=0), "data seed is 0 and None"),
        (rnn(text), "task is rnn and mlp"),
    ):
        with pytest.raises(SeqlraError, match=f"may differ in their seed, .* are on; {words}"):
            prepare([base, other])
    with pytest.raises(SeqlraError, match="at least one model"):
        prepare([])


def test_the_images_are_held_once(images: Path) -> None:
    task = prepare(seeded(mlp(images))).task
    assert isinstance(task, Classification)
    parts = [task.images.part(name).x for name in ("train", "valid", "test")]
    assert len({part.untyped_storage().data_ptr() for part in parts}) == 1
    assert parts[0].untyped_storage().nbytes() == 4 * 30 * (190 + 70)


def test_a_stack_of_one_is_the_run_alone_bit_for_bit(images: Path, tmp_path: Path, no_pictures: None) -> None:
    config = mlp(images)
    stack = trained(tmp_path / "stack", [config])
    assert_same_run(stack.runs[0], trained_alone(config, tmp_path / "alone"), exactly=True)
    assert not stack.checkpoint.exists()


def stop_after(updates: int) -> Callable[[Trainer], None]:
    """A watcher that asks the trainer to stop, once, as Ctrl-C does, at the first look after so many updates."""
    asked: list[int] = []

    def watch(trainer: Trainer) -> None:
        if trainer.step >= updates and not asked:
            asked.append(trainer.step)
            os.kill(os.getpid(), signal.SIGINT)

    return watch


@pytest.mark.parametrize(
    "kind", ["own streams", "one stream", "units that draw", "dtp with noise", "rnn", "one has diverged"]
)
def test_a_stopped_stack_goes_on_bit_for_bit(
    kind: str, images: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pictures: None
) -> None:
    monkeypatch.setattr(Trainer, "CHECK_EVERY", 3)
    configs = {
        "own streams": seeded(mlp(images)),
        "one stream": seeded(mlp(images, data_seed=1)),
        "units that draw": seeded(mlp(images, discretizer="bernoulli")),
        "dtp with noise": seeded(mlp(images, rule="dtp")),
        "rnn": seeded(rnn(text)),
        "one has diverged": wild(images),
    }[kind]
    stack = trained(tmp_path / "stack", configs)
    whole = StackDirectory(stack.path.rename(tmp_path / "whole"), stack.folders)
    experiment, cut = stack_in(tmp_path / "stack", configs)
    with pytest.raises(Stopped):
        train(experiment, cut, stop_after(7))
    assert checkpoint.load(cut.checkpoint)["step"] % experiment.task.steps_per_epoch != 0
    assert not any(run.result.exists() for run in cut.runs)
    torch.manual_seed(99)  # what happens in between must not matter
    reopened = StackDirectory.open(cut.path)
    seen: list[int] = []
    train(in_double(prepare(configs)), reopened, lambda trainer: seen.append(trainer.step))
    assert min(seen) > 7  # it went on, rather than to start over
    close(reopened.read_json(reopened.result), whole.read_json(whole.result), "result", exactly=True)
    for one, other in zip(reopened.runs, whole.runs, strict=True):
        if one.failed.exists():
            close(one.read_json(one.failed), other.read_json(other.failed), "failed", exactly=True)
        else:
            assert_same_run(one, other, exactly=True)


@pytest.mark.parametrize("nth", range(11))
def test_a_kill_before_any_file_loses_nothing(
    nth: int, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pictures: None
) -> None:
    configs = seeded(mlp(images, epochs=1, diagnose=0), (0, 1))
    whole = trained(tmp_path / "whole", configs)
    experiment, cut = stack_in(tmp_path / "cut", configs)
    move, left = Path.replace, [nth]

    def die(self: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return move(self, target)

    # the checkpoint, two files of metrics, the checkpoint, two checkpoints, two results, the result of all
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        if nth < 9:
            with pytest.raises(Killed):
                train(experiment, cut)
        else:
            train(experiment, cut)
    if not cut.result.exists():
        train(in_double(prepare(configs, fresh=not cut.checkpoint.exists())), cut)
    close(cut.read_json(cut.result), whole.read_json(whole.result), "result", exactly=True)
    for one, other in zip(cut.runs, whole.runs, strict=True):
        assert_same_run(one, other, exactly=True)
    assert not cut.checkpoint.exists()


def wild(images: Path) -> list[Config]:
    """Three models, of which the second cannot be trained."""
    base = mlp(images, activation="relu", rule="backprop")
    start = with_changes(base.network, weight_init="gaussian", weight_std=1e200)
    return [base, with_changes(base, seed=1, network=start), with_changes(base, seed=2)]


def test_a_model_that_diverges_at_once_does_not_end_the_rest(images: Path, tmp_path: Path, no_pictures: None) -> None:
    configs = wild(images)
    stack = trained(tmp_path / "stack", configs)
    for nth in (0, 2):
        assert_same_run(stack.runs[nth], trained_alone(configs[nth], tmp_path / f"alone{nth}"))
    with pytest.raises(Diverged, match="diverged at step 1:"):
        trained_alone(configs[1], tmp_path / "lost")
    failed = stack.runs[1].read_json(stack.runs[1].failed)
    assert "diverged at step 1: the loss" in failed["message"]
    assert failed["message"].endswith(f"kept in {stack.runs[1].path}")
    assert (failed["epochs"], failed["steps"], failed["best_epoch"], failed["train_seconds"]) == (0, 0, 0, 0)
    assert "test_error" not in failed
    assert not stack.runs[1].metrics.exists()
    result = stack.read_json(stack.result)
    assert result["diverged"] == [1]
    assert [member["diverged"] for member in result["members"]] == [False, True, False]
    assert result["test_error"]["all"][1] is None


@pytest.mark.parametrize("where", ["loss", "weights"])
def test_a_model_that_diverges_later_keeps_what_validation_chose(
    where: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pictures: None
) -> None:
    configs = seeded(mlp(images))
    experiment, stack = stack_in(tmp_path / "stack", configs)
    after, calls = experiment.task.after, []

    def poisoned(step: Any) -> None:
        after(step)
        calls.append(0)
        if len(calls) == (8 if where == "loss" else 12):  # in the second epoch, or with its last update
            weights = next(experiment.graph.parameters())
            with torch.no_grad():
                weights[1].fill_(torch.nan)

    monkeypatch.setattr(experiment.task, "after", poisoned)
    train(experiment, stack)
    result = stack.read_json(stack.result)
    for nth in (0, 2):
        assert_same_run(stack.runs[nth], trained_alone(configs[nth], tmp_path / f"alone{nth}"))
    short = trained_alone(
        with_changes(configs[1], optimization=with_changes(configs[1].optimization, epochs=1)), tmp_path / "b"
    )
    lost, alone = stack.runs[1].read_json(stack.runs[1].failed), short.read_json(short.result)
    assert f"diverged at step {9 if where == 'loss' else 12}:" in lost.pop("message")
    close(lost, alone, "failed")
    close(stack.runs[1].read_metrics(), short.read_metrics(), "metrics")
    state, chosen = checkpoint.load(stack.runs[1].checkpoint), checkpoint.load(short.checkpoint)["best"]
    close(state["best"], chosen, "best")
    close(state["graph"], chosen["weights"], "graph")  # those that it has now would be nan
    assert result["diverged"] == [0]  # its seed
    assert result["test_error"]["all"][1] == pytest.approx(alone["test_error"])


def test_a_stack_ends_with_its_last_model(images: Path, tmp_path: Path, no_pictures: None) -> None:
    base = wild(images)[1]
    experiment, stack = stack_in(tmp_path / "stack", seeded(base))
    updates: list[int] = []
    experiment.task.after = lambda step: updates.append(0)  # type: ignore[method-assign]
    with pytest.raises(Diverged, match="every model diverged"):
        train(experiment, stack)
    result = stack.read_json(stack.result)
    assert len(updates) == 6  # of 18: the first look at the loss is at the end of the epoch
    assert result["diverged"] == list(SEEDS)
    assert result["ms_per_update"] is None
    assert "test_error" not in result
    assert all(run.failed.exists() for run in stack.runs)


def test_a_checkpoint_of_another_stack_is_refused(images: Path, tmp_path: Path, no_pictures: None) -> None:
    experiment, stack = stack_in(tmp_path / "stack", seeded(mlp(images)))
    with pytest.raises(Stopped):
        train(experiment, stack, stop_after(6))
    for others in (seeded(mlp(images), (3, 0)), [*seeded(mlp(images)), mlp(images)]):
        folders = [*stack.folders, "model3"][: len(others)]
        if len(others) == 4:
            shutil.copytree(stack.runs[0].path, stack.path / "model3")
        with pytest.raises(SeqlraError, match="does not fit"):
            train(prepare(others), StackDirectory(stack.path, folders))


def test_the_spread_of_figures() -> None:
    assert spread([4.0, None, 7.0]) == {"mean": 5.5, "min": 4.0, "max": 7.0, "all": [4.0, None, 7.0]}
    assert spread([None]) == {"mean": None, "min": None, "max": None, "all": [None]}


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def short(images: Path) -> str:
    """Options of a run of 12 updates."""
    return f"--dataset mnist --data-dir {images} --valid 70 --hidden 12,8 --batch-size 20 --epochs 2 --threads 1"


@pytest.mark.parametrize("stream", ["", "--one-stream"])
def test_the_command_trains_each_seed_as_alone(stream: str, seqlra: Run, images: Path, tmp_path: Path) -> None:
    done = seqlra(f"train mlp --seeds 3 --seed 4 {stream} {short(images)} --out many --json")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in Path("many").iterdir()} == {
        *("seed4", "seed5", "seed6", "stack.json", "result.json", "curves.png")
    }
    assert len(done.stdout.splitlines()) == 1
    result = read(Path("many/result.json"))
    assert json.loads(done.stdout) == {**result, "out": "many"}
    for seed, member in zip((4, 5, 6), result["members"], strict=True):
        many, alone = Path(f"many/seed{seed}"), Path(f"alone/seed{seed}")
        assert member == {"run": f"seed{seed}", "diverged": False, **read(many / "result.json")}
        assert read(many / "config.json")["data"]["seed"] == (4 if stream else None)
        if not stream or seed == 4:
            assert seqlra(f"train mlp --seed {seed} {short(images)} --out {alone}").returncode == 0
            assert {path.name for path in many.iterdir()} == {path.name for path in alone.iterdir()}
            one, other = read(many / "result.json"), read(alone / "result.json")
            assert one.keys() == other.keys()
            assert [one["test_loss"], one["valid_loss"]] == pytest.approx(
                [other["test_loss"], other["valid_loss"]], 1e-3
            )
        again = seqlra(f"evaluate {many} --split valid --json")
        assert json.loads(again.stdout)["valid_loss"] == pytest.approx(member["valid_loss"], 1e-5)
    assert result["seeds"] == [4, 5, 6]
    assert result["models"] == 3
    assert result["diverged"] == []
    for name in ("test_error", "test_loss", "valid_error", "train_error", "mean_depth"):
        assert result[name] == spread(member[name] for member in result["members"])
    assert result["best_epochs"] == [member["best_epoch"] for member in result["members"]]
    seconds = result["train_seconds"]
    assert [member["train_seconds"] for member in result["members"]] == pytest.approx([seconds / 3] * 3, abs=0.001)
    assert result["ms_per_update"] == pytest.approx(1000 * seconds / 12 / 3, rel=0.05)
    assert result["samples_per_second"] == pytest.approx(3 * 12 * 20 / seconds, rel=0.05)
    assert f"{result['test_error']['mean']:.4g}" in done.stderr  # the table
    mean = sum(read_metrics(f"many/seed{seed}")[-1]["valid_error"] for seed in (4, 5, 6)) / 3
    assert f"valid error {mean:.4g}" in done.stderr  # the progress


def read_metrics(run: str) -> list[dict[str, Any]]:
    return RunDirectory(Path(run)).read_metrics()


def test_the_command_trains_rnns_that_write_text(seqlra: Run, text: Path, tmp_path: Path) -> None:
    net = f"--text {text} --hidden 9 --streams 5 --unroll 40 --epochs 1"
    done = seqlra(f"train rnn --seeds 2 {net} --out many --json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert seqlra(f"train rnn --seed 1 {net} --out alone").returncode == 0
    assert result["members"][1]["test_bpc"] == pytest.approx(read(Path("alone/result.json"))["test_bpc"], 1e-3)
    assert result["tokens_per_second"] > 0
    assert len(seqlra("sample many/seed1 --length 20").stdout) > 20
    first = seqlra(f"train rnn --init-from many/seed0 {net} --out on")
    assert first.returncode == 0, first.stderr


def test_a_killed_command_goes_on_to_the_same_results(images: Path, tmp_path: Path) -> None:
    base = [sys.executable, "-c", "from seqlra.cli import main; main()", "train", "mlp"]
    command = [*base, "--seeds", "3", *short(images).replace("epochs 2", "epochs 40").split(), "--diagnose", "0"]
    subprocess.run([*command, "--out", tmp_path / "whole"], check=True, capture_output=True)
    process = subprocess.Popen([*command, "--out", tmp_path / "cut"], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while not process.stderr.readline().startswith("epoch 3 "):
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert not (tmp_path / "cut/result.json").exists()
    subprocess.run([*base, "--resume", tmp_path / "cut"], check=True, capture_output=True)
    whole, cut = (StackDirectory.open(tmp_path / name) for name in ("whole", "cut"))
    close(cut.read_json(cut.result), whole.read_json(whole.result), exactly=True)
    for one, other in zip(cut.runs, whole.runs, strict=True):
        assert_same_run(one, other, exactly=True)


def test_ctrl_c_says_how_to_go_on(seqlra: Run, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopping(progress.Progress):
        def __call__(self, trainer: Trainer) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(progress, "Progress", Stopping)
        patch.setattr(Trainer, "CHECK_EVERY", 4)
        stopped = seqlra(f"train mlp --seeds 2 {short(images)} --out many")
    assert stopped.returncode == 130
    assert stopped.stderr.splitlines()[-1] == "stopped; go on with: seqlra train mlp --resume many"
    member = seqlra("train mlp --resume many/seed0")
    assert member.stderr == "error: the run many/seed0 is trained with others; go on with: --resume many\n"
    assert "the runs in many are of seqlra train mlp" in seqlra("train rnn --resume many").stderr
    assert seqlra("train mlp --resume many").returncode == 0
    assert "the runs in many are finished" in seqlra("train mlp --resume many").stderr
    assert "finished" in seqlra("train mlp --resume many/seed0").stderr
    assert "the 2 runs in many" in seqlra("evaluate many").stdout


def test_when_all_diverge_the_command_fails_and_says_where(seqlra: Run, images: Path) -> None:
    wildly = "--rule backprop --lr 1e30 --optimizer sgd --activation relu"
    done = seqlra(f"train mlp --seeds 2 {wildly} {short(images)} --out many --json")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: every model diverged; many/seed0/failed.json says where")
    assert json.loads(done.stdout)["diverged"] == [0, 1]
    assert "diverged in epoch 1" in done.stderr


@pytest.mark.parametrize(
    ("given", "words"),
    {
        "--seeds 0": "seeds must be at least 1, not 0",
        "--one-stream": "--one-stream is about the models of --seeds N",
        "--seeds 2 --seed -1": "seed must be from 0",
        "--seeds 2 --batch-size 9999": "a batch of 9999 is larger",
        "--resume nowhere --seeds 2": "--seeds does not go with --resume",
        "--resume damaged": "stack.json is damaged",
        "--seeds 2 --out damaged": "exists already",
    }.items(),
)
def test_bad_input_is_one_clear_line(given: str, words: str, seqlra: Run, images: Path) -> None:
    Path("damaged").mkdir()
    Path("damaged/stack.json").write_text("{}")
    done = seqlra(
        f"train mlp {given}" + ("" if "resume" in given else f" {short(images).replace('--batch-size 20', '')}")
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr


class TestCompare:
    """``seqlra compare`` trains the seeds of a label as one stack."""

    def test_the_members_are_the_runs_alone(self, seqlra: Run, images: Path) -> None:
        done = seqlra(f"compare mlp --rules lra-fdbk,b=backprop --seeds 2 {short(images)} --out cmp --json")
        assert done.returncode == 0, done.stderr
        assert {path.name for path in Path("cmp").iterdir()} == {
            *("lra-fdbk-seed0", "lra-fdbk-seed1", "b-seed0", "b-seed1"),
            *("compare.json", "results.json", "table.md", "curves.png"),
        }
        for label, rule in (("lra-fdbk", "lra-fdbk"), ("b", "backprop")):
            for seed in (0, 1):
                alone, member = Path(f"alone/{label}-seed{seed}"), Path(f"cmp/{label}-seed{seed}")
                assert seqlra(f"train mlp --rule {rule} --seed {seed} {short(images)} --out {alone}").returncode == 0
                assert {path.name for path in alone.iterdir()} == {path.name for path in member.iterdir()}
                one, other = read(member / "result.json"), read(alone / "result.json")
                assert one["test_loss"] == pytest.approx(other["test_loss"], 1e-3)
                assert one.keys() == other.keys()
        rows = json.loads(done.stdout)["rows"]
        shares = [member["train_seconds"] for member in rows[0]["members"]]
        assert shares[0] == shares[1]
        assert rows[0]["ms_per_update"]["mean"] == pytest.approx(1000 * shares[0] / 12)
        assert "ms an update of one model" in Path("cmp/table.md").read_text()
        assert "1 of 4, lra-fdbk, seed 0; 2 of 4, lra-fdbk, seed 1\n" in done.stderr
        assert f"4 of 4, b, seed 1: test error {rows[1]['members'][1]['test_error']:.4g}" in done.stderr

    def test_labels_that_differ_in_step_size_and_settings_are_trained_together(self, seqlra: Run, images: Path) -> None:
        own = {"a": "--lr 0.003", "b": "--beta 0.4 --c2 2", "c": "--weight-init zeros"}
        options = " ".join(f"--own '{label}: {words}'" for label, words in own.items())
        rules = "a=lra-fdbk,other=backprop,b=lra-fdbk,c=lra-fdbk"
        done = seqlra(f"compare mlp --rules {rules} {options} --seeds 2 {short(images)} --out cmp --json")
        assert done.returncode == 0, done.stderr
        for seed in (0, 1):
            assert f"{1 + seed} of 8, a, seed {seed}; {5 + seed} of 8, b, seed {seed}; " in done.stderr
        for label, words in own.items():
            alone = f"train mlp {words} --seed 1 {short(images)} --out alone/{label}"
            assert seqlra(alone).returncode == 0
            one, other = (read(Path(where) / "result.json") for where in (f"cmp/{label}-seed1", f"alone/{label}"))
            assert one["test_loss"] == pytest.approx(other["test_loss"], 1e-3)
        assert [row["label"] for row in json.loads(done.stdout)["rows"]] == ["a", "other", "b", "c"]

    def test_all_may_see_one_stream(self, seqlra: Run, images: Path) -> None:
        done = seqlra(f"compare mlp --rules dfa --seeds 2 --seed 5 --one-stream {short(images)} --out cmp")
        assert done.returncode == 0, done.stderr
        assert [read(Path(f"cmp/dfa-seed{seed}/config.json"))["data"]["seed"] for seed in (5, 6)] == [5, 5]

    def test_after_ctrl_c_the_rest_is_as_if_nothing_had_been(
        self, seqlra: Run, images: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        command = f"compare mlp --rules dfa,backprop --seeds 2 {short(images)}"
        assert seqlra(f"{command} --out cmp").returncode == 0
        Path("cmp").rename("whole")

        class Stopping(progress.Progress):
            """A Ctrl-C in the middle of the second epoch of the second label."""

            def __call__(self, trainer: Trainer) -> None:
                if folder_of(trainer) == "backprop.stack" and trainer.step == 8:
                    os.kill(os.getpid(), signal.SIGINT)

        with monkeypatch.context() as patch:
            patch.setattr(progress, "Progress", Stopping)
            patch.setattr(Trainer, "CHECK_EVERY", 4)
            stopped = seqlra(f"{command} --out cmp")
        assert stopped.returncode == 130
        assert stopped.stderr.splitlines()[-1] == "stopped; go on with: seqlra compare --resume cmp"
        assert checkpoint.load(Path("cmp/backprop.stack/checkpoint.pt"))["step"] == 9
        assert read(Path("cmp/results.json"))["done"] == 2
        first = Path("cmp/dfa-seed0/checkpoint.pt").stat().st_mtime_ns
        torch.manual_seed(99)  # what happens in between must not matter
        assert seqlra("compare --resume cmp").returncode == 0
        assert Path("cmp/dfa-seed0/checkpoint.pt").stat().st_mtime_ns == first  # not run again
        close(read(Path("cmp/results.json")), read(Path("whole/results.json")), exactly=True)
        for folder in ("dfa-seed0", "dfa-seed1", "backprop-seed0", "backprop-seed1"):
            assert_same_run(
                RunDirectory(Path("cmp") / folder),
                RunDirectory(
                    Path("whole") / folder,
                ),
                exactly=True,
            )
        assert not Path("cmp/backprop.stack").exists()

    @pytest.mark.parametrize("file", ["stack.json", "seed0/checkpoint.pt", "seed0/result.json", "seed1/result.json"])
    def test_a_kill_loses_nothing(
        self, file: str, seqlra: Run, images: Path, monkeypatch: pytest.MonkeyPatch, no_pictures: None
    ) -> None:
        command = f"compare mlp --rules dfa --seeds 2 {short(images)}"
        assert seqlra(f"{command} --out cmp").returncode == 0
        Path("cmp").rename("whole")
        move = Path.replace

        def die(self: Path, target: Path) -> Path:
            if str(target).endswith(file):
                raise Killed
            return move(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", die)
            with pytest.raises(Killed):
                seqlra(f"{command} --out cmp")
        assert seqlra("compare --resume cmp").returncode == 0
        close(read(Path("cmp/results.json")), read(Path("whole/results.json")), exactly=True)
        for folder in ("dfa-seed0", "dfa-seed1"):
            assert_same_run(RunDirectory(Path("cmp") / folder), RunDirectory(Path("whole") / folder), exactly=True)
        assert not Path("cmp/dfa.stack").exists()

    @pytest.mark.parametrize(
        ("missing", "at_once"),
        [((1,), "2 of 3, dfa, seed 1\n"), ((0, 2), "1 of 3, dfa, seed 0; 3 of 3, dfa, seed 2\n")],
    )
    def test_only_what_is_missing_is_run(
        self, missing: tuple[int, ...], at_once: str, seqlra: Run, images: Path
    ) -> None:
        assert seqlra(f"compare mlp --rules dfa --seeds 3 {short(images)} --out cmp").returncode == 0
        before = read(Path("cmp/results.json"))["rows"][0]
        for seed in missing:
            shutil.rmtree(f"cmp/dfa-seed{seed}")
        done = seqlra("compare --resume cmp")
        assert done.returncode == 0, done.stderr
        assert done.stderr.startswith(at_once)
        after = read(Path("cmp/results.json"))["rows"][0]
        assert after["seeds"] == [0, 1, 2]
        assert after["valid_error"]["all"] == pytest.approx(before["valid_error"]["all"], abs=3)  # two of 70 images

    def test_one_with_a_checkpoint_of_its_own_goes_on_alone(self, seqlra: Run, images: Path) -> None:
        assert seqlra(f"compare mlp --rules dfa --seeds 3 {short(images)} --out cmp").returncode == 0
        Path("cmp/dfa-seed0/result.json").unlink()
        for seed in (1, 2):
            shutil.rmtree(f"cmp/dfa-seed{seed}")
        done = seqlra("compare --resume cmp")
        assert done.stderr.startswith("1 of 3, dfa, seed 0\n")
        assert "\n2 of 3, dfa, seed 1; 3 of 3, dfa, seed 2\n" in done.stderr

    def test_those_begun_before_there_were_stacks_go_on_one_by_one(self, seqlra: Run, images: Path) -> None:
        done = seqlra(f"compare mlp --rules dfa --seeds 2 --no-stack {short(images)} --out cmp")
        assert done.stderr.splitlines()[0] == "1 of 2, dfa, seed 0"
        plain = read(Path("cmp/compare.json"))
        assert plain.pop("stacked") is False
        Path("cmp/compare.json").write_text(json.dumps(plain))
        Path("cmp/dfa-seed0/result.json").unlink()  # its checkpoint is there
        shutil.rmtree("cmp/dfa-seed1")
        done = seqlra("compare --resume cmp")
        assert done.stderr.splitlines()[0] == "1 of 2, dfa, seed 0"
        assert "2 of 2, dfa, seed 1\n" in done.stderr

    def test_one_that_diverges_is_reported(self, seqlra: Run, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        one_update = Trainer._one_update

        def poisoned(self: Trainer) -> None:
            one_update(self)
            if self.step > self.task.steps_per_epoch:
                with torch.no_grad():
                    next(self.graph.parameters())[1].fill_(torch.nan)

        monkeypatch.setattr(Trainer, "_one_update", poisoned)
        done = seqlra(f"compare mlp --rules dfa --seeds 2 {short(images)} --out cmp --json")
        assert done.returncode == 0, done.stderr
        (row,) = json.loads(done.stdout)["rows"]
        assert row["diverged"] == [1]
        assert row["members"][1]["epochs"] == 1
        assert "seed 1 diverged in epoch 2" in done.stderr
        assert "2 of 2, dfa, seed 1: training diverged at step 8" in done.stderr
        assert "diverged" not in seqlra("compare --resume cmp").stderr  # done, and not run again
