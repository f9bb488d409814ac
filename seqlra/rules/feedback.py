"""Feedback alignment (FA, Lillicrap et al. 2016) and direct feedback alignment (DFA, Nøkland 2016).

Both are the chain rule of back-propagation with fixed random matrices where it has the transposed weights. FA walks
back from layer to layer; DFA takes the errors of the outputs straight to every hidden subgraph.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from seqlra.errors import SeqlraError
from seqlra.network.graph import Graph
from seqlra.network.layers import Read, Reader
from seqlra.rules.base import BackwardPass, Rows, Rule
from seqlra.rules.suited import Suited


@dataclass(frozen=True)
class FeedbackAlignment(Rule):
    """FA: ``d = (d_above @ E) * f'(h)``, through the connections that have feedback weights.

    Where a discretizer g stands on the way, its derivative is taken as 1.
    """

    name: ClassVar[str] = "fa"
    about: ClassVar[str] = "feedback alignment: backprop with fixed random E for W^T (Lillicrap et al. 2016)"

    def feedback_matrix(self, graph: Graph, read: Read) -> Tensor | None:
        """E of the connection; None where it has none."""
        return None if read.feedback is None else graph.feedback[read.feedback]

    def hidden_error(self, walk: BackwardPass, tie: int, rows: Rows, incoming: Tensor) -> Tensor:
        """The chain rule through f."""
        return incoming * walk.f(tie).derivative(*walk.state(tie, rows))

    @classmethod
    def suited(cls, task: str, activation: str, optimizer: str) -> Suited:
        """Through time, as BPTT is backprop through time."""
        return replace(super().suited(task, activation, optimizer), across_time=task == "rnn")


@dataclass(frozen=True)
class DirectFeedbackAlignment(FeedbackAlignment):
    """DFA: ``d = (d_output @ B) * f'(h)`` with a matrix B ``(output units, units)`` for every hidden subgraph.

    In a recurrent network a hidden subgraph takes the error of the output of its own step. The matrices are held with
    the graph's feedback, as ``"B-<output>-<hidden>"``.
    """

    name: ClassVar[str] = "dfa"
    about: ClassVar[str] = "direct feedback alignment: fixed random B straight from the output (Nøkland 2016)"

    def setup(self, graph: Graph) -> None:
        """Declare B from every output to every hidden subgraph that has a part in it."""
        for i, tied in enumerate(graph.ties):
            for reader in [] if tied.subgraph.is_output else straight_from_outputs(graph, i):
                name, output = str(reader.read.feedback), graph.ties[reader.tie].subgraph
                if name not in graph.feedback:
                    graph.declare_feedback(name, (output.units, tied.subgraph.units))

    def readers(self, graph: Graph, tie: int) -> list[Reader]:
        """The outputs, as if each read the subgraph over a connection with error weights B."""
        return straight_from_outputs(graph, tie)

    def feedback_matrix(self, graph: Graph, read: Read) -> Tensor | None:
        """B from an output to a hidden subgraph."""
        if read.feedback not in graph.feedback:
            raise SeqlraError("dfa needs feedback of its own: initialize(graph, seed, ..., rule=the rule)")
        return graph.feedback[str(read.feedback)]

    @classmethod
    def suited(cls, task: str, activation: str, optimizer: str) -> Suited:
        """Errors come straight from the outputs: none walks through time."""
        return replace(super().suited(task, activation, optimizer), across_time=False)


def straight_from_outputs(graph: Graph, tie: int) -> list[Reader]:
    """The outputs of the same steps that depend on a hidden tie, as readers of it over connections with feedback alone.

    Raises:
        SeqlraError: an output has not one copy for each copy of the subgraph.
    """
    tied = graph.ties[tie]
    layout, found = graph.layout, []
    mine, own = layout.steps(tied), layout.computed(tied.base)
    for i in layout.outputs[tie]:
        output = graph.ties[i]
        if layout.computed(output.base) != own:
            raise SeqlraError(
                f"this rule takes errors straight from the outputs, step by step: {tied.base!r} has {own} copies, "
                f"the output {output.base!r} has {layout.computed(output.base)}"
            )
        theirs = layout.steps(output)
        low, high = max(mine.start, theirs.start), min(mine.stop, theirs.stop)
        if low < high:
            read = Read(tied.base, tied.first, weight="", feedback=f"B-{output.base}-{tied.base}")
            here = range(low - mine.start, high - mine.start)
            found.append(Reader(i, read, here, range(low - theirs.start, high - theirs.start)))
    return found
