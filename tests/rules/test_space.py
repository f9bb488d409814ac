"""What a rule lets tuning search. Oracle: the configuration that suits, and what the rule itself accepts."""

from __future__ import annotations

import pytest

from seqlra import SeqlraError
from seqlra.rules import RULES, rule_class
from seqlra.rules.space import Choice, Range, dimension_of
from seqlra.sweeps.search import Search
from seqlra.training.configure import configure


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("task", ["mlp", "rnn"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_every_rule_is_searched_around_what_suits_and_accepts_all_ends(name: str, task: str, optimizer: str) -> None:
    options = {"rule": name, "optimizer": optimizer, "threads": 1}
    config = configure(task, **options)
    space = rule_class(name).space(config.optimization.lr, config.rule)
    assert space["lr"] == Range.around(config.optimization.lr, 30)
    search = Search.of(task, name, options)
    held = {**config.rule, "lr": config.optimization.lr}
    assert search.start == {setting: held[setting] for setting in space}  # all of them lie within
    for setting, dimension in search.space.items():
        for value in dimension.ends:
            search.config_at({**search.start, setting: value}, 0)


def test_rules_search_their_own_settings() -> None:
    def searched(name: str, task: str = "mlp", **options: object) -> set[str]:
        return set(Search.of(task, name, {"rule": name, **options}).space)

    assert searched("backprop") == searched("dfa") == {"lr"}
    assert searched("lra-fdbk") == {"lr", "beta", "c2"}
    assert searched("lra-fdbk", optimizer="sgd") == {"lr", "beta", "c1", "c2"}  # both bounds are on
    assert searched("lra-fdbk", "rnn") == {"lr", "beta"}  # none is
    assert searched("lra-diff") == {"lr", "beta", "c2", "steps"}
    assert searched("lra-diff", "rnn", window=2) == {"lr", "beta"}  # a window has one step
    assert searched("dtp") == {"lr", "target_step", "noise", "inverse_lr"}
    assert searched("ste-slope", discretizer="bernoulli") == {"lr", "slope"}
    assert searched("reinforce-va", discretizer="bernoulli") == {"lr", "decay"}


def test_dimensions() -> None:
    assert [value in Range(1, 3) for value in (0.9, 1, 2.5, 3, 3.1, None, True, "2")] == [
        False, True, True, True, False, False, False, False,
    ]  # fmt: skip
    assert [value in Range(1, 3, whole=True) for value in (1, 2.5, 3)] == [True, False, True]
    assert [value in Choice((None, 1.0)) for value in (None, 1, 2)] == [True, True, False]
    assert (Range(1, 3, whole=True).ends, Range(1, 3).ends, Choice((None, 2)).ends) == ((1, 3), (1.0, 3.0), (None, 2))
    for each in (Range(1, 3, whole=True), Range(0.1, 2, log=True), Choice((None, "a"))):
        plain = {"values": list(each.values)} if isinstance(each, Choice) else vars(each)
        assert dimension_of(plain) == each


@pytest.mark.parametrize(
    ("low", "high", "kinds"),
    [
        (1, 1, {}),
        (2, 1, {}),
        (0, 1, {"log": True}),
        (float("nan"), 1, {}),
        (0, float("inf"), {}),
        (0.5, 3, {"whole": True}),
    ],
)
def test_ranges_that_are_none(low: float, high: float, kinds: dict[str, bool]) -> None:
    with pytest.raises(SeqlraError, match="a range"):
        Range(low, high, **kinds)
    with pytest.raises(SeqlraError, match="at least two values"):
        Choice((1, 1))
