"""Configurations from plain keyword arguments: what was given, and what suits the task and the rule for the rest."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from seqlra import own
from seqlra.data.hub import is_on_hub
from seqlra.errors import SeqlraError, unknown
from seqlra.network.units import discretizer
from seqlra.rules import rule, rule_class
from seqlra.rules.suited import Suited
from seqlra.training.data_settings import Data, Generated, Labeled, Pixels, data_of
from seqlra.training.fields import Setting, settings_of
from seqlra.training.machine import pick_device
from seqlra.training.option import bound, steps_back
from seqlra.training.settings import MAY_BE_OWN, Config, Models, Network, Optimization, RuleOptions


def configure(task: str, *, settings: Mapping[str, Any] | None = None, **options: Any) -> Config:
    """The configuration of one run.

        >>> config = configure("mlp", hidden=(32, 24), rule="dtp", settings={"noise": 0.2}, seed=3)
        >>> config.network.hidden, config.optimization.lr, config.rule["noise"], config.rule["target_step"]
        ((32, 24), 0.001, 0.2, 0.3)

    Args:
        task: ``mlp`` or ``rnn``.
        settings: settings of the rule by their names there; they win over its options.
        options: the options of ``seqlra train mlp`` (or ``rnn``) by name, with ``_`` for ``-``, such as ``batch_size``;
            None leaves one open. Besides, ``data_seed`` draws the images alone.

    Raises:
        SeqlraError: unknown names, or values that make no sense.
    """
    every = settings_of(task)
    for name in options:
        if name not in every:
            raise unknown("option", name, [*every, "settings"])
    given = {name: value for name, value in options.items() if value is not None}
    data = data_of(task, {"dataset": every["dataset"].default, **given})
    known = settings_of(task, data.kind)
    _check_kind(given, known, data)
    if "data" in given and given.get("dataset") not in (None, Path(given["data"]).name):
        raise SeqlraError("dataset does not go with data, whose file is the dataset")
    files = {"text", "valid_text", "test_text"} & given.keys()
    if files - {"text"} and len(files) < 3:
        raise SeqlraError("--valid-text and --test-text go together, and with --text, which is then to train on")
    if given.get("online"):
        if "unroll" not in known:
            raise SeqlraError("--online goes with a text, whose states go on from chunk to chunk; sequences start anew")
        given = {"unroll": 1, **given}
    values = {name: setting.default for name, setting in known.items()} | given
    for name, setting in known.items():
        if setting.kind is Path and values[name] is not None:
            values[name] = str(Path(values[name]).absolute())  # the run may be resumed from another folder
    if values["activation"] is None:  # bernoulli draws with the probability z
        values["activation"] = "sigmoid" if values["discretizer"] == "bernoulli" else "tanh"
    own.import_named(*(values[name] for name in MAY_BE_OWN))
    of_rule = {**_of_the_rule(task, values), **(settings or {})}
    if "name" in of_rule:
        raise SeqlraError("name is no setting of a rule; which rule it is, the option rule says")
    suited = rule_class(values["rule"]).suited(task, values["activation"], values["optimizer"], of_rule)
    asked_late = data in (Generated, Pixels, Labeled)
    if asked_late:
        suited = _for_sequences(suited)
    whole = complete({"name": values["rule"], **suited.settings, **of_rule})
    if asked_late and "epochs" in given and "steps" not in given:
        values["steps"] = None
    _fill(values, suited, asked_late or "window" in of_rule, whole)
    held: dict[type, dict[str, Any]] = {}
    for name, setting in known.items():
        held.setdefault(setting.part, {})[setting.field] = values[name]
    return Config(
        data=data(**held[data]),
        network=Network(**held[Network]),
        rule=whole,
        optimization=Optimization(**held[Optimization]),
        **{"task": task, **held[Config]},
    )


def configurations(
    task: str, *, seed: int | None = None, seeds: int | None = None, one_stream: bool = False, **options: Any
) -> list[Config]:
    """The configurations of one run for each of so many seeds: a stack.

        >>> [config.seed for config in configurations("rnn", seeds=3, seed=5, rule="backprop")]
        [5, 6, 7]

    Args:
        task, options: as of `configure`.
        seed: the first; None is 0.
        seeds: how many, each one more than the one before; None is 1.
        one_stream: whether all see the images of the first, in its order; of a text or sequences they do anyway.

    Raises:
        SeqlraError: no seeds, unknown names, or values that make no sense.
    """
    models = Models(seed=seed or 0, seeds=seeds, one_stream=one_stream)
    shared = {"data_seed": models.seed} if models.one_stream and task == "mlp" else {}
    numbers = range(models.seed, models.seed + (models.seeds or 1))
    return [configure(task, **{**options, **shared, "seed": number}) for number in numbers]


def complete(given: Mapping[str, Any]) -> dict[str, Any]:
    """The name of a rule and all its settings, those that are not given at their defaults.

    What JSON has no word for, a rule of one's own may have as a default, and keeps to itself.

    Raises:
        SeqlraError: an unknown rule, or a setting that it does not have or that makes no sense.
    """
    settings = dict(given)
    name = settings.pop("name")
    made = rule(name, **settings)
    held = {field.name: getattr(made, field.name) for field in fields(made) if field.init}
    plain = {each: value for each, value in held.items() if each in settings or _is_plain(value)}
    return {"name": name, **plain}


def _check_kind(given: Mapping[str, Any], known: Mapping[str, Setting], data: type[Data]) -> None:
    """Raise `SeqlraError` where an option does not go with the kind of data."""
    for name in given:
        if name not in known:
            dataset = given.get("text") or given.get("data") or given.get("dataset") or known["dataset"].default
            own = [setting.name for setting in known.values() if setting.part is data or setting.option.without]
            accepted = ", ".join(each.replace("_", "-") for each in own)
            raise SeqlraError(f"{name.replace('_', '-')} does not go with {dataset}, whose own options are {accepted}")


def refuse_ignored(given: Collection[str], config: Config) -> None:
    """Raise `SeqlraError` where an option was ``given``, by its name, that changes nothing in its configuration."""
    net, data, optimizer = config.network, config.data, config.optimization.optimizer
    g = net.discretizer
    competes = g is not None and (own.is_own(g) or getattr(discretizer(g, 2), "block", 1) == 2)
    on_text = getattr(data, "text", None) is not None
    on_hub = is_on_hub(data.dataset) and not on_text
    needed = {
        "momentum": (optimizer in ("sgd", "rmsprop") or own.is_own(optimizer), "--optimizer sgd or rmsprop"),
        "weight_std": (net.weight_init == "gaussian", "--weight-init gaussian"),
        "train_leak": (net.leak < 1, "--leak under 1"),
        "block_size": (competes, "--discretizer lwta, slwta or slwta-sampled"),
        "mirror_vectors": (net.feedback_init == "mirror", "--feedback-init mirror"),
        "max_words": (getattr(data, "tokens", None) == "words", "--tokens words"),
        "weight_init": (net.init_from is None, "no --init-from"),
        "dataset": (not on_text, "no --text"),
        "column": (on_hub or on_text, "--dataset hf:owner/name, or --text FILE.csv"),
        **dict.fromkeys(("label_column", "config_name", "revision"), (on_hub, "--dataset hf:owner/name")),
        "data_dir": (not on_text, "no --text"),
    }
    for name, (met, words) in needed.items():
        if name in given and not met:
            raise SeqlraError(f"--{name.replace('_', '-')} has an effect only with {words}")


def _for_sequences(suited: Suited) -> Suited:
    """What suits sequences that are asked at their end: the step size, which stays, is a tenth of that which falls to 0
    on a text."""
    return replace(suited, lr=suited.lr / 10)


def _fill(values: dict[str, Any], suited: Suited, across: bool, whole: Mapping[str, Any]) -> None:
    """Settle what was left open, and what depends on something else."""
    values["lr"] = suited.lr if values["lr"] is None else values["lr"]
    if values["feedback_init"] is None:
        null = suited.feedback_init == "mirror" and values["weight_init"] == "zeros"  # there is nothing to mirror
        values["feedback_init"] = "gaussian" if null else suited.feedback_init
    if "across_time" in values and values["across_time"] is None:
        values["across_time"] = (suited.across_time or across) and whole.get("window") != 0
    for name in ("text", "data"):
        if values.get(name) is not None:
            values["dataset"] = Path(values[name]).name
    if values["steps"] is not None:
        values["epochs"] = None
    values["device"] = pick_device(values["device"]).type
    values["threads"] = torch.get_num_threads() if values["threads"] is None else values["threads"]


def _of_the_rule(task: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """What the options of the rule say, by the names of its settings."""
    options = {name: setting for name, setting in settings_of(task).items() if setting.part is RuleOptions}
    checked = RuleOptions(**{name: values[name] for name in options})
    given = {setting.option.setting or name: getattr(checked, name) for name, setting in options.items()}
    given = {name: value for name, value in given.items() if value is not None and value is not False}
    given |= {name: bound(name, given[name]) for name in ("c1", "c2") if name in given}
    given |= {name: steps_back(given[name]) for name in ("window",) if name in given}
    del given["rule"]
    return given


def _is_plain(value: object) -> bool:
    """Whether JSON has a word for it."""
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))
