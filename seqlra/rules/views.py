"""What a rule sees: a layer and a connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from seqlra.network.forward import rows_of
from seqlra.network.graph import Graph
from seqlra.network.layers import ConnectionInto, ConnectionOutOf
from seqlra.network.losses import LocalLoss, OutputLoss
from seqlra.network.subgraph import Subgraph
from seqlra.network.units import Activation

if TYPE_CHECKING:
    from seqlra.rules.backward import BackwardPass


@dataclass(frozen=True, slots=True)
class ConnectionView:
    """A connection, with its tensors."""

    graph: Graph
    into: ConnectionInto

    @property
    def weight(self) -> Tensor:
        """W ``(*stack, source units, units)``."""
        return self.graph.weights[self.into.weight]

    @property
    def feedback(self) -> Tensor | None:
        """The error weights E ``(*stack, units, source units)``; None where the connection has none."""
        return None if self.into.feedback is None else self.graph.feedback[self.into.feedback]


class Selection:
    """Some rows of the tensors of a layer, by their ``numbers``.

    Until another row leaves, the layers below have the same selection, and the output of one is the source of the next.
    So rows that were selected from a tensor are cached.
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
    """Rows of the tensors of a layer: the rows of some ``steps``, or (``steps`` None) a part of a ``selection``."""

    index: slice
    steps: range | None = None
    selection: Selection | None = None

    def of(self, tensor: Tensor) -> Tensor:
        """These rows of ``(*stack, rows, units)``."""
        return rows_of(tensor if self.selection is None else self.selection.of(tensor), self.index)


@dataclass(slots=True)
class LayerView:
    """Rows of a layer in one backward pass; every tensor is ``(*stack, rows, units)``.

    Attributes:
        backward: the pass.
        number: which layer of the graph.
        rows: which rows.
        connections: the connections over which an error reaches these rows.
        messages: by layer of the graph, what crosses the connections into it.
        arrived: while `Rule.error` runs, the part of the error that comes in over the connections; None: none. The rest
            comes from the step after, over the unit's memory.
        dz: the error ``dL/dz`` from which a trained leak learns: what came in, unless `Rule.error` sets another.
    """

    backward: BackwardPass
    number: int
    rows: Rows
    connections: tuple[ConnectionOutOf, ...] = ()
    messages: list[Tensor | None] | None = None
    arrived: Tensor | None = None
    dz: Tensor | None = None

    @property
    def graph(self) -> Graph:
        """The whole network."""
        return self.backward.graph

    @property
    def subgraph(self) -> Subgraph:
        """The entry of the list: its name, units, f, g and loss."""
        return self.graph.layers[self.number].subgraph

    @property
    def steps(self) -> int:
        """How many steps the whole layer has."""
        return self.graph.layers[self.number].steps

    @property
    def h(self) -> Tensor:
        """Pre-activations."""
        return self.rows.of(self.backward.forward.h[self.number])

    @property
    def z(self) -> Tensor:
        """Outputs ``f(h)``, of leaky units ``(1 - leak) z_{t-1} + leak f(h)``."""
        return self.rows.of(self.backward.forward.z[self.number])

    @property
    def z_star(self) -> Tensor:
        """The output that the layers above read: ``g(z)``, or z."""
        return self.rows.of(self.backward.forward.output(self.number))

    @property
    def f(self) -> Activation:
        """The activation of a hidden layer: ``f.f(h)`` and ``f.derivative(h, z)``."""
        f = self.subgraph.f
        assert f is not None
        return f

    @property
    def derivative(self) -> Tensor:
        """``dz/dh``: ``f'(h)``; of units with a slope, ``z = f(m h)``, times m; of leaky units times the leak."""
        derivative = self.f.derivative(self.h, self.rows.of(self.backward.forward.u[self.number]))
        if self.leak is not None:
            derivative = derivative * self.leak
        return derivative if self.graph.slope is None else derivative * self.graph.slope

    @property
    def leak(self) -> Tensor | None:
        """The leak, ``(1 or units,)``, or trained ``(*stack, 1, 1 or units)``; None: the units have no memory."""
        return self.backward.forward.leaks[self.number]

    @property
    def leak_derivative(self) -> Tensor:
        """``dz/da`` by the logit a of a trained leak, ``leak = sigmoid(a)``: ``leak (1 - leak) (f(h_t) - z_{t-1})``."""
        assert self.leak is not None
        return self.leak * (self.rows.of(self.backward.forward.u[self.number]) - self.z)  # u - z is (1 - leak) of that

    def output_at(self, h: Tensor) -> Tensor:
        """What the units would output at other pre-activations: ``f(h)``, of leaky units z with that in place of its
        own ``f(h)``."""
        if self.leak is None:
            return self.f.f(h)
        return self.z + self.leak * (self.f.f(h) - self.rows.of(self.backward.forward.u[self.number]))

    @property
    def loss(self) -> LocalLoss:
        """The local loss of a hidden layer."""
        loss = self.subgraph.loss
        assert isinstance(loss, LocalLoss)
        return loss

    @property
    def output_loss(self) -> OutputLoss:
        """The loss of an output layer."""
        loss = self.subgraph.loss
        assert isinstance(loss, OutputLoss)
        return loss

    @property
    def target(self) -> Tensor:
        """The targets of an output layer: class indices ``(*stack, rows)`` or vectors."""
        return self.backward.targets[self.number]

    @property
    def final(self) -> bool:
        """Whether the update is made of the error of these rows. In a window only what they send counts, up to the last
        sweep."""
        return self.backward.is_final(self.number)

    def incoming(self) -> Tensor | None:
        """The sum of what comes over its connections, each message through its feedback matrix; None: nothing."""
        return self.backward.incoming(self)

    def halt(self, active: Tensor, d: Tensor) -> Tensor:
        """``d`` with the rows set to 0 at which ``active (*stack, rows)`` is 0; the rule goes on with the rest."""
        self.backward.keep_active(self.number, self.rows, active)
        return d * active.unsqueeze(-1)

    def by_step(self, tensor: Tensor, axis: int = -2) -> Tensor:
        """A tensor of these rows with the axis of its rows split in ``(steps, batch)``."""
        assert self.rows.steps is not None
        return tensor.unflatten(axis, (len(self.rows.steps), -1))
