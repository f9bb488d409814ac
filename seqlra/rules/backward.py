"""The backward pass: from the outputs back to the first layer, the same for every rule.

Errors go from layer to layer; a layer takes all its time steps at once. Errors that cross a connection of a layer with
itself come from later steps, and there are two ways to compute them. The whole walk goes back step by step. A *window*
of w steps goes over all layers w + 1 times, each time with all steps at once: an error that starts at step t reaches
step t - w. Errors over the memory of leaky units, which no window limits, are in `seqlra.rules.memory`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from seqlra import own
from seqlra.errors import SeqlraError
from seqlra.network.forward import ForwardPass, rows_of
from seqlra.network.given import fit_target
from seqlra.network.layers import ConnectionOutOf, Layer
from seqlra.network.losses import OutputLoss, asked
from seqlra.rules.base import Rule, require
from seqlra.rules.memory import MemoryErrors
from seqlra.rules.routes import ErrorRoute, error_routes, is_lagged
from seqlra.rules.views import ConnectionView, LayerView, Rows, Selection

Messages = list[Tensor | None]


class BackwardPass:
    """One pass from the outputs back to the first layer.

    Attributes:
        forward: the forward pass before it.
        targets: by layer, the targets of an output; LRA-diff and DTP store the targets of hidden layers here.
        errors: by layer, ``d = dL/dh (*stack, rows, units)``; None where no error came.
        messages: by layer, what crosses the connections into it: in most cases the same.
        memory: the errors that cross the memory of units.
        leaks: by layer, ``dL/da (*stack, rows, units)`` by the logit a of a trained leak, as if each unit had its own;
            None: the layer has none.
        rows: by layer, which rows ``errors`` has; None: all of them.
        active: by layer ``(*stack, rows)``, 1 for the rows of ``errors`` with which the rule goes on, 0 where it
            halted; None: all.
        predictions: the number of rows of the outputs; a mean update is the mean over them.
        sweep, last_sweep: the number of the sweep in hand, and of the last one.
    """

    ROWS_AT_ONCE = 256
    """On the CPU a long chain of elementwise operations runs over blocks of rows that stay in its cache, rather than
    through main memory at every operation."""

    WORTH_IT = 0.9
    """Rows leave the computation once at most this share of them is active, because selecting rows costs time, too.
    The pass ends when no row is left."""

    def __init__(self, rule: Rule, forward: ForwardPass, targets: Tensor | Mapping[str, Tensor]) -> None:
        self.rule, self.forward, self.graph = rule, forward, forward.graph
        self.layers = layers = self.graph.layers
        self.routes = error_routes(rule, self.graph)
        self.errors: Messages = [None] * len(layers)
        self.messages: Messages = [None] * len(layers)
        self.memory = MemoryErrors(self)
        trained = (layer.subgraph.trained_leak is not None for layer in layers)
        self.leaks = [torch.zeros_like(h) if here else None for h, here in zip(forward.h, trained, strict=True)]
        self.rows: list[Selection | None] = [None] * len(layers)
        self.active: list[Tensor | None] = [None] * len(layers)
        self.targets: list[Tensor] = self._output_targets(targets)
        self._settled: dict[tuple[int, range], Tensor | None] = {}
        self.predictions = sum(layers[i].steps for i in self.graph.layout.all_outputs) * forward.batch
        through_time = any(route is not None and route.through_time for route in self.routes)
        self.window = rule.window if through_time else None
        self.last_sweep = min(self.window or 0, self._longest() - 1)
        self.sweep = 0
        self._sweep()
        while self.sweep < self.last_sweep:
            self.sweep += 1
            self._sweep()

    def view(self, number: int, rows: Rows | None = None) -> LayerView:
        """These rows of a layer; all of them by default."""
        everything = range(self.layers[number].steps)
        return LayerView(self, number, rows or Rows(self.forward.rows(everything), everything))

    def receiving(self, number: int, steps: range, messages: Messages) -> LayerView:
        """These steps of a hidden layer, with the messages that reach them."""
        route = self.routes[number]
        assert route is not None
        parts = tuple(part for c in route.connections if (part := c.within(steps)) is not None)
        return LayerView(self, number, Rows(self.forward.rows(steps), steps), parts, messages)

    def is_final(self, number: int) -> bool:
        """Whether the error of a layer in this sweep is the one that its update is made of."""
        route = self.routes[number]
        return self.sweep == self.last_sweep or route is None or not route.through_time

    def keep_active(self, number: int, rows: Rows, which: Tensor) -> None:
        """Note with which of these rows ``(*stack, rows)`` the rule goes on."""
        active = self.active[number]
        if rows.selection is not None:  # its next part
            self.active[number] = which if active is None else torch.cat((active, which))
            return
        if which.shape[-1] == self.forward.h[number].shape[-2]:
            self.active[number] = which
            return
        if active is None:
            active = self.active[number] = which.new_zeros(self.forward.h[number].shape[:-1])
        active[..., rows.index] = which

    def incoming(self, layer: LayerView) -> Tensor | None:
        """What comes to steps of a layer over all their connections; see `carried`.

        In a window what cannot change from one sweep to the next is computed in the first.
        """
        steps, messages = layer.rows.steps, layer.messages
        assert steps is not None
        assert messages is not None
        if not self.window:
            return self.carried(steps, layer.connections, messages)
        moves = [self._moves(layer.number, c) for c in layer.connections]
        key = (layer.number, steps)
        if key not in self._settled:
            still = [c for c, moves_here in zip(layer.connections, moves, strict=True) if not moves_here]
            self._settled[key] = self.carried(steps, still, messages)
        settled = self._settled[key]
        moving = [c for c, moves_here in zip(layer.connections, moves, strict=True) if moves_here]
        return self.carried(steps, moving, messages, settled)

    def _moves(self, number: int, connection: ConnectionOutOf) -> bool:
        """Whether what a connection carries changes from one sweep to the next."""
        route = self.routes[connection.reader]
        return is_lagged(self.graph, number, connection) or (route is not None and route.through_time)

    def carried(
        self,
        steps: range,
        connections: Sequence[ConnectionOutOf],
        messages: Messages,
        total: Tensor | None = None,
    ) -> Tensor | None:
        """The sum of ``total`` and of messages over connections, each through its matrix: ``(*stack, rows of steps,
        units)``."""
        for connection in connections:
            message = messages[connection.reader]
            matrix = self.rule.feedback_matrix(ConnectionView(self.graph, connection.connection))
            if message is None or matrix is None:
                continue
            sent = rows_of(message, self.forward.rows(connection.reader_steps))
            if connection.steps == steps and total is not None:
                total = torch.addmm(total, sent, matrix) if sent.dim() == 2 else torch.baddbmm(total, sent, matrix)
                continue
            error = sent @ matrix
            if connection.steps != steps:
                here = range(connection.steps.start - steps.start, connection.steps.stop - steps.start)
                whole = error.new_zeros(*error.shape[:-2], len(steps) * self.forward.batch, error.shape[-1])
                whole[..., self.forward.rows(here), :] = error
                error = whole
            total = error if total is None else total + error
        return total

    def asked(self, outputs: Sequence[int]) -> Tensor | int:
        """How many predictions of these output layers have a target: ``(*stack,)`` or ``()``, at least 1. Where targets
        may be missing (`seqlra.network.losses.masked`), they are counted."""
        total: Tensor | int = 0
        for i in outputs:
            output, everything = self.view(i), self.layers[i].steps * self.forward.batch
            total = total + (asked(output.target).sum(-1) if output.output_loss.masks else everything)
        return total.clamp(min=1) if isinstance(total, Tensor) else total

    def all_rows(self, number: int, of: Messages | None = None) -> Tensor | None:
        """The errors of a layer (or what it sends) with zeros in the rows that were left out."""
        d, selection = (self.errors if of is None else of)[number], self.rows[number]
        if d is None or selection is None:
            return d
        return torch.zeros_like(self.forward.h[number]).index_copy_(-2, selection.numbers, d)

    def _longest(self) -> int:
        """The most steps that a subgraph has, whether they run as one layer or not."""
        return max(self.graph.layout.computed(layer.name) for layer in self.layers)

    def _sweep(self) -> None:
        """Once over all layers, the last first; later sweeps visit only the layers that errors through time reach."""
        before = [self.all_rows(i, self.messages) for i in range(len(self.layers))] if self.sweep else None
        for i, route in reversed(list(enumerate(self.routes))):
            if self.sweep and (route is None or not route.through_time):
                continue
            if route is None:
                d = self._demand_rows(i, self.layers[i].steps, self.rule.output_error(self.view(i)))
                self.errors[i] = self.messages[i] = d
            elif route.receives:
                self.rows[i] = self.active[i] = None
                self._hidden(i, route, before)
            if self.rule.skips:
                self._leave_out(i)

    def _hidden(self, i: int, route: ErrorRoute, before: Messages | None) -> None:
        """One layer: all its steps at once, in blocks, or on the whole walk one after another, the last first."""
        layer, leaks = self.layers[i], self.leaks[i]
        if leaks is not None:  # of the sweep before
            leaks.zero_()
        if not route.memory and all(c.reader == i or self._ended(c.reader) for c in route.connections):
            h = self.forward.h[i]
            self._set(i, h.new_empty(0, h.shape[-1]))
            self.rows[i] = Selection(h.new_empty(0, dtype=torch.long))
            return
        if route.row_by_row and self.rows[route.connections[0].reader] is not None:
            self._selected(i, route.connections[0])
            return
        walks = route.recurrent and self.window is None
        messages = self._messages_to(i, route, before)
        at_once = 1 if walks else layer.steps if route.memory else self._steps_at_once(layer)
        if route.memory:
            self.memory.start(i)
        if at_once >= layer.steps and route.reached is None:
            found = self._error(i, range(layer.steps), messages)
            if found is not None:
                self._set(i, found)
            return
        self._in_parts(i, route.reached, at_once, messages, walks)

    def _messages_to(self, i: int, route: ErrorRoute, before: Messages | None) -> Messages:
        """What the readers of a layer send, in all their rows; in a window, what its later steps sent one sweep ago."""
        messages = list(self.messages)
        if self.rule.skips:
            for connection in route.connections:
                messages[connection.reader] = self.all_rows(connection.reader, self.messages)
        if self.window is not None:
            for connection in route.connections:
                if is_lagged(self.graph, i, connection):
                    messages[connection.reader] = None if before is None else before[connection.reader]
        return messages

    def _in_parts(
        self, i: int, reached: tuple[bool, ...] | None, at_once: int, messages: Messages, walks: bool
    ) -> None:
        """A layer in parts, the last steps first; on the whole walk each step sees the steps after it."""
        layer, h = self.layers[i], self.forward.h[i]
        mask = None
        if reached is not None:  # the other steps have no target: they are as if the rule had halted there
            mask = h.new_tensor(reached).repeat_interleave(self.forward.batch)
            self.active[i] = mask.expand(h.shape[:-1]).clone()
        d, e = torch.empty_like(h), None
        if walks:
            messages[i] = d
        for stop in range(layer.steps, 0, -at_once):
            steps = range(max(0, stop - at_once), stop)
            no_target = reached is not None and not any(reached[step] for step in steps)
            found = None if no_target else self._error(i, steps, messages)
            rows = self.forward.rows(steps)
            if isinstance(found, tuple):
                if e is None:
                    e = torch.zeros_like(h)
                    if walks:
                        messages[i] = e
                found, e[..., rows, :] = found
            d[..., rows, :] = 0 if found is None else found
        self._set(i, d if e is None else (d, e))
        active = self.active[i]
        if mask is not None and active is not None:
            self.active[i] = mask * active

    def _error(self, i: int, steps: range, messages: Messages) -> Tensor | tuple[Tensor, Tensor] | None:
        layer = self.receiving(i, steps, messages)
        incoming = self.rule.incoming(layer)
        route = self.routes[i]
        if route is not None and route.memory:
            layer.arrived = incoming
            incoming = self.memory.add_to(layer, incoming)
        if incoming is None:
            return None
        layer.dz = incoming
        found = self._demand_rows(i, len(steps), self.rule.error(layer, incoming))
        if (leaks := self.leaks[i]) is not None:
            leaks[..., self.forward.rows(steps), :] = layer.dz * layer.leak_derivative
        return found

    def _demand_rows(self, i: int, steps: int, found: Any) -> Any:
        """What a rule returned for steps of a layer, which torch would otherwise broadcast in silence."""
        h, rows = self.forward.h[i], steps * self.forward.batch
        for each in found if isinstance(found, tuple) else (found,):
            if not isinstance(each, Tensor) or each.shape[-2:] != (rows, h.shape[-1]):
                given = tuple(each.shape) if isinstance(each, Tensor) else type(each).__name__
                where = own.defined_at(type(self.rule).error)
                raise SeqlraError(
                    f"{type(self.rule).__name__} must return the error of layer {self.layers[i].name!r} "
                    f"as ({rows}, {h.shape[-1]}), not {given} ({where})"
                )
        return found

    def _set(self, i: int, found: Tensor | tuple[Tensor, Tensor]) -> None:
        self.errors[i], self.messages[i] = found if isinstance(found, tuple) else (found, found)

    def _steps_at_once(self, layer: Layer) -> int:
        return layer.steps if self.forward.h[0].is_cuda else max(1, self.ROWS_AT_ONCE // self.forward.batch)

    def _selected(self, i: int, connection: ConnectionOutOf) -> None:
        """Only the rows in which the one reader still has an error."""
        theirs, selection = self.messages[connection.reader], self.rows[connection.reader]
        matrix = self.rule.feedback_matrix(ConnectionView(self.graph, connection.connection))
        assert theirs is not None
        assert selection is not None
        assert matrix is not None
        end = len(selection)
        at_once = end if theirs.is_cuda else self.ROWS_AT_ONCE
        found = []
        for start in range(0, end, at_once):
            part = slice(start, min(end, start + at_once))
            layer = LayerView(self, i, Rows(part, None, selection))
            error = self.rule.error(layer, rows_of(theirs, part) @ matrix)
            found.append(error if isinstance(error, tuple) else (error, error))
        d, e = (each[0] if len(each) == 1 else torch.cat(each) for each in zip(*found, strict=True))
        self._set(i, (d, e))
        self.rows[i] = selection

    def _leave_out(self, i: int) -> None:
        """Remove the rows at which the rule halted from the errors of a layer."""
        d, e, active, before = self.errors[i], self.messages[i], self.active[i], self.rows[i]
        if d is None or e is None or active is None or active.dim() > 1:  # models of a stack halt at different rows
            return
        still = active.nonzero().squeeze(-1)
        if len(still) <= self.WORTH_IT * d.shape[-2]:
            kept = d.index_select(-2, still)
            self._set(i, (kept, kept if e is d else e.index_select(-2, still)))
            self.rows[i] = Selection(still if before is None else before.numbers.index_select(0, still))
            self.active[i] = None

    def _ended(self, i: int) -> bool:
        """Whether all rows of a layer have left."""
        selection = self.rows[i]
        return selection is not None and len(selection) == 0

    def _output_targets(self, targets: Any) -> list[Tensor]:
        names = [layer.name for layer in self.layers if layer.subgraph.is_output]
        given = dict(targets) if isinstance(targets, Mapping) else dict.fromkeys(names, targets)
        wrong = f"the graph has the outputs {', '.join(names)}; targets: {', '.join(map(str, given))}"
        require(set(given) == set(names), wrong)
        nothing = self.forward.h[0].new_empty(0)
        return [self._of_layer(given[a.name], a) if a.subgraph.is_output else nothing for a in self.layers]

    def _of_layer(self, given: Any, layer: Layer) -> Tensor:
        """The part of an output's targets that is for one of its layers, checked."""
        loss, units = layer.subgraph.loss, layer.subgraph.units
        assert isinstance(loss, OutputLoss)
        target = fit_target(layer.name, given, units, self.graph.stack, loss.classes, self.forward.h[0])
        vectors, wanted = target.is_floating_point(), self.graph.layout.buffers[layer.name].blocks * self.forward.batch
        rows = target.shape[-2] if vectors else target.shape[-1]
        require(rows == wanted, f"the output {layer.name!r} has {wanted} rows; its targets have {rows}")
        here = self.forward.rows(layer.blocks)
        return target[..., here, :] if vectors else target[..., here]
