"""Settings from words, files and keywords. Oracle: what was written, looked up in the configuration."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from seqlra import Backprop, SeqlraError
from seqlra.cli import train
from seqlra.training import config_file
from seqlra.training.configure import configurations, configure
from seqlra.training.fields import settings_of
from seqlra.training.option import setting


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("n=3", 3),
        ("n = 0.5", 0.5),
        ("n=off", None),
        ("n=true", True),
        ("n=false", False),
        ("n=pre", "pre"),
        ("n=a=b", "a=b"),
    ],
)
def test_a_setting_reads_as_what_it_looks_like(text: str, value: object) -> None:
    name, read = setting(text)
    assert (name, read, type(read)) == ("n", value, type(value))


@pytest.mark.parametrize("task", ["mlp", "rnn"])
def test_the_command_line_has_the_options_with_a_flag(task: str) -> None:
    of_a_run = {name for name, known in settings_of(task).items() if known.option.flag}
    others = {"settings", "seeds", "one_stream", "config", "print_config", "out", "resume", "imports", "json"}
    assert ("data_seed" in of_a_run) == (task == "rnn")  # of images it is for Python alone
    assert {each.name for each in train.command_of(task).params} - {"help"} == of_a_run | others


def test_what_is_left_open_follows_from_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert configure("mlp").network.activation == "tanh"
    assert configure("mlp", discretizer="bernoulli").network.activation == "sigmoid"
    assert configure("mlp", discretizer="bernoulli", activation="relu").network.activation == "relu"
    assert configure("mlp", rule="fa").network.feedback_init == "fan-out"
    assert (configure("mlp", steps=7).optimization.epochs, configure("mlp").optimization.steps) == (None, None)
    monkeypatch.chdir(tmp_path)
    config = configure("rnn", text="a/book.txt")
    assert (config.data.dataset, config.data.text) == ("book.txt", str(tmp_path / "a/book.txt"))  # type: ignore[union-attr]


def test_what_suits_a_rule_gives_way_to_what_was_given() -> None:
    assert (configure("mlp").optimization.lr, configure("mlp", lr=2).optimization.lr) == (0.001, 2)
    assert configure("rnn", rule="fa").network.across_time
    assert not configure("rnn", rule="backprop").network.across_time


@dataclass(frozen=True)
class Secretive(Backprop):
    shape: tuple[int, ...] = (3, 2)
    secret: object = field(default_factory=object)


def test_what_json_has_no_word_for_is_not_held() -> None:
    assert configure("mlp", rule=f"{__name__}:Secretive").rule.keys() == {"name", "reduction", "window", "shape"}


def test_settings_by_name_win_over_options() -> None:
    assert configure("mlp", c1=5, beta=0.5, settings={"c1": 2.0}).rule["c1"] == 2
    assert configure("mlp", c1=5, beta=0.5, settings={"c1": 2.0}).rule["beta"] == 0.5
    assert configure("mlp", c2="off").rule["c2"] is None


def read(tmp_path: Path, text: str) -> dict[str, Any]:
    (tmp_path / "it.toml").write_text(text)
    return config_file.read(tmp_path / "it.toml", "mlp")


class TestFile:
    def test_keys_are_options_and_the_table_is_the_rule(self, tmp_path: Path) -> None:
        text = "batch-size = 30\nbatch_size = 20\n"
        with pytest.raises(SeqlraError, match="appears twice"):
            read(tmp_path, text)
        with pytest.raises(SeqlraError, match="one value, not a table"):
            read(tmp_path, "[lr]\nvalue = 1\n")
        found = read(tmp_path, 'batch-size = 30\n[rule]\nname = "lra-diff"\nc1 = "off"\nform = "post"\n')
        assert found == {"batch_size": 30, "rule": "lra-diff", "settings": {"c1": None, "form": "post"}}

    def test_what_was_given_wins(self) -> None:
        file = {"lr": 0.5, "seed": 4, "rule": "lra-diff", "settings": {"c1": 2, "steps": 3, "form": "pre"}}

        def over(**given: Any) -> dict[str, Any]:
            return config_file.over("mlp", file, given)

        assert over() == file
        assert over(lr=0.25) == {**file, "lr": 0.25}
        assert over(rule="lra-diff")["settings"] == file["settings"]
        assert over(rule="dtp")["settings"] == {}
        assert over(c1=8)["settings"] == {"steps": 3, "form": "pre"}
        assert over(inner_steps=8)["settings"] == {"c1": 2, "form": "pre"}
        assert over(settings={"form": "post"})["settings"] == {**file["settings"], "form": "post"}
        assert over(rule="dtp", settings={"noise": 1})["settings"] == {"noise": 1}

    def test_what_is_written_is_read_again(self, tmp_path: Path) -> None:
        for given in (
            {"c1": "off", "c2": 3, "compile": True, "skip": True, "epsilon": 0.5},
            {"data_dir": '/a "b"\\ \x7f é', "rule": "dtp"},
            {"seeds": 3, "seed": 2},
        ):
            configs = configurations("mlp", **given)
            again = configurations("mlp", **read(tmp_path, config_file.write(configs)))
            assert again == configs

    def test_switches_and_bounds_have_their_words(self) -> None:
        found = tomllib.loads(config_file.write([configure("mlp", c1="off", compile=False)]))
        assert (found["compile"], found["rule"]["c1"], found["discretizer"]) == (False, "off", "none")
        assert "steps" not in found
