"""A setting is declared once: options, configuration files, keywords and config.json are all made from its field."""

from __future__ import annotations

import doctest
import json
import sys
import tomllib
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import annotated_types
import pytest
from helpers import Run

from seqlra import SeqlraError
from seqlra.rules import RULES, rule
from seqlra.training import config_file
from seqlra.training import configure as module
from seqlra.training.configure import configurations, configure
from seqlra.training.experiment import learner
from seqlra.training.fields import settings_of
from seqlra.training.settings import Config, Models, Network, Optimization, RuleOptions
from seqlra.training.validation import fields_of

OWN = """
from dataclasses import dataclass, field
import seqlra
from seqlra.rules.suited import Suited

@dataclass(frozen=True)
class Plain(seqlra.Backprop):
    factor: float = 0.5
    shape: tuple[int, ...] = (3, 2)
    secret: object = field(default_factory=object)

@dataclass(frozen=True)
class Choosy(Plain):
    @classmethod
    def suited(cls, task, activation, optimizer, given):
        return Suited(0.25, {"factor": 0.75}, feedback_init="gaussian", across_time=task == "rnn")
"""


@pytest.fixture
def own_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lra_mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "lra_mine", raising=False)


COMMON: dict[str, tuple[str, Any]] = {
    "hidden": ("--hidden 9,6x2", (9, 6, 6)),
    "activation": ("--activation softsign", "softsign"),
    "discretizer": ("--discretizer sign", "sign"),
    "block_size": ("--block-size 3", 3),
    "loss": ("--loss l1", "l1"),
    "weight_init": ("--weight-init zeros", "zeros"),
    "weight_std": ("--weight-std 0.25", 0.25),
    "feedback_init": ("--feedback-init fan-out", "fan-out"),
    "feedback_std": ("--feedback-std 0.5", 0.5),
    "init_from": ("--init-from /runs/a", "/runs/a"),
    "rule": ("--rule dfa", "dfa"),
    "beta": ("--beta 0.7", 0.7),
    "c1": ("--c1 5", 5.0),
    "c2": ("--c2 4.5", 4.5),
    "c2_per": ("--c2-per batch", "batch"),
    "inner_steps": ("--inner-steps 4 --rule lra-diff", 4),
    "feedback_decay": ("--feedback learned --feedback-decay 0.01", 0.01),
    "mirror_vectors": ("--mirror-vectors 7", 7),
    "epsilon": ("--epsilon 0.125", 0.125),
    "epsilon_output": ("--epsilon-output 2", 2.0),
    "epsilon_per": ("--epsilon-per batch", "batch"),
    "skip": ("--skip --epsilon 1", True),
    "reduction": ("--reduction sum", "sum"),
    "optimizer": ("--optimizer rmsprop", "rmsprop"),
    "lr": ("--lr 3e-5", 3e-5),
    "momentum": ("--momentum 0.5", 0.5),
    "weight_decay": ("--weight-decay 0.5", 0.5),
    "data": ("--data /own/file.npz", "/own/file.npz"),
    "targets": ("--data /own/file.npz --targets values", "values"),
    "epochs": ("--epochs 3", 3),
    "steps": ("--steps 7", 7),
    "seed": ("--seed 11", 11),
    "diagnose": ("--diagnose 0", 0),
    "log": ("--log wandb,tensorboard --log wandb", ("wandb", "tensorboard")),
    "compile": ("--compile", True),
    "precision": ("--precision bf16", "bf16"),
    "device": ("--device cpu", "cpu"),
    "threads": ("--threads 3", 3),
    "data_dir": ("--data-dir /data", "/data"),
}
GIVEN = {
    "mlp": COMMON
    | {
        "dataset": ("--dataset mnist", "mnist"),
        "label_column": ("--dataset hf:a/b --label-column t", "t"),
        "column": ("--dataset hf:a/b --column c", "c"),
        "config_name": ("--dataset hf:a/b --config-name c", "c"),
        "revision": ("--dataset hf:a/b --revision v2", "v2"),
        "valid": ("--valid 40", 40),
        "held_out": ("--data /own/file.csv --held-out 7", 7),
        "target": ("--data /own/file.csv --target y", "y"),
        "feedback": ("--feedback learned", "learned"),
        "carry": ("--carry error", "error"),
        "schedule": ("--schedule linear", "linear"),
        "batch_size": ("--batch-size 20", 20),
    },
    "rnn": COMMON
    | {
        "dataset": ("--dataset tiny_shakespeare", "tiny_shakespeare"),
        "column": ("--dataset hf:a/b --column c", "c"),
        "config_name": ("--dataset hf:a/b --config-name c", "c"),
        "revision": ("--dataset hf:a/b --revision v2", "v2"),
        "text": ("--text /book.txt", "/book.txt"),
        "valid_text": ("--text /a.txt --valid-text /b.txt --test-text /c.txt", "/b.txt"),
        "test_text": ("--text /a.txt --valid-text /b.txt --test-text /c.txt", "/c.txt"),
        "lowercase": ("--lowercase", True),
        "tokens": ("--tokens words", "words"),
        "max_words": ("--max-words 99", 99),
        "leak": ("--leak 0.5", 0.5),
        "train_leak": ("--leak 0.5 --train-leak", True),
        "recurrence": ("--recurrence diagonal", "diagonal"),
        "streams": ("--streams 5", 5),
        "unroll": ("--unroll 6", 6),
        "window": ("--window 2", 2),
        "online": ("--rule e-prop --online", True),
        "feedback": ("--feedback fixed", "fixed"),
        "carry": ("--carry derivative", "derivative"),
        "schedule": ("--schedule constant", "constant"),
        "length": ("--dataset adding --length 12", 12),
        "held_out": ("--dataset adding --held-out 50", 50),
        "valid": ("--dataset adding --valid 40", 40),
        "data_seed": ("--dataset mnist-rows --data-seed 4", 4),
        "batch_size": ("--dataset mnist-rows --batch-size 20", 20),
    },
}
EVERY = [(task, name) for task, given in GIVEN.items() for name in given]


