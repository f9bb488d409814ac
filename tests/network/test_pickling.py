"""Oracle: a pickle of what has a name here is that very object; of one's own it has the same fields."""

from __future__ import annotations

import pickle
from dataclasses import fields
from typing import Any

import pytest
import torch

from seqlra import Activation, Discretizer, LocalLoss
from seqlra.network.losses import LOCAL_LOSSES, OUTPUT_LOSSES, masked
from seqlra.network.units import ACTIVATIONS, DISCRETIZERS, discretizer

NAMED: list[Any] = [
    *ACTIVATIONS.values(),
    *(discretizer(name) for name in DISCRETIZERS),
    discretizer("lwta", 2),
    *LOCAL_LOSSES.values(),
    *OUTPUT_LOSSES.values(),
    *(masked(name) for name in OUTPUT_LOSSES),
]
OWN = [
    Activation("tanh", torch.sin, torch.sub, "not the tanh that is known here"),
    Discretizer("lwta", torch.round, "nor its lwta", 3, torch.abs),
    LocalLoss("l2", torch.add, torch.sub, "nor its l2"),
]


@pytest.mark.parametrize("unit", NAMED, ids=lambda unit: unit.name)
def test_what_has_a_name_comes_back_as_itself(unit: Any) -> None:
    assert pickle.loads(pickle.dumps(unit)) is unit


@pytest.mark.parametrize("unit", OWN, ids=lambda unit: type(unit).__name__)
def test_ones_own_comes_back_with_all_its_fields(unit: Any) -> None:
    back = pickle.loads(pickle.dumps(unit))
    assert type(back) is type(unit)
    for field in fields(unit):
        assert getattr(back, field.name) == getattr(unit, field.name)
