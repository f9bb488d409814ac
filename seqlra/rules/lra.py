"""Local Representation Alignment (Ororbia et al. 2018): Algorithms 1 and 2.

Every subgraph gets a target: its own pre-activation, displaced so that the subgraphs which read it come closer
to theirs, and passed through its own ``f``, so that the target can be reached. Its weights then take one step on
the local loss. `LRAFeedback` displaces through fixed random error weights E, `LRADiff` through the derivative,
in K steps. For the algorithm one subgraph at a time, next to the paper, read `seqlra.engine.reference`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from seqlra.network.graph import Graph
from seqlra.network.layers import Read, Reader
from seqlra.network.scalars import per_model
from seqlra.rules.base import BackwardPass, Rows, Rule, require
from seqlra.rules.normalize import norm_from, normalize
from seqlra.rules.suited import Suited


@dataclass(frozen=True)
class _LRA(Rule):
    """What both variants share: targets, local losses, Normalize and halting.

    Args:
        beta: step size of the displacement of a pre-activation.
        c1: bound on the norm of the update of each weight matrix and each bias; None: no bound.
        c2: bound on the norm of a displacement; None: no bound.
        c2_per: whether c2 bounds each sample's displacement or the whole mini-batch's.
        epsilon: a subgraph whose local loss is under this is left as it is, and so is all below it; 0: never.
        epsilon_output: the same for outputs, whose losses are on a scale of their own; None: epsilon.
        epsilon_per: whether that is decided for each sample or for the mini-batch by its mean loss.
        skip: with epsilon per sample, leave samples out of the computation where they are already aligned. The
            updates are the same; it saves time, and costs a look at the device at every subgraph.
    """

    per_model: ClassVar[tuple[str, ...]] = ("beta", "c1", "c2")
    beta: float | Tensor = 0.1
    c1: float | Tensor | None = None
    c2: float | Tensor | None = 10.0
    c2_per: Literal["sample", "batch"] = "sample"
    epsilon: float = 0.0
    epsilon_output: float | None = None
    epsilon_per: Literal["sample", "batch"] = "sample"
    skip: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(_all_positive(self.beta), f"beta must be above 0, not {self.beta}")
        for name, bound in (("c1", self.c1), ("c2", self.c2)):
            require(bound is None or _all_positive(bound), f"{name} must be above 0 (or left off), not {bound}")
        for name, threshold in (("epsilon", self.epsilon), ("epsilon_output", self.epsilon_output)):
            require(threshold is None or threshold >= 0, f"{name} must not be negative: {threshold}")
        for name, per in (("c2_per", self.c2_per), ("epsilon_per", self.epsilon_per)):
            require(per in ("sample", "batch"), f"{name} must be sample or batch, not {per!r}")
        require(not self.skip or self.halts, "skip leaves out what is under epsilon; give an epsilon above 0")

    @property
    def halts(self) -> bool:
        """Whether there is a threshold under which subgraphs are left alone."""
        return max(self.epsilon, self.epsilon_output or 0.0) > 0

    @property
    def skips(self) -> bool:
        """Whether aligned samples leave the computation."""
        return self.skip and self.epsilon_per == self.c2_per == "sample"

    def threshold(self, output: bool) -> float:
        """The epsilon of an output, or of a hidden subgraph."""
        return self.epsilon if self.epsilon_output is None or not output else self.epsilon_output

    def output_error(self, walk: BackwardPass, tie: int) -> Tensor:
        """The error of an output, 0 where its loss is already under epsilon (the while of Algorithm 2)."""
        d = super().output_error(walk, tie)
        if not self.halts:
            return d
        copies = range(walk.graph.ties[tie].copies)
        loss = walk.output_loss(tie).value(walk.activity.h[tie], walk.targets[tie])
        return self._halt(walk, tie, Rows(walk.activity.rows(copies), copies), loss, d)

    def hidden_error(self, walk: BackwardPass, tie: int, rows: Rows, incoming: Tensor) -> Tensor:
        """Set the target ``y = f(h - beta * Normalize(displacement))`` and return ``dL(z, y)/dz * f'(h)``."""
        h, z = walk.state(tie, rows)
        y = self.target(walk, tie, rows, h, z, incoming)
        loss = walk.local_loss(tie)
        d = loss.gradient(z, y) * walk.f(tie).derivative(h, z)
        # the rows of a selection all have an error, so only a threshold of their own can halt them
        may_halt = self.epsilon > 0 or (self.halts and rows.selection is None)
        return self._halt(walk, tie, rows, loss.value(z, y), d) if may_halt else d

    def target(self, walk: BackwardPass, tie: int, rows: Rows, h: Tensor, z: Tensor, incoming: Tensor) -> Tensor:
        """The target y of these rows, whose state is h and z: ``(*stack, rows, units)``."""
        return walk.f(tie).f(self.displaced(h, incoming, rows))

    def displaced(self, h: Tensor, displacement: Tensor, rows: Rows) -> Tensor:
        """``h - beta * Normalize(displacement, c2)``."""
        beta, c2 = self.beta, self.c2
        if c2 is not None and self.c2_per == "sample":
            norm = norm_from(displacement, c2, -1)
            if isinstance(beta, Tensor) or isinstance(c2, Tensor):
                return torch.addcdiv(h, displacement, norm / (beta * c2), value=-1)
            return torch.addcdiv(h, displacement, norm, value=-beta * c2)
        if c2 is not None:
            assert rows.copies is not None
            batches = displacement.unflatten(-2, (len(rows.copies), -1))  # each copy has a mini-batch of its own
            displacement = normalize(batches, per_model(c2, 3), (-2, -1)).flatten(-3, -2)
        if isinstance(beta, Tensor):
            return torch.addcmul(h, displacement, beta, value=-1)
        return torch.add(h, displacement, alpha=-beta)

    def displacement(self, walk: BackwardPass, tie: int, rows: Rows, incoming: Tensor) -> Tensor:
        """What `displaced` is given for these rows, at the first step where there are several."""
        return incoming

    def clipped(self, walk: BackwardPass) -> dict[str, Tensor]:
        """By hidden subgraph, the share ``(*stack,)`` of its samples whose displacement is cut to c2.

        With c2 per batch a mini-batch is cut whole. Where c2 is off nothing is, and the mapping is empty.
        """
        cut: dict[str, list[Tensor]] = {}
        if self.c2 is None:
            return {}
        errors = [walk.all_rows(i) for i in range(len(walk.errors))]
        for i, tied in enumerate(walk.graph.ties):
            if errors[i] is None or tied.subgraph.is_output:
                continue
            everyone = range(tied.copies)
            rows = Rows(walk.activity.rows(everyone), everyone)
            incoming = self.incoming(walk, i, everyone, walk.overlap(i, everyone), errors)
            assert incoming is not None  # what no error comes to has none of its own
            cut.setdefault(tied.base, []).append(self._cut(self.displacement(walk, i, rows, incoming), tied.copies))
        return {base: torch.cat(of_ties, -1).mean(-1) for base, of_ties in cut.items()}

    def _cut(self, displacement: Tensor, copies: int) -> Tensor:
        """1 for each sample ``(*stack, rows)`` (or each mini-batch) that Normalize shortens, 0 where it does not."""
        vectors = displacement.unflatten(-2, (copies, -1)).flatten(-2) if self.c2_per == "batch" else displacement
        return (torch.linalg.vector_norm(vectors, dim=-1) > per_model(self.c2, 1)).to(displacement.dtype)

    def finish(self, update: Tensor, axes: int) -> Tensor:
        """``Normalize(update, c1)``, once for the whole update of a parameter (tied copies summed)."""
        return normalize(update, per_model(self.c1, axes), tuple(range(-axes, 0)))

    def _halt(self, walk: BackwardPass, tie: int, rows: Rows, loss: Tensor, d: Tensor) -> Tensor:
        """``d`` with the rows of the subgraphs whose loss is under epsilon set to 0.

        An error of 0 displaces nothing below, where the loss is then 0 too: that is how the walk stops, which is why a
        loss of 0 is under an epsilon of 0.
        """
        if self.epsilon_per == "batch":
            assert rows.copies is not None
            mean = loss.unflatten(-1, (len(rows.copies), -1)).mean(-1)
            loss = mean.repeat_interleave(walk.activity.batch, -1)
        least = max(self.threshold(walk.graph.ties[tie].subgraph.is_output), torch.finfo(loss.dtype).tiny)
        keep = (loss >= least).to(d.dtype)
        walk.keep(tie, rows, keep)
        return d * keep.unsqueeze(-1)

    @classmethod
    def suited(cls, task: str, activation: str, optimizer: str) -> Suited:
        """Settings that suit the units and the optimizer.

        Plain gradient descent takes the sum over a mini-batch, with which the paper's step size of 0.01 learns (the
        mean does not start a deep sigmoid net); optimizers that adapt their step to the scale of the updates take the
        mean.
        """
        lr = super().suited(task, activation, optimizer).lr
        settings: dict[str, Any] = {"reduction": "mean", "beta": 0.1, "c1": None, "c2": None}
        if task == "rnn":
            return Suited(lr, settings, feedback_init="gaussian")
        settings["c2"] = 10.0
        if optimizer == "sgd":
            lr, settings["reduction"] = 0.01, "sum"
        if activation == "sigmoid":  # its derivative is at most 1/4: of what beta 0.1 asks for too little is learned
            settings.update(beta=1.0, c2=3.0)
        elif optimizer == "sgd":  # nothing else bounds the steps of a deep net
            settings.update(c1=10.0, c2=3.0)
        elif activation == "softplus":  # no upper bound: larger or normalized displacements drive it off from zeros
            settings.update(beta=0.02, c2=None)
        return Suited(lr, settings, feedback_init="gaussian")