def held(config: Config, name: str) -> Any:
    """What a configuration holds of a setting, found by its place in config.json."""
    known, plain = settings_of(config.task)[name], config.to_dict()
    if known.part is RuleOptions:
        return plain["rule"].get("name" if name == "rule" else known.option.setting or name)
    place = {Network: "network", Optimization: "optimization", Config: None}.get(known.part, "data")
    return (plain if place is None else plain[place])[known.field]


def test_the_list_of_options_is_whole() -> None:
    for task, given in GIVEN.items():
        assert given.keys() == {name for name, known in settings_of(task).items() if known.option.flag}


@pytest.mark.parametrize(("task", "name"), EVERY)
def test_every_option_is_accepted_and_lands_in_the_configuration(
    task: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seqlra.cli import train

    words, value = GIVEN[task][name]
    monkeypatch.setattr("seqlra.training.machine.set_threads", lambda threads: threads)
    parsed = train.command_of(task).make_context(task, words.split())
    (config,) = train.configs_of(task, train.given_options(parsed, task))
    assert held(config, name) == value
    if (
        name not in ("device", "init_from", "text", "valid_text", "test_text", "data_dir")
        and "--data" not in words.split()
    ):
        dataset = None if name == "dataset" else held(config, "dataset")
        assert held(configure(task, dataset=dataset), name) != value  # or the test above could not fail
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    (tmp_path / "it.toml").write_text(config_file.write([config]))
    assert configurations(task, **config_file.read(tmp_path / "it.toml", task)) == [config]


def test_online_is_an_update_at_every_step_unless_chunks_have_a_length_and_goes_with_text_alone() -> None:
    lengths = [configure("rnn", rule="rflo", online=True, unroll=given).data.unroll for given in (None, 7)]  # type: ignore[union-attr]
    assert lengths == [1, 7]
    with pytest.raises(SeqlraError, match="--online goes with a text"):
        configure("rnn", rule="rflo", online=True, dataset="copy")
    with pytest.raises(SeqlraError, match="no setting 'online'"):
        configure("rnn", rule="lra-fdbk", online=True)


def test_config_json_is_the_configuration(seqlra: Run, tmp_path: Path, images: Path) -> None:
    words = f"--dataset mnist --data-dir {images} --valid 40 --hidden 6,5 --batch-size 20 --steps 2 --threads 1"
    assert seqlra(f"train mlp {words} --rule dtp --set noise=0.2 --out run").returncode == 0
    options = {"dataset": "mnist", "data_dir": images, "valid": 40, "hidden": (6, 5), "batch_size": 20, "steps": 2}
    config = configure("mlp", **options, threads=1, rule="dtp", settings={"noise": 0.2})
    written = json.loads((tmp_path / "run/config.json").read_text())
    assert replace(Config.from_dict(written), versions={}) == config


OUTSIDE: dict[str, list[Any]] = {
    "lr": [0, -1, float("nan")],
    "momentum": [-0.1, 1],
    "weight_decay": [-1],
    "batch_size": [0],
    "epochs": [0],
    "steps": [-3],
    "seed": [-1, 2**62],
    "diagnose": [-1],
    "threads": [0],
    "data_seed": [-1],
    "max_words": [1],
    "leak": [0, 1.5, float("nan")],
    "streams": [0],
    "unroll": [0],
    "mirror_vectors": [0],
    "length": [0],
    "held_out": [0],
    "valid": [0],
}


def bounded() -> dict[str, dict[str, str]]:
    """The settings that have bounds, and where they do: the task, and the dataset if it is not the default one."""
    kinds = (annotated_types.Gt, annotated_types.Ge)
    found: dict[str, dict[str, str]] = {}
    for where, kind in (
        ({"task": "mlp"}, "images"),
        ({"task": "rnn"}, "text"),
        ({"task": "rnn", "dataset": "adding"}, "generated"),
        ({"task": "rnn", "dataset": "mnist-rows"}, "pixels"),
    ):
        for name, known in settings_of(where["task"], kind).items():
            if any(isinstance(each, kinds) for each in fields_of(known.part)[known.field].metadata):
                found.setdefault(name, where)
    return found


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_is_out_of_bounds_is_one_line_that_names_the_option(name: str) -> None:
    for value in OUTSIDE[name]:
        with pytest.raises(SeqlraError, match=rf"^{name.replace('_', '-')} must be .*, not {value}$"):
            configure(**bounded()[name], **{name: value})


def test_every_bound_is_tried() -> None:
    assert bounded().keys() == OUTSIDE.keys()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"epochs": 1.5}, "epochs must be a whole number, not 1.5"),
        ({"weight_std": "wide"}, "weight-std must be a number, not wide"),
        ({"compile": "often"}, "compile must be true or false, not often"),
        ({"hidden": (3, 0)}, "cannot read the hidden sizes"),
        ({"precision": "bf8"}, "unknown precision 'bf8'; known: float32, tf32, bf16"),
        ({"learning_rate": 1}, "unknown option 'learning_rate'; known: dataset, "),
        ({"settings": {"noise": 1}}, "rule 'lra-fdbk' has no setting 'noise'"),
        ({"streams": 4}, "unknown option 'streams'"),
    ],
)
def test_other_values_that_make_no_sense(options: dict[str, Any], says: str) -> None:
    with pytest.raises(SeqlraError, match=says):
        configure("mlp", **options)


