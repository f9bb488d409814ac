"""What every learning rule is: a walk over the list of subgraphs, from the outputs back.

Rules differ in two places only: how an error crosses a connection (`Rule.carrier`) and what the lower
subgraph does with it (`Rule.hidden_error`). The walk itself is `Walk`, the same for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from seqlra.activity import Activity
from seqlra.errors import SeqlraError
from seqlra.graph import Graph
from seqlra.losses import OutputLoss
from seqlra.ties import Read, Reader, TiedCopies


@dataclass(frozen=True)
class Rule(ABC):
    """A learning rule; its fields are its settings, recorded with every run.

    ``reduction`` says whether an update is the sum over the predictions of a mini-batch or their mean.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    reduction: Literal["sum", "mean"] = "mean"

    def __post_init__(self) -> None:
        require(self.reduction in ("sum", "mean"), f"reduction must be sum or mean, not {self.reduction!r}")

    @abstractmethod
    def carrier(self, graph: Graph, read: Read) -> Tensor | None:
        """The matrix ``(*stack, units, source units)`` that carries an error back over a connection; None: no error."""

    @abstractmethod
    def hidden_error(self, walk: Walk, tie: int, copies: range, incoming: Tensor) -> Tensor:
        """``d = dL/dh (*stack, rows, units)`` of these copies, given the error that came in through `carrier`."""

    def output_error(self, walk: Walk, tie: int) -> Tensor:
        """``d = dL/dh`` of an output: the derivative of its loss."""
        return walk.loss(tie).error(walk.activity.z[tie], walk.targets[tie])

    def finish(self, update: Tensor, axes: int) -> Tensor:
        """The last word on a parameter's whole update, whose last ``axes`` axes are one model's."""
        return update

    def depth(self, walk: Walk) -> Tensor | float:
        """How many subgraphs were updated for a prediction, on average (Section 3.2, Figure 5)."""
        return sum(d.shape[-2] for d in walk.errors if d is not None) / walk.predictions


class Walk:
    """One pass from the outputs back to the first subgraph.

    Attributes:
        activity: the forward pass before it.
        targets: by tie, what the data wants of an output and what the rule wants of a hidden subgraph.
        errors: by tie, ``d = dL/dh (*stack, rows, units)``; None where no error came.
        kept: by tie, 1 for the rows that the rule goes on with and 0 for those where it halted; None: all.
        predictions: rows of the outputs, over which a mean update is the mean.
    """

    ROWS_AT_ONCE = 512

    def __init__(self, rule: Rule, activity: Activity, targets: Tensor | Mapping[str, Tensor]) -> None:
        self.rule, self.activity, self.graph = rule, activity, activity.graph
        ties = self.graph.ties
        self.errors: list[Tensor | None] = [None] * len(ties)
        self.kept: list[Tensor | None] = [None] * len(ties)
        self.targets: list[Tensor] = self._output_targets(targets)
        self.predictions = sum(t.copies for t in ties if t.subgraph.is_output) * activity.batch
        for i in reversed(range(len(ties))):
            if ties[i].subgraph.is_output:
                self.errors[i] = rule.output_error(self, i)
            else:
                self._hidden(i, ties[i])

    def loss(self, tie: int) -> OutputLoss:
        """The loss of an output."""
        loss = self.graph.ties[tie].subgraph.loss
        assert isinstance(loss, OutputLoss)
        return loss

    def overlap(self, tie: int, copies: range) -> list[Reader]:
        """Who reads these copies, cut to them, among the connections that carry an error back."""
        cut = []
        for reader in self.graph.ties[tie].readers:
            if self.carrier(reader) is None:
                continue
            low, high = max(copies.start, reader.mine.start), min(copies.stop, reader.mine.stop)
            if low < high:
                shift = reader.theirs.start - reader.mine.start
                cut.append(Reader(reader.tie, reader.read, range(low, high), range(low + shift, high + shift)))
        return cut

    def carrier(self, reader: Reader) -> Tensor | None:
        """What carries an error from that reader back."""
        return self.rule.carrier(self.graph, self.graph.ties[reader.tie].reads[reader.read])

    def carried(self, copies: range, readers: list[Reader], errors: list[Tensor | None]) -> Tensor | None:
        """The sum of the readers' errors, each through its carrier: ``(*stack, rows of copies, units)``."""
        total: Tensor | None = None
        for reader in readers:
            theirs = errors[reader.tie]
            matrix = self.carrier(reader)
            if theirs is None or matrix is None:
                continue
            error = theirs[..., self.activity.rows(reader.theirs), :] @ matrix
            if reader.mine != copies:
                here = range(reader.mine.start - copies.start, reader.mine.stop - copies.start)
                whole = error.new_zeros(*error.shape[:-2], len(copies) * self.activity.batch, error.shape[-1])
                whole[..., self.activity.rows(here), :] = error
                error = whole
            total = error if total is None else total + error
        return total

    def _hidden(self, i: int, tied: TiedCopies) -> None:
        """All copies at once, or where an error crosses between them one after another, the last first.

        On the CPU "at once" means in blocks of rows whose tensors stay in its cache: a chain of elementwise operations
        over all of them would go through main memory at each.
        """
        everyone = range(tied.copies)
        readers = self.overlap(i, everyone)
        if not readers or all(self.errors[reader.tie] is None for reader in readers if reader.tie != i):
            return
        through_time = any(reader.tie == i for reader in readers)
        at_once = 1 if through_time else self._at_once(tied.copies)
        if at_once >= tied.copies:
            incoming = self.carried(everyone, readers, self.errors)
            assert incoming is not None
            self.errors[i] = self.rule.hidden_error(self, i, everyone, incoming)
            return
        d = self.errors[i] = torch.zeros_like(self.activity.h[i])
        for stop in range(tied.copies, 0, -at_once):
            here = range(max(0, stop - at_once), stop)
            incoming = self.carried(here, self.overlap(i, here), self.errors)
            if incoming is not None:
                d[..., self.activity.rows(here), :] = self.rule.hidden_error(self, i, here, incoming)

    def _at_once(self, copies: int) -> int:
        return copies if self.activity.h[0].is_cuda else max(1, self.ROWS_AT_ONCE // self.activity.batch)

    def _output_targets(self, targets: Tensor | Mapping[str, Tensor]) -> list[Tensor]:
        bases = [tied.base for tied in self.graph.ties if tied.subgraph.is_output]
        given = dict.fromkeys(bases, targets) if isinstance(targets, Tensor) else dict(targets)
        require(set(given) == set(bases), f"the graph has the outputs {', '.join(bases)}; targets: {', '.join(given)}")
        nothing = self.activity.h[0].new_empty(0)
        return [self._of_tie(given[t.base], t) if t.subgraph.is_output else nothing for t in self.graph.ties]

    def _of_tie(self, target: Tensor, tied: TiedCopies) -> Tensor:
        vectors = target.dtype.is_floating_point
        rows = target.shape[-2] if vectors else target.shape[-1]
        wanted = self.graph.layout.bases[tied.base].blocks * self.activity.batch
        require(rows == wanted, f"the output {tied.base!r} has {wanted} rows; its targets have {rows}")
        here = self.activity.rows(range(tied.first, tied.first + tied.copies))
        return target[..., here, :] if vectors else target[..., here]


def require(condition: bool, message: str) -> None:
    """Raise `SeqlraError` with that message unless the condition holds."""
    if not condition:
        raise SeqlraError(message)
