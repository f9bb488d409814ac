"""Arrays as people have them, as the tensors that a graph reads.

Samples lie along the first axis, as in scikit-learn: ``(n, features)``, or for sequences ``(n, time, features)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqlra.data.arrays import Sequences, sequences_from_arrays
from seqlra.errors import SeqlraError, unknown
from seqlra.network.graph import Graph
from seqlra.network.losses import NOT_ASKED, OutputLoss, asked
from seqlra.network.unrolling import sequence_inputs, step_of, time_of

Layout = Literal["batch-major", "time-major"]
"""Whether sequences are ``(batch, time, ...)`` or ``(time, batch, ...)``."""


@dataclass(frozen=True)
class Samples:
    """Samples and their targets, as a graph reads them.

    Attributes:
        x: by input, vectors ``(n, steps, features)`` or tokens ``(n, steps)``; one step where it is no sequence.
        t: targets, one for each step with an output: classes ``(n, steps)`` or vectors ``(n, steps, units)``; None:
            there are only inputs.
    """

    x: Mapping[str, Tensor]
    t: Tensor | None = None

    def __len__(self) -> int:
        return next(iter(self.x.values())).shape[0]

    @property
    def time(self) -> int:
        """The steps of a sequence."""
        return max(x.shape[1] for x in self.x.values())

    @property
    def measures_error(self) -> bool:
        """Whether targets are classes."""
        return self.t is not None and not self.t.dtype.is_floating_point

    def take(self, numbers: Tensor) -> Samples:
        """The samples of these numbers ``(k,)``."""
        return self._each(lambda tensor: tensor.index_select(0, numbers))

    def part(self, start: int, stop: int) -> Samples:
        """The samples from ``start`` to before ``stop``."""
        return self._each(lambda tensor: tensor[start:stop])

    def steps(self, start: int, stop: int) -> Samples:
        """The steps from ``start`` to before ``stop``, where there is a target at each."""
        return self._each(lambda tensor: tensor[:, start:stop])

    def rows(self) -> tuple[dict[str, Tensor], Tensor]:
        """Inputs ``(steps * n, features)`` and targets ``(steps * n, ...)``, step by step, for the engine."""
        t = torch.empty(0) if self.t is None else _by_step(self.t)
        return {name: _by_step(x) for name, x in self.x.items()}, t

    def _each(self, change: Any) -> Samples:
        return Samples({name: change(x) for name, x in self.x.items()}, None if self.t is None else change(self.t))


def _by_step(tensor: Tensor) -> Tensor:
    return tensor.squeeze(1) if tensor.shape[1] == 1 else tensor.transpose(0, 1).flatten(0, 1)


class Reader:
    """Turns arrays into `Samples` of a graph, and checks that they fit.

    Accepted are numpy arrays, tensors, lists and data frames, of any type of numbers. Floats become those of the graph.
    Integers with an axis for features become floats, too; without it they are tokens.

    Args:
        graph: the graph.
        layout: the order of the axes of sequences.
        chunked: whether sequences run in chunks with the state carried over, so that they may have another number of
            steps than the graph, and there is a target at each.
        any_time: whether inputs may have another number of steps all the same.

    Raises:
        SeqlraError: a graph with several outputs, an unknown layout, or ``chunked`` where outputs are missing.
    """

    def __init__(
        self, graph: Graph, layout: Layout | str = "batch-major", chunked: bool = False, any_time: bool = False
    ) -> None:
        if layout not in ("batch-major", "time-major"):
            raise unknown("layout", layout, ("batch-major", "time-major"))
        like = next(graph.parameters())
        self.dtype, self.device, self.time = like.dtype, like.device, time_of(graph)
        if graph.stack:
            raise SeqlraError("this takes one model; seqlra train --seeds, or seqlra.update, takes a stack of them")
        if layout == "time-major" and self.time is None:
            raise SeqlraError("time-major is a layout of sequences, and the graph is not recurrent")
        self.time_major = layout == "time-major"
        self._sequences = sequence_inputs(graph)
        state = {step_of(subgraph.name)[0] for subgraph in graph.subgraphs}
        self._units = {step_of(node.name)[0]: node.units for node in graph.inputs}
        self._units = {name: units for name, units in self._units.items() if name not in state}
        self._take_output(graph)
        self.chunked, self._any_time = chunked, chunked or any_time
        if chunked and len(self._asked) != self.time:
            raise SeqlraError("a state is carried on where a recurrent graph has an output at every step")

    def _take_output(self, graph: Graph) -> None:
        named = [step_of(output.name) for output in graph.outputs]
        if len({name for name, _ in named}) > 1:
            names = ", ".join(sorted({name for name, _ in named}))
            raise SeqlraError(f"the graph has the outputs {names}; this takes one, seqlra.update takes several")
        read = [step_of(node.name) for node in graph.inputs]
        first = min((step for name, step in read if name in self._sequences and step is not None), default=0)
        self._asked = [0 if step is None else step - first for _, step in named]  # from 0
        output = graph.outputs[-1].loss
        assert isinstance(output, OutputLoss)
        self._output, self._classes = output, graph.outputs[-1].units

    def samples(self, x: Any, t: Any = None, lengths: Any = None) -> Samples:
        """Inputs, and targets where there are any, of the same samples.

        Args:
            x: ``(n, features)``, or tokens ``(n,)``; of sequences ``(n, time, features)``, or tokens ``(n, time)``. A
                mapping by name where the graph has several inputs.
            t: classes ``(n,)`` or vectors ``(n, units)``; where sequences have several outputs ``(n, time)`` or ``(n,
                time, units)``. Values ``(n,)`` will do for a single unit. With ``lengths`` also one for a sequence.
                Where the loss is `masked`, -100 or NaN stands for a missing target.
            lengths: how many steps of each sequence count, ``(n,)``.

        Raises:
            SeqlraError: arrays that do not fit the graph, or each other.
        """
        targets = None if t is None else self._batch_major(_tensor(t, "targets"), of_targets=True)
        if lengths is not None and not isinstance(x, Mapping | Sequences):
            x = sequences_from_arrays(self._batch_major(_tensor(x, "x")), targets, lengths)
        elif lengths is not None:
            raise SeqlraError("lengths go with arrays of sequences, x and targets")
        if isinstance(x, Sequences):
            targets = self._placed(x)
            inputs = self._inputs(x.x)
        else:
            names = x if isinstance(x, Mapping) else self._alone(x)
            inputs = self._inputs({name: self._batch_major(_tensor(given, name)) for name, given in names.items()})
        if targets is not None:
            targets = self._targets(targets, len(next(iter(inputs.values()))))
        for name, tensor in inputs.items():
            if tensor.dtype.is_floating_point and not bool(tensor.isfinite().all()):
                bad = int((~tensor.isfinite()).flatten(1).any(1).sum())
                raise SeqlraError(f"{bad} of the {len(tensor)} samples of {name} have NaN or infinite numbers")
        samples = Samples(inputs, targets)
        if self.chunked and targets is not None and targets.shape[1] != samples.time:
            raise SeqlraError(f"the sequences have {samples.time} steps and targets at {targets.shape[1]}")
        return samples

    def _batch_major(self, tensor: Tensor, of_targets: bool = False) -> Tensor:
        """With samples along the first axis; targets of whole sequences are as they are."""
        axes = 3 if of_targets and tensor.dtype.is_floating_point and self._classes > 1 else 2
        turned = self.time_major and tensor.dim() >= axes and not (of_targets and len(self._asked) == 1)
        return tensor.transpose(0, 1) if turned else tensor

    def _alone(self, x: Any) -> dict[str, Any]:
        """The only input, by its name."""
        if len(self._units) != 1:
            raise SeqlraError(f"the graph reads the inputs {', '.join(self._units)}: give a mapping with these names")
        return {next(iter(self._units)): x}

    def _inputs(self, x: Mapping[str, Tensor] | Tensor) -> dict[str, Tensor]:
        x = self._alone(x) if isinstance(x, Tensor) else x
        if set(x) != set(self._units):
            raise SeqlraError(f"the graph reads the inputs {', '.join(self._units)}; given: {', '.join(map(str, x))}")
        inputs = {name: self._input(name, x[name]) for name in self._units}
        counts = {len(tensor) for tensor in inputs.values()}
        if len(counts) > 1 or 0 in counts:
            raise SeqlraError(f"inputs need the same number of samples, at least one; given: {sorted(counts)}")
        return inputs

    def _input(self, name: str, x: Tensor) -> Tensor:
        """One input as ``(n, steps, features)`` or ``(n, steps)``."""
        units, steps = self._units[name], self._sequences.get(name)
        axes = 2 if steps is None else 3
        tokens = x.dim() == axes - 1 and not x.dtype.is_floating_point and x.dtype != torch.bool
        fits = x.dim() == axes - tokens and (tokens or x.shape[-1] == units)
        if not fits or not (steps is None or self._any_time or x.shape[1] == steps):
            raise SeqlraError(self._shape_of(name, x))
        x = x.unsqueeze(1) if steps is None else x
        if not tokens:
            return x.to(self.device, self.dtype)
        low, high = (int(x.min()), int(x.max())) if x.numel() else (0, 0)
        if low < 0 or high >= units:
            raise SeqlraError(f"tokens of {name} are 0 to {units - 1}; given: {low} to {high}")
        return x.to(self.device, torch.int64)

    def _shape_of(self, name: str, x: Tensor) -> str:
        units, steps = self._units[name], self._sequences.get(name)
        sequence = ["n"] if steps is None else ["n", "time" if self._any_time else str(steps)]
        sequence = sequence[::-1] if self.time_major else sequence
        shape, tokens = ", ".join([*sequence, str(units)]), ", ".join(sequence)
        about = "" if steps is None else f" in the layout {'time' if self.time_major else 'batch'}-major"
        tokens += "," if steps is None else ""
        return f"{name} takes ({shape}) numbers, or integers ({tokens}) as tokens{about}; given: {self._given(x)}"

    def _given(self, tensor: Tensor) -> str:
        """The shape and type of what was given."""
        given = self._batch_major(tensor)  # turned back
        return f"{tuple(given.shape)} of {given.dtype}".replace("torch.", "")

    def _targets(self, t: Tensor, count: int) -> Tensor:
        """Targets as classes ``(n, steps)`` or vectors ``(n, steps, units)``."""
        vectors, given = t.dtype.is_floating_point or not self._output.classes, t
        if len(self._asked) == 1 and t.shape[1:2] != (1,) and not self.chunked:
            t = t.unsqueeze(1)
        if vectors and self._classes == 1 and t.dim() == 2:
            t = t.unsqueeze(-1)
        steps = t.shape[1] if self.chunked and t.dim() > 1 else len(self._asked)
        if tuple(t.shape) != (count, steps, *([self._classes] if vectors else [])):
            raise SeqlraError(self._targets_of(given, count))
        t = t.to(self.device, self.dtype if vectors else torch.int64)
        self._check_values(t)
        return t

    def _check_values(self, t: Tensor) -> None:
        there = asked(t)
        if not self._output.masks and not bool(there.all()):
            raise SeqlraError(
                "some targets are missing (-100, or NaN): give the output of the graph the loss "
                f"seqlra.network.losses.masked({self._output.name!r})"
            )
        if not bool(there.any()):
            raise SeqlraError("every target is missing (-100, or NaN): there is nothing to learn")
        if t.dtype.is_floating_point:
            return
        low, high = int(t[there].min()), int(t[there].max())
        if low < 0 or high >= self._classes:
            raise SeqlraError(f"classes are 0 to {self._classes - 1}; given: {low} to {high}")

    def _targets_of(self, t: Tensor, count: int) -> str:
        steps = [] if len(self._asked) == 1 else ["time" if self.chunked else str(len(self._asked))]
        shape = [str(count), *steps]
        shape = shape[::-1] if self.time_major else shape
        accepted = [f"classes ({', '.join(shape)}{',' if len(shape) == 1 else ''})"] if self._output.classes else []
        accepted.append(f"vectors ({', '.join([*shape, str(self._classes)])})")
        hint, given = "", self._batch_major(t, of_targets=True)  # turned back
        if len(self._asked) > 1 and t.dim() <= 2 and count in t.shape[:2]:
            hint = "; for one target a sequence build the graph with outputs_at=[steps]"
        return f"targets are {' or '.join(accepted)}; given: {tuple(given.shape)} of {given.dtype}{hint}".replace(
            "torch.", ""
        )

    def _placed(self, found: Sequences) -> Tensor:
        """The targets of sequences at the steps at which the graph has outputs, missing where none is asked.

        Raises:
            SeqlraError: it has none where one is asked.
        """
        first, stop = found.steps.start, found.steps.stop
        if not {step - 1 for step in found.steps} <= set(self._asked):
            raise SeqlraError(
                f"targets are asked at the steps {first} to {stop - 1}, and the graph does not have all these outputs: "
                f"build it with outputs_at=range({first}, {stop})"
            )
        missing = torch.nan if found.t.dtype.is_floating_point else NOT_ASKED
        whole = found.t.new_full((len(found), max(self._asked) + 1, *found.t.shape[2:]), missing)
        whole[:, first - 1 : stop - 1] = found.t
        return whole[:, self._asked]


def _tensor(given: Any, name: str) -> Tensor:
    """An array of numbers as a tensor.

    Raises:
        SeqlraError: it is none.
    """
    try:
        tensor = given if isinstance(given, Tensor) else torch.from_numpy(_plain(np.asarray(given)))
    except (TypeError, ValueError, RuntimeError) as error:
        raise SeqlraError(f"{name} must be an array of numbers: {error}") from error
    if tensor.is_complex() or tensor.dim() == 0:
        raise SeqlraError(f"{name} must be an array of real numbers, not {tuple(tensor.shape)} of {tensor.dtype}")
    integer = not tensor.dtype.is_floating_point and tensor.dtype != torch.bool
    return tensor.to(torch.int64) if integer else tensor.detach()


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """An array that torch can share: writable, forward in memory, of a byte order of its own."""
    shared = array.flags.writeable and all(stride >= 0 for stride in array.strides) and array.dtype.isnative
    return array if shared else np.array(array, dtype=array.dtype.newbyteorder("="))
