"""What is searched for one rule: its options, the space of its settings, and where the search begins."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from seqlra.engine.update import update
from seqlra.errors import SeqlraError
from seqlra.rules import rule_class
from seqlra.rules.space import Dimension, Range, dimension_of
from seqlra.training.configure import configure
from seqlra.training.experiment import Experiment, prepare
from seqlra.training.fields import settings_of
from seqlra.training.settings import Config, Network, Optimization, RuleOptions


@dataclass(frozen=True)
class Search:
    """The search for the settings of one rule.

    Args:
        task: ``mlp`` or ``rnn``.
        label: its name in tables.
        options: keywords of `configure`: what all trials have.
        space: what is searched, by the name of the setting or of the option.
        start: the settings of the first trial, those that suit; what lies outside the space is left to the sampler.
    """

    task: str
    label: str
    options: Mapping[str, Any]
    space: Mapping[str, Dimension]
    start: Mapping[str, Any]

    @staticmethod
    def of(task: str, label: str, options: Mapping[str, Any], space: Mapping[str, Dimension] | None = None) -> Search:
        """The search in the space of the rule, see `Rule.space`.

        Args:
            task, label, options: see `Search`; ``options["rule"]`` is the rule. What is given here is not searched.
            space: other ranges, or those of more settings; they are searched even where ``options`` has a value, which
                the first trial then has.

        Raises:
            SeqlraError: options that cannot be used, a setting that is not there, or nothing to search.
        """
        config = configure(task, **options)
        own = {_setting(task, name): dimension for name, dimension in (space or {}).items()}
        given = {_setting(task, name) for name in options} | set(options.get("settings") or {})
        suited = rule_class(config.rule["name"]).space(config.optimization.lr, config.rule)
        left = {name: dimension for name, dimension in suited.items() if name not in given}
        whole = {name: _in_kind(dimension, _value(config, name)) for name, dimension in {**left, **own}.items()}
        if not whole:
            raise SeqlraError(
                f"nothing is left to tune: {', '.join(suited)} have values already; leave one open, or name one in "
                "--space"
            )
        start = {name: _value(config, name) for name, dimension in whole.items() if _value(config, name) in dimension}
        return Search(task, label, options, whole, start)

    def options_at(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a run with these settings of the space."""
        of_rule = {name: value for name, value in settings.items() if name in _fields(self.options["rule"])}
        others = {name: value for name, value in settings.items() if name not in of_rule}
        return {**self.options, **others, "settings": {**(self.options.get("settings") or {}), **of_rule}}

    def config_at(self, settings: Mapping[str, Any], seed: int) -> Config:
        """The configuration of a trial, which has no diagnostics.

        Raises:
            SeqlraError: settings that make no sense.
        """
        return configure(self.task, **{**self.options_at(settings), "seed": seed, "diagnose": 0})

    def check(self, seed: int) -> Experiment:
        """Look whether trials can run: the settings at all ends of the space make sense, and one update does.

        Returns:
            The experiment of the first trial.

        Raises:
            SeqlraError: they cannot.
        """
        try:
            for name, dimension in self.space.items():
                for value in dimension.ends:
                    self.config_at({**self.start, name: value}, seed)
            highest = {name: dimension.ends[-1] for name, dimension in self.space.items()}
            experiments = [prepare([self.config_at(at, seed)], fresh=True) for at in (highest, self.start)]
            for each in experiments:
                update(each.graph, each.rule, *each.task.batch(0))
        except SeqlraError as error:
            raise SeqlraError(f"{self.label}: {error}") from error
        return experiments[-1]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        space = {name: asdict(dimension) for name, dimension in self.space.items()}
        return {"label": self.label, "options": self.options, "space": space, "start": self.start}

    @staticmethod
    def from_dict(task: str, plain: Mapping[str, Any]) -> Search:
        """The reverse of `to_dict`.

        Raises:
            KeyError, TypeError, AttributeError, SeqlraError: they are not those of one.
        """
        space = {name: dimension_of(each) for name, each in plain["space"].items()}
        return Search(task, str(plain["label"]), dict(plain["options"]), space, dict(plain["start"]))


def may_tune(task: str, rule: str, name: str) -> bool:
    """Whether a rule, the network or the optimizer has a setting of that name, or an option.

    Raises:
        SeqlraError: an unknown rule.
    """
    known = settings_of(task).get(name)
    return _setting(task, name) in _fields(rule) or (known is not None and known.part in (Network, Optimization))


def _setting(task: str, name: str) -> str:
    """The setting of the rule that an option is; any other name as it is."""
    name = name.replace("-", "_")
    known = settings_of(task).get(name)
    return known.option.setting or name if known is not None and known.part is RuleOptions else name


def _fields(rule: str) -> Collection[str]:
    return {field.name for field in fields(rule_class(rule)) if field.init}


def _value(config: Config, name: str) -> Any:
    """What a configuration has for a setting of its rule, or of the network, or of the optimizer.

    Raises:
        SeqlraError: none of them has one of that name.
    """
    if name in config.rule and name != "name":
        return config.rule[name]
    known = settings_of(config.task, config.data.kind).get(name)
    parts = {Network: config.network, Optimization: config.optimization}
    if known is None or known.part not in parts:
        accepted = ", ".join(["lr", *(each for each in config.rule if each != "name")])
        raise SeqlraError(
            f"{name!r} cannot be tuned for {config.rule['name']}; accepted: {accepted}, and options of the network and "
            "the optimizer"
        )
    return getattr(parts[known.part], known.field)


def _in_kind(dimension: Dimension, value: object) -> Dimension:
    """A range of a setting that is a whole number has whole numbers only."""
    if isinstance(dimension, Range) and isinstance(value, int) and not isinstance(value, bool):
        return Range(dimension.low, dimension.high, dimension.log, whole=True)
    return dimension
