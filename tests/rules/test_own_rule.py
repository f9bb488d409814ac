"""A rule of your own from the command line, weights of another run, and settings by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from seqlra import SeqlraError
from seqlra.cli import app
from seqlra.rules import RULES, DifferenceTargetPropagation, rule
from seqlra.training import checkpoint
from seqlra.training.configure import configure

RULE = """
from dataclasses import dataclass
import seqlra

@dataclass(frozen=True)
class Halved(seqlra.Backprop):
    factor: float = 0.5

    def feedback_matrix(self, connection):
        return super().feedback_matrix(connection) * self.factor

def not_a_rule():
    pass
"""


@pytest.fixture(autouse=True)
def a_folder_with_a_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_rules_for_tests.py").write_text(RULE)
    monkeypatch.chdir(tmp_path)
    torch.set_default_dtype(torch.float32)


def train(*options: str) -> dict[str, torch.Tensor]:
    """The weights after a short run."""
    out = options[options.index("--out") + 1]
    arguments = ["train", "mlp", "--hidden", "9,7", "--steps", "20", "--threads", "1", *options]
    CliRunner().invoke(app, arguments, catch_exceptions=False)
    return checkpoint.load(Path(out) / "checkpoint.pt")["graph"]


def test_a_rule_of_ones_own_trains_from_the_command_line() -> None:
    half = train("--rule", "my_rules_for_tests:Halved", "--out", "half")
    whole = train("--rule", "my_rules_for_tests:Halved", "--set", "factor=1.0", "--out", "whole")
    backprop = train("--rule", "backprop", "--out", "backprop")
    assert torch.equal(whole["weights.W1"], backprop["weights.W1"])
    assert not torch.equal(half["weights.W1"], backprop["weights.W1"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lra", "known: lra-fdbk"),
        ("my_rules_for_tests:Third", "has no attribute 'Third'"),
        ("nowhere_to_be_found:Rule", "No module named"),
        ("my_rules_for_tests:not_a_rule", "is not a rule: it must be, or extend, seqlra.rules.base.Rule"),
        ("my_rules_for_tests:", "cannot read"),
        (":Halved", "cannot read"),
    ],
)
def test_what_is_not_a_rule_is_reported(name: str, message: str) -> None:
    with pytest.raises(SeqlraError, match=message):
        configure("mlp", rule=name)


@pytest.mark.parametrize("name", RULES)
def test_every_rule_is_made_by_its_name_and_says_what_it_is(name: str) -> None:
    assert isinstance(rule(name), RULES[name])
    assert rule(name).name == name
    assert len(RULES[name].about) > 10


def test_settings_of_a_rule_are_checked() -> None:
    assert rule("dtp", noise=0.5) == DifferenceTargetPropagation(noise=0.5)
    with pytest.raises(SeqlraError, match="has no setting 'noisy'; it has: reduction, target_step, noise"):
        rule("dtp", noisy=1)
    for name, settings in {
        "dtp": {"noise": -1, "target_step": 0, "inverse_lr": -0.1, "inverse_decay": 1, "inverse_steps": -1},
        "ste-slope": {"slope": 0.5},
        "reinforce-va": {"decay": 1.0},
        "fa": {"reduction": "max"},
    }.items():
        for setting, value in settings.items():
            with pytest.raises(SeqlraError, match=setting):
                rule(name, **{setting: value})
            with pytest.raises(SeqlraError):
                rule(name, **{setting: "much"})


def test_a_run_starts_from_the_chosen_weights_of_another() -> None:
    first = train("--out", "first")
    chosen = checkpoint.load(Path("first/checkpoint.pt"))["best"]["weights"]
    arguments = ("--rule", "backprop", "--init-from", "first", "--optimizer", "sgd", "--lr", "1e-30", "--seed", "5")
    second = train(*arguments, "--out", "second")
    for name, tensor in chosen.items():
        if name.startswith("feedback"):
            assert not torch.equal(second[name], tensor)  # those are of the new seed
        else:
            assert torch.equal(second[name], tensor)
    assert first.keys() == second.keys()


def test_weights_of_another_network_are_refused_and_nothing_is_left() -> None:
    train("--out", "first")
    arguments = ["train", "mlp", "--hidden", "9,6", "--init-from", "first", "--out", "second"]
    with pytest.raises(SeqlraError, match=r"weights.W2 is \(9, 7\) there and \(9, 6\) here"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert not Path("second").exists()
    with pytest.raises(SeqlraError, match="not a run directory"):
        CliRunner().invoke(app, [*arguments[:-3], "nowhere", "--out", "second"], catch_exceptions=False)


def test_a_run_that_started_from_another_resumes_without_it() -> None:
    whole = train("--out", "first")
    arguments = ["train", "mlp", "--hidden", "9,7", "--epochs", "1", "--threads", "1", "--init-from", "first"]
    CliRunner().invoke(app, [*arguments, "--out", "uncut"], catch_exceptions=False)
    CliRunner().invoke(app, [*arguments, "--out", "cut"], catch_exceptions=False)
    Path("cut/result.json").unlink()
    Path("first").rename("elsewhere")
    CliRunner().invoke(app, ["train", "mlp", "--resume", "cut"], catch_exceptions=False)
    cut, uncut = (checkpoint.load(Path(run) / "checkpoint.pt")["graph"] for run in ("cut", "uncut"))
    assert all(torch.equal(cut[name], uncut[name]) for name in whole)


@pytest.mark.parametrize("text", ["noise", "=1", "noise="])
def test_a_setting_is_a_name_and_a_value(text: str) -> None:
    with pytest.raises(SeqlraError, match="NAME=VALUE"):
        train("--rule", "dtp", "--set", text, "--out", "never")
