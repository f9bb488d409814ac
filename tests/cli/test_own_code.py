"""Code of the user's own: it runs when the person names it, never because a file does, and its slips are one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Run

from seqlra import SeqlraError, own
from seqlra.network.units import Activation, activation
from seqlra.rules import Rule, rule_class
from seqlra.training import checkpoint
from seqlra.training.configure import configure

RUN = "--dataset mnist --data-dir IMAGES --hidden 9,7 --valid 70 --batch-size 50 --steps 6 --threads 1 --diagnose 0"
TEXT = "--text SHORT --hidden 9 --steps 2 --threads 1 --diagnose 0 --feedback fixed"

MINE = """
import torch
from dataclasses import dataclass
import seqlra
from seqlra.network.units import Activation, Discretizer
from seqlra.network.losses import LocalLoss

@dataclass(frozen=True)
class Halved(seqlra.Backprop):
    factor: float = 0.5

    def feedback_matrix(self, connection):
        return super().feedback_matrix(connection) * self.factor

cubed = Activation("cubed", lambda h: h ** 3, lambda h, z: 3 * h ** 2)
third = Discretizer("third", lambda z: z / 3)
gap = LocalLoss("gap", lambda z, y: (z - y).abs().sum(-1), lambda z, y: (z - y).sign())

class Half(torch.optim.SGD):
    def __init__(self, parameters, lr):
        super().__init__(parameters, lr=lr / 2)
