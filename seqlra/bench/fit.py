"""`seqlra.fit` against the loop that a PyTorch user writes: whole trainings, the recording of the update included."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from seqlra.bench.mlp import CLASSES, PIXELS, network
from seqlra.bench.timing import TINY, Case, Update, alternate
from seqlra.engine.initialization import initialize
from seqlra.network.builders import mlp
from seqlra.network.graph import Graph
from seqlra.rules import LRAFeedback
from seqlra.training.fitting import fit


def fit_case(hidden: Sequence[int], batch: int, images: int, epochs: int, device: torch.device, rounds: int) -> Case:
    """So many epochs over images of 784 pixels with Adam: `fit` with LRA-fdbk, and ``nn.Sequential`` with autograd."""
    x, t = torch.rand(images, PIXELS, device=device), torch.randint(CLASSES, (images,), device=device)
    graph = initialize(Graph(mlp(PIXELS, hidden, CLASSES, "tanh")), 0).to(device)
    rule = LRAFeedback(beta=0.1, c2=10.0)

    def ours() -> None:
        fit(graph, rule, (x, t), epochs=epochs, batch_size=batch, lr=TINY)

    name = f"{len(hidden)}x{hidden[0]}" if len(set(hidden)) == 1 else "x".join(map(str, hidden))
    name += f", batch {batch}, {epochs} epochs of {images} images"
    return alternate(name, "nn.Sequential, Adam, backprop", ours, _loop(hidden, batch, epochs, x, t), rounds)


def _loop(hidden: Sequence[int], batch: int, epochs: int, x: Tensor, t: Tensor) -> Update:
    net = network(hidden, torch.nn.Linear).to(x.device)

    def theirs() -> None:
        optimizer = torch.optim.Adam(net.parameters(), lr=TINY)
        for _ in range(epochs):
            order = torch.randperm(len(x), device=x.device)
            for numbers in order[: len(x) // batch * batch].split(batch):
                optimizer.zero_grad()
                cross_entropy(net(x[numbers]), t[numbers]).backward()
                optimizer.step()

    return theirs
