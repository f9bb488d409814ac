"""The predictions of a network of stochastic units over several passes (Section 3.4).

Such a network draws again in every pass, so its answer to an input is a distribution over class probabilities. Its
*posterior* is the mean of M passes, as in Table 3; their variance shows how certain it is. It is compared with a single
draw, and with the mean-field pass, in which every unit passes on its expectation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import NormalDist
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from seqlra.errors import SeqlraError
from seqlra.files import write_atomically
from seqlra.network.graph import Graph
from seqlra.network.losses import OutputLoss
from seqlra.network.subgraph import Input, Subgraph
from seqlra.network.units import DISCRETIZERS, Discretizer, discretizer
from seqlra.tasks.classification import Classification
from seqlra.tasks.prediction import Prediction, Unroll, in_units_of, walk
from seqlra.tasks.randomness import seeded

MOST = 100_000
"""The most samples: all those of one image (or of one step of all streams) run at once."""

ROWS = 2_000  # images times samples that run at once
NUMBERS = 4_000_000  # of one layer over a chunk of a text that may be in memory at once

Watch = Callable[[int, int], None]
"""Called with how many rows are done, and of how many."""


def mean_field(nodes: Sequence[Input | Subgraph]) -> list[Input | Subgraph]:
    """The same list with the mean in place of each ``g`` that draws; ``graph.sharing`` runs it on the same weights."""
    return [node if isinstance(node, Input) else replace(node, g=_mean(node.g)) for node in nodes]


def _mean(g: Discretizer | None) -> Discretizer | None:
    if g is None or g.mean is None:
        return g
    return Discretizer(f"mean of {g.name}", g.mean, f"the mean of: {g.about}", g.block)


@dataclass(frozen=True)
class Posterior:
    """Statistics of M passes over the same rows; every field is ``(*stack, rows, classes)``.

    Attributes:
        mean: the probabilities, averaged over the samples.
        variance: their variance over the samples (divided by M, so 0 where M = 1).
        votes: the share of the samples in which this class is the likeliest.
        surprise: the loss of a single draw where this is the true class: -log(probability) in nats, averaged.
    """

    mean: Tensor
    variance: Tensor
    votes: Tensor
    surprise: Tensor

    @staticmethod
    def of(probabilities: Tensor) -> Posterior:
        """The posterior of samples ``(*stack, rows, samples, classes)``."""
        winner = torch.zeros_like(probabilities).scatter_(-1, probabilities.argmax(-1, keepdim=True), 1)
        return Posterior(
            probabilities.mean(-2),
            probabilities.var(-2, correction=0),
            winner.mean(-2),
            -_log(probabilities).mean(-2),
        )

    def answers(self, truth: Tensor) -> Answers:
        """Its answers to rows of these classes ``(rows,)``; for a graph without a stack."""
        confidence, chosen = self.mean.max(-1)

        def of(field: Tensor, classes: Tensor) -> Tensor:
            return field.gather(-1, classes.unsqueeze(-1)).squeeze(-1)

        return Answers(
            truth=truth,
            chosen=chosen,
            confidence=confidence,
            spread=of(self.variance, chosen).sqrt(),
            probability=of(self.mean, truth),
            variance=of(self.variance, truth),
            votes=of(self.votes, truth),
            surprise=of(self.surprise, truth),
        )


@dataclass(frozen=True)
class Bin:
    """The rows whose confidence is in ``(low, high]``: their mean confidence and the share that is right, in [0, 1]
    (None where ``count`` is 0)."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None

    @property
    def gap(self) -> float:
        """The distance between confidence and accuracy; 0 if there are no rows."""
        return 0.0 if self.confidence is None or self.accuracy is None else abs(self.confidence - self.accuracy)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the accuracy (Wilson 1927); (0, 1) if there are no rows."""
        if self.accuracy is None:
            return 0.0, 1.0
        return wilson(round(self.accuracy * self.count), self.count)


def wilson(hits: int, count: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of a share of which ``hits`` of ``count`` were seen (Wilson 1927): the shares p from which the one
    seen is at most z standard deviations ``sqrt(p (1 - p) / count)`` away."""
    z2, seen = NormalDist().inv_cdf((1 + level) / 2) ** 2, hits / count
    middle = (seen + z2 / (2 * count)) / (1 + z2 / count)
    half = math.sqrt(z2 * (seen * (1 - seen) + z2 / (4 * count)) / count) / (1 + z2 / count)
    return max(middle - half, 0.0), min(middle + half, 1.0)