@pytest.mark.parametrize("name", RULES)
def test_a_configuration_holds_every_setting_of_its_rule(name: str) -> None:
    config = configure("mlp", rule=name)
    assert config.rule.keys() == {"name", *(field.name for field in fields(RULES[name]))}
    assert learner(config) == rule(name, **RULES[name].suited("mlp", "tanh", "adam", {}).settings)


def test_a_changed_default_does_not_change_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    config = configure("mlp", rule="dtp")
    before = learner(config)
    monkeypatch.setattr(RULES["dtp"].__init__, "__defaults__", ("mean", 9.0, 9.0, 9.0, 0.9, 9))
    assert rule("dtp") != before  # or the next line could not fail
    assert learner(config) == before


def test_old_configurations_are_read() -> None:
    config = configure("mlp", rule="dtp")
    plain = config.to_dict()
    plain["optimisation"] = plain.pop("optimization")
    plain["rule"] = {"name": "dtp", "reduction": "mean"}
    for later in ("diagnose", "log", "compile", "precision"):
        del plain[later]
    old = Config.from_dict(plain)
    assert replace(old, rule=config.rule) == config
    assert learner(old) == learner(config)


def test_a_window_of_0_alone_leaves_sequences_without_errors_across_time() -> None:
    for rule_name, settings in (("lra-fdbk", {}), ("backprop", {"window": 3}), ("lra-fdbk", {"window": 0})):
        for dataset in ("adding", "mnist-rows"):
            config = configure("rnn", dataset=dataset, rule=rule_name, settings=settings)
            assert config.network.across_time == (settings.get("window") != 0)
    assert not configure("rnn", rule="backprop").network.across_time  # W^T crosses without error weights


