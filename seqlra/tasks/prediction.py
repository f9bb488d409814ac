"""Next-step prediction as a task: parallel streams, cut in chunks, with the state carried from chunk to chunk.

A *series* is ``(time, streams)`` tokens or ``(time, streams, features)`` vectors. At every step but the last
the network reads one entry and predicts the next (Appendix B).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from seqlra.engine.tracing import Outcome
from seqlra.engine.update import Step
from seqlra.errors import SeqlraError
from seqlra.network.forward import ForwardPass, null_state
from seqlra.network.graph import Graph
from seqlra.network.losses import OutputLoss
from seqlra.network.subgraph import Input, Subgraph
from seqlra.tasks.guessing import guessing
from seqlra.tasks.randomness import seeded

Unroll = Callable[[int], Sequence[Input | Subgraph]]
"""The list of subgraphs over so many steps, all over the same parameters."""


AT_ONCE = 50
"""A series is measured in chunks of at least so many steps: short ones take longer and change no result."""


def as_streams(ids: Tensor, streams: int) -> Tensor:
    """A sequence ``(n,)`` as a series ``(time, streams)``: contiguous parts side by side. Each ends with the first
    entry of the next, so that every entry is predicted once (up to ``streams - 1`` at the end are left out).

    Raises:
        SeqlraError: fewer entries than it takes to predict one in every stream.
    """
    time = (len(ids) - 1) // streams
    if streams < 1 or time < 1:
        raise SeqlraError(f"{len(ids)} tokens cannot be cut into {streams} streams of at least 2")
    return torch.stack([ids[stream * time : (stream + 1) * time + 1] for stream in range(streams)], dim=1)


def covering(ids: Tensor, streams: int = 16, shortest: int = 1_000) -> list[Tensor]:
    """A sequence as series that together predict every entry but the first exactly once.

    A measurement is faster over several streams. Each starts from the null state, so they are long: at least
    ``shortest`` entries. The rest continues, in one stream, where the last one ended.
    """
    streams = max(1, min(streams, len(ids) // shortest))
    series = as_streams(ids, streams)
    rest = ids[streams * (len(series) - 1) :].unsqueeze(1)
    return [series, rest] if len(rest) > 1 else [series]


def chunks(series: Tensor, length: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and targets of every chunk of at most ``length`` steps, as rows for the engine."""
    for start in range(0, len(series) - 1, length):
        stop = min(start + length, len(series) - 1)
        yield series[start:stop].flatten(0, 1), series[start + 1 : stop + 1].flatten(0, 1)


