"""``seqlra train``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqlra.cli import options as o
from seqlra.cli.options import DATA, NETWORK, OPTIMIZATION, option
from seqlra.errors import SeqlraError

if TYPE_CHECKING:
    from seqlra.cli.show import Watch
    from seqlra.training.experiment import Experiment
    from seqlra.training.run_directory import RunDirectory, StackDirectory
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


class Interrupted(Exception):
    """The user stopped the run; the message says how to go on."""


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
        _resume(task, options["resume"], options["device"], options["threads"], options["json"])
        return
    first, seeds = options["seed"], options["seeds"]
    if seeds is None and options["one_stream"]:
        raise SeqlraError("--one-stream is about the models of --seeds N; give that, too")
    configs = configs_of(task, options, range(first, first + (1 if seeds is None else seeds)))
    name = f"{task}-{configs[0].data.dataset}-{options['rule']}-{time.strftime('%Y%m%d-%H%M%S')}"
    out = options["out"] or Path("runs") / name
    if seeds is None:
        _start(configs[0], out, options["json"])
    else:
        _start_stack(configs, out, options["json"])


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

    from seqlra.training.experiment import pick_device, set_threads
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


def _start(config: Config, out: Path, json: bool) -> None:
    from seqlra.training.experiment import begin, prepare
    from seqlra.training.run_directory import RunDirectory

    experiment = prepare(config, fresh=True)
    run = RunDirectory.create(out)
    begin(experiment, run)
    _train(experiment, run, False, json)


def _resume(task: str, path: Path, device: str, threads: int | None, json: bool) -> None:
    from dataclasses import replace

    from seqlra.training.experiment import pick_device, prepare, read_config, set_threads
    from seqlra.training.run_directory import RunDirectory, StackDirectory

    if StackDirectory(path).about.is_file():
        _resume_stack(task, StackDirectory.open(path), device, threads, json)
        return
    run = RunDirectory.open(path)
    config = read_config(run)
    if StackDirectory(path.resolve().parent).about.is_file() and not run.outcome():
        raise SeqlraError(f"the run {path} is trained with others; go on with: --resume {path.parent}")
    if config.task != task:
        raise SeqlraError(f"the run {path} is one of seqlra train {config.task}")
    if run.result.exists():
        raise SeqlraError(f"the run {path} is finished: its result is in {run.result}")
    set_threads(threads or config.threads)
    config = config if device == "auto" else replace(config, device=pick_device(device).type)
    experiment = prepare(config, fresh=not run.checkpoint.exists())
    experiment.check_vocabulary(run)
    _train(experiment, run, True, json)


def _train(experiment: Experiment, run: RunDirectory, resume: bool, json: bool) -> None:
    from seqlra.cli.show import json_line, result_rows, table
    from seqlra.training.experiment import train
    from seqlra.training.pictures import save_pictures

    result = _watched(lambda watch: train(experiment, run, resume, watch), experiment, run)
    save_pictures(run, experiment.title, experiment.task.selects, experiment.config.diagnose > 0)
    table(f"{experiment.title}: {run.path}", result_rows(result), to_stderr=json)
    if json:
        json_line({**result, "out": str(run.path)})


def _start_stack(configs: list[Config], out: Path, json: bool) -> None:
    from seqlra.training.experiment import prepare
    from seqlra.training.run_directory import StackDirectory
    from seqlra.training.stacks import begin_stack

    experiment = prepare(configs, fresh=True)
    StackDirectory.create(out)
    stack = StackDirectory(out, [f"seed{config.seed}" for config in configs])
    begin_stack(experiment, stack)
    _train_stack(experiment, stack, json)


def _resume_stack(task: str, stack: StackDirectory, device: str, threads: int | None, json: bool) -> None:
    from dataclasses import replace

    from seqlra.training.experiment import pick_device, prepare, read_config, set_threads

    configs = [read_config(run) for run in stack.runs]
    if configs[0].task != task:
        raise SeqlraError(f"the runs in {stack.path} are of seqlra train {configs[0].task}")
    if stack.result.exists():
        raise SeqlraError(f"the runs in {stack.path} are finished: their result is in {stack.result}")
    set_threads(threads or configs[0].threads)
    if device != "auto":
        configs = [replace(config, device=pick_device(device).type) for config in configs]
    experiment = prepare(configs, fresh=not stack.checkpoint.exists())
    for run in stack.runs:
        experiment.check_vocabulary(run)
    _train_stack(experiment, stack, json)


def _train_stack(experiment: Experiment, stack: StackDirectory, json: bool) -> None:
    from seqlra.cli.show import json_line, result_rows, table
    from seqlra.errors import Diverged
    from seqlra.training.stacks import table as cells
    from seqlra.training.stacks import train_stack

    result = _watched(lambda watch: train_stack(experiment, stack, watch), experiment, stack)
    header, *rows = cells(result, experiment.task.selects)
    table(f"{experiment.title}: {stack.path}", rows, header, to_stderr=json)
    table("all together", result_rows(result), to_stderr=json)
    if json:
        json_line({**result, "out": str(stack.path)})
    if len(result["diverged"]) == len(stack.runs):
        raise Diverged(f"every model diverged; {stack.runs[0].failed} says where, as those of the others do")


def _watched(
    train: Callable[[Watch], dict[str, Any]], experiment: Experiment, run: RunDirectory | StackDirectory
) -> dict[str, Any]:
    """Train, with progress shown; where the user stops it, say how to go on."""
    from seqlra.cli.show import Watch
    from seqlra.training.trainer import Stopped

    try:
        with Watch() as watch:
            return train(watch)
    except Stopped:
        raise Interrupted(f"stopped; go on with: seqlra train {experiment.config.task} --resume {run.path}") from None
