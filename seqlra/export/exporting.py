"""From a graph to a torch module."""

from __future__ import annotations

from torch import nn

from seqlra.errors import SeqlraError
from seqlra.export.chain import chain_module, is_chain
from seqlra.export.recurrent import elman_module, find_elman
from seqlra.export.unrolled import unrolled_module
from seqlra.network.graph import Graph


def to_torch(graph: Graph, logits: bool = False, tokens: bool = False) -> nn.Module:
    """A torch module with a copy of the weights, which computes what ``graph(x)`` computes.

    - A multilayer perceptron becomes an ``nn.Sequential``, from ``(batch, inputs)`` to ``(batch, outputs)``. Units
      without a torch module of their own, such as ``sign``, become modules of torch operations.
    - An Elman network of tanh or relu units, with an output at every step or at the last, becomes an `ElmanModule`:
      ``nn.RNN`` and ``nn.Linear``, for any number of steps. It takes ``(batch, steps, inputs)`` and, if given, the
      states ``(layers, batch, units)``. It returns the output, ``(batch, steps, outputs)`` or ``(batch, outputs)``,
      and the next states.
    - Any other list becomes a ``torch.fx.GraphModule``, whose ``code`` is the list written out, over as many steps as
      the list has. It takes each input of the graph, ``(batch, steps, units)``, or ``(batch, units)`` if the list
      gives it no steps; then the states, ``(batch, units)`` each. It returns the last output of the list with the same
      axes; where the graph has states, a tuple of this output and the next states.

    The batch comes first, while the rows of a graph have the steps first: ``x`` of a module is
    ``rows.unflatten(0, (steps, batch)).transpose(0, 1)`` of a graph. What a module computes with has no part of
    seqlra; only the class `ElmanModule` itself is one of seqlra.

    Outputs are equal in float64 to 1e-12. In float32, tanh differs by at most 2e-7, because the graph computes it in a
    faster way. Units that draw, such as ``bernoulli``, draw in the module, too. In the first two forms, the slope of
    hidden units, where a rule anneals it, becomes part of the weights.

    Args:
        graph: a graph without a stack.
        logits: leave out the ``f`` of the output, such as the softmax, as ``nn.CrossEntropyLoss`` wants it. Without
            it, the module returns what the graph does: probabilities under cross-entropy.
        tokens: whether the inputs are tokens: integers without the last axis, of which the module makes one-hot rows.

    Raises:
        SeqlraError: a stack of models; a unit of your own that does more than torch operations.
    """
    if graph.stack:
        raise SeqlraError(f"a stack of {graph.stack[0]} models is no one torch module; export a graph without a stack")
    if is_chain(graph) and not tokens:
        return chain_module(graph, logits)
    elman = find_elman(graph)
    return unrolled_module(graph, logits, tokens) if elman is None else elman_module(graph, elman, logits, tokens)
