"""What the command line promises: files, JSON, and one clear line with a status other than 0 for bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Run

from seqlra import load
from seqlra.errors import SeqlraError
from seqlra.rules import LRAFeedback
from seqlra.training.option import bound, hidden_sizes

SHORT = "--hidden 16,12 --valid 13000 --epochs 2"


@pytest.mark.draws
def test_training_leaves_every_promised_file_and_one_json_object(seqlra: Run, tmp_path: Path) -> None:
    done = seqlra(f"train mlp {SHORT} --out run --json")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    printed = json.loads(done.stdout)
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert printed.items() >= result.items()
    promised = "task dataset rule seed device epochs steps parameters train_seconds samples_per_second mean_depth"
    assert result.keys() >= {*promised.split(), "test_error", "valid_error"}
    assert result["parameters"] == 784 * 16 + 16 + 16 * 12 + 12 + 12 * 10 + 10
    assert (result["epochs"], result["steps"], result["mean_depth"]) == (2, 80, 3)
    assert len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) == 2
    assert (tmp_path / "run/curve.png").read_bytes().startswith(b"\x89PNG")
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["rule"] == {
        "name": "lra-fdbk",
        **asdict(LRAFeedback(reduction="mean", beta=0.1, c1=None, c2=10.0, window=0)),
    }
    assert config["versions"].keys() == {"seqlra", "torch", "python", "rule", "data"}

    measured = seqlra("evaluate run --json")
    assert json.loads(measured.stdout)["test_error"] == result["test_error"]
    again = seqlra("train mlp --resume run")
    assert again.returncode == 1
    assert "finished" in again.stderr


BAD = {
    "--activation cosine": "unknown activation 'cosine'; known: identity, sigmoid, tanh",
    "--discretizer staircase": "unknown discretizer 'staircase'; known: none, sign",
    "--rule hebb": "unknown rule 'hebb'; known: lra-fdbk, lra-diff, backprop",
    "--dataset cifar": "unknown dataset 'cifar'; known: mnist-sample",
    "--optimizer lion": "unknown optimizer 'lion'; known: sgd, adam",
    "--loss hinge": "unknown local loss 'hinge'; known: l2, l1, log-penalty",
    "--weight-init ones": "unknown weight initialization 'ones'; known: zeros",
    "--hidden 12,x": "cannot read the hidden sizes '12,x'",
    "--hidden 0": "cannot read the hidden sizes '0'",
    "--hidden 9000000000": "does not fit into memory",
    "--hidden 99999999999999999999": "does not fit into memory",
    "--hidden 128x0": "cannot read the hidden sizes '128x0'",
    "--lr 0": "lr must be above 0",
    "--lr nan": "lr must be above 0",
    "--beta -1": "beta must be above 0",
    "--beta 0": "beta must be above 0",
    "--skip": "give an epsilon above 0",
    "--c1 big": "c1 must be a number above 0, or off",
    "--c2-per year": "c2_per must be sample or batch",
    "--epsilon -1": "epsilon must not be negative",
    "--epsilon-output -1": "epsilon_output must not be negative",
    "--inner-steps 0 --rule lra-diff": "steps (K) must be at least 1",
    "--inner-steps 5": "rule 'lra-fdbk' has no setting 'steps'",
    "--beta 1 --rule backprop": "rule 'backprop' has no setting 'beta'",
    "--epochs 0": "epochs must be at least 1",
    "--steps 0": "steps must be at least 1",
    "--batch-size 0": "batch-size must be at least 1, not 0",
    "--batch-size 20000": "larger than the training split",
    "--valid 0": "validation",
    "--momentum 1": "momentum must be in [0, 1)",
    "--weight-std -1 --weight-init gaussian": "standard deviations must not be negative",
    "--seed -1": "seed must be from 0 to 4611686018427387903, not -1",
    "--diagnose -1": "diagnose must be at least 0, not -1",
    "--schedule cosine": "unknown schedule 'cosine'; known: constant, linear",
    "--threads 0": "threads must be from 1 to 1024",
    "--discretizer lwta --hidden 30": "blocks of 4, which does not divide a layer of 30",
    "--discretizer lwta --block-size 0": "blocks of 0",
    "--device tpu": "unknown device 'tpu'; known: auto, cpu, cuda",
    "--data-dir nowhere --dataset mnist": "nowhere",
    "--resume nowhere": "is not a run directory",
    "--resume nowhere --lr 1": "--lr does not go with --resume",
    "--out taken": "exists already",
    "--out file/run": "cannot write",
}


@pytest.mark.parametrize("given", BAD)
def test_bad_input_is_one_clear_line(given: str, seqlra: Run, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/notes.txt").write_text("precious")
    (tmp_path / "file").write_text("a file")
    done = seqlra(f"train mlp --epochs 1 {given}" if "resume" not in given else f"train mlp {given}")
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert BAD[given] in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken"]
    assert (tmp_path / "taken/notes.txt").read_text() == "precious"


def test_cuda_is_refused_where_there_is_none(seqlra: Run, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    done = seqlra("train mlp --device cuda")
    assert done.returncode == 1
    assert "there is no CUDA device here" in done.stderr


def test_an_unknown_option_or_command_is_a_usage_error(seqlra: Run, tmp_path: Path) -> None:
    for arguments in ("train mlp --learning-rate 1", "fly", "evaluate"):
        done = seqlra(arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_every_command_has_help_and_help_does_not_load_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from seqlra.cli import main\n"
        "try: main()\n"
        "except SystemExit: print('LOADED', sorted({'torch', 'numpy', 'datasets', 'matplotlib'} & set(sys.modules)))"
    )
    for arguments in (
        "",
        "train",
        "train mlp",
        "train rnn",
        "evaluate",
        "report",
        "sample",
        "bench rnn",
        "list",
        "data get",
    ):
        command = [sys.executable, "-c", code, *arguments.split(), "--help"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=True)
        assert "Usage: seqlra" in done.stdout.replace("-c", "seqlra"), arguments
        assert done.stdout.splitlines()[-1] == "LOADED []", arguments


def test_list_names_everything(seqlra: Run, tmp_path: Path) -> None:
    from seqlra.network.units import ACTIVATIONS, DISCRETIZERS
    from seqlra.rules import RULES

    listed = seqlra("list").stdout.split()
    assert listed[listed.index("n^4") : listed.index("n^4") + 3] == ["n^4", "B", "n^3"]  # the costs of RTRL
    assert set(listed) >= {*RULES, *ACTIVATIONS, *DISCRETIZERS, "mnist-sample", "fashion_mnist", "adam", "zeros"}
    assert "tanh" not in seqlra("list rules").stdout.split()


def test_hidden_sizes() -> None:
    assert hidden_sizes("256,128") == (256, 128)
    assert hidden_sizes("128x8") == (128,) * 8
    assert hidden_sizes("64, 32x2,16") == (64, 32, 32, 16)


def test_bounds() -> None:
    assert bound("c1", "off") is None
    assert bound("c1", "2.5") == 2.5
    for text in ("0", "-1", "inf", "nan", ""):
        with pytest.raises(SeqlraError):
            bound("c1", text)


BAD_TEXT = {
    "--text empty.txt": "is empty",
    "--text nowhere.txt": "there is no file",
    "--text short.txt": "too short",
    "--text latin1.txt": "is not UTF-8: the byte at offset 3",
    "--text .": "is a folder",
    "--text fine.txt --unroll 500": "a chunk of 500 steps does not fit a stream",
    "--text fine.txt --streams 9000": "cannot be cut into 9000 streams",
    "--streams 0": "streams must be at least 1",
    "--unroll 0": "unroll must be at least 1",
    "--tokens syllables": "unknown kind of tokens 'syllables'; known: chars, words",
    "--dataset homer": "unknown dataset 'homer'; known: text-sample",
    "--dataset tiny_shakespeare --data-dir .": "tiny_shakespeare",
    "--discretizer lwta --hidden 30": "blocks of 4, which does not divide a layer of 30",
    "--rule hebb": "unknown rule 'hebb'",
    "--train-leak": "--train-leak has an effect only with --leak under 1",
    "--train-leak --leak 1": "--train-leak has an effect only with --leak under 1",
}


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "short.txt").write_text("too short a text")
    (tmp_path / "latin1.txt").write_bytes("né à Paris".encode("latin-1").replace(b"n", b"nat", 1))
    (tmp_path / "fine.txt").write_text("the cat sat on the mat and the rat ran. " * 200)
    return tmp_path


@pytest.mark.parametrize("given", BAD_TEXT)
def test_bad_text_is_one_clear_line(given: str, seqlra: Run, texts: Path) -> None:
    before = sorted(texts.iterdir())
    done = seqlra(f"train rnn --epochs 1 {given}")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert BAD_TEXT[given] in done.stderr
    assert sorted(texts.iterdir()) == before


@pytest.mark.draws
def test_an_rnn_learns_its_text_resumes_and_writes(seqlra: Run, texts: Path) -> None:
    short = "--text fine.txt --hidden 24 --streams 8 --unroll 20 --epochs 20 --lr 0.01"
    done = seqlra(f"train rnn {short} --out run --json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    promised = "task dataset rule seed device epochs steps parameters train_seconds tokens_per_second mean_depth"
    assert result.keys() >= {*promised.split(), "test_bpc", "valid_bpc", "test_error"}
    assert (result["task"], result["dataset"], result["mean_depth"]) == ("rnn", "fine.txt", 2)
    assert result["test_bpc"] < 1  # 40 characters that repeat; without learning it would be over 4
    assert (texts / "run/curve.png").read_bytes().startswith(b"\x89PNG")

    measured = json.loads(seqlra("evaluate run --json").stdout)
    assert measured["test_bpc"] == result["test_bpc"]
    written = seqlra("sample run --prompt the --length 40 --temperature 0")
    assert written.returncode == 0
    assert written.stdout.startswith("the")
    assert len(written.stdout) == 3 + 40 + 1
    assert "cat sat on the mat" in seqlra("sample run --prompt the --length 100 --temperature 0").stdout


def test_leaks_are_trained_resumed_and_taken_over(seqlra: Run, texts: Path) -> None:
    net = "--text fine.txt --hidden 6,5 --streams 8 --unroll 5 --leak 0.5 --train-leak --rule backprop --threads 1"
    whole = json.loads(seqlra(f"train rnn {net} --steps 8 --out whole --json").stdout)
    assert whole["parameters"] == sum(p.numel() for p in load("whole").parameters())
    leaks = {name: logits.item() for name, logits in load("whole").leaks.items()}
    assert leaks.keys() == {"a1", "a2"}
    assert all(abs(logit) > 1e-3 for logit in leaks.values())  # the logit of 0.5 is 0
    assert seqlra(f"train rnn {net} --steps 4 --schedule constant --out parts").returncode == 0
    assert seqlra("train rnn --resume parts --steps 8").returncode == 0
    assert seqlra(f"train rnn {net} --steps 8 --schedule constant --out at-once").returncode == 0
    same = zip(load("parts").state_dict().items(), load("at-once").state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for (_, one), other in same)
    assert json.loads(seqlra("evaluate whole --json").stdout)["test_bpc"] == whole["test_bpc"]
    assert seqlra("sample whole --length 5").returncode == 0
    assert seqlra(f"train rnn {net} --steps 1 --lr 1e-12 --init-from whole --out on").returncode == 0
    assert load("on").leaks["a1"].item() == pytest.approx(leaks["a1"], abs=1e-6)
    fixed = seqlra(f"train rnn {net.replace('--train-leak', '')} --steps 1 --init-from whole --out no")
    assert "leaks.a1 is (1,) there and missing here" in fixed.stderr
    assert seqlra(f"train rnn {net} --steps 8 --seeds 2 --out stack").returncode == 0
    stacked = load("stack/seed0").leaks
    assert {name: logits.item() for name, logits in stacked.items()} == pytest.approx(leaks, abs=1e-4)


def test_tokens_that_training_never_saw_are_counted(seqlra: Run, texts: Path) -> None:
    assert seqlra("train rnn --text fine.txt --hidden 8 --streams 8 --steps 3 --out run").returncode == 0
    (texts / "other.txt").write_text("THE cat?! sat on the mat " * 3)
    measured = json.loads(seqlra("evaluate run --text other.txt --json").stdout)
    assert (measured["tokens"], measured["unknown_tokens"]) == (75, 15)
    asked = seqlra("sample run --prompt The --length 5")
    assert asked.returncode == 0
    assert "1 of 3 tokens of the prompt were never seen" in asked.stderr
    for wrong, says in {
        "sample run --length -1": "length must not be negative",
        "sample run --temperature -1": "temperature must be 0 or above",
        "sample nowhere": "is not a run directory",
        "evaluate run --text empty.txt": "is empty",
        "train mlp --resume run": "is one of seqlra train rnn",
    }.items():
        refused = seqlra(wrong)
        assert refused.returncode == 1
        assert says in refused.stderr
        assert len(refused.stderr.splitlines()) == 1


def test_an_empty_prompt_is_refused(seqlra: Run, texts: Path) -> None:
    assert seqlra("train rnn --text fine.txt --hidden 8 --streams 8 --steps 3 --out run").returncode == 0
    done = seqlra("sample run --prompt=")
    assert done.returncode == 1
    assert "the prompt is empty" in done.stderr


def test_a_text_that_changed_since_the_run_is_noticed(seqlra: Run, texts: Path) -> None:
    assert seqlra("train rnn --text fine.txt --hidden 8 --streams 8 --steps 3 --out run").returncode == 0
    (texts / "fine.txt").write_text("THE CAT SAT ON THE MAT AND THE RAT RAN. " * 200)
    done = seqlra("evaluate run")
    assert done.returncode == 1
    assert "has changed since the run run" in done.stderr


def test_words_have_perplexity(seqlra: Run, texts: Path) -> None:
    done = seqlra("train rnn --text fine.txt --tokens words --hidden 16 --streams 4 --unroll 10 --steps 20 --json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout).keys() >= {"test_perplexity", "valid_perplexity", "test_error"}


@pytest.mark.draws
def test_evaluate_samples_stochastic_units_and_leaves_its_files(seqlra: Run, tmp_path: Path) -> None:
    trained = seqlra("train mlp --hidden 16,12 --discretizer bernoulli --valid 13000 --steps 60 --out run")
    assert trained.returncode == 0, trained.stderr
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    done = seqlra("evaluate run --samples 7 --json")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    result, folder = json.loads(line), tmp_path / "run/evaluation-test"
    assert sorted(path.name for path in folder.iterdir()) == [
        "certainty.png",
        "posterior.json",
        "posterior.npz",
        "reliability.png",
    ]
    assert json.loads((folder / "posterior.json").read_text()) == result
    assert (result["samples"], result["seed"], result["split"]) == (7, 0, "test")
    assert all((tmp_path / "run" / name).read_bytes() == content for name, content in before.items())
    with np.load(folder / "posterior.npz") as arrays:
        mean, variance, targets = (arrays[name] for name in ("mean", "variance", "targets"))
    assert (mean.shape, variance.shape, targets.shape) == ((3000, 10), (3000, 10), (3000,))
    assert result["test_error"] == pytest.approx(100 * (mean.argmax(-1) != targets).mean())
    assert result["test_loss"] == pytest.approx(-np.log(mean[np.arange(3000), targets]).mean(), rel=1e-5)
    assert result["test_loss"] < result["one_draw"]["loss"]  # Jensen
    assert result["mean_field"].keys() == {"error", "loss", "calibration_error"}
    assert [row["label"] for row in result["classes"]] == list(range(10))
    assert sum(row["count"] for row in result["classes"]) == sum(bin["count"] for bin in result["reliability"]) == 3000
    assert result["classes"][3]["variance"] == pytest.approx(variance[targets == 3, 3].mean(), rel=1e-5)
    assert result["versions"].keys() == {"seqlra", "torch", "python"}

    again = json.loads(seqlra("evaluate run --samples 7 --json --out other/folder").stdout)
    assert {**again, "out": 0} == {**result, "out": 0}
    another = json.loads(seqlra("evaluate run --samples 7 --json --seed 1").stdout)
    assert another["test_loss"] != result["test_loss"]
    shown = seqlra("evaluate run --samples 7")
    assert all(word in shown.stdout for word in ("posterior", "one draw", "mean field", "mean variance"))


def test_what_evaluate_cannot_sample_is_one_clear_line(seqlra: Run, tmp_path: Path) -> None:
    assert seqlra("train mlp --hidden 16 --discretizer sign --valid 13000 --steps 3 --out sign").returncode == 0
    (tmp_path / "file").write_text("a file")
    refused = {
        "--samples 100": "the network draws nothing",
        "--samples 0": "samples must be from 1 to 100000, not 0",
        "--samples 1 --out file": "cannot write to file",
        "--seed 3": "--out and --seed",
        "--samples 1 --seed -1": "seed must be from 0",
        "--samples 1 --seed 99999999999999999999": "seed must be from 0",
    }
    for given, says in refused.items():
        done = seqlra(f"evaluate sign {given}")
        assert (done.returncode, done.stdout) == (1, ""), given
        assert done.stderr.startswith("error: ")
        assert says in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "sign/evaluation-test").exists()
    assert seqlra("evaluate sign --samples 1").returncode == 0


@pytest.mark.draws
def test_evaluate_samples_text(seqlra: Run, tmp_path: Path) -> None:
    (tmp_path / "cat.txt").write_text("the cat sat on the mat and the rat ran. " * 200)
    (tmp_path / "rat.txt").write_text("the rat sat on the cat! " * 20)
    trained = seqlra("train rnn --text cat.txt --hidden 12 --discretizer bernoulli --streams 8 --steps 40 --out run")
    assert trained.returncode == 0, trained.stderr
    done = seqlra("evaluate run --samples 6 --json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["test_bpc"] == pytest.approx(result["test_loss"] / np.log(2))
    assert result["one_draw"].keys() == {"error", "loss", "bpc"}
    assert result["classes"] == []
    files = sorted(path.name for path in (tmp_path / "run/evaluation-test").iterdir())
    assert files == ["posterior.json", "posterior.npz", "reliability.png"]
    result = json.loads(seqlra("evaluate run --samples 6 --text rat.txt --json").stdout)
    assert (result["tokens"], result["unknown_tokens"]) == (480, 20)
    with np.load(tmp_path / "run/evaluation-text/posterior.npz") as arrays:
        assert arrays["probability"].shape == (479,)
        assert result["loss"] == pytest.approx(-np.log(arrays["probability"]).mean(), rel=1e-5)


def test_bench_gives_cases_with_ratios(seqlra: Run) -> None:
    done = seqlra("bench rnn --hidden 8 --streams 20 --unroll 3 --symbols 5 --rounds 3 --json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed.keys() >= {"device", "threads", "versions"}
    for case in printed["cases"]:
        assert case.keys() >= {"case", "rival", "ratio", "ours_ms", "rival_ms", "ours_spread_ms", "rival_spread_ms"}
        assert case["ratio"] > 0


@pytest.mark.parametrize(("given", "held"), [("float32", "highest"), ("tf32", "high"), ("bf16", "medium")])
def test_the_precision_of_products_is_recorded_and_holds_at_resume(
    given: str, held: str, seqlra: Run, tmp_path: Path
) -> None:
    assert seqlra(f"train mlp {SHORT} --steps 3 --precision {given} --out run").returncode == 0
    assert torch.get_float32_matmul_precision() == held
    assert json.loads((tmp_path / "run/config.json").read_text())["precision"] == given
    torch.set_float32_matmul_precision("high" if held != "high" else "medium")
    assert seqlra("evaluate run").returncode == 0
    assert torch.get_float32_matmul_precision() == held
    refused = seqlra(f"train mlp {SHORT} --precision bf8 --out other")
    assert refused.returncode == 1
    assert "unknown precision 'bf8'; known: float32, tf32, bf16" in refused.stderr
