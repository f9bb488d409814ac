"""Text from a trained RNN, one token after another."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from seqlra.data.vocabulary import Vocabulary
from seqlra.errors import SeqlraError
from seqlra.network.forward import ForwardPass, null_state
from seqlra.network.graph import Graph


def sample(
    graph: Graph, vocabulary: Vocabulary, prompt: Tensor, length: int, temperature: float, seed: int
) -> Iterator[str]:
    """Continue a prompt with a network; the pieces that it yields join to the text.

    Args:
        graph: the network over one step.
        vocabulary: the meaning of its tokens; the unknown token is never drawn.
        prompt: tokens ``(n,)`` to read first, at least one.
        length: how many tokens to draw.
        temperature: divides the pre-activations of the output: under 1 more likely tokens, 0 always the likeliest.
        seed: seed of the draws.

    Raises:
        SeqlraError: an empty prompt, a negative length or temperature, a seed out of range.
    """
    if len(prompt) == 0:
        raise SeqlraError("the prompt is empty; it needs at least one token to read")
    if length < 0:
        raise SeqlraError(f"length must not be negative: {length}")
    if not 0 <= temperature < float("inf"):
        raise SeqlraError(f"temperature must be 0 or above, not {temperature}")
    if not 0 <= seed < 2**62:
        raise SeqlraError(f"seed must be from 0 to 2**62, not {seed}")
    return _pieces(graph, vocabulary, prompt, length, temperature, seed)


@torch.no_grad()
def _pieces(
    graph: Graph, vocabulary: Vocabulary, prompt: Tensor, length: int, temperature: float, seed: int
) -> Iterator[str]:
    torch.manual_seed(seed)  # the draws of stochastic units
    generator = torch.Generator().manual_seed(seed)
    state = null_state(graph, 1)
    for token in prompt:
        activity = ForwardPass(graph, {"x": token.view(1), **state})
        state = activity.carried()
    for _ in range(length):
        scores = activity.h[graph.output_layers[-1]][0].double().cpu()
        scores[0] = -torch.inf  # the unknown token
        if temperature == 0:
            drawn = scores.argmax().view(1)
        else:
            scores -= scores.max()  # or a small temperature makes infinity of it
            drawn = torch.multinomial((scores / temperature).softmax(-1), 1, generator=generator)
        before = vocabulary.decode(token.view(1).cpu())
        yield vocabulary.decode(torch.cat([token.view(1).cpu(), drawn]))[len(before) :]
        token = drawn.to(prompt.device)
        activity = ForwardPass(graph, {"x": token, **state})
        state = activity.carried()
