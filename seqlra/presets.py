"""What to use where the user leaves it open, so that nobody has to know beta: measured, and recorded with every run.

The figures behind the choices, and the commands that repeat them, are in the README.
"""

from __future__ import annotations

from typing import Any

from seqlra.config import Config, Data, Network, Optimisation
from seqlra.errors import unknown
from seqlra.rules import RULES

MLP: dict[str, Any] = {
    "dataset": "mnist-sample",
    "hidden": (256, 256, 256),
    "activation": "tanh",
    "discretizer": None,
    "block_size": 4,
    "loss": "log-penalty",
    "weight_init": "fan-in",
    "weight_std": 0.05,
    "feedback_std": 1.0,
    "rule": "lra-fdbk",
    "optimizer": "adam",
    "momentum": 0.0,
    "schedule": "constant",
    "batch_size": 50,
    "epochs": 15,
    "seed": 0,
}
"""The default job: three hidden layers on the embedded sample."""


def rule_settings(rule: str, optimizer: str, activation: str) -> dict[str, Any]:
    """Settings of the rule that suit these units and this optimiser.

    Plain gradient descent takes the sum over a mini-batch, with which the paper's step size of 0.01 learns (the mean
    does not start a deep sigmoid net); optimisers that adapt their step to the scale of the updates take the mean.

    Raises:
        SeqlraError: an unknown rule.
    """
    if rule not in RULES:
        raise unknown("rule", rule, RULES)
    if not rule.startswith("lra"):
        return {"reduction": "mean"}
    settings: dict[str, Any] = {"reduction": "sum" if optimizer == "sgd" else "mean", "beta": 0.1, "c1": None, "c2": 10.0}
    if activation == "sigmoid":  # its derivative is at most 1/4: what beta 0.1 asks for is too little to learn from
        settings.update(beta=1.0, c2=3.0)
    elif optimizer == "sgd":  # nothing else bounds the steps of a deep net
        settings.update(c1=10.0, c2=3.0)
    elif activation == "softplus":  # no upper bound, and a derivative of 1/2 at 0
        settings.update(c2=3.0)
    return settings


def step_size(rule: str, optimizer: str) -> float:
    """A step size for an optimiser: the paper's 0.01 for LRA's summed updates under ``sgd``."""
    if optimizer == "sgd":
        return 0.01 if rule.startswith("lra") else 0.1
    return 0.0005


def mlp_config(given: dict[str, Any], rule_given: dict[str, Any], device: str, threads: int) -> Config:
    """The configuration of an MLP run: what was given, and defaults for the rest.

    Args:
        given: options by name, as in `MLP`, besides ``data_dir``, ``valid``, ``lr`` and ``steps``; None means open.
        rule_given: settings of the rule, by their names there.
        device, threads: what it runs on.

    Raises:
        SeqlraError: values that make no sense.
    """
    options = MLP | {name: value for name, value in given.items() if value is not None}
    rule, optimizer = options["rule"], options["optimizer"]
    activation = options["activation"]
    if options["discretizer"] == "bernoulli" and given.get("activation") is None:
        activation = "sigmoid"  # bernoulli draws with the probability z
    settings = rule_settings(rule, optimizer, activation) | rule_given
    lr = options.get("lr")
    return Config(
        task="mlp",
        data=Data(options["dataset"], options.get("data_dir"), options.get("valid")),
        network=Network(
            tuple(options["hidden"]),
            activation,
            None if options["discretizer"] == "none" else options["discretizer"],
            options["block_size"],
            options["loss"],
            options["weight_init"],
            options["weight_std"],
            options["feedback_std"],
        ),
        rule={"name": rule, **settings},
        optimisation=Optimisation(
            optimizer,
            step_size(rule, optimizer) if lr is None else lr,
            options["momentum"],
            options["schedule"],
            options["batch_size"],
            None if options.get("steps") is not None else options["epochs"],
            options.get("steps"),
        ),
        seed=options["seed"],
        device=device,
        threads=threads,
    )
