"""Oracle: the same runs alone. A comparison is the runs of ``seqlra train``, side by side, and means of them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Killed, Run, folder_of
from matplotlib.image import imread
from torch import Tensor

from seqlra.analysis.plotting import Curves, save_curves
from seqlra.cli import compare
from seqlra.errors import SeqlraError
from seqlra.sweeps import comparison
from seqlra.training import checkpoint, progress
from seqlra.training.callbacks import MetricsFile
from seqlra.training.trainer import Trainer

SHORT = "--hidden 12,8 --valid 13000 --epochs 2 --threads 1"
TIMES = {"train_seconds", "samples_per_second", "tokens_per_second", "ms_per_update", "out"}


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def without_times(plain: Any) -> Any:
    """Plain data without times."""
    if isinstance(plain, dict):
        return {name: without_times(value) for name, value in plain.items() if name not in TIMES}
    return [without_times(value) for value in plain] if isinstance(plain, list) else plain


def chosen(run: Path) -> dict[str, Tensor]:
    return checkpoint.load(run / "checkpoint.pt")["best"]["weights"]


def assert_same_run(one: Path, other: Path) -> None:
    for name in ("config.json", "result.json"):
        assert without_times(read(one / name)) == without_times(read(other / name))
    weights = chosen(one), chosen(other)
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_every_member_is_the_same_run_alone_and_own_options_reach_their_label_only(seqlra: Run, tmp_path: Path) -> None:
    of = "--rules lra-fdbk,b=backprop --own 'b: --lr 0.02' --seeds 2 --seed 3 --no-stack"
    done = seqlra(f"compare mlp {of} {SHORT} --out cmp")
    assert done.returncode == 0, done.stderr
    for folder, options in {
        "lra-fdbk-seed3": "--rule lra-fdbk --seed 3",
        "lra-fdbk-seed4": "--rule lra-fdbk --seed 4",
        "b-seed3": "--rule backprop --lr 0.02 --seed 3",
        "b-seed4": "--rule backprop --lr 0.02 --seed 4",
    }.items():
        assert seqlra(f"train mlp {options} {SHORT} --out alone/{folder}").returncode == 0
        assert_same_run(tmp_path / "cmp" / folder, tmp_path / "alone" / folder)
        files = [{path.name for path in (tmp_path / where / folder).iterdir()} for where in ("cmp", "alone")]
        assert files[0] == files[1] >= {"curve.png", "metrics.jsonl"}
    made = {path.name for path in (tmp_path / "cmp").iterdir() if not path.is_dir()}
    assert made == {"compare.json", "results.json", "table.md", "curves.png"}
    again = seqlra("evaluate cmp/b-seed4 --json")
    assert json.loads(again.stdout)["test_error"] == read(tmp_path / "cmp/b-seed4/result.json")["test_error"]


def test_the_results_are_the_means_of_the_runs_in_order(seqlra: Run, tmp_path: Path) -> None:
    done = seqlra(f"compare mlp --rules backprop,lra-diff --seeds 2 {SHORT} --out cmp --json")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    printed, results = json.loads(done.stdout), read(tmp_path / "cmp/results.json")
    assert printed == {**results, "out": "cmp"}
    assert (results["task"], results["dataset"], results["metric"]) == ("mlp", "mnist-sample", "error")
    assert (results["done"], results["of"]) == (4, 4)
    assert [row["label"] for row in results["rows"]] == ["backprop", "lra-diff"]
    for row in results["rows"]:
        runs = [read(tmp_path / f"cmp/{row['label']}-seed{seed}/result.json") for seed in (0, 1)]
        assert [member.items() >= run.items() for member, run in zip(row["members"], runs, strict=True)] == [True] * 2
        for name in ("test_error", "valid_error", "mean_depth"):
            values = [run[name] for run in runs]
            assert row[name]["all"] == values
            assert row[name]["mean"] == pytest.approx(sum(values) / 2)
            assert (row[name]["min"], row[name]["max"]) == (min(values), max(values))
        times = [1000 * run["train_seconds"] / 80 for run in runs]  # 80 updates
        assert row["ms_per_update"]["all"] == pytest.approx(times)
        assert row["best_epochs"] == [run["best_epoch"] for run in runs]
        assert (row["seeds"], row["diverged"], row["rule"]) == ([0, 1], [], row["label"])
        cell = f"{row['test_error']['mean']:.2f} (2 seeds, {row['test_error']['min']:.2f} to"
        assert f"| {row['label']} | {cell}" in (tmp_path / "cmp/table.md").read_text()
        assert cell in done.stderr  # where standard output belongs to JSON
    assert "4 of 4, lra-diff, seed 1" in done.stderr

    again = seqlra("compare --resume cmp")  # nothing is left to do: the table again
    assert again.returncode == 0
    assert "epoch 1" not in again.stderr
    assert cell in again.stdout


@pytest.mark.parametrize(("tokens", "metric"), [("chars", "bpc"), ("words", "perplexity")])
def test_texts_are_compared_by_their_metric(tokens: str, metric: str, seqlra: Run, tmp_path: Path) -> None:
    (tmp_path / "fine.txt").write_text("the cat sat on the mat and the rat ran. " * 200)
    net = f"--text fine.txt --tokens {tokens} --hidden 8 --streams 4 --unroll 10 --steps 9 --threads 1"
    done = seqlra(f"compare rnn --rules lra-fdbk,backprop {net} --own 'backprop: --unroll 5' --out cmp --json")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    for row, unroll in zip(results["rows"], (10, 5), strict=True):
        assert seqlra(f"train rnn --rule {row['label']} {net} --unroll {unroll} --out {row['label']}").returncode == 0
        assert_same_run(tmp_path / f"cmp/{row['label']}-seed0", tmp_path / row["label"])
        assert row[f"test_{metric}"]["mean"] == read(tmp_path / row["label"] / "result.json")[f"test_{metric}"]
    assert results["metric"] == metric


def test_members_may_start_from_another_run(seqlra: Run, tmp_path: Path) -> None:
    assert seqlra(f"train mlp {SHORT} --out first").returncode == 0
    assert seqlra(f"train mlp --rule backprop --init-from first {SHORT} --out alone").returncode == 0
    assert seqlra(f"compare mlp --rules backprop --init-from first {SHORT} --out cmp").returncode == 0
    assert_same_run(tmp_path / "cmp/backprop-seed0", tmp_path / "alone")


def test_a_text_that_changed_since_a_member_was_stopped_is_noticed(seqlra: Run, tmp_path: Path) -> None:
    (tmp_path / "fine.txt").write_text("the cat sat on the mat and the rat ran. " * 200)
    command = "compare rnn --rules backprop --text fine.txt --hidden 8 --streams 4 --steps 3 --out cmp"
    assert seqlra(command).returncode == 0
    (tmp_path / "cmp/backprop-seed0/result.json").unlink()
    (tmp_path / "fine.txt").write_text("THE CAT SAT ON THE MAT AND THE RAT RAN. " * 200)
    done = seqlra("compare --resume cmp")
    assert done.returncode == 1
    assert "has changed since the run cmp/backprop-seed0" in done.stderr


def test_ctrl_c_says_how_to_go_on_and_the_rest_is_as_if_nothing_had_been(
    seqlra: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = f"compare mlp --rules lra-fdbk,backprop {SHORT} --optimizer rmsprop"
    assert seqlra(f"{command} --out whole").returncode == 0

    class Stopping(progress.Progress):
        """A Ctrl-C in the middle of the second epoch of the second member."""

        def __call__(self, trainer: Trainer) -> None:
            if folder_of(trainer) == "backprop-seed0" and trainer.step > 40:
                os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(progress, "Progress", Stopping)
        patch.setattr(Trainer, "CHECK_EVERY", 7)
        stopped = seqlra(f"{command} --out cut")
    assert stopped.returncode == 130
    assert stopped.stderr.splitlines()[-1] == "stopped; go on with: seqlra compare --resume cut"
    assert (read(tmp_path / "cut/results.json")["done"], read(tmp_path / "cut/results.json")["of"]) == (1, 2)
    assert "not run yet" in (tmp_path / "cut/table.md").read_text()
    assert checkpoint.load(tmp_path / "cut/backprop-seed0/checkpoint.pt")["step"] == 43  # asked at 42
    first = (tmp_path / "cut/lra-fdbk-seed0/checkpoint.pt").stat().st_mtime_ns

    steps: list[int] = []

    class Counting(progress.Progress):
        def __call__(self, trainer: Trainer) -> None:
            steps.append(trainer.step)

    torch.manual_seed(99)  # what happens in between must not matter
    monkeypatch.setattr(progress, "Progress", Counting)
    assert seqlra("compare --resume cut").returncode == 0
    assert steps[0] > 43  # from its checkpoint, not from the start
    assert (tmp_path / "cut/lra-fdbk-seed0/checkpoint.pt").stat().st_mtime_ns == first  # not run again
    for folder in ("lra-fdbk-seed0", "backprop-seed0"):
        assert_same_run(tmp_path / "cut" / folder, tmp_path / "whole" / folder)
    whole, cut = read(tmp_path / "whole/results.json"), read(tmp_path / "cut/results.json")
    assert without_times(cut) == without_times(whole)


@pytest.mark.parametrize("file", ["config.json", "checkpoint.pt", "results.json"])
def test_a_kill_before_any_file_of_the_second_member_loses_nothing(
    file: str, seqlra: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fine.txt").write_text("the cat sat on the mat and the rat ran. " * 200)
    command = "compare rnn --rules lra-fdbk,backprop --text fine.txt --hidden 8 --streams 4 --steps 9 --threads 1"
    assert seqlra(f"{command} --out whole").returncode == 0
    move, seen = Path.replace, []

    def die_at(self: Path, target: Path) -> Path:
        seen.extend([target.name] * (target.name == file))
        if len(seen) == 2:
            raise Killed
        return move(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die_at)
        with pytest.raises(Killed):
            seqlra(f"{command} --out cut")
    assert seqlra("compare --resume cut").returncode == 0
    whole, cut = read(tmp_path / "whole/results.json"), read(tmp_path / "cut/results.json")
    assert without_times(cut) == without_times(whole)
    assert (tmp_path / "cut/backprop-seed0/curve.png").exists()


def test_a_member_that_diverges_is_reported_and_the_rest_continue(
    seqlra: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = "--own 'wild: --lr 1e30 --optimizer sgd --activation relu'"
    done = seqlra(f"compare mlp --rules wild=backprop,lra-fdbk {own} {SHORT} --out cmp --json")
    assert done.returncode == 0, done.stderr
    wild, tame = json.loads(done.stdout)["rows"]
    assert wild["diverged"] == [0]
    assert wild["test_error"] == {"mean": None, "min": None, "max": None, "all": [None]}  # no epoch had ended
    assert "diverged at step" in read(tmp_path / "cmp/wild-seed0/failed.json")["message"]
    assert not (tmp_path / "cmp/wild-seed0/result.json").exists()
    assert "training diverged at step" in done.stderr
    assert "| wild (backprop) | - | - |" in (tmp_path / "cmp/table.md").read_text()
    assert "seed 0 diverged in epoch 1" in (tmp_path / "cmp/table.md").read_text()
    assert tame["diverged"] == []
    assert tame["test_error"]["mean"] == read(tmp_path / "cmp/lra-fdbk-seed0/result.json")["test_error"]
    assert (tmp_path / "cmp/curves.png").exists()
    assert "diverged at step" not in seqlra("compare --resume cmp").stderr  # done, and not run again


def test_a_member_that_diverges_later_keeps_what_validation_chose(
    seqlra: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(self: Trainer) -> None:
        (run,) = next(each.runs for each in self.callbacks if isinstance(each, MetricsFile))
        if self.step > 45 and run.path.name == "backprop-seed1":
            with torch.no_grad():
                next(self.graph.parameters()).fill_(torch.nan)
            self._note_divergence(self.records[0], 46)

    monkeypatch.setattr(Trainer, "_demand_finite", diverge)
    done = seqlra(f"compare mlp --rules backprop --seeds 3 --no-stack {SHORT} --out cmp")
    assert done.returncode == 0, done.stderr
    assert seqlra(f"train mlp --rule backprop --seed 1 {SHORT} --epochs 1 --out alone").returncode == 0
    alone = read(tmp_path / "alone/result.json")  # one epoch of 40 updates, as far as that one came
    (row,) = read(tmp_path / "cmp/results.json")["rows"]
    assert row["diverged"] == [1]
    assert without_times(row["members"][1]).items() >= without_times(alone).items()
    assert row["test_error"]["all"][1] == alone["test_error"]
    assert "seed 1 diverged in epoch 2" in done.stdout
    again = seqlra("evaluate cmp/backprop-seed1 --json")
    assert json.loads(again.stdout)["test_error"] == alone["test_error"]


def test_all_diverging_leaves_a_table_and_no_picture(seqlra: Run, tmp_path: Path) -> None:
    done = seqlra(f"compare mlp --rules backprop --lr 1e30 --optimizer sgd --activation relu {SHORT} --out cmp")
    assert done.returncode == 0, done.stderr
    assert "diverged in epoch 1" in done.stdout
    assert not (tmp_path / "cmp/curves.png").exists()


BAD = {
    "mlp --rules hebb": "unknown rule 'hebb'; known: lra-fdbk, lra-diff, backprop",
    "mlp --rules lra-fdbk,x=hebb": "x: unknown rule 'hebb'",
    "mlp --rules backprop,backprop": "'backprop' appears twice in --rules",
    "mlp --rules a=backprop,A=backprop": "a-seed0; give each its own label",
    "mlp --rules backprop,,lra-diff": "cannot read ''",
    "mlp --rules a=": "cannot read 'a='",
    "mlp --rules a/b=backprop": "the label 'a/b' cannot name a folder",
    "mlp": "--rules lra-fdbk,backprop",
    "mlp --rules backprop --seeds 0": "seeds must be at least 1, not 0",
    "mlp --rules backprop --seed -1": "seed must be from 0",
    "mlp --rules backprop --own 'dfa: --lr 1'": "for 'dfa', which is not in --rules; there: backprop",
    "mlp --rules backprop --own '--lr 1'": "accepted: --own 'LABEL: options'",
    "mlp --rules backprop --own 'backprop:'": "accepted: --own 'LABEL: options'",
    "mlp --rules backprop --own 'backprop: --text \"x'": "No closing quotation",
    "mlp --rules backprop --own 'backprop: --seed 3'": "--seed cannot be an option of one run",
    "mlp --rules backprop --own 'backprop: --seeds 3'": "--seeds cannot be an option of one run",
    "mlp --rules backprop --own 'backprop: --out x'": "--out cannot be an option of one run",
    "mlp --rules backprop --own 'backprop: --resume x'": "go on with: seqlra compare --resume",
    "mlp --rules backprop --own 'backprop: --json'": "--json cannot be an option of one run",
    "mlp --rules backprop --rule backprop": "name the rules in --rules",
    "mlp --rules a=backprop,backprop --own 'a: --valid 12000'": "backprop has another valid than a (13000, not 12000)",
    "mlp --rules a=backprop,backprop --own 'a: --threads 2'": "has another threads than a",
    "mlp --rules lra-fdbk,backprop --beta 1": "backprop: rule 'backprop' has no setting 'beta'",
    "mlp --rules lra-fdbk,backprop --own 'backprop: --activation cosine'": "backprop: unknown activation 'cosine'",
    "mlp --rules lra-fdbk,backprop --own 'backprop: --batch-size 9999'": "backprop: a batch of 9999 is larger",
    "mlp --rules backprop --out taken": "exists already",
    "lstm --rules backprop": "unknown task 'lstm'; known: mlp, rnn",
    "--rules backprop --lr 1 mlp": "known: mlp, rnn (write it before the options)",
    "--resume nowhere": "nowhere is not a comparison: it has no compare.json",
    "--resume taken": "taken is not a comparison",
    "--resume nowhere --lr 1": "--lr does not go with --resume",
    "--resume nowhere --seeds 3": "--seeds does not go with --resume",
    "mlp --resume nowhere": "mlp does not go with --resume",
}


@pytest.mark.parametrize("given", BAD)
def test_bad_input_is_one_clear_line_before_anything_trains(given: str, seqlra: Run, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/notes.txt").write_text("precious")
    done = seqlra(f"compare {given}" + ("" if "resume nowhere" in given or "taken" in given else f" {SHORT}"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert BAD[given] in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_an_option_that_train_does_not_have_is_its_usage_error(seqlra: Run, tmp_path: Path) -> None:
    for words in ("--learning-rate 1", "--own 'backprop: --learning-rate 1'", "--unroll 5", "stray", "--lr fast"):
        done = seqlra(f"compare mlp --rules backprop {words}")
        assert done.returncode == 2
        assert "seqlra compare mlp" in done.stderr
        assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_damaged_comparison_is_said_to_be(seqlra: Run, tmp_path: Path) -> None:
    assert seqlra(f"compare mlp --rules backprop {SHORT} --out cmp").returncode == 0
    about = tmp_path / "cmp/compare.json"
    good = read(about)
    for bad in (
        about.read_text()[:200],
        "[]",
        "{}",
        json.dumps({**good, "metric": "beauty"}),
        json.dumps({**good, "members": 5}),
        json.dumps({**good, "members": []}),
        json.dumps({**good, "members": [{"label": "backprop"}]}),
        json.dumps({**good, "members": [{"label": "../x", "config": good["members"][0]["config"]}]}),
    ):
        about.write_text(bad)
        done = seqlra("compare --resume cmp")
        assert done.returncode == 1
        assert "compare.json is damaged" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_help_answers_without_torch_and_with_examples(tmp_path: Path) -> None:
    code = (
        "import sys; from seqlra.cli import main\n"
        "try: main()\n"
        "except SystemExit: print('LOADED', sorted({'torch', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    for words in ("compare --help", "compare mlp --help", "compare"):
        command = [sys.executable, "-c", code, *words.split()]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=True)
        assert done.stdout.splitlines()[-1] == "LOADED []"
        assert "seqlra compare mlp --rules" in done.stdout
        assert "seqlra compare --resume" in done.stdout


def test_the_comparisons_of_the_help_are_ones(seqlra: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their options are those of train, too; what they would train is not trained here."""
    commands = re.findall(r"^ +seqlra (compare mlp .*)$", str(compare.compare.__doc__), re.MULTILINE)
    started: list[int] = []

    def start(path: Path, members: list[comparison.RunSpec], command: str, stacked: bool) -> None:
        started.append(len(members))
        raise SeqlraError("they would train")

    monkeypatch.setattr(comparison.Comparison, "start", start)
    for command in commands:
        assert seqlra(command).stderr == "error: they would train\n", command
    assert started == [6, 2, 2, 6, 9]  # the fourth is a grid