@dataclass(frozen=True)
class LRAFeedback(_LRA):
    """LRA-fdbk (Algorithm 2): errors cross a connection through fixed random E; one step, no derivative of g."""

    name: ClassVar[str] = "lra-fdbk"
    about: ClassVar[str] = "local targets through fixed random error feedback (Algorithm 2), the headline"

    def feedback_matrix(self, graph: Graph, read: Read) -> Tensor | None:
        """E of the connection; None where it has none."""
        return None if read.feedback is None else graph.feedback[read.feedback]


@dataclass(frozen=True)
class LRADiff(_LRA):
    """LRA-diff (Algorithm 1): targets by K steps down the loss of the subgraphs above.

    Errors cross, through W^T, the connections that have feedback weights (whose values are not used). Where a
    discretizer g stands on the way, its derivative is taken as 1.

    Args:
        steps: K, the sub-optimization steps for each subgraph.
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

    def feedback_matrix(self, graph: Graph, read: Read) -> Tensor | None:
        """W^T of the connection; None where it has no feedback."""
        return None if read.feedback is None else graph.weights[read.weight].mT

    @property
    def skips(self) -> bool:
        """Only with one step: further ones re-run whole subgraphs."""
        return super().skips and self.steps == 1

    def displacement(self, walk: BackwardPass, tie: int, rows: Rows, incoming: Tensor) -> Tensor:
        """Down the derivative of f, too, unless the output itself is displaced."""
        return incoming if self.form == "post" else incoming * walk.f(tie).derivative(*walk.state(tie, rows))

    def target(self, walk: BackwardPass, tie: int, rows: Rows, h: Tensor, z: Tensor, incoming: Tensor) -> Tensor:
        """K steps of lines "Find target for layer l - 1", re-running the subgraphs that read these rows."""
        f, h_bar, z_bar = walk.f(tie), h, z
        if self.form == "post":
            return self.displaced(z_bar, incoming, rows)
        kept = rows.selection is None  # the subgraphs below may ask how far from its target this one is
        if kept and walk.targets[tie].numel() == 0:
            walk.targets[tie] = torch.zeros_like(walk.activity.z[tie])
        for step in range(self.steps):
            if step:
                incoming = self._again(walk, tie, rows, z_bar)
            h_bar = self.displaced(h_bar, incoming * f.derivative(h_bar, z_bar), rows)
            z_bar = f.f(h_bar)
        if kept:
            walk.targets[tie][..., rows.index, :] = z_bar
        return z_bar

    def _again(self, walk: BackwardPass, tie: int, rows: Rows, z_bar: Tensor) -> Tensor:
        """What the readers' losses ask of these rows once they put out ``z_bar`` instead of z."""
        copies, g = rows.copies, walk.graph.ties[tie].subgraph.g
        assert copies is not None
        change = (g.g(z_bar) if g else z_bar) - rows.of(walk.activity.output(tie))
        total = torch.zeros_like(change)
        for reader in walk.overlap(tie, copies):
            if walk.errors[reader.tie] is None and reader.tie != tie:  # it has no target of its own
                continue
            there, here = walk.activity.rows(reader.theirs), _within(copies, reader.mine)
            h = walk.activity.h[reader.tie][..., there, :]
            for weight in _weights_between(walk, tie, reader):
                h = h + change[..., walk.activity.rows(here), :] @ weight
            feedback_matrix = self.feedback_matrix(walk.graph, reader.read)
            assert feedback_matrix is not None
            total[..., walk.activity.rows(here), :] += _error_at(walk, reader.tie, there, h) @ feedback_matrix
        return total


