"""An Elman network over text: LRA-fdbk against ``torch.nn.RNN`` with autograd BPTT."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqlra.bench.timing import TINY, Case, Update, alternate, ours
from seqlra.data.text import load_text
from seqlra.engine.initialization import initialize
from seqlra.engine.update import update
from seqlra.network.builders import elman
from seqlra.network.forward import null_state
from seqlra.network.graph import Graph
from seqlra.rules import LRAFeedback, Rule
from seqlra.tasks.prediction import Prediction, as_streams


def rnn_case(hidden: int, streams: int, unroll: int, symbols: int, device: torch.device, rounds: int) -> Case:
    """One LRA-fdbk update of an Elman network against ``torch.nn.RNN`` + autograd BPTT, both with Adam, same sizes.

    Both include the forward pass, the loss, the updates and the optimizer's step. The tokens are random.
    """
    tokens, targets = torch.randint(symbols, (2, unroll, streams), device=device)
    graph = Graph(elman(symbols, [hidden], symbols, unroll))
    initialize(graph, 0, "reservoir").to(device)
    lra = _lra(graph, LRAFeedback(c2=None), tokens, targets)
    name = f"lra-fdbk, {hidden} units, {streams} streams, K = {unroll}, {symbols} symbols"
    return alternate(
        name, BPTT, lra, _bptt(hidden, symbols, tokens, targets), rounds, operations(hidden, streams * unroll, symbols)
    )


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
    return alternate(name, BPTT, _lra(graph, rule, *tokens), _bptt(hidden, symbols, *tokens), rounds)


def operations(hidden: int, rows: int, symbols: int) -> int:
    """Floating-point operations of the products of one LRA-fdbk update: forward through V and U, errors through E,
    updates of V and U (tokens pick rows of W: no product)."""
    return 2 * rows * (2 * hidden * hidden + 3 * hidden * symbols)


BPTT = "nn.RNN, autograd BPTT, Adam"


def _lra(graph: Graph, rule: Rule, tokens: Tensor, targets: Tensor) -> Update:
    inputs = {"x": tokens.flatten(), **null_state(graph, tokens.shape[1])}
    return ours(graph, rule, "adam", inputs, targets.flatten())


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
