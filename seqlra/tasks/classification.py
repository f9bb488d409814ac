"""Image classification as a task: shuffled mini-batches by number, error in percent."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from seqlra.engine import Step, run
from seqlra.errors import SeqlraError
from seqlra.graph import Graph
from seqlra.tasks.images import ImageTask
from seqlra.tasks.randomness import seeded


class Classification:
    """Mini-batches of images and the error on a split.

    Every epoch has an order of its own, drawn from the seed and the number of the epoch, so that any
    mini-batch can be had again by its number. What is left over from whole mini-batches is left out of that epoch.

    Args:
        images: the data.
        batch_size: images in a mini-batch.
        seed: seed of the order and of the draws of stochastic units when a split is measured.

    Raises:
        SeqlraError: the mini-batch is larger than the training split.
    """

    selects = "error"
    EVALUATION_ROWS = 2_000  # images that go through the network at once when a split is measured

    def __init__(self, images: ImageTask, batch_size: int, seed: int) -> None:
        if batch_size > len(images.train):
            raise SeqlraError(f"a batch of {batch_size} is larger than the training split of {len(images.train)}")
        self.images, self.seed = images, seed
        self.samples_per_step = batch_size
        self.steps_per_epoch = len(images.train) // batch_size
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.long)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Images ``(batch, pixels)`` and classes ``(batch,)`` of update ``step``."""
        epoch, nth = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            order = torch.randperm(len(self.images.train), generator=generator)
            self._epoch, self._order = epoch, order.to(self.images.train.t.device)
        rows = self._order[nth * self.samples_per_step : (nth + 1) * self.samples_per_step]
        return self.images.train.x.index_select(0, rows), self.images.train.t.index_select(0, rows)

    def evaluate(self, graph: Graph, split: str) -> dict[str, float]:
        """``error`` in percent and ``loss``, the mean cross-entropy in nats, over "train", "valid" or "test"."""
        data = self.images.part(split)
        wrong, loss = torch.zeros((), device=data.x.device), torch.zeros((), device=data.x.device)
        with seeded(self.seed, data.x.device):
            for x, t in zip(data.x.split(self.EVALUATION_ROWS), data.t.split(self.EVALUATION_ROWS), strict=True):
                probabilities = run(graph, x)
                wrong += (probabilities.argmax(-1) != t).sum()
                loss -= probabilities.gather(-1, t.unsqueeze(-1)).clamp(min=1e-38).log().sum()
        return {"error": 100 * wrong.item() / len(data), "loss": loss.item() / len(data)}

    def start(self, graph: Graph) -> None:
        """Nothing to begin from."""

    def after(self, step: Step) -> None:
        """Nothing: mini-batches of images do not depend on each other."""

    def state(self) -> dict[str, Tensor]:
        """Nothing: the order follows from the seed and the step."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to load."""
