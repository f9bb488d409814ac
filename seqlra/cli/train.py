"""``seqlra train``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqlra.cli.options import (
    BOOKKEEPING,
    DATA,
    NETWORK,
    OPTIMISATION,
    RULE,
    DataDir,
    Device,
    Json,
    bound,
    hidden_sizes,
)
from seqlra.errors import SeqlraError

if TYPE_CHECKING:
    from seqlra.config import Config

app = typer.Typer(help="Train a network; writes a run directory.", no_args_is_help=True)

AT_RESUME = {"resume", "device", "json", "threads"}
"""Options that may go with --resume: they do not change what is computed."""


class Interrupted(Exception):
    """The user stopped the run; the message says how to go on."""


@app.callback()
def train() -> None:
    """Train a network; writes a run directory with its configuration, metrics, result, checkpoint and curve."""


def _open(text: str, **extra: Any) -> Any:
    return typer.Option(help=text, **extra)


RECOMMENDED = "suits the units"


@app.command()
def mlp(
    context: typer.Context,
    dataset: Annotated[
        str, _open("mnist-sample (embedded), mnist or fashion_mnist.", rich_help_panel=DATA)
    ] = "mnist-sample",
    data_dir: DataDir = None,
    valid: Annotated[
        int | None,
        _open("Training images held out for validation.", rich_help_panel=DATA, show_default="10000; sample: 2500"),
    ] = None,
    hidden: Annotated[str, _open("Hidden layers: 256,128 or 128x8 (8 of 128).", rich_help_panel=NETWORK)] = "256x3",
    activation: Annotated[str, _open("f of the hidden units; see seqlra list.", rich_help_panel=NETWORK)] = "tanh",
    discretizer: Annotated[
        str, _open("g: none, sign, heaviside, bernoulli, lwta, slwta, ...", rich_help_panel=NETWORK)
    ] = "none",
    block_size: Annotated[int, _open("Units in one block of LWTA or SLWTA.", rich_help_panel=NETWORK)] = 4,
    loss: Annotated[str, _open("Local loss: log-penalty, l2 or l1.", rich_help_panel=NETWORK)] = "log-penalty",
    weight_init: Annotated[str, _open("zeros, gaussian or fan-in (eq. 5).", rich_help_panel=NETWORK)] = "fan-in",
    weight_std: Annotated[float, _open("Standard deviation of gaussian weights.", rich_help_panel=NETWORK)] = 0.05,
    feedback_std: Annotated[float, _open("Standard deviation of the error weights E.", rich_help_panel=NETWORK)] = 1.0,
    rule: Annotated[str, _open("lra-fdbk, lra-diff or backprop.", rich_help_panel=RULE)] = "lra-fdbk",
    beta: Annotated[
        float | None, _open("Step size of a displacement.", rich_help_panel=RULE, show_default=RECOMMENDED)
    ] = None,
    c1: Annotated[
        str | None,
        _open("Bound on the norm of a parameter's update, or off.", rich_help_panel=RULE, show_default=RECOMMENDED),
    ] = None,
    c2: Annotated[
        str | None,
        _open("Bound on the norm of a displacement, or off.", rich_help_panel=RULE, show_default=RECOMMENDED),
    ] = None,
    c2_per: Annotated[
        str | None, _open("c2 for each sample, or batch.", rich_help_panel=RULE, show_default="sample")
    ] = None,
    inner_steps: Annotated[
        int | None, _open("K of lra-diff, steps for each target.", rich_help_panel=RULE, show_default="1")
    ] = None,
    epsilon: Annotated[
        float | None,
        _open("Leave subgraphs whose loss is under this as they are.", rich_help_panel=RULE, show_default="0: never"),
    ] = None,
    epsilon_per: Annotated[
        str | None, _open("epsilon for each sample, or batch.", rich_help_panel=RULE, show_default="sample")
    ] = None,
    reduction: Annotated[
        str | None,
        _open(
            "Updates are the sum or the mean over a mini-batch.",
            rich_help_panel=RULE,
            show_default="sum with sgd under LRA, else mean",
        ),
    ] = None,
    optimizer: Annotated[
        str, _open("sgd, adam, rmsprop, ...; see seqlra list.", rich_help_panel=OPTIMISATION)
    ] = "adam",
    lr: Annotated[
        float | None, _open("Step size.", rich_help_panel=OPTIMISATION, show_default="suits the optimiser")
    ] = None,
    momentum: Annotated[float, _open("Momentum of sgd and rmsprop.", rich_help_panel=OPTIMISATION)] = 0.0,
    schedule: Annotated[
        str, _open("constant, or linear: lr falls to 0 at the end.", rich_help_panel=OPTIMISATION)
    ] = "constant",
    batch_size: Annotated[int, _open("Images in a mini-batch.", rich_help_panel=OPTIMISATION)] = 50,
    epochs: Annotated[int, _open("Passes over the training images.", rich_help_panel=OPTIMISATION)] = 15,
    steps: Annotated[
        int | None, _open("Number of updates, instead of epochs.", rich_help_panel=OPTIMISATION, show_default="off")
    ] = None,
    seed: Annotated[int, _open("Seed of everything.", rich_help_panel=BOOKKEEPING)] = 0,
    device: Device = "auto",
    threads: Annotated[
        int | None, _open("CPU threads.", rich_help_panel=BOOKKEEPING, show_default="torch's choice")
    ] = None,
    out: Annotated[
        Path | None, _open("Run directory to make.", rich_help_panel=BOOKKEEPING, show_default="runs/<name>")
    ] = None,
    resume: Annotated[
        Path | None, _open("Go on with this run; it has its own options.", rich_help_panel=BOOKKEEPING)
    ] = None,
    json: Json = False,
) -> None:
    """Train a multilayer perceptron to classify images.

    Without options it trains on an embedded sample of MNIST, offline, in well under a minute.

    The paper's null initialisation (Section 3.2):

        seqlra train mlp --dataset mnist --hidden 128x8 --activation sigmoid --weight-init zeros
        --optimizer sgd --lr 0.01 --batch-size 50 --epochs 10
    """
    if resume is not None:
        _refuse_options(context)
        _resume(resume, device, threads, json)
        return
    rule_given = {
        "beta": beta,
        "c2_per": c2_per,
        "steps": inner_steps,
        "epsilon": epsilon,
        "epsilon_per": epsilon_per,
        "reduction": reduction,
    }
    rule_given = {name: value for name, value in rule_given.items() if value is not None}
    rule_given |= {name: bound(name, text) for name, text in (("c1", c1), ("c2", c2)) if text is not None}
    given = {
        "dataset": dataset,
        "data_dir": None if data_dir is None else str(data_dir.resolve()),
        "valid": valid,
        "hidden": hidden_sizes(hidden),
        "activation": activation if _was_given(context, "activation") else None,
        "discretizer": discretizer,
        "block_size": block_size,
        "loss": loss,
        "weight_init": weight_init,
        "weight_std": weight_std,
        "feedback_std": feedback_std,
        "rule": rule,
        "optimizer": optimizer,
        "lr": lr,
        "momentum": momentum,
        "schedule": schedule,
        "batch_size": batch_size,
        "epochs": epochs,
        "steps": steps,
        "seed": seed,
    }

    from seqlra.experiments import pick_device
    from seqlra.presets import mlp_config

    config = mlp_config(given, rule_given, pick_device(device).type, _set_threads(threads))
    out = out or Path("runs") / f"mlp-{dataset}-{rule}-{time.strftime('%Y%m%d-%H%M%S')}"
    _start(config, out, json)


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _refuse_options(context: typer.Context) -> None:
    """A resumed run is the run it was: options that would change it are refused rather than ignored."""
    for name in context.params:
        if name not in AT_RESUME and _was_given(context, name):
            option = name.replace("_", "-")
            raise SeqlraError(
                f"--{option} does not go with --resume: a resumed run keeps the options it was started with"
            )


def _set_threads(threads: int | None) -> int:
    import torch

    if threads is not None:
        if threads < 1:
            raise SeqlraError(f"threads must be at least 1, not {threads}")
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def _start(config: Config, out: Path, json: bool) -> None:
    from dataclasses import replace

    from seqlra.experiments import prepare, versions
    from seqlra.rundir import RunDirectory

    experiment = prepare(config)
    run = RunDirectory.create(out)
    run.write_json(run.config, replace(config, versions=versions()).to_dict())
    _train(experiment, run, False, json)


def _resume(path: Path, device: str, threads: int | None, json: bool) -> None:
    from dataclasses import replace

    from seqlra.config import Config
    from seqlra.experiments import pick_device, prepare
    from seqlra.rundir import RunDirectory

    run = RunDirectory.open(path)
    if run.result.exists():
        raise SeqlraError(f"the run {path} is finished: its result is in {run.result}")
    config = Config.read(run.config)
    _set_threads(threads or config.threads)
    config = config if device == "auto" else replace(config, device=pick_device(device).type)
    _train(prepare(config), run, True, json)


def _train(experiment: Any, run: Any, resume: bool, json: bool) -> None:
    from seqlra.cli.show import Watch, json_line, result_rows, table
    from seqlra.experiments import train
    from seqlra.plotting import save_curve
    from seqlra.training import Stopped

    try:
        with Watch() as watch:
            result = train(experiment, run, resume, watch)
    except Stopped:
        raise Interrupted(f"stopped; go on with: seqlra train {experiment.config.task} --resume {run.path}") from None
    save_curve(run.curve, run.read_metrics(), experiment.title)
    table(f"{experiment.title}: {run.path}", result_rows(result), to_stderr=json)
    if json:
        json_line({**result, "out": str(run.path)})
