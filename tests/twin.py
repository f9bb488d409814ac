"""An oracle: any graph in plain torch, under autograd."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, one_hot, softplus, softsign

from seqlra import Graph

FUNCTIONS: dict[str, Any] = {
    "identity": lambda h: h,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "hard-tanh": nn.functional.hardtanh,
    "relu": torch.relu,
    "relu6": nn.functional.relu6,
    "softplus": softplus,
    "softsign": softsign,
}


class Twin:
    """A graph in plain torch, one subgraph after the other, under autograd; g is a straight-through step."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.own = {name: p.detach().clone().requires_grad_() for name, p in graph.named_parameters()}

    def loss(self, inputs: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
        """The output loss, summed over all predictions."""
        z, total = dict(inputs), torch.zeros(())
        for node in self.graph.subgraphs:
            h = sum(
                (self._read(z[read.source], self.own[f"weights.{read.weight}"]) for read in node.reads), torch.zeros(())
            )
            if node.bias is not None:
                h = h + self.own[f"biases.{node.bias}"]
            if node.is_output:
                total = total + self._output(h, targets[node.name])
                continue
            assert node.f is not None
            z[node.name] = FUNCTIONS[node.f.name](h)
            if node.g is not None:
                z[node.name] = z[node.name] + (node.g.g(z[node.name]) - z[node.name]).detach()
        return total

    def updates(self, inputs: dict[str, Tensor], targets: dict[str, Tensor], reduction: str) -> dict[str, Tensor]:
        """The gradients of the summed or mean output loss."""
        rows = sum(len(target) for target in targets.values())
        loss = self.loss(inputs, targets) / (rows if reduction == "mean" else 1)
        grads = torch.autograd.grad(loss, list(self.own.values()))
        return dict(zip(self.own, grads, strict=True))

    def _read(self, source: Tensor, weight: Tensor) -> Tensor:
        return (source if source.is_floating_point() else one_hot(source, len(weight)).double()) @ weight

    def _output(self, h: Tensor, t: Tensor) -> Tensor:
        return 0.5 * mse_loss(h, t, reduction="sum") if t.is_floating_point() else cross_entropy(h, t, reduction="sum")
