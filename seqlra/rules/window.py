"""How far errors go back in time: a setting of the rules whose errors cross recurrent connections."""

from __future__ import annotations

from dataclasses import dataclass

from seqlra.network.graph import Graph
from seqlra.rules.base import Rule, require


@dataclass(frozen=True)
class Windowed(Rule):
    """A rule with a window.

    Args:
        window: how many times an error crosses connections of a layer with itself that have feedback, each time one
            step back. 0: never, as in the paper (Appendix B); None: all steps, one by one (the whole walk). Errors go
            back over the memory of leaky units as far as it reaches: that is elementwise, and takes no product.
    """

    window: int | None = None  # a field here, a property of rules that have none

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.window is None or self.window >= 0, f"the window must not be negative: {self.window}")

    def has_memory(self, graph: Graph, number: int) -> bool:
        """Errors go back over the leak."""
        return graph.layers[number].subgraph.leak is not None
