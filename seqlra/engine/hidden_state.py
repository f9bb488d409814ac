"""What a rule or a unit of one's own remembers in Python, where a trace cannot see it: a counter, a list, a generator.

A traced update runs no Python, so such a memory would stand still. Here it is looked up before and after an update.
"""

from __future__ import annotations

import random
import sys
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch

from seqlra.network.graph import Graph
from seqlra.rules.base import Rule

LIBRARIES = frozenset({"seqlra", "torch", "numpy", "einops", *sys.stdlib_module_names})
"""What they remember is their own affair."""

MOST = 10_000
"""Values that are looked at; whoever holds more of them will hardly count with them."""


def hidden_state(graph: Graph, rule: Rule) -> dict[str, object]:
    """By a name in words, every plain value that the rule, the units and the losses of a graph can reach: attributes,
    closures, the globals that their own functions name, and the states of Python's and numpy's random numbers."""
    found: dict[str, object] = {"random": random.getstate()}
    if "numpy" in sys.modules:
        found["numpy.random"] = repr(_frozen(sys.modules["numpy"].random.get_state()))
    roots: list[tuple[str, Any]] = [(type(rule).__name__, rule)]
    for subgraph in dict.fromkeys(layer.subgraph for layer in graph.layers):
        roots += [(unit.name, unit) for unit in (subgraph.f, subgraph.g, subgraph.loss) if unit is not None]
    seen: dict[int, Any] = {}  # with the object, so that nothing else gets its id
    while roots and len(seen) + len(found) < MOST:
        name, value = roots.pop()
        plain = _plain(value)
        if plain is not None:
            found[name] = plain
        elif id(value) not in seen:
            seen[id(value)] = value
            roots += _parts(name, value)
    return found


def changed(before: Mapping[str, object], after: Mapping[str, object]) -> str | None:
    """In words, the first value that is another one now; None: all are the same."""
    names = (name for name in {**before, **after} if before.get(name) != after.get(name))
    name = next(names, None)
    return None if name is None else f"the update changes {name}, which is Python's and not torch's"


def _plain(value: Any) -> object:
    """A value without parts, in a form that can be compared; None: it has parts, or is none of our business."""
    if isinstance(value, (int, float, complex, str, bytes, frozenset, set)) or value is None:
        return repr(value)
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, torch.Generator):
        return value.get_state().numpy().tobytes()
    if type(value).__module__.partition(".")[0] in ("numpy", "itertools"):
        return repr(_frozen(value))
    return None


def _frozen(value: Any) -> object:
    """What numpy or itertools made, in a form whose ``repr`` shows all of it."""
    if isinstance(value, tuple):
        return tuple(map(_frozen, value))
    if hasattr(value, "tobytes"):
        return zlib.crc32(value.tobytes())
    generator = getattr(value, "bit_generator", getattr(value, "_bit_generator", None))
    return value if generator is None else {k: repr(_frozen_items(v)) for k, v in generator.state.items()}


def _frozen_items(value: Any) -> object:
    return {k: _frozen(v) for k, v in value.items()} if isinstance(value, dict) else _frozen(value)


def _parts(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What a value consists of, by name."""
    if isinstance(value, (torch.Tensor, torch.nn.Module, ModuleType)):
        return
    if isinstance(value, Mapping):
        yield f"the length of {name}", len(value)
        yield from ((f"{name}[{key!r}]", each) for key, each in list(islice(value.items(), MOST)))
    elif isinstance(value, (list, tuple, deque)):
        yield f"the length of {name}", len(value)
        yield from ((f"{name}[{i}]", each) for i, each in enumerate(islice(value, MOST)))
    elif isinstance(value, FunctionType):
        yield from _of_function(value)
    elif isinstance(value, MethodType):
        yield from ((name, value.__func__), (name, value.__self__))
    elif isinstance(value, partial):
        yield from ((name, value.func), (name, value.args), (name, value.keywords))
    elif isinstance(value, (property, staticmethod, classmethod)):
        yield name, value.fget if isinstance(value, property) else value.__func__
    elif isinstance(value, type):
        if not _of_library(value):
            yield from _items(value.__name__, vars(value))
            yield from ((base.__name__, base) for base in value.__bases__)
    else:
        yield from _items(name, getattr(value, "__dict__", {}))
        yield type(value).__name__, type(value)


def _items(name: str, held: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    wanted = [(key, each) for key, each in held.items() if not key.startswith("__") or key == "__call__"]
    yield from ((f"{name}.{key}", each) for key, each in wanted)


def _of_function(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function of the user's reaches: its closure, its defaults, and the globals that it names."""
    if _of_library(function):
        return
    yield from ((name, cell.cell_contents) for name, cell in _cells(function))
    yield from ((f"a default of {function.__name__}", each) for each in function.__defaults__ or ())
    yield from _items(function.__name__, function.__kwdefaults__ or {})
    yield from _items(function.__name__, vars(function))
    for name in _names(function.__code__):
        if name in function.__globals__:
            yield f"{function.__module__}.{name}", function.__globals__[name]


def _cells(function: FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            _ = cell.cell_contents
        except ValueError:  # not filled yet
            continue
        yield name, cell


def _names(code: CodeType) -> set[str]:
    """The names that a function uses, with those of the functions inside it."""
    inner = (each for each in code.co_consts if isinstance(each, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _of_library(value: Any) -> bool:
    return str(getattr(value, "__module__", None)).partition(".")[0] in LIBRARIES
