"""An Elman network over text: LRA-fdbk with less and more credit through time, beside ``torch.nn.RNN`` with BPTT."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from seqlra.bench.timing import TINY, Case, Update, alternate, ours, peak_mib
from seqlra.data.text import load_text
from seqlra.engine.initialization import initialize
from seqlra.engine.update import update
from seqlra.network.builders import elman
from seqlra.network.forward import null_state
from seqlra.network.graph import Graph
from seqlra.rules import (
    DNI,
    RFLO,
    RTRL,
    UORO,
    Backprop,
    DirectFeedbackAlignment,
    EProp,
    LRAFeedback,
    Rule,
    SnAp1,
)
from seqlra.tasks.prediction import Prediction, as_streams

RULES: dict[str, Rule] = {
    "lra-fdbk, fixed E, window 0": LRAFeedback(c2=None, window=0),
    "lra-fdbk, learned E, window 0": LRAFeedback(c2=None, window=0, feedback="learned", carry="error"),
    "lra-fdbk, learned E, window 2": LRAFeedback(c2=None, window=2, feedback="learned", carry="error"),
    "lra-fdbk, learned E, window 4": LRAFeedback(c2=None, window=4, feedback="learned", carry="error"),
    "lra-fdbk, learned E, the whole walk": LRAFeedback(c2=None, feedback="learned", carry="error"),
    "backprop by this engine, the whole walk": Backprop(),
}
"""What is timed against BPTT in PyTorch: the paper's rule, learned feedback with more and more credit through time, and
what of it the engine alone gives."""


def rnn_case(
    label: str,
    hidden: int,
    streams: int,
    unroll: int,
    symbols: int,
    device: torch.device,
    rounds: int,
    compiled: bool = False,
) -> Case:
    """One update of an Elman network by one of `RULES`, as it is or compiled, against ``torch.nn.RNN`` + autograd
    BPTT, both with Adam, same sizes.

    Both include the forward pass, the loss, the updates and the optimizer's step. The tokens are random.
    """
    rule: Any = RULES[label]
    tokens, targets = torch.randint(symbols, (2, unroll, streams), device=device)
    graph = Graph(elman(symbols, [hidden], symbols, unroll, across_time=rule.window != 0))
    initialize(graph, 0, "reservoir", rule=rule).to(device)
    name = f"{label}, {hidden} units, {streams} streams, K = {unroll}, {symbols} symbols"
    name += ", compiled" if compiled else ""
    sweeps = 2 if rule.window is None else rule.window + 1
    return alternate(
        name,
        BPTT,
        _ours(graph, rule, tokens, targets, compiled),
        _bptt(hidden, symbols, tokens, targets),
        rounds,
        operations(hidden, streams * unroll, symbols, sweeps),
    )


ONLINE: dict[str, Rule] = {
    "backprop": Backprop(),
    "lra-fdbk": LRAFeedback(c2=None, window=0, feedback="learned", carry="error"),
    "dfa": DirectFeedbackAlignment(),
    "rflo": RFLO(),
    "e-prop": EProp(),
    "snap-1": SnAp1(),
    "dni": DNI(),
    "uoro": UORO(),
    "rtrl": RTRL(),
}
"""Rules whose time and memory are compared, on leaky units; LRA-fdbk with window 0."""

MOST = 10**10
"""Operations on traces in an update, above which a rule is too large to be timed."""


def trace_operations(rule: str, hidden: int, rows: int, symbols: int) -> int:
    """About how many operations the influence matrices of RTRL take; 0 of the others, which have none."""
    return 2 * rows * hidden**3 * (hidden + symbols + 1) if rule == "rtrl" else 0


def online_case(
    label: str, hidden: int, streams: int, unroll: int, symbols: int, device: torch.device, rounds: int
) -> Case | None:
    """Time and memory of an update by one of `ONLINE` against those of BPTT; None where the rule is too large."""
    if trace_operations(label, hidden, streams * unroll, symbols) > MOST:
        return None
    rule = ONLINE[label]
    tokens, targets = torch.randint(symbols, (2, unroll, streams), device=device)
    across = label in ("backprop", "dni")
    graph = Graph(elman(symbols, [hidden], symbols, unroll, across_time=across, leak=0.5))
    initialize(graph, 0, "reservoir", rule=rule).to(device)
    name, theirs = f"{label}, {hidden} units", _bptt(hidden, symbols, tokens, targets)
    inputs = {"x": tokens.flatten(), **null_state(graph, streams)}
    case = alternate(name, BPTT, ours(graph, rule, "adam", inputs, targets.flatten()), theirs, rounds)
    mine = peak_mib(lambda: update(graph, rule, inputs, targets.flatten()), device)
    return replace(case, ours_mib=mine, rival_mib=peak_mib(theirs, device))


def rnn_skip_case(
    hidden: int, streams: int, unroll: int, device: torch.device, rounds: int, epsilon: float, updates: int = 300
) -> Case:
    """The same where predictions whose loss is under ``epsilon`` leave the computation.

    Their number depends on how well the network is trained: this rule first trains it on the embedded text for
    ``updates`` updates. Then it is timed on the next chunk.
    """
    text = load_text("text-sample", device=device)
    symbols = len(text.vocabulary)
    task = Prediction(
        as_streams(text.train, streams), {}, lambda steps: elman(symbols, [hidden], symbols, steps), unroll
    )
    graph = Graph(task.unroll(unroll))
    initialize(graph, 0, "reservoir").to(device)
    task.start(graph)
    rule = LRAFeedback(c2=None, epsilon_output=epsilon, skip=True)
    optimizer = torch.optim.Adam(graph.parameters(), lr=0.01)
    for number in range(updates):
        step = update(graph, rule, *task.batch(number))
        optimizer.step()
        task.after(step)
    inputs, targets = task.batch(updates)
    tokens = inputs["x"].view(unroll, streams), targets.view(unroll, streams)
    depth = float(update(graph, rule, inputs, targets).depth)
    name = (
        f"lra-fdbk, skipping outputs under epsilon {epsilon:g} on text: mean depth {depth:.2f} of 2, {symbols} symbols"
    )
    return alternate(name, BPTT, _ours(graph, rule, *tokens), _bptt(hidden, symbols, *tokens), rounds)


def operations(hidden: int, rows: int, symbols: int, sweeps: int) -> int:
    """Floating-point operations of the products of one LRA-fdbk update: forward through V and U, errors through E and
    in all ``sweeps`` but the first through F, updates of V and U (tokens pick rows of W: no product). The whole walk
    has as many products through F as two sweeps."""
    return 2 * rows * ((1 + sweeps) * hidden * hidden + 3 * hidden * symbols)


BPTT = "nn.RNN, autograd BPTT, Adam"


def _ours(graph: Graph, rule: Rule, tokens: Tensor, targets: Tensor, compiled: bool = False) -> Update:
    inputs = {"x": tokens.flatten(), **null_state(graph, tokens.shape[1])}
    return ours(graph, rule, "adam", inputs, targets.flatten(), compiled)


def _bptt(hidden: int, symbols: int, tokens: Tensor, targets: Tensor) -> Update:
    torch.manual_seed(0)
    device = tokens.device
    rnn, linear = nn.RNN(symbols, hidden, nonlinearity="tanh"), nn.Linear(hidden, symbols)
    net = nn.ModuleList([rnn, linear]).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=TINY)
    x = nn.functional.one_hot(tokens, symbols).float()
    state = torch.zeros(1, tokens.shape[1], hidden, device=device)
    t = targets.flatten()

    def one() -> None:
        optimizer.zero_grad()
        h, _ = rnn(x, state)
        nn.functional.cross_entropy(linear(h.flatten(0, 1)), t).backward()
        optimizer.step()

    return one
