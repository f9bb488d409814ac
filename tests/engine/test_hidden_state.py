"""Rules and units of one's own that leave torch. Oracle: the engine, which runs their Python at every update."""

from __future__ import annotations

import itertools
import random
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from helpers import filled, small_mlp, updates
from torch import Tensor

from seqlra import Activation, Graph, LRAFeedback, RecordedUpdate, Rule, mlp, update
from seqlra.engine.compiled import CompiledUpdate
from seqlra.engine.tracing import NotTraceable
from seqlra.errors import SeqlraWarning
from seqlra.rules.views import LayerView

UPDATES = 12
Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Own(LRAFeedback):
    """LRA whose errors are changed by a function of the user's; it may remember what it likes."""

    change: Any = None

    def error(self, layer: LayerView, incoming: Tensor) -> Any:
        return self.change(super().error(layer, incoming))


def by_numpy() -> Change:
    return lambda d: torch.from_numpy(np.tanh(d.numpy()))


def by_array() -> Change:
    return lambda d: d * float(np.asarray(d).std())


def by_list() -> Change:
    return lambda d: torch.tensor(d.tolist(), dtype=d.dtype) * 2


def by_item() -> Change:
    return lambda d: d * d.abs().max().item()


def by_the_largest_as_text() -> Change:
    return lambda d: d * (1 + len(str(d)) % 3)


def by_random() -> Change:
    random.seed(5)
    return lambda d: d * random.random()


def by_random_now_and_then() -> Change:
    random.seed(5)
    return lambda d: d * 3 if random.random() < 0.03 else d


def by_numpys_random() -> Change:
    np.random.seed(5)
    return lambda d: d + np.random.rand()


def by_numpys_generator() -> Change:
    generator = np.random.default_rng(5)
    return lambda d: d + torch.from_numpy(generator.normal(size=d.shape))


def by_its_own_random() -> Change:
    own = random.Random(5)
    return lambda d: d * 3 if own.random() < 0.03 else d


def by_a_generator() -> Change:
    generator = torch.Generator().manual_seed(5)
    return lambda d: d + torch.randn(d.shape, generator=generator, dtype=d.dtype)


def by_a_seed_of_its_own() -> Change:
    def change(d: Tensor) -> Tensor:
        torch.manual_seed(5)
        return d + torch.randn_like(d)

    return change


def by_a_counter() -> Change:
    count = 0

    def change(d: Tensor) -> Tensor:
        nonlocal count
        count += 1
        return d / count

    return change


def by_a_rare_counter() -> Change:
    """Nothing but the counter changes in the first updates."""
    counts = [0]

    def change(d: Tensor) -> Tensor:
        counts[0] += 1
        return d * 3 if counts[0] % 30 == 0 else d

    return change