def test_a_row_over_seeds_of_which_one_diverged() -> None:
    of = {"rule": "dfa", "train_seconds": 2.0, "steps": 400, "best_epoch": 3, "mean_depth": 4.0, "diverged": False}
    fine = {**of, "seed": 0, "test_error": 4.0, "valid_error": 5.0}
    other = {**of, "seed": 2, "test_error": 7.0, "valid_error": 6.0, "train_seconds": 4.0}
    lost = {"rule": "dfa", "seed": 1, "train_seconds": 0.0, "steps": 0, "best_epoch": 0, "diverged": True}
    row = comparison.row([fine, lost, other], "error")
    assert row["test_error"] == {"mean": 5.5, "min": 4.0, "max": 7.0, "all": [4.0, None, 7.0]}
    assert row["ms_per_update"] == {"mean": 7.5, "min": 5.0, "max": 10.0, "all": [5.0, None, 10.0]}
    assert (row["seeds"], row["diverged"]) == ([0, 1, 2], [1])
    assert comparison.spread_text(row["test_error"]) == "5.50 (2 seeds, 4.00 to 7.00)"
    assert comparison.spread_text(row["mean_depth"], ranged=False) == "4.00"


def test_bands_over_seeds_of_unequal_length() -> None:
    curves = Curves("dfa", [[9.0, 5.0, 4.0], [7.0], [8.0, 3.0]])
    assert curves.bands() == [(7.0, 8.0, 9.0), (3.0, 4.0, 5.0), (4.0, 4.0, 4.0)]
    assert Curves("none", [[]]).bands() == []


@pytest.mark.parametrize("epochs", [1, 2, 12, 100])
@pytest.mark.parametrize("best", [80.0, 2.0])
@pytest.mark.draws
def test_curves_that_coincide_are_all_to_be_seen(epochs: int, best: float, tmp_path: Path) -> None:
    same = [88.7] * epochs
    curves = [Curves("best", [[best] * epochs]), *(Curves(f"{nth}", [same, same]) for nth in range(5))]
    save_curves(tmp_path / "curves.png", curves, "title", "error")
    picture = (imread(tmp_path / "curves.png")[..., :3] * 255).round().astype(int)
    where_legend_is_not = picture[:, 200:, :] if epochs > 1 else picture
    for color in ("ff7f0e", "2ca02c", "d62728", "9467bd", "8c564b"):  # C1 to C5 of matplotlib
        rgb = [int(color[nth : nth + 2], 16) for nth in (0, 2, 4)]
        assert (where_legend_is_not == rgb).all(-1).sum() > 60, color
