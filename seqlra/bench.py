"""Honest timings: one update of ours against one of a rival, alternating in one process.

A figure is the median over rounds; the ratio is the rival's time over ours, taken round by round, so that a machine
whose speed drifts does not favour the one that ran first.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqlra.activity import null_state
from seqlra.engine import update
from seqlra.graph import Graph
from seqlra.initialization import initialize
from seqlra.networks import elman
from seqlra.rules import LRAFeedback, Rule
from seqlra.tasks.prediction import Prediction, as_streams
from seqlra.tasks.text import load_text

Update = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        case, rival: what was timed, against what.
        ratio: the rival's time over ours, median over rounds; over 1 means that ours is faster.
        ratio_low, ratio_high: the smallest and the largest of the rounds' ratios.
        ours_ms, rival_ms: median time of one update in milliseconds.
        ours_spread_ms, rival_spread_ms: (smallest, largest).
        rounds, updates: how many rounds, and updates of each side in a round.
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

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def alternate(case: str, rival_name: str, ours: Update, rival: Update, rounds: int, seconds: float = 0.3) -> Case:
    """Time two updates in turn, ours and the rival's, ``rounds`` times, each for about ``seconds`` a round."""
    for warm in (ours, rival):
        for _ in range(5):
            warm()
    updates = max(3, int(seconds / max(_timed(ours, 3), _timed(rival, 3))))
    pairs = [(_timed(ours, updates), _timed(rival, updates)) for _ in range(rounds)]
    mine, theirs = [1e3 * a for a, _ in pairs], [1e3 * b for _, b in pairs]
    ratios = [b / a for a, b in pairs]
    return Case(
        case=case,
        rival=rival_name,
        ratio=statistics.median(ratios),
        ratio_low=min(ratios),
        ratio_high=max(ratios),
        ours_ms=statistics.median(mine),
        ours_spread_ms=(min(mine), max(mine)),
        rival_ms=statistics.median(theirs),
        rival_spread_ms=(min(theirs), max(theirs)),
        rounds=rounds,
        updates=updates,
    )


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


def rnn_case(hidden: int, streams: int, unroll: int, symbols: int, device: torch.device, rounds: int) -> Case:
    """One LRA-fdbk update of an Elman network against ``torch.nn.RNN`` + autograd BPTT, both with Adam, same sizes.

    Both include the forward pass, the loss, the updates and the optimiser's step. What the tokens are does not matter.
    """
    tokens, targets = torch.randint(symbols, (2, unroll, streams), device=device)
    graph = Graph(elman(symbols, [hidden], symbols, unroll))
    initialize(graph, 0, "reservoir").to(device)
    ours = _lra(graph, LRAFeedback(c2=None), tokens, targets)
    name = f"lra-fdbk, {hidden} units, {streams} streams, K = {unroll}, {symbols} symbols"
    return alternate(name, BPTT, ours, _bptt(hidden, symbols, tokens, targets), rounds)


def rnn_skip_case(
    hidden: int, streams: int, unroll: int, device: torch.device, rounds: int, epsilon: float, updates: int = 300
) -> Case:
    """The same where samples whose loss is under ``epsilon`` leave the computation.

    How many they are depends on what the network knows: it is first trained by this rule on the embedded text, for so
    many updates, and timed on the chunk that comes next.
    """
    text = load_text("text-sample", device=device)
    symbols = len(text.vocabulary)
    task = Prediction(
        as_streams(text.train, streams), {}, lambda steps: elman(symbols, [hidden], symbols, steps), unroll
    )
    graph = Graph(task.unroll(unroll))
    initialize(graph, 0, "reservoir").to(device)
    task.start(graph)
    rule, optimizer = LRAFeedback(c2=None, epsilon=epsilon, skip=True), torch.optim.Adam(graph.parameters(), lr=0.01)
    for number in range(updates):
        step = update(graph, rule, *task.batch(number))
        optimizer.step()
        task.after(step)
    inputs, targets = task.batch(updates)
    tokens = inputs["x"].view(unroll, streams), targets.view(unroll, streams)
    depth = float(update(graph, rule, inputs, targets).depth)
    name = f"lra-fdbk, skipping under epsilon {epsilon:g} on text: mean depth {depth:.2f} of 2, {symbols} symbols"
    return alternate(name, BPTT, _lra(graph, rule, *tokens), _bptt(hidden, symbols, *tokens), rounds)


BPTT = "nn.RNN, autograd BPTT, Adam"


def _lra(graph: Graph, rule: Rule, tokens: Tensor, targets: Tensor) -> Update:
    optimizer = torch.optim.Adam(graph.parameters(), lr=1e-6)
    inputs = {"x": tokens.flatten(), **null_state(graph, tokens.shape[1])}
    t = targets.flatten()

    def one() -> None:
        update(graph, rule, inputs, t)
        optimizer.step()

    return one


def _bptt(hidden: int, symbols: int, tokens: Tensor, targets: Tensor) -> Update:
    torch.manual_seed(0)
    device = tokens.device
    rnn, linear = nn.RNN(symbols, hidden, nonlinearity="tanh"), nn.Linear(hidden, symbols)
    net = nn.ModuleList([rnn, linear]).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-6)
    x = nn.functional.one_hot(tokens, symbols).float()
    state = torch.zeros(1, tokens.shape[1], hidden, device=device)
    t = targets.flatten()

    def one() -> None:
        optimizer.zero_grad()
        h, _ = rnn(x, state)
        nn.functional.cross_entropy(linear(h.flatten(0, 1)), t).backward()
        optimizer.step()

    return one
