"""What every learning rule is: a walk over the list of subgraphs, from the outputs back.

Most rules differ in two places only: how an error crosses a connection (`Rule.feedback_matrix`) and what the lower
subgraph
does with it (`Rule.hidden_error`). Those whose errors take another way say so in `Rule.readers` and `Rule.incoming`;
those that learn something themselves, in `Rule.setup` and `Rule.learn`. The walk itself is `BackwardPass`, the same
for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from seqlra.errors import SeqlraError
from seqlra.network.forward import ForwardPass, rows_of
from seqlra.network.graph import Graph
from seqlra.network.layers import Read, Reader, TiedCopies
from seqlra.network.losses import LocalLoss, OutputLoss
from seqlra.network.units import Activation
from seqlra.rules.suited import Suited


class Selection:
    """Some rows of the tensors of a tie, by their ``numbers``.

    While no further row leaves, ties below have the same selection, and one's output is the next one's source: what was
    picked from a tensor is kept.
    """

    def __init__(self, numbers: Tensor) -> None:
        self.numbers = numbers
        self._picked: dict[int, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return len(self.numbers)

    def of(self, tensor: Tensor) -> Tensor:
        """These rows of ``(rows, units)``, or of tokens ``(rows,)``."""
        pair = self._picked.get(id(tensor))
        if pair is None:  # with the tensor, so that nothing else gets its id
            axis = -2 if tensor.dtype.is_floating_point else -1
            pair = self._picked[id(tensor)] = tensor, tensor.index_select(axis, self.numbers)
        return pair[1]


@dataclass(slots=True)
class Rows:
    """Rows of the tensors of a tie: those of some ``copies``, or (``copies`` None) a part of a ``selection``."""

    index: slice
    copies: range | None = None
    selection: Selection | None = None

    def of(self, tensor: Tensor) -> Tensor:
        """These rows of ``(*stack, rows, units)``."""
        return rows_of(tensor if self.selection is None else self.selection.of(tensor), self.index)


@dataclass(frozen=True)
class Rule(ABC):
    """A learning rule; its fields are its settings, recorded with every run.

    ``reduction`` says whether an update is the sum over the predictions of a mini-batch or their mean. ``repeats`` says
    whether it calls the same operations for every mini-batch of a shape, so that training may record them once; a rule
    whose Python looks at more than shapes (a count of its own, say) sets it to False. ``per_model`` names the settings
    that may be a tensor ``(models, 1, 1)``, one value for each model of a stack.
    """

    name: ClassVar[str] = "this rule"
    about: ClassVar[str] = "a rule of your own"
    repeats: ClassVar[bool] = True
    per_model: ClassVar[tuple[str, ...]] = ()
    reduction: Literal["sum", "mean"] = "mean"

    def __post_init__(self) -> None:
        require(self.reduction in ("sum", "mean"), f"reduction must be sum or mean, not {self.reduction!r}")

    @property
    def skips(self) -> bool:
        """Whether rows at which the rule halted leave the computation, rather than go on as zeros."""
        return False

    def setup(self, graph: Graph) -> None:
        """Give the graph what the rule needs besides weights and E: further feedback, which `initialize` then draws,
        and ``graph.memory``, what the rule keeps from step to step. `initialize` calls this.

        Raises:
            SeqlraError: the rule is not defined for a graph of this kind.
        """

    def anneal(self, graph: Graph, progress: float) -> None:
        """Set what changes over a training of which the share ``progress``, from 0 to 1, is done."""

    @abstractmethod
    def feedback_matrix(self, graph: Graph, read: Read) -> Tensor | None:
        """The matrix ``(*stack, units, source units)`` that carries an error back over a connection; None: no error."""

    def readers(self, graph: Graph, tie: int) -> list[Reader]:
        """Whose errors come to a tie: by default, those who read it over a connection with a `feedback_matrix`."""
        return [reader for reader in graph.ties[tie].readers if self.feedback_matrix(graph, reader.read) is not None]

    def incoming(
        self, walk: BackwardPass, tie: int, copies: range, readers: list[Reader], errors: list[Tensor | None]
    ) -> Tensor | None:
        """What `hidden_error` starts from: by default the sum of the readers' errors, each through its
        feedback_matrix."""
        return walk.carried(copies, readers, errors)

    @abstractmethod
    def hidden_error(self, walk: BackwardPass, tie: int, rows: Rows, incoming: Tensor) -> Tensor:
        """``d = dL/dh (*stack, rows, units)`` of these rows of a tie, given what came in from above."""

    def output_error(self, walk: BackwardPass, tie: int) -> Tensor:
        """``d = dL/dh`` of an output: the derivative of its loss."""
        return walk.output_loss(tie).error(walk.activity.z[tie], walk.targets[tie])

    def learn(self, walk: BackwardPass) -> None:
        """Update what the rule keeps in ``graph.memory``, once the updates of the weights are there."""

    def finish(self, update: Tensor, axes: int) -> Tensor:
        """The last word on a parameter's whole update, whose last ``axes`` axes are one model's."""
        return update

    def depth(self, walk: BackwardPass) -> Tensor | float:
        """How many subgraphs were updated for a prediction, on average (Section 3.2, Figure 5)."""
        rows: Tensor | float = 0.0
        for d, kept in zip(walk.errors, walk.kept, strict=True):
            if d is not None:
                rows = rows + (d.shape[-2] if kept is None else kept.sum(-1))
        return rows / walk.predictions

    @classmethod
    def suited(cls, task: str, activation: str, optimizer: str) -> Suited:
        """What suits the rule where the user leaves it open; a rule of your own may override it.

        Args:
            task: ``mlp`` or ``rnn``.
            activation: of the hidden units.
            optimizer: a name from `OPTIMIZERS`.
        """
        by_optimizer = {"mlp": (0.1, 0.001), "rnn": (1.0, 0.01)}  # sgd, and those that adapt their step
        sgd, adaptive = by_optimizer[task]
        return Suited(sgd if optimizer == "sgd" else adaptive, {"reduction": "mean"})


class BackwardPass:
    """One pass from the outputs back to the first subgraph.

    Attributes:
        activity: the forward pass before it.
        targets: by tie, what the data wants of an output; LRA-diff keeps here what it wants of a hidden subgraph.
        errors: by tie, ``d = dL/dh (*stack, rows, units)``; None where no error came.
        rows: by tie, which rows ``errors`` has; None: all of them.
        kept: by tie, 1 for those of the rows of ``errors`` ``(*stack, rows)`` with which the rule goes on, 0 where it
            halted; None: all.
        predictions: rows of the outputs, over which a mean update is the mean.
    """

    ROWS_AT_ONCE = 256
    """On the CPU a long chain of elementwise operations goes over blocks of rows that stay in its cache, rather than
    through main memory at every link."""

    WORTH_IT = 0.9
    """Rows leave the computation once no more than this share of them is left: picking rows out costs time, too. With
    the last of them the walk ends."""

    def __init__(self, rule: Rule, activity: ForwardPass, targets: Tensor | Mapping[str, Tensor]) -> None:
        self.rule, self.activity, self.graph = rule, activity, activity.graph
        self.ties = ties = self.graph.ties
        self.errors: list[Tensor | None] = [None] * len(ties)
        self.rows: list[Selection | None] = [None] * len(ties)
        self.kept: list[Tensor | None] = [None] * len(ties)
        self.targets: list[Tensor] = self._output_targets(targets)
        self.predictions = sum(ties[i].copies for i in self.graph.layout.all_outputs) * activity.batch
        skips = rule.skips
        for i, inflow in reversed(list(enumerate(error_routes(rule, self.graph)))):
            if inflow is None:
                self.errors[i] = rule.output_error(self, i)
            elif inflow.readers:
                self._hidden(i, inflow)
            if skips:
                self._leave_out(i)

    def state(self, tie: int, rows: Rows) -> tuple[Tensor, Tensor]:
        """``h`` and ``z`` of these rows of a tie."""
        return rows.of(self.activity.h[tie]), rows.of(self.activity.z[tie])

    def f(self, tie: int) -> Activation:
        """The activation of a hidden subgraph."""
        f = self.ties[tie].subgraph.f
        assert f is not None
        return f

    def local_loss(self, tie: int) -> LocalLoss:
        """The loss of a hidden subgraph."""
        loss = self.ties[tie].subgraph.loss
        assert isinstance(loss, LocalLoss)
        return loss

    def output_loss(self, tie: int) -> OutputLoss:
        """The loss of an output."""
        loss = self.ties[tie].subgraph.loss
        assert isinstance(loss, OutputLoss)
        return loss

    def keep(self, tie: int, rows: Rows, which: Tensor) -> None:
        """Note with which of these rows ``(*stack, rows)`` the rule goes on."""
        kept = self.kept[tie]
        if rows.selection is not None:  # its next part
            self.kept[tie] = which if kept is None else torch.cat((kept, which))
            return
        if which.shape[-1] == self.activity.h[tie].shape[-2]:
            self.kept[tie] = which
            return
        if kept is None:
            kept = self.kept[tie] = which.new_zeros(self.activity.h[tie].shape[:-1])
        kept[..., rows.index] = which

    def overlap(self, tie: int, copies: range) -> list[Reader]:
        """Whose errors come to these copies of a tie, cut to them."""
        inflow = error_routes(self.rule, self.graph)[tie]
        assert inflow is not None
        cut = []
        for reader in inflow.readers:
            low, high = max(copies.start, reader.mine.start), min(copies.stop, reader.mine.stop)
            if low < high:
                shift = reader.theirs.start - reader.mine.start
                cut.append(Reader(reader.tie, reader.read, range(low, high), range(low + shift, high + shift)))
        return cut

    def carried(self, copies: range, readers: list[Reader], errors: list[Tensor | None]) -> Tensor | None:
        """The sum of the readers' errors, each through its feedback_matrix: ``(*stack, rows of copies, units)``."""
        total: Tensor | None = None
        for reader in readers:
            theirs = errors[reader.tie]
            matrix = self.rule.feedback_matrix(self.graph, reader.read)
            if theirs is None or matrix is None:
                continue
            error = rows_of(theirs, self.activity.rows(reader.theirs)) @ matrix
            if reader.mine != copies:
                here = range(reader.mine.start - copies.start, reader.mine.stop - copies.start)
                whole = error.new_zeros(*error.shape[:-2], len(copies) * self.activity.batch, error.shape[-1])
                whole[..., self.activity.rows(here), :] = error
                error = whole
            total = error if total is None else total + error
        return total

    def _hidden(self, i: int, inflow: ErrorRoute) -> None:
        """All copies at once, or where an error crosses between them one after another, the last first."""
        tied = self.ties[i]
        everyone, readers = range(tied.copies), inflow.readers
        if all(reader.tie == i or self._ended(reader.tie) for reader in readers):
            h = self.activity.h[i]
            self.errors[i], self.rows[i] = h.new_empty(0, h.shape[-1]), Selection(h.new_empty(0, dtype=torch.long))
            return
        if inflow.row_by_row and self.rows[readers[0].tie] is not None:
            self._selected(i, readers[0])
            return
        at_once = 1 if inflow.through_time else self._copies_at_once(tied)
        errors = self.errors
        if self.rule.skips or inflow.through_time:
            errors = list(errors)
            for reader in readers:
                errors[reader.tie] = self.all_rows(reader.tie)
        if at_once >= tied.copies and inflow.reached is None:
            self.errors[i] = self._hidden_error(i, everyone, list(readers), errors)
            return
        mask = None
        if inflow.reached is not None:  # the other copies have no target: they are as if the rule had halted there
            mask = self.activity.h[i].new_tensor(inflow.reached).repeat_interleave(self.activity.batch)
            self.kept[i] = mask.expand(self.activity.h[i].shape[:-1]).clone()
        d = errors[i] = torch.empty_like(self.activity.h[i])
        for stop in range(tied.copies, 0, -at_once):
            here = range(max(0, stop - at_once), stop)
            no_target = inflow.reached is not None and not any(inflow.reached[copy] for copy in here)
            found = None if no_target else self._hidden_error(i, here, self.overlap(i, here), errors)
            d[..., self.activity.rows(here), :] = 0 if found is None else found
        self.errors[i] = d
        kept = self.kept[i]
        if mask is not None and kept is not None:
            self.kept[i] = mask * kept

    def _hidden_error(self, i: int, copies: range, readers: list[Reader], errors: list[Tensor | None]) -> Tensor | None:
        incoming = self.rule.incoming(self, i, copies, readers, errors)
        if incoming is None:
            return None
        return self.rule.hidden_error(self, i, Rows(self.activity.rows(copies), copies), incoming)

    def _copies_at_once(self, tied: TiedCopies) -> int:
        return tied.copies if self.activity.h[0].is_cuda else max(1, self.ROWS_AT_ONCE // self.activity.batch)

    def _selected(self, i: int, reader: Reader) -> None:
        """The rows alone in which the one reader still has an error."""
        theirs, selection = self.errors[reader.tie], self.rows[reader.tie]
        matrix = self.rule.feedback_matrix(self.graph, reader.read)
        assert theirs is not None
        assert selection is not None
        assert matrix is not None
        end = len(selection)
        at_once = end if theirs.is_cuda else self.ROWS_AT_ONCE
        parts = [slice(start, min(end, start + at_once)) for start in range(0, end, at_once)]
        found = [
            self.rule.hidden_error(self, i, Rows(part, None, selection), rows_of(theirs, part) @ matrix)
            for part in parts
        ]
        self.errors[i], self.rows[i] = found[0] if len(found) == 1 else torch.cat(found), selection

    def _leave_out(self, i: int) -> None:
        """Take the rows at which the rule halted out of the errors of a tie."""
        d, kept, before = self.errors[i], self.kept[i], self.rows[i]
        if d is None or kept is None or kept.dim() > 1:  # the models of a stack halt at different rows
            return
        still = kept.nonzero().squeeze(-1)
        if len(still) <= self.WORTH_IT * d.shape[-2]:
            self.errors[i] = d.index_select(-2, still)
            self.rows[i] = Selection(still if before is None else before.numbers.index_select(0, still))
            self.kept[i] = None

    def _ended(self, i: int) -> bool:
        """Whether all rows of a tie have left."""
        selection = self.rows[i]
        return selection is not None and len(selection) == 0

    def all_rows(self, i: int) -> Tensor | None:
        """The errors of a tie with zeros in the rows that were left out."""
        d, selection = self.errors[i], self.rows[i]
        if d is None or selection is None:
            return d
        return torch.zeros_like(self.activity.h[i]).index_copy_(-2, selection.numbers, d)

    def _output_targets(self, targets: Tensor | Mapping[str, Tensor]) -> list[Tensor]:
        bases = [tied.base for tied in self.graph.ties if tied.subgraph.is_output]
        given = dict.fromkeys(bases, targets) if isinstance(targets, Tensor) else dict(targets)
        require(set(given) == set(bases), f"the graph has the outputs {', '.join(bases)}; targets: {', '.join(given)}")
        nothing = self.activity.h[0].new_empty(0)
        return [self._of_tie(given[t.base], t) if t.subgraph.is_output else nothing for t in self.graph.ties]

    def _of_tie(self, target: Tensor, tied: TiedCopies) -> Tensor:
        """The part of an output's targets that is for one of its ties, checked."""
        loss, vectors = tied.subgraph.loss, target.dtype.is_floating_point
        assert isinstance(loss, OutputLoss)
        units, wanted = tied.subgraph.units, self.graph.layout.bases[tied.base].blocks * self.activity.batch
        fits = target.dim() == (2 if vectors else 1) or target.shape[:1] == self.graph.stack
        fits = fits and (target.shape[-1] == units if vectors and target.dim() > 1 else not vectors and loss.classes)
        kinds = f"vectors of {units}" + (" or class indices (integers)" if loss.classes else "")
        given = f"{tuple(target.shape)} of {target.dtype}"
        require(fits, f"the output {tied.base!r} takes {kinds} as targets; given: {given}")
        rows = target.shape[-2] if vectors else target.shape[-1]
        require(rows == wanted, f"the output {tied.base!r} has {wanted} rows; its targets have {rows}")
        here = self.activity.rows(range(tied.first, tied.first + tied.copies))
        return target[..., here, :] if vectors else target[..., here]


class ErrorRoute(NamedTuple):
    """What comes to a hidden tie under a rule; the same for every mini-batch.

    Attributes:
        readers: whose errors come to it; none: it has no target.
        reached: which of its copies they come to; None: all.
        through_time: whether it is among them itself, so that its copies must be walked one after another.
        row_by_row: whether there is one reader, whose row r reads row r of the tie, for all rows of both.
    """

    readers: tuple[Reader, ...]
    reached: tuple[bool, ...] | None
    through_time: bool
    row_by_row: bool


def error_routes(rule: Rule, graph: Graph) -> list[ErrorRoute | None]:
    """By tie, what comes to it; None for outputs. Found once for a rule and a graph, and kept with the graph."""
    known: list[ErrorRoute | None] | None = graph.plans.get(rule)
    if known is None:
        known = graph.plans[rule] = _find_inflows(rule, graph)
    return known


def _find_inflows(rule: Rule, graph: Graph) -> list[ErrorRoute | None]:
    ties = graph.ties
    found: list[ErrorRoute | None] = [None] * len(ties)
    for i, tied in reversed(list(enumerate(ties))):
        if tied.subgraph.is_output:
            continue
        readers = []
        for reader in rule.readers(graph, i):
            above = found[reader.tie]
            # an output that comes before it in the list has no part in it; a hidden reader may have no target itself
            if reader.tie == i or (reader.tie > i and (above is None or above.readers)):
                readers.append(reader)
        reached = _find_reached(i, tied.copies, readers, found)
        if reached is not None and not any(reached):
            readers = []
        whole = range(tied.copies)
        row_by_row = len(readers) == 1 and readers[0].tie != i and readers[0].mine == whole
        row_by_row = row_by_row and readers[0].theirs == range(ties[readers[0].tie].copies)
        found[i] = ErrorRoute(tuple(readers), reached, any(r.tie == i for r in readers), row_by_row)
    return found


def _find_reached(
    i: int, copies: int, readers: list[Reader], found: list[ErrorRoute | None]
) -> tuple[bool, ...] | None:
    """To which copies of a tie an error comes; None: to all."""
    reached = [False] * copies
    for copy in reversed(range(copies)):
        for reader in readers:
            if copy in reader.mine:
                above = found[reader.tie]
                theirs = reached if reader.tie == i else above and above.reached
                reached[copy] |= theirs is None or theirs[copy + reader.theirs.start - reader.mine.start]
    return None if all(reached) else tuple(reached)


def require(condition: bool, message: str) -> None:
    """Raise `SeqlraError` with that message unless the condition holds."""
    if not condition:
        raise SeqlraError(message)
