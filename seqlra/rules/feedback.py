"""Feedback alignment (FA, Lillicrap et al. 2016) and direct feedback alignment (DFA, Nøkland 2016).

Both are the chain rule of back-propagation with error weights E in place of the transposed weights. FA goes back from
layer to layer; DFA takes the errors of the outputs straight to every hidden layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor

from seqlra.errors import SeqlraError
from seqlra.network.graph import Graph, grad_of
from seqlra.network.layers import ConnectionInto, ConnectionOutOf
from seqlra.rules.backward import BackwardPass
from seqlra.rules.learned_feedback import LearnedFeedback
from seqlra.rules.suited import Suited
from seqlra.rules.views import ConnectionView, LayerView
from seqlra.rules.window import Windowed


@dataclass(frozen=True)
class FeedbackAlignment(Windowed, LearnedFeedback):
    """FA: ``d = (d_above @ E) * f'(h)``, through the connections that have feedback weights.

    The derivative of a discretizer g is taken as 1.
    """

    name: ClassVar[str] = "fa"
    costs: ClassVar[tuple[str, str]] = ("T B n^2", "T B n")
    about: ClassVar[str] = "feedback alignment: backprop with random E for W^T (Lillicrap et al. 2016)"

    def feedback_matrix(self, connection: ConnectionView) -> Tensor | None:
        """E of the connection; None where it has none."""
        return connection.feedback

    def error(self, layer: LayerView, incoming: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """The chain rule through f."""
        return incoming * layer.derivative

    @classmethod
    def suited(cls, task: str, activation: str, optimizer: str, given: Mapping[str, Any]) -> Suited:
        """Through time, as BPTT is backprop through time."""
        suited = replace(super().suited(task, activation, optimizer, given), across_time=task == "rnn")
        return replace(suited, feedback_init="mirror") if given.get("feedback") == "learned" else suited


@dataclass(frozen=True)
class DirectFeedbackAlignment(LearnedFeedback):
    """DFA: ``d = (d_output @ B) * f'(h)`` with a matrix B ``(output units, units)`` for every hidden layer.

    In a recurrent network a hidden layer takes the error of the output of its own step. The matrices are part of the
    graph's feedback, as ``"B-<output>-<hidden>"``. With learned feedback, the update of B is the product of the
    output's error and the hidden layer's output (direct Kolen-Pollack, Webster et al. 2020).
    """

    name: ClassVar[str] = "dfa"
    costs: ClassVar[tuple[str, str]] = ("T B n", "T B n")
    about: ClassVar[str] = "direct feedback alignment: random B straight from the output (Nøkland 2016)"

    def setup(self, graph: Graph) -> None:
        """Declare B from every output to every hidden layer that it depends on."""
        for i, layer in enumerate(graph.layers):
            for direct in [] if layer.subgraph.is_output else straight_from_outputs(graph, i):
                name, output = str(direct.connection.feedback), graph.layers[direct.reader].subgraph
                if name not in graph.feedback:
                    graph.declare_feedback(name, (output.units, layer.subgraph.units))
        super().setup(graph)

    def learned(self, graph: Graph) -> list[str]:
        """The matrices B."""
        hidden = (i for i, layer in enumerate(graph.layers) if not layer.subgraph.is_output)
        return list(dict.fromkeys(str(c.connection.feedback) for i in hidden for c in self.connections(graph, i)))

    def connections(self, graph: Graph, number: int) -> list[ConnectionOutOf]:
        """The outputs, as if each read the layer over a connection with feedback B."""
        return straight_from_outputs(graph, number)

    def feedback_matrix(self, connection: ConnectionView) -> Tensor | None:
        """B from an output to a hidden layer."""
        if connection.into.feedback not in connection.graph.feedback:
            raise SeqlraError("dfa needs feedback of its own: initialize(graph, seed, ..., rule=the rule)")
        return connection.feedback

    def error(self, layer: LayerView, incoming: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """The chain rule through f."""
        return incoming * layer.derivative

    def feedback_updates(self, backward: BackwardPass) -> None:
        """``error of the output^T z*`` for every B."""
        graph, forward = backward.graph, backward.forward
        count = backward.asked(graph.layout.all_outputs) if self.reduction == "mean" else 1
        count = count.view(*count.shape, 1, 1) if isinstance(count, Tensor) else count
        seen: set[str] = set()
        for i, layer in enumerate(graph.layers):
            for direct in [] if layer.subgraph.is_output else self.connections(graph, i):
                name, d = str(direct.connection.feedback), backward.all_rows(direct.reader)
                if d is None:
                    continue
                theirs = d[..., forward.rows(direct.reader_steps), :]
                z_star = forward.output(i)[..., forward.rows(direct.steps), :]
                grad, product = grad_of(graph.feedback[name]), theirs.mT @ z_star / count
                if name in seen:
                    grad.add_(product)
                else:
                    grad.copy_(product)
                seen.add(name)


def straight_from_outputs(graph: Graph, number: int) -> list[ConnectionOutOf]:
    """The outputs that depend on a hidden layer, at the same steps, as its readers over connections without weights.

    Raises:
        SeqlraError: an output does not have one step for each step of the layer.
    """
    layer = graph.layers[number]
    layout, found = graph.layout, []
    mine, own = layout.steps_of(layer), layout.computed(layer.name)
    for i in layout.outputs[number]:
        output = graph.layers[i]
        if layout.computed(output.name) != own:
            raise SeqlraError(
                f"this rule takes errors straight from the outputs, step by step: {layer.name!r} has {own} steps, "
                f"the output {output.name!r} has {layout.computed(output.name)}"
            )
        theirs = layout.steps_of(output)
        low, high = max(mine.start, theirs.start), min(mine.stop, theirs.stop)
        if low < high:
            into = ConnectionInto(layer.name, layer.first, weight="", feedback=f"B-{output.name}-{layer.name}")
            here = range(low - mine.start, high - mine.start)
            found.append(ConnectionOutOf(i, into, here, range(low - theirs.start, high - theirs.start)))
    return found