def test_epochs_take_the_place_of_the_updates_of_a_generated_task() -> None:
    for given, epochs, steps in (({}, None, 5000), ({"epochs": 3}, 3, None), ({"epochs": 3, "steps": 7}, None, 7)):
        found = configure("rnn", dataset="adding", **given).optimization
        assert (found.epochs, found.steps, found.batch_size, found.schedule) == (epochs, steps, 20, "constant")


def test_damaged_configurations_are_refused() -> None:
    for part, damage in {
        "network": {"hidden": [3], "colour": "red"},
        "data": {},
        "optimization": 3,
        "task": "cnn",
        "seed": None,
        "weather": "fine",
    }.items():
        with pytest.raises(SeqlraError, match="not the configuration of a run"):
            Config.from_dict({**configure("mlp").to_dict(), part: damage})


def test_replace_checks_too() -> None:
    config = configure("mlp")
    with pytest.raises(SeqlraError, match="lr must be above 0"):
        replace(config.optimization, lr=-1)
    assert replace(config, seed=4) == configure("mlp", seed=4)


@pytest.mark.usefixtures("own_rules")
@pytest.mark.parametrize(("task", "optimizer"), [("mlp", "adam"), ("mlp", "sgd"), ("rnn", "adam"), ("rnn", "sgd")])
def test_a_rule_of_ones_own_gets_what_suits_it(task: str, optimizer: str) -> None:
    plain, backprop = (configure(task, rule=name, optimizer=optimizer) for name in ("lra_mine:Plain", "backprop"))
    assert (plain.network, plain.optimization) == (backprop.network, backprop.optimization)
    assert dict(plain.rule) == {
        "name": "lra_mine:Plain",
        "reduction": "mean",
        "window": None,
        "factor": 0.5,
        "shape": (3, 2),
    }
    choosy = configure(task, rule="lra_mine:Choosy", optimizer=optimizer)
    assert (choosy.optimization.lr, choosy.rule["factor"]) == (0.25, 0.75)
    assert (choosy.network.feedback_init, choosy.network.across_time) == ("gaussian", task == "rnn")
    over = configure(task, rule="lra_mine:Choosy", optimizer=optimizer, lr=2, settings={"factor": 3.0})
    assert (over.optimization.lr, over.rule["factor"]) == (2, 3)
    assert hash(learner(Config.from_dict(json.loads(json.dumps(plain.to_dict())))).shape) == hash((3, 2))


def test_a_stack_has_a_configuration_a_seed() -> None:
    several = configurations("mlp", seeds=3, seed=5, one_stream=True, rule="fa")
    assert several == [configure("mlp", seed=seed, data_seed=5, rule="fa") for seed in (5, 6, 7)]
    assert configurations("rnn", seeds=2, one_stream=True) == [configure("rnn", seed=seed) for seed in (0, 1)]
    for options in ({"seeds": 0}, {"seeds": "many"}, {"seed": -1}, {"one_stream": "no way"}):
        with pytest.raises(SeqlraError, match=" must be "):
            configurations("mlp", **options)
    assert asdict(Models()) == {"seed": 0, "seeds": None, "one_stream": False}


def test_the_examples_of_the_docstrings() -> None:
    result = doctest.testmod(module)
    assert result.attempted >= 3
    assert result.failed == 0


FILE = """
hidden = [7, 5]
batch-size = 30
lr = 0.5
seed = 4

[rule]
name = "lra-diff"
c1 = 2
c2 = "off"
steps = 3
"""