def _all_positive(setting: float | Tensor) -> bool:
    return bool((setting > 0).all()) if isinstance(setting, Tensor) else setting > 0


def _within(outer: range, inner: range) -> range:
    return range(inner.start - outer.start, inner.stop - outer.start)


def _weights_between(walk: BackwardPass, tie: int, reader: Reader) -> list[Tensor]:
    """The weights of every connection, with feedback or without, over which these copies are read at these steps."""
    shift = reader.theirs.start - reader.mine.start
    return [
        walk.graph.weights[other.read.weight]
        for other in walk.graph.ties[tie].readers
        if other.tie == reader.tie and other.theirs.start - other.mine.start == shift
    ]


def _error_at(walk: BackwardPass, i: int, rows: slice, h: Tensor) -> Tensor:
    """``dL/dh`` of rows of a tie toward the target they have, if they had ``h``; 0 in halted rows."""
    target = walk.targets[i]
    target = target[..., rows, :] if target.dtype.is_floating_point else target[..., rows]
    if walk.graph.ties[i].subgraph.is_output:
        output = walk.output_loss(i)
        d = output.error(output.f(h), target)
    else:
        z = walk.f(i).f(h)
        d = walk.local_loss(i).gradient(z, target) * walk.f(i).derivative(h, z)
    kept = walk.kept[i]
    return d if kept is None else d * kept[..., rows].unsqueeze(-1)
