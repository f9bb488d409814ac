"""Image classification as a task: shuffled mini-batches by number, error in percent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from seqlra.data.images import ImageTask
from seqlra.engine.tracing import Outcome
from seqlra.engine.update import Step
from seqlra.errors import SeqlraError
from seqlra.network.graph import Graph
from seqlra.tasks.guessing import guessing
from seqlra.tasks.randomness import order_of, seeded


class Classification:
    """Mini-batches of images and the error on a split.

    Every epoch has its own order, drawn from the seed and the number of the epoch, so any mini-batch can be made again
    from its number. An incomplete last mini-batch is left out of the epoch.

    Args:
        images: the data.
        batch_size: images in a mini-batch.
        seed: seed of the order and of the draws of stochastic units when a split is measured. Where each model of a
            stack has images of its own, one for each; the draws are then those of the first seed.

    Raises:
        SeqlraError: the mini-batch is larger than the training split.
    """

    selects = "error"
    EVALUATION_ROWS = 2_000  # images that go through the network at once when a split is measured

    def __init__(self, images: ImageTask, batch_size: int, seed: int | Sequence[int]) -> None:
        if batch_size > len(images.train):
            raise SeqlraError(f"a batch of {batch_size} is larger than the training split of {len(images.train)}")
        self.seeds = [seed] if isinstance(seed, int) else list(seed)
        self.images, self.seed = images, self.seeds[0]
        self.samples_per_step = batch_size
        self.steps_per_epoch = len(images.train) // batch_size
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.long)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Images ``(batch, pixels)`` and classes ``(batch,)`` of update ``step``; both with a leading stack axis where
        each model has images of its own."""
        epoch, nth = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            orders = torch.stack([order_of(seed, epoch, len(self.images.train)) for seed in self.seeds])
            order = orders if self.images.train.rows is not None else orders[0]
            self._epoch, self._order = epoch, order.to(self.images.train.t.device)
        return self.images.train.take(self._order[..., nth * self.samples_per_step : (nth + 1) * self.samples_per_step])

    def evaluate(self, graph: Graph, split: str) -> list[dict[str, float]]:
        """``error`` in percent and ``loss``, the mean cross-entropy in nats, over "train", "valid" or "test": one
        mapping for each model, in one pass for all; a graph without a stack is one model."""
        data = self.images.part(split)
        wrong, loss = (torch.zeros(graph.stack, device=data.x.device) for _ in range(2))
        at_once = max(1, self.EVALUATION_ROWS // (graph.stack[0] if graph.stack else 1))
        with seeded(self.seed, data.x.device):
            for x, t in data.chunks(at_once):
                probabilities = graph(x)
                wrong += (probabilities.argmax(-1) != t).sum(-1)
                of_truth = probabilities.gather(-1, t.expand(probabilities.shape[:-1]).unsqueeze(-1)).squeeze(-1)
                loss -= of_truth.clamp(min=1e-38).log().sum(-1)
        both = torch.stack([100 * wrong.double(), loss.double()], -1) / len(data)
        return [{"error": error, "loss": nats} for error, nats in both.view(-1, 2).tolist()]

    def guess(self) -> dict[str, float]:
        """The metrics on validation of whoever always gives the same answer; see `guessing`."""
        valid = self.images.valid
        return guessing(valid.t if valid.rows is None else valid.t[valid.rows])

    def start(self, graph: Graph) -> None:
        """Nothing: images have no state."""

    def after(self, step: Step | Outcome) -> None:
        """Nothing: mini-batches of images do not depend on each other."""

    def train_metrics(self, loss: float, mistakes: float) -> dict[str, float]:
        """``loss`` and ``error``, as of `evaluate`."""
        return {"loss": loss, "error": 100 * mistakes}

    def solved(self, metrics: Mapping[str, float]) -> bool:
        """Never: training goes on as long as it was asked to."""
        return False

    def state(self) -> dict[str, Tensor]:
        """Nothing: the order follows from the seed and the step."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Nothing: there is no state."""
