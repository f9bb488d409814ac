"""Oracle: ``optimizer.step()`` of ``torch.optim`` itself, bit for bit."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from seqlra.training.optimizers import make, stepper

KINDS = [("sgd", 0.0), ("sgd", 0.9), ("adam", 0.0), ("adamw", 0.0), ("rmsprop", 0.5), ("nadam", 0.0)]


def parameters() -> list[nn.Parameter]:
    return [nn.Parameter(torch.randn(*shape)) for shape in ((5, 7), (7,), (3, 7, 2))]


def twins(name: str, momentum: float) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    ours = parameters()
    return make(name, ours, 0.1, momentum), make(name, copy.deepcopy(ours), 0.1, momentum)


def feed(*optimizers: torch.optim.Optimizer) -> None:
    for group in zip(*(optimizer.param_groups[0]["params"] for optimizer in optimizers), strict=True):
        grad = torch.randn_like(group[0])
        for p in group:
            p.grad = grad.clone()


def assert_equal(one: torch.optim.Optimizer, other: torch.optim.Optimizer) -> None:
    for p, q in zip(one.param_groups[0]["params"], other.param_groups[0]["params"], strict=True):
        assert torch.equal(p, q)
    states: list[Any] = [optimizer.state_dict()["state"] for optimizer in (one, other)]
    assert states[0].keys() == states[1].keys()
    for number, state in states[0].items():
        for name, value in state.items():
            assert value is states[1][number][name] is None or torch.equal(value, states[1][number][name]), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "momentum"), KINDS)
def test_a_step_is_that_of_torch(name: str, momentum: float, dtype: torch.dtype) -> None:
    torch.set_default_dtype(dtype)
    ours, theirs = twins(name, momentum)
    step = stepper(ours)
    for number in range(5):
        feed(ours, theirs)
        for optimizer in (ours, theirs):
            optimizer.param_groups[0]["lr"] = 0.1 / (1 + number)  # a schedule
        step()
        theirs.step()
        assert_equal(ours, theirs)


@pytest.mark.parametrize(("name", "momentum"), KINDS)
def test_a_step_goes_on_from_a_state_that_was_loaded(name: str, momentum: float) -> None:
    ours, theirs = twins(name, momentum)
    step = stepper(ours)
    for _ in range(2):
        feed(ours, theirs)
        step()
        theirs.step()
    saved = copy.deepcopy((ours.state_dict(), [p.detach() for p in ours.param_groups[0]["params"]]))
    feed(ours, theirs)
    step()
    ours.load_state_dict(saved[0])
    with torch.no_grad():
        for p, before in zip(ours.param_groups[0]["params"], saved[1], strict=True):
            p.copy_(before)
    for _ in range(2):
        feed(ours, theirs)
        step()
        theirs.step()
        assert_equal(ours, theirs)


@pytest.mark.parametrize(("name", "momentum"), KINDS)
def test_torchs_own_step_may_come_between(name: str, momentum: float) -> None:
    ours, theirs = twins(name, momentum)
    step = stepper(ours)
    for mine in (step, step, ours.step, step):
        feed(ours, theirs)
        mine()
        theirs.step()
    assert_equal(ours, theirs)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "nadam"])
def test_weight_decay_is_torchs(name: str) -> None:
    classes = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD", "rmsprop": "RMSprop", "nadam": "NAdam"}
    ours, theirs, open_ = parameters(), parameters(), parameters()
    for p, q, r in zip(ours, theirs, open_, strict=True):
        q.data, r.data = p.data.clone(), p.data.clone()
    made = make(name, ours, 0.1, weight_decay=0.3)
    expected = getattr(torch.optim, classes[name])(theirs, lr=0.1, weight_decay=0.3)
    default = make(name, open_, 0.1)
    step = stepper(made)
    for _ in range(3):
        feed(made, expected, default)
        step()
        expected.step()
        default.step()
    assert all(torch.allclose(p, q, atol=1e-12) for p, q in zip(ours, theirs, strict=True))
    assert not torch.allclose(ours[0], open_[0], atol=1e-3)


def test_several_groups_are_left_to_torch() -> None:
    first, second = parameters()[:2]
    ours = torch.optim.Adam([{"params": [first], "lr": 0.5}, {"params": [second]}], lr=0.1, fused=True)
    assert stepper(ours) == ours.step