"""

EVIL = "from pathlib import Path\nPath(r'{mark}').touch()\n"


@pytest.fixture
def seqlra(seqlra: Run, images: Path, short_text: Path) -> Run:
    """The console script, which knows the data of RUN and TEXT."""
    return lambda arguments: seqlra(arguments.replace("IMAGES", str(images)).replace("SHORT", str(short_text)))


@pytest.fixture
def mine(tmp_path: Path, seqlra: Run) -> str:
    """The name of a module in the working directory that no other test has imported."""
    name = f"mine_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(MINE)
    return name


def test_rules_units_losses_and_optimizers_of_ones_own(seqlra: Run, mine: str) -> None:
    names = f"--rule {mine}:Halved --activation {mine}:cubed --discretizer {mine}:third --optimizer {mine}:Half"
    assert seqlra(f"train mlp {RUN} {names} --loss {mine}:gap --lr 0.2 --out run").returncode == 0
    assert seqlra(f"train mlp {RUN} --rule backprop --optimizer sgd --lr 0.1 --out theirs").returncode == 0
    assert seqlra(f"train mlp {RUN} --rule {mine}:Halved --set factor=1.0 --optimizer {mine}:Half --lr 0.2 --out ours")
    ours, theirs = (checkpoint.load(Path(run) / "checkpoint.pt")["graph"] for run in ("ours", "theirs"))
    assert torch.allclose(ours["weights.W1"], theirs["weights.W1"], atol=1e-6)  # half of twice the step size
    done = seqlra(f"evaluate run --json --import {mine}")
    assert json.loads(done.stdout)["test_error"] == json.loads(Path("run/result.json").read_text())["test_error"]
    assert seqlra("train mlp --optimizer torch.optim:Adagrad --lr 0.01 " + RUN).returncode == 0


@pytest.mark.parametrize("place", ["run", "."])
@pytest.mark.parametrize("setting", ["rule", "activation", "loss", "discretizer"])
def test_a_run_directory_runs_no_code(tmp_path: Path, seqlra: Run, place: str, setting: str) -> None:
    mark = tmp_path / "it ran"
    assert seqlra(f"train mlp {RUN} --out run").returncode == 0
    assert seqlra(f"train rnn {TEXT} --out text").returncode == 0
    assert seqlra(f"compare mlp --rules lra-fdbk {RUN} --out many").returncode == 0
    for folder in (place, "text", "many"):
        for module in ("evil", "json", "torch_more"):
            (tmp_path / folder / f"{module}.py").write_text(EVIL.format(mark=mark))
    for run in ("run", "text", "many/lra-fdbk-seed0"):
        rewrite(tmp_path / run / "config.json", setting)
        (tmp_path / run / "result.json").unlink()
    rewrite(tmp_path / "many/compare.json", setting)
    lines = '[rule]\nname = "evil:Rule"' if setting == "rule" else f'{setting} = "evil:f"'
    (tmp_path / "file.toml").write_text(lines)
    os.chdir(tmp_path / place)
    for command in (
        f"evaluate {tmp_path}/run",
        f"evaluate {tmp_path}/text --samples 3",
        f"sample {tmp_path}/text",
        f"train mlp --resume {tmp_path}/run",
        f"train rnn --resume {tmp_path}/text",
        f"train mlp --init-from {tmp_path}/run {RUN}",
        f"train mlp --config {tmp_path}/file.toml {RUN}",
        f"compare --resume {tmp_path}/many",
    ):
        done = seqlra(command)
        assert not mark.exists(), command
        assert "Traceback" not in done.stderr
        if "resume" in command or "config" in command:
            assert done.returncode == 1
            assert "--import evil" in done.stderr
    if setting == "rule":
        arguments = [sys.executable, "-m", "seqlra", "evaluate", str(tmp_path / "text")]
        path = {**os.environ, "PYTHONPATH": str(Path(own.__file__).parents[1])}
        assert subprocess.run(arguments, cwd=tmp_path / place, capture_output=True, env=path).returncode == 0
        assert not mark.exists()


def rewrite(file: Path, setting: str) -> None:
    """Let a file name hostile code in place of every value of a setting."""
    plain = json.loads(file.read_text())
    for config in [member["config"] for member in plain.get("members", [])] or [plain]:
        if setting == "rule":
            config["rule"] = {"name": "evil:Rule"}
        else:
            config["network"][setting] = f"evil:{setting}"
    file.write_text(json.dumps(plain))


def test_a_run_with_an_own_rule_goes_on_when_it_is_named(seqlra: Run, mine: str) -> None:
    assert seqlra(f"train mlp {RUN} --rule {mine}:Halved --out run").returncode == 0
    Path("run/result.json").unlink()
    del sys.modules[mine]
    assert seqlra("evaluate run").returncode == 0  # the weights are enough
    assert f"--import {mine}" in seqlra("train mlp --resume run").stderr
    assert seqlra(f"train mlp --resume run --import {mine}").returncode == 0
    assert seqlra(f"compare mlp --rules a={mine}:Halved,b=fa {RUN} --out many").returncode == 0
    del sys.modules[mine]
    assert f"--import {mine}" in seqlra("compare --resume many").stderr
    assert seqlra(f"compare --resume many --import {mine}").returncode == 0


def test_an_installed_module_needs_no_naming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seqlra: Run) -> None:
    place = tmp_path / "elsewhere"
    place.mkdir()
    (place / "installed_rules_for_tests.py").write_text(MINE)
    monkeypatch.syspath_prepend(place)
    assert issubclass(rule_class("installed_rules_for_tests:Halved"), Rule)


def test_the_working_directory_is_no_place_to_find_modules(
    tmp_path: Path, seqlra: Run, mine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for entry in ("", str(tmp_path), "."):
        monkeypatch.syspath_prepend(entry)
        with pytest.raises(SeqlraError, match=f"--import {mine}"):
            rule_class(f"{mine}:Halved")


def test_files_of_the_working_directory_stand_in_for_none_of_python(tmp_path: Path, seqlra: Run) -> None:
    mark = tmp_path / "it ran"
    (tmp_path / "colorsys.py").write_text(EVIL.format(mark=mark))
    (tmp_path / "imports_others_for_tests.py").write_text("import colorsys")
    sys.modules.pop("colorsys", None)
    own.import_module("imports_others_for_tests")
    assert not mark.exists()


@pytest.mark.parametrize("name", ["antigravity:x", "this:s", "pip.__main__:main", "os:system", "seqlra.rules:Rule2"])
def test_what_is_no_own_thing_is_neither_imported_nor_called(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SeqlraError, match=r"only a file names it|is not a rule|has no attribute"):
        rule_class(name)
    assert "antigravity" not in sys.modules
    assert "this" not in sys.modules


@pytest.mark.parametrize("name", ["evil/../x:y", "a b:c", ":c", "a:", "a:b:c", "a.:b", "..:b"])
def test_names_that_cannot_be_any(name: str) -> None:
    with pytest.raises(SeqlraError, match="cannot read"):
        rule_class(name)
    with pytest.raises(SeqlraError):
        configure("mlp", rule=name)


def test_of_the_wrong_kind(seqlra: Run, mine: str) -> None:
    for option, name, words in (
        ("rule", "cubed", "is not a rule"),
        ("rule", "Half", "is not a rule"),
        ("activation", "third", "is not an activation"),
        ("optimizer", "Halved", "is not an optimizer"),
        ("loss", "Nothing", "has no attribute 'Nothing'"),
    ):
        done = seqlra(f"train mlp {RUN} --{option} {mine}:{name} --out never")
        assert done.returncode == 1
        assert words in done.stderr
        assert not Path("never").exists()
    own.import_module(mine)
    assert isinstance(activation(f"{mine}:cubed"), Activation)
    done = seqlra(f"train mlp {RUN} --optimizer {mine}:Half --momentum 0.9 --out never")
    assert "cannot be made of" in done.stderr


BROKEN: dict[str, tuple[str, str]] = {
    "syntax": ("def f(:\n    pass\n", "line 1: SyntaxError"),
    "exits": ("x = 1\nraise SystemExit(4)\n", r"line 2, in <module>: exit(4)"),
    "fails": ("x = 1\ny = 1 / 0\n", "line 2, in <module>: ZeroDivisionError: division by zero"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_module_that_cannot_be_imported(case: str, tmp_path: Path, seqlra: Run) -> None:
    code, message = BROKEN[case]
    (tmp_path / f"broken_{case}.py").write_text(code)
    done = seqlra(f"train mlp {RUN} --rule broken_{case}:Rule --out never")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"error: cannot import broken_{case}: ")
    assert f"broken_{case}.py, {message}" in done.stderr
    assert not Path("never").exists()


METHODS: dict[str, tuple[str, str]] = {
    "raises": ("raise ValueError('no\\nway')", "line 5, in error: ValueError: no"),
    "exits": ("raise SystemExit(3)", "line 5, in error: exit(3)"),
    "shape": ("return incoming[:1]", "as (50, 7), not (1, 7)"),
    "kind": ("return 'no'", "not str"),
}


@pytest.mark.parametrize("case", METHODS)
def test_a_rule_that_fails(case: str, tmp_path: Path, seqlra: Run) -> None:
    body, message = METHODS[case]
    code = f"import seqlra\n\nclass Bad(seqlra.Backprop):\n    def error(self, layer, incoming):\n        {body}\n"
    (tmp_path / f"bad_{case}.py").write_text(code)
    done = seqlra(f"train mlp {RUN} --rule bad_{case}:Bad --out out")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert f"bad_{case}.py, line" in done.stderr
    assert message in done.stderr


def test_what_imports_leave_behind(tmp_path: Path, seqlra: Run, mine: str) -> None:
    before: Any = list(sys.path)
    own.import_module(mine)
    assert sys.path == before