class TestFile:
    def printed(self, seqlra: Run, words: str) -> dict[str, Any]:
        done = seqlra(f"{words} --print-config")
        assert (done.returncode, done.stderr) == (0, "")
        return tomllib.loads(done.stdout)

    def test_options_win_over_the_file_and_the_file_over_defaults(self, seqlra: Run, tmp_path: Path) -> None:
        (tmp_path / "a.toml").write_text(FILE)
        found = self.printed(seqlra, "train mlp --config a.toml --lr 0.25 --c1 8 --set form=pre")
        assert (found["hidden"], found["batch-size"], found["seed"], found["lr"]) == ([7, 5], 30, 4, 0.25)
        settings = found["rule"]
        assert (settings["name"], settings["c1"], settings["c2"], settings["steps"]) == ("lra-diff", 8, "off", 3)
        other = self.printed(seqlra, "train mlp --config a.toml --rule dtp")
        assert other["rule"] == self.printed(seqlra, "train mlp --rule dtp")["rule"]

    @pytest.mark.parametrize(
        "words",
        [
            "mlp",
            "rnn --rule fa --text ./b.txt --steps 9",
            "rnn --dataset copy --length 25 --epochs 3 --seeds 2 --data-seed 7",
            "rnn --dataset mnist-pixels --valid 99 --set window=0",
            "mlp --seeds 3 --one-stream --rule dtp --discretizer lwta",
            "mlp --optimizer sgd --activation sigmoid --data-dir 'a \"b\" é'",
        ],
    )
    def test_what_is_printed_is_read_again(self, words: str, seqlra: Run, tmp_path: Path) -> None:
        printed = seqlra(f"train {words} --print-config").stdout
        (tmp_path / "again.toml").write_text(printed)
        assert seqlra(f"train {words.split()[0]} --config again.toml --print-config").stdout == printed
        assert not (tmp_path / "runs").exists()

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("learning-rate = 1", "unknown setting in bad.toml: 'learning-rate'; known: dataset, data-dir"),
            ("lr = ", "cannot read the configuration bad.toml"),
            ("batch_size = 1\nbatch-size = 2", "appears twice"),
            ("[optimization]\nlr = 1", "unknown setting in bad.toml: 'optimization'"),
            ("[lr]\nvalue = 1", "[rule] is the only table"),
            ("[rule]\nsharpness = 2", "rule 'lra-fdbk' has no setting 'sharpness'"),
            ("lr = -1", "lr must be above 0, not -1"),
            ("seeds = 0", "seeds must be at least 1, not 0"),
        ],
    )
    def test_what_is_wrong_with_a_file_is_one_line(self, text: str, says: str, seqlra: Run, tmp_path: Path) -> None:
        (tmp_path / "bad.toml").write_text(text)
        done = seqlra("train mlp --config bad.toml --out run")
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
        assert says in done.stderr
        assert seqlra("train mlp --config nowhere.toml").stderr.startswith("error: cannot read the configuration")

    def test_a_comparison_takes_a_file_for_all(self, seqlra: Run, tmp_path: Path, images: Path) -> None:
        (tmp_path / "a.toml").write_text(
            f'dataset = "mnist"\ndata-dir = "{images}"\nvalid = 40\nseeds = 2\nsteps = 1\n' + FILE
        )
        words = "compare mlp --rules lra-diff,dfa --config a.toml --own 'dfa: --lr 0.125' --out cmp"
        done = seqlra(words)
        assert done.returncode == 0, done.stderr
        members = json.loads((tmp_path / "cmp/compare.json").read_text())["members"]
        found = [(each["label"], each["config"]["seed"], each["config"]["optimization"]["lr"]) for each in members]
        assert found == [("lra-diff", 4, 0.5), ("lra-diff", 5, 0.5), ("dfa", 4, 0.125), ("dfa", 5, 0.125)]
        assert [each["config"]["rule"].get("steps") for each in members] == [3, 3, None, None]
        refused = seqlra("compare mlp --rules dfa --print-config")
        assert "--print-config cannot be an option of one run in a comparison" in refused.stderr


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("learned", None, "error", "mirror", True)),
        ({"feedback": "fixed"}, ("fixed", 0, "derivative", "gaussian", False)),
        ({"window": 0}, ("learned", 0, "error", "mirror", False)),
        ({"window": 4}, ("learned", 4, "error", "mirror", True)),
        ({"feedback": "fixed", "window": 3}, ("fixed", 3, "derivative", "gaussian", True)),
        ({"weight_init": "zeros"}, ("learned", None, "error", "gaussian", True)),
    ],
)
def test_what_an_rnn_by_lra_is_given_where_it_is_left_open(given: dict[str, Any], expected: Any) -> None:
    config = configure("rnn", **given)
    rule, network = config.rule, config.network
    found = (rule["feedback"], rule["window"], rule["carry"], network.feedback_init, network.across_time)
    assert found == expected


def test_a_window_that_cannot_be_read() -> None:
    for wrong in ("-1", "all", "1.5"):
        with pytest.raises(SeqlraError, match="window must be a number of steps from 0 on, or full"):
            configure("rnn", window=wrong)
    with pytest.raises(SeqlraError, match="has no setting 'window'"):
        configure("rnn", rule="dfa", window=2)
