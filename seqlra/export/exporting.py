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

    | the graph | the module | it takes | it returns |
    |---|---|---|---|
    | a multilayer perceptron | ``nn.Sequential`` | ``(batch, inputs)`` | ``(batch, outputs)`` |
    | an Elman network of tanh or relu units, with an output at every step or at the last | `ElmanModule`: ``nn.RNN`` \
    and ``nn.Linear``, for any number of steps | ``(batch, steps, inputs)``, and states | ``(batch, steps, outputs)`` \
    or ``(batch, outputs)``, and the next states |
    | any other list | a ``torch.fx.GraphModule`` that is the list written out, over the steps of the list | each input \
    of the graph in turn, ``(batch, steps, units)`` or without ``steps`` as the list has it; then the states \
    ``(batch, units)`` | the last output, with or without ``steps`` likewise; where the graph has states, also the \
    next states |

    So the batch comes first, where the rows of a graph have the steps first: ``x`` here is
    ``rows.unflatten(0, (steps, batch)).transpose(0, 1)`` there. The module has no part of seqlra in what it computes,
    except that the class of an `ElmanModule` is one of seqlra. Names of parameters follow those of the graph in the
    last form. The ``slope`` of hidden units becomes part of the weights in the first two.

    Outputs are equal in float64 to 1e-12. In float32, tanh differs by at most 2e-7, because the graph computes it in a
    faster way. Units that draw, such as ``bernoulli``, draw in the module, too.

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