@dataclass(frozen=True)
class ClassRow:
    """The ``count`` rows of one true class: their ``error`` in percent, and the ``probability`` of that class and its
    ``variance`` over the samples, both averaged over the rows."""

    label: int
    count: int
    error: float
    probability: float
    variance: float


@dataclass(frozen=True)
class Answers:
    """The answers of a posterior to rows whose class is known; every field is ``(rows,)``.

    Attributes:
        truth, chosen: the true class, and the most likely class of the posterior.
        confidence, spread: the mean probability of the chosen class, and its standard deviation over the samples.
        probability, variance: the mean probability of the true class, and its variance over the samples.
        votes: the share of the samples that would have chosen the true class.
        surprise: the loss of a single draw, averaged over the samples, in nats.
    """

    truth: Tensor
    chosen: Tensor
    confidence: Tensor
    spread: Tensor
    probability: Tensor
    variance: Tensor
    votes: Tensor
    surprise: Tensor

    @property
    def wrong(self) -> Tensor:
        """Which answers are wrong, ``(rows,)``."""
        return self.chosen != self.truth

    def metrics(self) -> dict[str, float]:
        """``error`` in percent, ``loss`` (mean -log of the averaged probability of the true class, in nats) and
        ``calibration_error`` in percent: the mean gap between confidence and accuracy over the bins of `reliability`,
        weighted by their rows (ECE; Guo et al. 2017)."""
        return {
            "error": 100 * _average(self.wrong),
            "loss": -_average(_log(self.probability)),
            "calibration_error": 100 * sum(bin.count * bin.gap for bin in self.reliability()) / len(self.truth),
        }

    def one_draw(self) -> dict[str, float]:
        """``error`` and ``loss`` of a single pass (M = 1), averaged over the M passes."""
        return {"error": 100 * _average(1 - self.votes), "loss": _average(self.surprise)}

    def reliability(self, bins: int = 15) -> list[Bin]:
        """The rows by confidence, in this many bins of equal width."""
        edges = torch.linspace(0, 1, bins + 1, dtype=self.confidence.dtype, device=self.confidence.device)
        number = torch.bucketize(self.confidence, edges[1:-1])
        found = []
        for nth in range(bins):
            here = number == nth
            count = int(here.sum())
            known = (_average(self.confidence[here]), 1 - _average(self.wrong[here])) if count else (None, None)
            found.append(Bin(nth / bins, (nth + 1) / bins, count, *known))
        return found

    def by_class(self) -> list[ClassRow]:
        """One row for each true class that occurs."""
        found = []
        for label in self.truth.unique().tolist():
            here = self.truth == label
            error = 100 * _average(self.wrong[here])
            probability, variance = _average(self.probability[here]), _average(self.variance[here])
            found.append(ClassRow(label, int(here.sum()), error, probability, variance))
        return found