class Counting:
    """An object with a memory."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, d: Tensor) -> Tensor:
        self.calls += 1
        return d * 3 if self.calls % 30 == 0 else d


NUMBERS = {"calls": 0}


def by_a_global() -> Change:
    NUMBERS["calls"] = 0

    def change(d: Tensor) -> Tensor:
        NUMBERS["calls"] += 1
        return d * 3 if NUMBERS["calls"] % 30 == 0 else d

    return change


def by_itertools() -> Change:
    numbers = itertools.count()
    return lambda d: d * 3 if next(numbers) % 30 == 29 else d


def by_the_error_before() -> Change:
    held: list[Tensor] = []

    def change(d: Tensor) -> Tensor:
        held.append(d)
        return d if len(held) < 2 or held[-2].shape != d.shape else d + held[-2]

    return change


LEAVING = [
    by_numpy,
    by_array,
    by_list,
    by_item,
    by_the_largest_as_text,
    by_random,
    by_random_now_and_then,
    by_numpys_random,
    by_numpys_generator,
    by_its_own_random,
    by_a_generator,
    by_a_seed_of_its_own,
    by_a_counter,
    by_a_rare_counter,
    Counting,
    by_a_global,
    by_itertools,
    by_the_error_before,
]


def batches(graph: Graph) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(3)
    return [
        (torch.randn(6, 5, generator=generator), torch.randint(3, (6,), generator=generator)) for _ in range(UPDATES)
    ]


def trained(make: Callable[[], tuple[Graph, Rule]], recorded: bool) -> dict[str, Tensor]:
    torch.manual_seed(7)
    graph, rule = make()
    one: Any = RecordedUpdate(graph, rule) if recorded else lambda x, t: update(graph, rule, x, t)
    optimizer = torch.optim.SGD(graph.parameters(), lr=0.1)
    for x, t in batches(graph):
        one(x, t)
        optimizer.step()
    return {name: tensor.clone() for name, tensor in graph.state_dict().items()}


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.mark.parametrize("change", LEAVING, ids=lambda change: change.__name__)
def test_a_rule_that_leaves_torch_trains_as_with_the_engine_and_says_so_once(change: Callable[[], Change]) -> None:
    def make() -> tuple[Graph, Rule]:
        return filled(small_mlp()), Own(change=change())

    by_engine = trained(make, recorded=False)
    with pytest.warns(SeqlraWarning, match="run by the engine rather than recorded") as said:
        found = trained(make, recorded=True)
    assert_equal(found, by_engine)
    assert len(said) == 1


@pytest.mark.parametrize("change", LEAVING, ids=lambda change: change.__name__)
def test_a_unit_that_leaves_torch_trains_as_with_the_engine(change: Callable[[], Change]) -> None:
    def make() -> tuple[Graph, Rule]:
        own = change()
        f = Activation("own", lambda h: own(h.tanh()), lambda h, z: 1 - z * z)
        return filled(mlp(5, [8, 4], 3, f)), LRAFeedback()

    by_engine = trained(make, recorded=False)
    with pytest.warns(SeqlraWarning):
        assert_equal(trained(make, recorded=True), by_engine)


@lru_cache
def table(units: int) -> Tensor:
    return torch.linspace(0.5, 1, units, dtype=torch.float64)


def memo() -> Change:
    known: dict[int, Tensor] = {}

    def change(d: Tensor) -> Tensor:
        if d.shape[-1] not in known:
            known[d.shape[-1]] = torch.linspace(0.5, 1, d.shape[-1], dtype=d.dtype)
        return d * known[d.shape[-1]]

    return change


def by_autograd(d: Tensor) -> Tensor:
    with torch.enable_grad():
        x = d.detach().requires_grad_()
        return torch.autograd.grad(x.sin().sum(), x)[0]


HARMLESS: dict[str, Callable[[], Change]] = {
    "a constant": lambda: lambda d: d * torch.tensor(0.5, dtype=d.dtype),
    "an array of its own": lambda: lambda d: d * torch.from_numpy(np.full(d.shape[-1], 0.5)),
    "a cached table": lambda: lambda d: d * table(d.shape[-1]),
    "a memo": memo,
    "detached": lambda: lambda d: d.detach() + d.data,
    "rows in another order": lambda: lambda d: d[torch.randperm(6)],
    "autograd": lambda: by_autograd,
    "torch's own draws": lambda: lambda d: d + torch.randn_like(d),
}


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS.keys())
def test_what_stays_in_torch_is_recorded_without_a_word(change: Callable[[], Change]) -> None:
    def make() -> tuple[Graph, Rule]:
        return filled(small_mlp()), Own(change=change())

    table.cache_clear()
    by_engine = trained(make, recorded=False)
    table.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_equal(trained(make, recorded=True), by_engine)


def test_the_warning_names_the_line() -> None:
    graph = filled(small_mlp())
    with pytest.warns(SeqlraWarning, match=r"Tensor\.numpy takes numbers out of torch \(.*test_hidden_state\.py, line"):
        RecordedUpdate(graph, Own(change=by_numpy()))(*batches(graph)[0])


def test_what_changes_is_named() -> None:
    graph = filled(small_mlp())
    recorded = RecordedUpdate(graph, Own(change=by_a_rare_counter()))
    first, second = batches(graph)[:2]
    recorded(*first)
    with pytest.warns(SeqlraWarning, match=r"the update changes counts\[0\], which is Python's"):
        recorded(*second)


def test_a_rule_that_replaces_its_state_runs_by_the_engine() -> None:
    @dataclass(frozen=True)
    class Replaces(LRAFeedback):
        def setup(self, graph: Graph) -> None:
            graph.declare_state("sum", torch.zeros(4, 3))

        def after_update(self, backward: Any) -> None:
            state = backward.graph.rule_state
            state["sum"] = state["sum"] + updates(backward.graph)["weights.W4"]

    def make() -> tuple[Graph, Rule]:
        graph, rule = filled(small_mlp()), Replaces()
        rule.setup(graph)
        return graph, rule

    by_engine = trained(make, recorded=False)
    with pytest.warns(SeqlraWarning, match="another tensor"):
        assert_equal(trained(make, recorded=True), by_engine)


def by_the_clock() -> Change:
    """A number that no memory holds."""
    return lambda d: d * time.perf_counter()


@pytest.mark.parametrize("change", [by_numpy, by_random, by_a_rare_counter, by_a_generator, by_the_clock])
def test_what_leaves_torch_is_not_compiled(change: Callable[[], Change]) -> None:
    graph = filled(small_mlp())
    with pytest.raises(NotTraceable, match="cannot be compiled"):
        CompiledUpdate(graph, Own(change=change()))(*batches(graph)[0])


def test_after_an_error_everything_is_as_before_it() -> None:
    def fails(d: Tensor) -> Tensor:
        torch.randn(3)
        raise ZeroDivisionError("an error of one's own")

    graph = filled(small_mlp())
    before, state = {name: t.clone() for name, t in graph.state_dict().items()}, torch.get_rng_state()
    recorded = RecordedUpdate(graph, Own(change=fails))
    with pytest.raises(ZeroDivisionError):
        recorded(torch.zeros(6, 5), torch.zeros(6).long())
    assert torch.equal(torch.get_rng_state(), state)
    assert_equal(graph.state_dict(), before)
