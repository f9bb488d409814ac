"""Honest timings: one update of ours against one of a rival, alternating in one process.

A figure is the median over rounds; the ratio is the rival's time over ours, taken round by round, so that a machine
whose speed drifts does not favor the one that ran first.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from seqlra.engine.compiled import CompiledUpdate
from seqlra.engine.recorded import RecordedUpdate
from seqlra.engine.update import update
from seqlra.network.graph import Graph
from seqlra.rules import Rule
from seqlra.training.optimizers import make, stepper

Update = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        case, rival: our case, and its rival.
        ratio: the rival's time over ours, median over rounds; over 1 means that ours is faster.
        ratio_low, ratio_high: the smallest and the largest of the rounds' ratios.
        ours_ms, rival_ms: median time of one update in milliseconds.
        ours_spread_ms, rival_spread_ms: (smallest, largest).
        rounds, updates: how many rounds, and updates of each side in a round.
        operations: floating-point operations of the matrix products in one of our updates, counted; None: not.
        ours_mib, rival_mib: the most memory that an update holds at once besides what is there before; None: not
            measured.
    """

    case: str
    rival: str
    ratio: float
    ratio_low: float
    ratio_high: float
    ours_ms: float
    ours_spread_ms: tuple[float, float]
    rival_ms: float
    rival_spread_ms: tuple[float, float]
    rounds: int
    updates: int
    operations: int | None = None
    ours_mib: float | None = None
    rival_mib: float | None = None

    def of_limit(self, rate: float) -> float | None:
        """The share of a machine's rate of matrix products (operations a second) that our update reaches."""
        return None if self.operations is None else self.operations / (1e-3 * self.ours_ms) / rate

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def alternate(
    case: str,
    rival_name: str,
    mine: Update,
    rival: Update,
    rounds: int,
    operations: int | None = None,
    seconds: float = 0.3,
) -> Case:
    """Time two updates in turn, ours and the rival's, ``rounds`` times, each for about ``seconds`` a round."""
    for warm in (mine, rival):
        for _ in range(5):
            warm()
    updates = max(3, int(seconds / max(_timed(mine, 3), _timed(rival, 3))))
    pairs = [(_timed(mine, updates), _timed(rival, updates)) for _ in range(rounds)]
    my_ms, their_ms = [1e3 * a for a, _ in pairs], [1e3 * b for _, b in pairs]
    ratios = [b / a for a, b in pairs]
    return Case(
        case=case,
        rival=rival_name,
        ratio=statistics.median(ratios),
        ratio_low=min(ratios),
        ratio_high=max(ratios),
        ours_ms=statistics.median(my_ms),
        ours_spread_ms=(min(my_ms), max(my_ms)),
        rival_ms=statistics.median(their_ms),
        rival_spread_ms=(min(their_ms), max(their_ms)),
        rounds=rounds,
        updates=updates,
        operations=operations,
    )


def fastest(ways: Mapping[str, Update], rounds: int = 5, updates: int = 30) -> tuple[str, Update]:
    """The way of doing an update that takes the least time, with its name: the median of rounds in turn."""
    for run in ways.values():
        _timed(run, 5)  # compiles it
    turns = [{name: _timed(run, updates) for name, run in ways.items()} for _ in range(rounds)]
    return min(ways.items(), key=lambda way: statistics.median(turn[way[0]] for turn in turns))


def _timed(run: Update, updates: int) -> float:
    """Seconds for one update, over so many; waits for the device before it looks at the clock."""
    _wait()
    start = time.perf_counter()
    for _ in range(updates):
        run()
    _wait()
    return (time.perf_counter() - start) / updates


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_mib(run: Update, device: torch.device) -> float:
    """The most memory that one call holds at once, in MiB, besides what was there before."""
    run()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    with _Storages() as storages:
        run()
    return storages.most / 2**20


class _Storages(TorchDispatchMode):
    """Watches the memory of every operation's results, as long as something holds it.

    Attributes:
        most: the most bytes that were held at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[int, tuple[StorageWeakRef, int]] = {}
        self.most = 0

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {e.untyped_storage()._cdata for e in tree_leaves((args, kwargs)) if isinstance(e, Tensor)}
        found = op(*args, **(kwargs or {}))
        self.held = {key: pair for key, pair in self.held.items() if not pair[0].expired()}
        for each in tree_leaves(found):
            if isinstance(each, Tensor) and (key := each.untyped_storage()._cdata) not in given:
                self.held[key] = StorageWeakRef(each.untyped_storage()), each.untyped_storage().nbytes()
        self.most = max(self.most, sum(size for _, size in self.held.values()))
        return found


def matmul_rate(device: torch.device, n: int = 1024) -> float:
    """Floating-point operations a second of a product of two ``(n, n)`` matrices in single precision, the best of 20:
    the upper limit for an update made of products only."""
    a = torch.randn(n, n, device=device)
    return 2 * n**3 / min(_timed(lambda: a @ a, 1) for _ in range(20))


def ours(graph: Graph, rule: Rule, optimizer: str, inputs: Any, targets: Tensor, compiled: bool = False) -> Update:
    """One update and one step of the optimizer as in training: recorded (by the engine itself if the rule skips), or
    compiled. The step size is tiny, so that nothing diverges."""
    step = stepper(make(optimizer, graph.parameters(), lr=TINY))
    updates: Callable[..., object]
    if compiled:
        updates = CompiledUpdate(graph, rule)
    else:
        updates = partial(update, graph, rule) if rule.skips else RecordedUpdate(graph, rule)

    def one() -> None:
        updates(inputs, targets)
        step()

    return one


TINY = 1e-6
