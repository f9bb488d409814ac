"""Errors over the memory of units, such as the leak of ``z_t = (1 - leak) z_{t-1} + leak f(h_t)``.

What the output of a unit owes to the step before crosses no connection, so it has no error weights: the error that came
in at step t + 1 goes to step t of the same unit, times ``memory_{t+1} = dz_{t+1}/dz_t`` (`Rule.memory`):

    total_t = arrived_t + memory_{t+1} * total_{t+1}        arrived: over the connections out of step t

On the whole walk this is a sum that runs back through the steps, elementwise. In a window, ``total_{t+1}`` is that of
one sweep ago, so an error of step t reaches step t - w over connections and memory alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from seqlra.network.forward import rows_of
from seqlra.rules.views import LayerView

if TYPE_CHECKING:
    from seqlra.rules.backward import BackwardPass


class MemoryErrors:
    """The errors of the layers that have a memory, in one backward pass.

    Attributes:
        totals: by layer the whole error ``dL/dz (*stack, rows, units)`` that came in; None: it has no memory.
        sent: by layer what each of its steps sends to the step before.
    """

    def __init__(self, backward: BackwardPass) -> None:
        self.backward = backward
        self.totals: list[Tensor | None] = [None] * len(backward.layers)
        self.sent = list(self.totals)
        self._one_sweep_ago = self.sent

    def next_sweep(self) -> None:
        """Note what was sent so far."""
        self._one_sweep_ago = list(self.sent)

    def start(self, number: int) -> None:
        """Start a layer: no step has an error."""
        h = self.backward.forward.h[number]
        self.totals[number], self.sent[number] = torch.zeros_like(h), torch.zeros_like(h)

    def add_to(self, layer: LayerView, arrived: Tensor | None) -> Tensor | None:
        """The whole error that comes in to these steps; None where there is none.

        Args:
            layer: steps of a layer whose later steps are done; in a window all of its steps.
            arrived: what comes over the connections, ``(*stack, rows, units)``; None: nothing.
        """
        backward, total, sent = self.backward, self.totals[layer.number], self.sent[layer.number]
        assert total is not None
        assert sent is not None
        memory = backward.rule.memory(layer)
        if backward.window is None:
            return self._back_through_steps(layer, arrived, memory, total, sent)
        if arrived is None and not backward.sweep:
            return None
        if backward.sweep:
            total.copy_(self._from_one_step_later(layer.number))
        if arrived is not None:
            total.add_(arrived)
        torch.mul(total, memory, out=sent)
        return total

    def _back_through_steps(
        self, layer: LayerView, arrived: Tensor | None, memory: Tensor, total: Tensor, sent: Tensor
    ) -> Tensor:
        steps, rows = layer.rows.steps, self.backward.forward.rows
        assert steps is not None
        for step in reversed(steps):
            here, part = rows(range(step, step + 1)), rows(range(step - steps.start, step - steps.start + 1))
            now = rows_of(total, here)
            later = self._following(layer.number, self.sent) if step + 1 == layer.steps else sent
            first = 0 if step + 1 == layer.steps else step + 1
            if later is not None:
                now.copy_(rows_of(later, rows(range(first, first + 1))))
            if arrived is not None:
                now.add_(rows_of(arrived, part))
            torch.mul(now, memory if memory.dim() == 1 else rows_of(memory, part), out=rows_of(sent, here))
        return rows_of(total, rows(steps))

    def _from_one_step_later(self, number: int) -> Tensor:
        """What the step after every step of a layer sent one sweep ago; 0 after the last."""
        own, following = self._one_sweep_ago[number], self._following(number, self._one_sweep_ago)
        assert own is not None
        first = self.backward.forward.rows(range(1))
        last = own.new_zeros(own[..., first, :].shape) if following is None else following[..., first, :]
        return torch.cat((own[..., first.stop :, :], last), -2)

    def _following(self, number: int, sent: list[Tensor | None]) -> Tensor | None:
        route = self.backward.routes[number]
        return None if route is None or route.following is None else sent[route.following]
