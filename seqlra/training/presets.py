"""What to use where the user leaves it open, so that nobody has to know beta: measured, and recorded with every run.

The figures behind the choices, and the commands that repeat them, are in the README.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seqlra.rules import rule_class
from seqlra.training.settings import Config, Images, Network, Optimization, Text

COMMON: dict[str, Any] = {
    "activation": "tanh",
    "discretizer": None,
    "block_size": 4,
    "weight_std": 0.05,
    "feedback_std": 1.0,
    "feedback_init": None,
    "init_from": None,
    "rule": "lra-fdbk",
    "optimizer": "adam",
    "momentum": 0.0,
    "seed": 0,
    "diagnose": 100,
    "compile": False,
    "precision": "float32",
}
MLP: dict[str, Any] = COMMON | {
    "dataset": "mnist-sample",
    "hidden": (256, 256, 256),
    "loss": "log-penalty",
    "weight_init": "fan-in",
    "schedule": "constant",
    "batch_size": 50,
    "epochs": 15,
}
"""The default job of `seqlra train mlp`: three hidden layers on the embedded sample of MNIST."""

RNN: dict[str, Any] = COMMON | {
    "dataset": "text-sample",
    "tokens": "chars",
    "max_words": 10_000,
    "hidden": (256,),
    "loss": "l2",
    "weight_init": "reservoir",
    "schedule": "linear",
    "across_time": False,
    "streams": 64,
    "unroll": 50,
    "epochs": 9,
}
"""The default job of `seqlra train rnn`: one recurrent layer on the embedded text."""


def rule_settings(rule: str, optimizer: str, activation: str) -> dict[str, Any]:
    """Settings of the rule that suit an MLP of these units and this optimizer.

    Plain gradient descent takes the sum over a mini-batch, with which the paper's step size of 0.01 learns (the mean
    does not start a deep sigmoid net); optimizers that adapt their step to the scale of the updates take the mean.
    """
    if not rule.startswith("lra"):
        return {"reduction": "mean"}
    settings: dict[str, Any] = {
        "reduction": "sum" if optimizer == "sgd" else "mean",
        "beta": 0.1,
        "c1": None,
        "c2": 10.0,
    }
    if activation == "sigmoid":  # its derivative is at most 1/4: what beta 0.1 asks for is too little to learn from
        settings.update(beta=1.0, c2=3.0)
    elif optimizer == "sgd":  # nothing else bounds the steps of a deep net
        settings.update(c1=10.0, c2=3.0)
    elif activation == "softplus":  # no upper bound: larger or normalized displacements drive it off from zero weights
        settings.update(beta=0.02, c2=None)
    return settings


def mlp_step_size(rule: str, optimizer: str) -> float:
    """A step size for an MLP: the paper's 0.01 for LRA's summed updates under ``sgd``."""
    if optimizer == "sgd":
        return 0.01 if rule.startswith("lra") else 0.1
    return 0.001


def mlp_config(given: dict[str, Any], rule_given: dict[str, Any], device: str, threads: int) -> Config:
    """The configuration of an MLP run: what was given, and defaults for the rest.

    Args:
        given: options by name, as in `MLP`, besides ``data_dir``, ``valid``, ``data_seed``, ``lr`` and ``steps``; None
            means open.
        rule_given: settings of the rule, by their names there.
        device, threads: what it runs on.

    Raises:
        SeqlraError: an unknown rule, or values that make no sense.
    """
    options = _with_defaults(MLP, given)
    settings = rule_settings(options["rule"], options["optimizer"], options["activation"])
    return Config(
        task="mlp",
        data=Images(options["dataset"], options.get("data_dir"), options.get("valid"), options.get("data_seed")),
        network=_network(options),
        rule={"name": options["rule"], **settings, **rule_given},
        optimization=_optimization(options, mlp_step_size(options["rule"], options["optimizer"])),
        seed=options["seed"],
        device=device,
        threads=threads,
        diagnose=options["diagnose"],
        compile=options["compile"],
        precision=options["precision"],
    )


def rnn_rule_settings(rule: str) -> dict[str, Any]:
    """Settings of the rule that suit an RNN."""
    if not rule.startswith("lra"):
        return {"reduction": "mean"}
    return {"reduction": "mean", "beta": 0.1, "c1": None, "c2": None}


def rnn_step_size(optimizer: str) -> float:
    """A step size for an RNN, under the linear schedule: of those tried, the best for every rule on validation."""
    return 1.0 if optimizer == "sgd" else 0.01


def rnn_config(given: dict[str, Any], rule_given: dict[str, Any], device: str, threads: int) -> Config:
    """The configuration of an RNN run; arguments and errors as for `mlp_config`, with `RNN` and ``text``."""
    options = _with_defaults(RNN, given)
    options["across_time"] |= options["rule"] == "fa"  # through time, as BPTT is backprop through time
    own = options.get("text")
    return Config(
        task="rnn",
        data=Text(
            options["dataset"] if own is None else Path(own).name,
            options.get("data_dir"),
            own,
            options["tokens"],
            options["max_words"],
            options["streams"],
            options["unroll"],
        ),
        network=_network(options),
        rule={"name": options["rule"], **rnn_rule_settings(options["rule"]), **rule_given},
        optimization=_optimization(options, rnn_step_size(options["optimizer"])),
        seed=options["seed"],
        device=device,
        threads=threads,
        diagnose=options["diagnose"],
        compile=options["compile"],
        precision=options["precision"],
    )


def _with_defaults(defaults: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    options = defaults | {name: value for name, value in given.items() if value is not None}
    rule_class(options["rule"])  # known, or it is said here
    if options["discretizer"] == "bernoulli" and given.get("activation") is None:
        options["activation"] = "sigmoid"  # bernoulli draws with the probability z
    return options


def _network(options: dict[str, Any]) -> Network:
    return Network(
        tuple(options["hidden"]),
        options["activation"],
        None if options["discretizer"] == "none" else options["discretizer"],
        options["block_size"],
        options["loss"],
        options["weight_init"],
        options["weight_std"],
        options["feedback_std"],
        options["feedback_init"] or ("gaussian" if options["rule"].startswith("lra") else "fan-out"),
        options.get("across_time", False),
        options["init_from"],
    )


def _optimization(options: dict[str, Any], lr: float) -> Optimization:
    steps = options.get("steps")
    return Optimization(
        options["optimizer"],
        lr if options.get("lr") is None else options["lr"],
        options["momentum"],
        options["schedule"],
        options.get("batch_size"),
        options["epochs"] if steps is None else None,
        steps,
    )
