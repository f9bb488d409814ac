"""Errors over the memory of units, such as the leak of ``z_t = (1 - leak) z_{t-1} + leak f(h_t)``.

What the output of a unit owes to the step before crosses no connection, so it has no error weights: the error that came
in at step t + 1 goes to step t of the same unit, times ``memory_{t+1} = dz_{t+1}/dz_t`` (`Rule.memory`):

    total_t = arrived_t + memory_{t+1} * total_{t+1}        arrived: over the connections out of step t

This is a sum that runs back through the steps, elementwise, in a window too: there errors cross a connection of a layer
with itself w times at most, and memory as far as it reaches.
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

    def start(self, number: int) -> None:
        """Start a layer: no step has an error."""
        h = self.backward.forward.h[number]
        self.totals[number], self.sent[number] = torch.zeros_like(h), torch.zeros_like(h)

    def add_to(self, layer: LayerView, arrived: Tensor | None) -> Tensor:
        """The whole error that comes in to these steps.

        Args:
            layer: steps of a layer whose later steps are done.
            arrived: what comes over the connections, ``(*stack, rows, units)``; None: nothing.
        """
        total, sent, memory = self.totals[layer.number], self.sent[layer.number], self.backward.rule.memory(layer)
        assert total is not None
        assert sent is not None
        one_row = memory.dim() == 1 or memory.shape[-2] == 1  # for all rows
        steps, rows = layer.rows.steps, self.backward.forward.rows
        assert steps is not None
        for step in reversed(steps):
            here, part = rows(range(step, step + 1)), rows(range(step - steps.start, step - steps.start + 1))
            now = rows_of(total, here)
            later = self._following(layer.number) if step + 1 == layer.steps else sent
            first = 0 if step + 1 == layer.steps else step + 1
            if later is not None:
                now.copy_(rows_of(later, rows(range(first, first + 1))))
            if arrived is not None:
                now.add_(rows_of(arrived, part))
            torch.mul(now, memory if one_row else rows_of(memory, part), out=rows_of(sent, here))
        return rows_of(total, rows(steps))

    def _following(self, number: int) -> Tensor | None:
        """What the layer with the next steps sends, if there is one."""
        route = self.backward.routes[number]
        return None if route is None or route.following is None else self.sent[route.following]
