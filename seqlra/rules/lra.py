"""Local Representation Alignment (Ororbia et al. 2018): Algorithms 1 and 2.

Every subgraph gets a target: its own pre-activation, displaced so that the subgraphs which read it come closer
to theirs, and passed through its own ``f``, so that the target can be reached. Its weights then take one step on
the local loss. `LRAFeedback` displaces through fixed random error weights E, `LRADiff` through the derivative,
in K steps. For the algorithm one subgraph at a time, next to the paper, read `seqlra.reference`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from seqlra.graph import Graph
from seqlra.losses import LocalLoss
from seqlra.normalize import normalize, scale_within
from seqlra.rules.base import Rule, Walk, require
from seqlra.ties import Read, TiedCopies


@dataclass(frozen=True)
class _LRA(Rule):
    """What both variants share: targets, local losses, Normalize and halting.

    Args:
        beta: step size of the displacement of a pre-activation.
        c1: bound on the norm of the update of each weight matrix and each bias; None: no bound.
        c2: bound on the norm of a displacement; None: no bound.
        c2_per: whether c2 bounds each sample's displacement or the whole mini-batch's.
        epsilon: a subgraph whose local loss is under this is left as it is, and so is all below it; 0: never.
        epsilon_per: whether that is decided for each sample or for the mini-batch by its mean loss.
    """

    beta: float = 0.1
    c1: float | None = None
    c2: float | None = 10.0
    c2_per: Literal["sample", "batch"] = "sample"
    epsilon: float = 0.0
    epsilon_per: Literal["sample", "batch"] = "sample"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.beta > 0, f"beta must be above 0, not {self.beta}")
        for name, bound in (("c1", self.c1), ("c2", self.c2)):
            require(bound is None or bound > 0, f"{name} must be above 0 (or left off), not {bound}")
        require(self.epsilon >= 0, f"epsilon must not be negative: {self.epsilon}")
        for name, per in (("c2_per", self.c2_per), ("epsilon_per", self.epsilon_per)):
            require(per in ("sample", "batch"), f"{name} must be sample or batch, not {per!r}")

    def output_error(self, walk: Walk, tie: int) -> Tensor:
        """The error of an output, 0 where its loss is already under epsilon (the while of Algorithm 2)."""
        d = super().output_error(walk, tie)
        if not self.epsilon:
            return d
        copies = range(walk.graph.ties[tie].copies)
        return self._halt(walk, tie, copies, walk.loss(tie).value(walk.activity.h[tie], walk.targets[tie]), d)

    def hidden_error(self, walk: Walk, tie: int, copies: range, incoming: Tensor) -> Tensor:
        """Set the target ``y = f(h - beta * Normalize(displacement))`` and return ``dL(z, y)/dz * f'(h)``."""
        subgraph, rows = walk.graph.ties[tie].subgraph, walk.activity.rows(copies)
        assert subgraph.f is not None
        assert isinstance(subgraph.loss, LocalLoss)
        h, z = walk.activity.h[tie][..., rows, :], walk.activity.z[tie][..., rows, :]
        y = self.target(walk, tie, copies, incoming)
        d = subgraph.loss.gradient(z, y) * subgraph.f.derivative(h, z)
        return self._halt(walk, tie, copies, subgraph.loss.value(z, y), d) if self.epsilon else d

    def target(self, walk: Walk, tie: int, copies: range, incoming: Tensor) -> Tensor:
        """The target y of these copies, ``(*stack, rows, units)``."""
        subgraph = walk.graph.ties[tie].subgraph
        assert subgraph.f is not None
        h = walk.activity.h[tie][..., walk.activity.rows(copies), :]
        return subgraph.f.f(self.displaced(h, incoming, len(copies)))

    def displaced(self, h: Tensor, displacement: Tensor, copies: int) -> Tensor:
        """``h - beta * Normalize(displacement, c2)`` for the rows of so many copies."""
        if self.c2 is None:
            return torch.add(h, displacement, alpha=-self.beta)
        if self.c2_per == "sample":
            return torch.addcmul(h, displacement, scale_within(displacement, self.c2, -1), value=-self.beta)
        batches = displacement.unflatten(-2, (copies, -1))  # each copy has a mini-batch of its own
        scaled = normalize(batches, self.c2, (-2, -1)).flatten(-3, -2)
        return torch.add(h, scaled, alpha=-self.beta)

    def finish(self, update: Tensor, axes: int) -> Tensor:
        """``Normalize(update, c1)``, once for the whole update of a parameter (tied copies summed)."""
        return normalize(update, self.c1, tuple(range(-axes, 0)))

    def depth(self, walk: Walk) -> Tensor | float:
        """How many subgraphs were updated for a prediction, on average; a tensor where epsilon decides it."""
        if not self.epsilon:
            return super().depth(walk)
        kept = [keep.sum(-1) for keep in walk.kept if keep is not None]
        return torch.stack(torch.broadcast_tensors(*kept)).sum(0) / walk.predictions

    def _halt(self, walk: Walk, tie: int, copies: range, loss: Tensor, d: Tensor) -> Tensor:
        """``d`` with the rows of the subgraphs whose loss is under epsilon set to 0.

        An error of 0 displaces nothing below, where the loss is then 0 too: that is how the walk stops.
        """
        if self.epsilon_per == "batch":
            loss = loss.unflatten(-1, (len(copies), -1)).mean(-1, keepdim=True)
            keep = (loss >= self.epsilon).expand(*loss.shape[:-1], walk.activity.batch).flatten(-2, -1).to(d.dtype)
        else:
            keep = (loss >= self.epsilon).to(d.dtype)
        everyone = walk.kept[tie]
        if len(copies) == walk.graph.ties[tie].copies:
            walk.kept[tie] = keep
        else:
            if everyone is None:
                everyone = walk.kept[tie] = d.new_zeros(walk.activity.h[tie].shape[:-1])
            everyone[..., walk.activity.rows(copies)] = keep
        return d * keep.unsqueeze(-1)