class Prediction:
    """Chunks of streams by number, with the state carried over, and the loss over whole series.

    An epoch is one pass over the training series; it starts from the null state.

    Args:
        train: the training series.
        held_out: for "valid" and "test" (and any other split) series that follow each other: the last stream of one
            continues in a single stream of the next.
        unroll: the network over a number of steps.
        length: K, the steps of a chunk.
        tokens: "chars", "words" or "vectors": which metrics are reported.
        seed: seed of the draws of stochastic units when a series is measured.

    Raises:
        SeqlraError: chunks longer than a stream, or NaN or infinity in a series.
    """

    def __init__(
        self,
        train: Tensor,
        held_out: Mapping[str, Sequence[Tensor]],
        unroll: Unroll,
        length: int,
        tokens: str = "chars",
        seed: int = 0,
    ) -> None:
        if length < 1 or length > len(train) - 1:
            raise SeqlraError(
                f"a chunk of {length} steps does not fit a stream of {len(train) - 1}; "
                f"accepted: 1 to {len(train) - 1}, or fewer streams, or more text"
            )
        for name, parts in {"train": [train], **held_out}.items():
            if not all(bool(part.isfinite().all()) for part in parts):
                raise SeqlraError(f"the {name} series have NaN or infinity in them")
        self.train, self.held_out, self.unroll = train, held_out, unroll
        self.length, self.tokens, self.seed = length, tokens, seed
        self.steps_per_epoch = (len(train) - 1) // length
        self.samples_per_step = length * train.shape[1]
        self.selects = {"chars": "bpc", "words": "perplexity", "vectors": "loss"}[tokens]
        self._carried: dict[str, Tensor] = {}

    def batch(self, step: int) -> tuple[dict[str, Tensor], Tensor]:
        """Inputs and targets of update ``step``: the next chunk, from the state that the last one left."""
        nth = step % self.steps_per_epoch
        start, stop = nth * self.length, (nth + 1) * self.length
        if nth == 0:
            self._carried = {name: torch.zeros_like(state) for name, state in self._carried.items()}
        inputs = {"x": self.train[start:stop].flatten(0, 1), **self._carried}
        return inputs, self.train[start + 1 : stop + 1].flatten(0, 1)

    def start(self, graph: Graph) -> None:
        """Start from the null state of this graph."""
        self._carried = null_state(graph, self.train.shape[1])

    def after(self, step: Step | Outcome) -> None:
        """Carry the state over to the next chunk."""
        self._carried = step.carried

    def train_metrics(self, loss: float, mistakes: float) -> dict[str, float]:
        """``loss``; of tokens also ``bpc`` or ``perplexity``, and ``error``, as of `evaluate`."""
        if self.tokens == "vectors":
            return {"loss": loss}
        return {"loss": loss, **in_units_of(self.tokens, loss), "error": 100 * mistakes}

    def solved(self, metrics: Mapping[str, float]) -> bool:
        """Never: training goes on as long as it was asked to."""
        return False

    def state(self) -> dict[str, Tensor]:
        """The carried state."""
        return {name: state.clone() for name, state in self._carried.items()}  # a view would bring all its steps along

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a carried state."""
        self._carried = dict(state)

    def evaluate(self, graph: Graph, split: str) -> list[dict[str, float]]:
        """Metrics over a whole split: ``bpc`` (bits per character) or ``perplexity`` per word, and the ``error`` of
        the most likely next token in percent; the mean ``loss`` for vectors. One mapping for each model, in one pass
        for all; a graph without a stack is one model."""
        series = self.held_out[split]
        with seeded(self.seed, series[0].device):
            return measure(graph, series, self.unroll, max(self.length, AT_ONCE), self.tokens)

    def guess(self) -> dict[str, float]:
        """The metrics on validation of whoever always gives the same answer; see `guessing`."""
        by_guess = guessing(torch.cat([series[1:].flatten(0, 1) for series in self.held_out["valid"]]))
        loss = by_guess.pop("loss")
        return {"loss": loss} if self.tokens == "vectors" else {**in_units_of(self.tokens, loss), **by_guess}


@torch.no_grad()
def walk(
    graph: Graph, series: Sequence[Tensor], unroll: Unroll, length: int, copies: int = 1
) -> Iterator[tuple[ForwardPass, Tensor]]:
    """Run a graph statefully over series that follow each other: for every chunk its forward pass, and the targets.

    With ``copies`` each stream runs this many times side by side, each with its own state and draws: the rows of its
    copies are next to each other, ``(steps * streams * copies, units)``; the targets are ``(steps * streams,)``.
    """
    lists: dict[int, Graph] = {}
    state: dict[str, Tensor] = {}
    rows = 1
    for part in series:
        before, rows = rows, part.shape[1] * copies
        state = {n: s.unflatten(-2, (-1, before))[..., -rows:, :].flatten(-3, -2) for n, s in state.items()}
        for x, t in chunks(part, length):
            steps = len(t) // part.shape[1]
            if steps not in lists:
                lists[steps] = graph.sharing(unroll(steps))
            over = lists[steps]
            activity = ForwardPass(over, {"x": x.repeat_interleave(copies, 0), **(state or null_state(over, rows))})
            state = activity.carried()
            yield activity, t


def measure(graph: Graph, series: Sequence[Tensor], unroll: Unroll, length: int, tokens: str) -> list[dict[str, float]]:
    """Run a graph over series that follow each other, statefully; returns the metrics of `Prediction.evaluate`, one
    mapping for each model."""
    loss, wrong = (torch.zeros(graph.stack, dtype=torch.float64, device=series[0].device) for _ in range(2))
    count = 0
    for activity, t in walk(graph, series, unroll, length):
        (number,) = activity.graph.output_layers
        output, h = activity.graph.layers[number].subgraph.loss, activity.h[number]
        assert isinstance(output, OutputLoss)
        loss += output.value(h, t).sum(-1)
        if tokens != "vectors":
            wrong += (h.argmax(-1) != t).sum(-1)
        count += len(t)
    if tokens == "vectors":
        return [{"loss": each} for each in (loss / count).view(-1).tolist()]
    both = torch.stack([loss, 100 * wrong], -1) / count
    return [{**in_units_of(tokens, nats), "error": error} for nats, error in both.view(-1, 2).tolist()]


def in_units_of(tokens: str, nats: float) -> dict[str, float]:
    """A mean cross-entropy as ``bpc``, bits per character, or as the ``perplexity`` per word."""
    return {"perplexity": math.exp(min(nats, 700.0))} if tokens == "words" else {"bpc": nats / math.log(2)}
