"""Learned feedback (Kolen and Pollack 1994; Akrout et al. 2019): error weights E that align with W^T.

Both sides of a connection see the same two activities: the output of its source, and the error above it. The update of
W is their product; the update of E is the transposed product. Both go through the same optimizer, whose moments are
then equal on both sides. So ``E - W^T`` stays as it is, and a decay of both sides shrinks it. No weight is copied from
one side to the other at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from seqlra.errors import SeqlraError
from seqlra.network.graph import Graph, grad_of
from seqlra.rules.backward import BackwardPass
from seqlra.rules.base import Rule, require


@dataclass(frozen=True)
class LearnedFeedback(Rule):
    """A rule with error weights E, which are fixed or learned.

    Args:
        feedback: ``fixed``: E keeps its initial value; ``learned``: E gets the transpose of the update of W.
        feedback_decay: with learned feedback, the share of W and of E that every update removes; it falls with the
            step size. 0: none.
    """

    feedbacks: ClassVar[tuple[str, ...]] = ("fixed", "learned")
    feedback: Literal["exact", "fixed", "learned"] = "fixed"
    feedback_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        accepted = " or ".join(self.feedbacks)
        require(self.feedback in self.feedbacks, f"feedback must be {accepted}, not {self.feedback!r}")
        decay = self.feedback_decay
        require(0 <= decay < 1, f"feedback_decay must be in [0, 1), not {decay}")
        require(decay == 0 or self.feedback == "learned", "feedback_decay goes with learned feedback")

    def learned(self, graph: Graph) -> list[str]:
        """The names of the error weights that the rule learns."""
        return list(feedback_pairs(graph))

    def setup(self, graph: Graph) -> None:
        """Make E a parameter, so that the optimizer updates it."""
        super().setup(graph)
        if self.feedback == "learned":
            for name in self.learned(graph):
                graph.feedback.train_one(name)

    def after_update(self, backward: BackwardPass) -> None:
        """Put the updates of E in ``p.grad``.

        Raises:
            SeqlraError: the graph was not initialized for the rule.
        """
        if self.feedback == "learned":
            for name in self.learned(backward.graph):
                if not isinstance(backward.graph.feedback[name], nn.Parameter):
                    raise SeqlraError(f"{self.name} learns {name}: initialize(graph, seed, ..., rule=the rule)")
            self.feedback_updates(backward)

    def feedback_updates(self, backward: BackwardPass) -> None:
        """The transposed update of W; if several W share one E, the sum over them."""
        graph = backward.graph
        for name, weights in feedback_pairs(graph).items():
            grad = grad_of(graph.feedback[name])
            for nth, weight in enumerate(weights):
                update = grad_of(graph.weights[weight]).mT
                if nth:
                    grad.add_(update)
                else:
                    grad.copy_(update)

    @torch.no_grad()
    def after_step(self, graph: Graph, lr_share: float) -> None:
        """Shrink both sides by the decay."""
        if self.feedback_decay:
            left = 1 - self.feedback_decay * lr_share
            both: dict[Tensor, None] = {}
            for name, weights in feedback_pairs(graph).items():
                both.update(dict.fromkeys([graph.feedback[name], *(graph.weights[weight] for weight in weights)]))
            torch._foreach_mul_(list(both), left)


def feedback_pairs(graph: Graph) -> dict[str, list[str]]:
    """By name of error weights E, the names of the weights W of their connections."""
    pairs: dict[str, dict[str, None]] = {}
    for layer in graph.layers:
        for connection in layer.into:
            if connection.feedback is not None:
                pairs.setdefault(connection.feedback, {})[connection.weight] = None
    return {name: list(weights) for name, weights in pairs.items()}