def posterior(
    graph: Graph, x: Tensor, samples: int, seed: int = 0, watch: Watch = lambda done, total: None
) -> Posterior:
    """Run a network ``samples`` times over each of the rows ``x (rows, units)``.

    The draws start from ``seed``, and do not change the draws of training.

    Raises:
        SeqlraError: more than one sample of a network that draws nothing, too many or too few samples, or an output
            that is not a distribution over classes.
    """
    check_samples(graph, samples)
    parts: list[Posterior] = []
    with seeded(seed, x.device):
        for few in x.split(max(1, ROWS // samples)):
            probabilities = graph(few.repeat_interleave(samples, 0))
            parts.append(Posterior.of(probabilities.unflatten(-2, (-1, samples))))
            watch(sum(len(part.mean) for part in parts), len(x))
    return _joined(parts, -2)


def answers_over(
    graph: Graph,
    series: Sequence[Tensor],
    unroll: Unroll,
    length: int,
    samples: int,
    seed: int = 0,
    watch: Watch = lambda done, total: None,
) -> Answers:
    """Run an RNN ``samples`` times over series that follow each other (see `seqlra.tasks.prediction`), each time with
    its own state, and average its predictions at every step; ``length`` is the largest number of steps to run at once.

    Raises:
        SeqlraError: as of `posterior`.
    """
    check_samples(graph, samples)
    width = max(node.units for node in graph.nodes)
    length = max(1, min(length, NUMBERS // (series[0].shape[1] * samples * width)))
    total = sum(part[1:].shape[:2].numel() for part in series)
    parts: list[Answers] = []
    with seeded(seed, series[0].device):
        for activity, truth in walk(graph, series, unroll, length, samples):
            (number,) = activity.graph.output_layers
            parts.append(Posterior.of(activity.z[number].unflatten(-2, (-1, samples))).answers(truth))
            watch(sum(len(part.truth) for part in parts), total)
    return _joined(parts, -1)


@dataclass(frozen=True)
class Evaluation:
    """The samples of a split, and the mean-field pass.

    Attributes:
        answers, mean_field: the answers of the samples together, and of the mean-field pass.
        posterior: the samples of images, class by class; None for text, where it would be large.
        tokens: "chars" or "words" for text, else None.
    """

    answers: Answers
    mean_field: Answers
    posterior: Posterior | None = None
    tokens: str | None = None

    def metrics(self) -> dict[str, dict[str, float]]:
        """The metrics of the ``posterior``, of ``one_draw`` (M = 1) and of the ``mean_field`` pass: see `Answers`. For
        text they have ``bpc`` or ``perplexity``, too."""
        metrics = {
            "posterior": self.answers.metrics(),
            "one_draw": self.answers.one_draw(),
            "mean_field": self.mean_field.metrics(),
        }
        if self.tokens:
            metrics = {way: {**of, **in_units_of(self.tokens, of["loss"])} for way, of in metrics.items()}
        return metrics

    def classes(self) -> list[ClassRow]:
        """See `Answers.by_class`; none for text."""
        return [] if self.posterior is None else self.answers.by_class()

    def save(self, path: Path) -> None:
        """Write a NumPy archive: of images ``mean`` and ``variance`` ``(n, classes)`` and the ``targets (n,)``, of text
        every field of `Answers`."""
        if self.posterior is None:
            arrays = vars(self.answers)
        else:
            arrays = {"mean": self.posterior.mean, "variance": self.posterior.variance, "targets": self.answers.truth}

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:  # a name would get the ending .npz
                np.savez(file, **{name: tensor.cpu().numpy() for name, tensor in arrays.items()})

        write_atomically(path, write)


def evaluate(
    graph: Graph,
    task: Classification | Prediction,
    split: str,
    samples: int,
    seed: int = 0,
    watch: Watch = lambda done, total: None,
) -> Evaluation:
    """Measure a network on a split of its task, with this many samples of every image or trajectory.

    Raises:
        SeqlraError: as of `posterior`.
    """
    if isinstance(task, Prediction):
        series, unroll, length = task.held_out[split], task.unroll, task.length
        answers = answers_over(graph, series, unroll, length, samples, seed, watch)
        mean = answers_over(graph, series, lambda steps: mean_field(unroll(steps)), length, 1)
        return Evaluation(answers, mean, tokens=task.tokens)
    data = task.images.part(split)
    found = posterior(graph, data.x, samples, seed, watch)
    mean = posterior(graph.sharing(mean_field(graph.nodes)), data.x, 1).answers(data.t)
    return Evaluation(found.answers(data.t), mean, found)


def check_samples(graph: Graph, samples: int) -> None:
    """Raise `SeqlraError` unless this many samples of this network make sense."""
    if not 1 <= samples <= MOST:
        raise SeqlraError(f"samples must be from 1 to {MOST}, not {samples}")
    output = graph.outputs[-1].loss
    if isinstance(output, OutputLoss) and not output.classes:
        raise SeqlraError(f"a posterior is one over classes; the output of this network is {output.name}")
    if samples > 1 and not graph.draws:
        draw = ", ".join(name for name in DISCRETIZERS if (g := discretizer(name)) and g.mean)
        raise SeqlraError(
            f"the network draws nothing, so all its {samples} samples would be the same; discretizers that draw: {draw}"
        )


Part = TypeVar("Part", Posterior, Answers)


def _joined(parts: Sequence[Part], axis: int) -> Part:
    kind = type(parts[0])
    return kind(
        **{field.name: torch.cat([getattr(part, field.name) for part in parts], axis) for field in fields(kind)}
    )


def _log(probability: Tensor) -> Tensor:
    return probability.clamp(min=torch.finfo(probability.dtype).tiny).log()


def _average(values: Tensor) -> float:
    return values.double().mean().item()