@dataclass(frozen=True)
class LRAFeedback(_LRA):
    """LRA-fdbk (Algorithm 2): errors cross a connection through fixed random E; one step, no derivative of g."""

    name: ClassVar[str] = "lra-fdbk"
    about: ClassVar[str] = "local targets through fixed random error feedback (Algorithm 2), the headline"

    def carrier(self, graph: Graph, read: Read) -> Tensor | None:
        """E of the connection; None where it has none."""
        return None if read.feedback is None else graph.feedback[read.feedback]


@dataclass(frozen=True)
class LRADiff(_LRA):
    """LRA-diff (Algorithm 1): targets by K steps down the loss of the subgraphs above.

    Errors cross, through W^T, the connections that have feedback weights (whose values are not used). Where a
    discretiser g stands on the way, its derivative is taken as 1.

    Args:
        steps: K, the sub-optimisation steps for each subgraph.
        form: "pre" displaces the pre-activation, as the algorithm does; "post" displaces the output itself,
            the form of Lemma 1, with which one step of beta 1 and the L2 loss is back-propagation.
    """

    name: ClassVar[str] = "lra-diff"
    about: ClassVar[str] = "local targets by K steps down the derivative (Algorithm 1)"
    steps: int = 1
    form: Literal["pre", "post"] = "pre"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.steps >= 1, f"steps (K) must be at least 1, not {self.steps}")
        require(self.form in ("pre", "post"), f"form must be pre or post, not {self.form!r}")
        require(self.form == "pre" or self.steps == 1, "the form of Lemma 1 (post) has one step")

    def carrier(self, graph: Graph, read: Read) -> Tensor | None:
        """W^T of the connection; None where it has no feedback."""
        return None if read.feedback is None else graph.weights[read.weight].mT

    def target(self, walk: Walk, tie: int, copies: range, incoming: Tensor) -> Tensor:
        """K steps of lines "Find target for layer l - 1", re-running the subgraphs that read these copies."""
        subgraph, rows = walk.graph.ties[tie].subgraph, walk.activity.rows(copies)
        assert subgraph.f is not None
        h_bar, z_bar = walk.activity.h[tie][..., rows, :], walk.activity.z[tie][..., rows, :]
        if self.form == "post":
            return self.displaced(z_bar, incoming, len(copies))
        for step in range(self.steps):
            if step:
                incoming = self._again(walk, tie, copies, z_bar)
            displacement = incoming * subgraph.f.derivative(h_bar, z_bar)
            h_bar = self.displaced(h_bar, displacement, len(copies))
            z_bar = subgraph.f.f(h_bar)
        if walk.targets[tie].numel() == 0:
            walk.targets[tie] = torch.empty_like(walk.activity.z[tie])
        walk.targets[tie][..., rows, :] = z_bar
        return z_bar

    def _again(self, walk: Walk, tie: int, copies: range, z_bar: Tensor) -> Tensor:
        """What the readers' losses ask of these copies once they put out ``z_bar`` instead of z."""
        subgraph, rows = walk.graph.ties[tie].subgraph, walk.activity.rows(copies)
        change = (subgraph.g.g(z_bar) if subgraph.g else z_bar) - walk.activity.output(tie)[..., rows, :]
        readers = walk.overlap(tie, copies)
        moved: list[Tensor | None] = list(walk.errors)
        drive: dict[int, Tensor] = {}  # by reading tie, its pre-activations under the changed source
        for reader in readers:
            here = range(reader.mine.start - copies.start, reader.mine.stop - copies.start)
            read = walk.graph.ties[reader.tie].reads[reader.read]
            h = drive.setdefault(reader.tie, walk.activity.h[reader.tie].clone())
            there = walk.activity.rows(reader.theirs)
            h[..., there, :] += change[..., walk.activity.rows(here), :] @ walk.graph.weights[read.weight]
        for i, h in drive.items():
            moved[i] = _error_at(walk, i, walk.graph.ties[i], h)
        again = walk.carried(copies, readers, moved)
        assert again is not None
        return again


def _error_at(walk: Walk, i: int, tied: TiedCopies, h: Tensor) -> Tensor:
    """``dL/dh`` of a tie towards the target it has, if its pre-activations were ``h``; 0 in halted rows."""
    f, loss = tied.subgraph.f, tied.subgraph.loss
    if isinstance(loss, LocalLoss):
        assert f is not None
        z = f.f(h)
        d = loss.gradient(z, walk.targets[i]) * f.derivative(h, z)
    else:
        d = loss.error(loss.f(h), walk.targets[i])
    kept = walk.kept[i]
    return d if kept is None else d * kept.unsqueeze(-1)
