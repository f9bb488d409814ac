"""``seqlra train``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqlra.cli import options as o
from seqlra.cli import running
from seqlra.cli.options import DATA, NETWORK, OPTIMIZATION, option
from seqlra.errors import SeqlraError

if TYPE_CHECKING:
    from seqlra.training.settings import Config

app = typer.Typer(no_args_is_help=True)

AT_RESUME = {"resume", "device", "json", "threads"}
"""Options that may go with --resume: they do not change what is computed."""

NOT_OF_THE_CONFIG = {"out", "resume", "json", "seeds", "one_stream"}
"""Options that say where a run goes and how it is told, or how many there are, not what it is."""

OF_THE_RULE = {
    "beta": "beta",
    "c1": "c1",
    "c2": "c2",
    "c2_per": "c2_per",
    "inner_steps": "steps",
    "epsilon": "epsilon",
    "epsilon_output": "epsilon_output",
    "epsilon_per": "epsilon_per",
    "skip": "skip",
    "reduction": "reduction",
}
"""Options that are settings of a rule, with their names there."""


@app.callback()
def train() -> None:
    """Train a network; writes a run directory with its configuration, metrics, result, checkpoint and curve."""


@app.command()
def mlp(
    context: typer.Context,
    dataset: Annotated[str, option(DATA, "mnist-sample (embedded), mnist or fashion_mnist.")] = "mnist-sample",
    data_dir: o.DataDir = None,
    valid: Annotated[
        int | None, option(DATA, "Training images held out for validation.", "10000; of the sample 2500")
    ] = None,
    hidden: o.Hidden = "256x3",
    activation: o.Activation = None,
    discretizer: o.Discretizer = "none",
    block_size: o.BlockSize = 4,
    loss: o.Loss = "log-penalty",
    weight_init: o.WeightInit = "fan-in",
    weight_std: o.WeightStd = 0.05,
    feedback_init: o.FeedbackInit = None,
    feedback_std: o.FeedbackStd = 1.0,
    init_from: o.InitFrom = None,
    rule: o.RuleName = "lra-fdbk",
    beta: o.Beta = None,
    c1: o.C1 = None,
    c2: o.C2 = None,
    c2_per: o.C2Per = None,
    inner_steps: o.InnerSteps = None,
    epsilon: o.Epsilon = None,
    epsilon_output: o.EpsilonOutput = None,
    epsilon_per: o.EpsilonPer = None,
    skip: o.Skip = False,
    reduction: o.Reduction = None,
    settings: o.Settings = None,
    optimizer: o.Optimizer = "adam",
    lr: o.Lr = None,
    momentum: o.Momentum = 0.0,
    schedule: o.Schedule = "constant",
    batch_size: Annotated[int, option(OPTIMIZATION, "Images in a mini-batch.")] = 50,
    epochs: o.Epochs = 15,
    steps: o.Steps = None,
    seed: o.Seed = 0,
    seeds: o.Seeds = None,
    one_stream: o.OneStream = False,
    diagnose: o.Diagnose = 100,
    compile: o.Compile = False,
    precision: o.Precision = "float32",
    device: o.Device = "auto",
    threads: o.Threads = None,
    out: o.Out = None,
    resume: o.Resume = None,
    json: o.Json = False,
) -> None:
    """Train a multilayer perceptron to classify images.

    Without options it trains on an embedded sample of MNIST, offline, in well under a minute.

    The paper's null initialization (Section 3.2):

        seqlra train mlp --dataset mnist --hidden 128x8 --activation sigmoid --weight-init zeros
        --optimizer sgd --lr 0.01 --batch-size 50 --epochs 10
    """
    _train_or_resume(context)


@app.command()
def rnn(
    context: typer.Context,
    dataset: Annotated[str, option(DATA, "text-sample (embedded) or tiny_shakespeare.")] = "text-sample",
    data_dir: o.DataDir = None,
    text: Annotated[Path | None, option(DATA, "Your own UTF-8 text, in place of a dataset.", False)] = None,
    tokens: Annotated[str, option(DATA, "chars or words.")] = "chars",
    max_words: Annotated[int, option(DATA, "The most words that a vocabulary of words has.")] = 10_000,
    streams: Annotated[int, option(DATA, "Parallel streams that the text is cut into: the mini-batch.")] = 64,
    unroll: Annotated[int, option(DATA, "K: steps of a stream in one update; the state is carried on.")] = 50,
    hidden: o.Hidden = "256",
    activation: o.Activation = None,
    discretizer: o.Discretizer = "none",
    block_size: o.BlockSize = 4,
    loss: o.Loss = "l2",
    weight_init: o.WeightInit = "reservoir",
    weight_std: o.WeightStd = 0.05,
    across_time: Annotated[
        bool,
        option(
            NETWORK,
            "Error weights across time too: errors walk back, as under fa they always do.",
            name="--across-time",
        ),
    ] = False,
    feedback_init: o.FeedbackInit = None,
    feedback_std: o.FeedbackStd = 1.0,
    init_from: o.InitFrom = None,
    rule: o.RuleName = "lra-fdbk",
    beta: o.Beta = None,
    c1: o.C1 = None,
    c2: o.C2 = None,
    c2_per: o.C2Per = None,
    inner_steps: o.InnerSteps = None,
    epsilon: o.Epsilon = None,
    epsilon_output: o.EpsilonOutput = None,
    epsilon_per: o.EpsilonPer = None,
    skip: o.Skip = False,
    reduction: o.Reduction = None,
    settings: o.Settings = None,
    optimizer: o.Optimizer = "adam",
    lr: o.Lr = None,
    momentum: o.Momentum = 0.0,
    schedule: o.Schedule = "linear",
    epochs: o.Epochs = 9,
    steps: o.Steps = None,
    seed: o.Seed = 0,
    seeds: o.Seeds = None,
    one_stream: o.OneStream = False,
    diagnose: o.Diagnose = 100,
    compile: o.Compile = False,
    precision: o.Precision = "float32",
    device: o.Device = "auto",
    threads: o.Threads = None,
    out: o.Out = None,
    resume: o.Resume = None,
    json: o.Json = False,
) -> None:
    """Train an Elman RNN to predict the next character or word of a text.

    Without options it trains on an embedded text, offline, in about a minute. Several hidden sizes are several
    recurrent layers. Under LRA only the forward pass walks through time; the backward pass is one product.

    On your own text: seqlra train rnn --text book.txt --out runs/book, and then
    seqlra sample runs/book --prompt "Once upon"
    """
    _train_or_resume(context)


def _train_or_resume(context: typer.Context) -> None:
    options = context.params
    task = str(context.info_name)
    if options["resume"] is not None:
        _refuse_options(context)
        running.resume(task, options["resume"], options["device"], options["threads"], options["json"])
        return
    first, seeds = options["seed"], options["seeds"]
    if seeds is None and options["one_stream"]:
        raise SeqlraError("--one-stream is about the models of --seeds N; give that, too")
    configs = configs_of(task, options, range(first, first + (1 if seeds is None else seeds)))
    name = f"{task}-{configs[0].data.dataset}-{options['rule']}-{time.strftime('%Y%m%d-%H%M%S')}"
    out = options["out"] or Path("runs") / name
    running.start(configs, out, seeds is not None, options["json"])


def configs_of(task: str, parameters: Mapping[str, Any], seeds: range) -> list[Config]:
    """The configurations that the parameters of ``seqlra train mlp`` or ``rnn`` stand for, one a seed.

    Raises:
        SeqlraError: no seeds, or values that make no sense.
    """
    if not seeds:
        raise SeqlraError(f"seeds must be at least 1, not {seeds.stop - seeds.start}")
    shared = {"data_seed": seeds.start} if parameters["one_stream"] else {}
    return [_config_of(task, {**parameters, **shared, "seed": seed}) for seed in seeds]


def _config_of(task: str, parameters: Mapping[str, Any]) -> Config:
    options = {name: value for name, value in parameters.items() if name not in NOT_OF_THE_CONFIG}
    device, threads = options.pop("device"), options.pop("threads")
    rule_given = {there: options.pop(name) for name, there in OF_THE_RULE.items()}
    rule_given = {name: value for name, value in rule_given.items() if value is not None and value is not False}
    rule_given |= {name: o.bound(name, rule_given[name]) for name in ("c1", "c2") if name in rule_given}
    rule_given |= dict(o.setting(text) for text in options.pop("settings") or ())
    options["hidden"] = o.hidden_sizes(options["hidden"])
    for name in ("data_dir", "text", "init_from"):
        if options.get(name) is not None:
            options[name] = str(options[name].resolve())  # the run may be resumed from another folder

    from seqlra.training.machine import pick_device, set_threads
    from seqlra.training.presets import mlp_config, rnn_config

    configure = {"mlp": mlp_config, "rnn": rnn_config}[task]
    return configure(options, rule_given, pick_device(device).type, set_threads(threads))


def was_given(context: typer.Context, name: str) -> bool:
    """Whether the user wrote that option."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _refuse_options(context: typer.Context) -> None:
    """A resumed run is the run it was: options that would change it are refused rather than ignored."""
    for name in context.params:
        if name not in AT_RESUME and was_given(context, name):
            option = name.replace("_", "-")
            raise SeqlraError(
                f"--{option} does not go with --resume: a resumed run keeps the options it was started with"
            )
