"""A multilayer perceptron on images: LRA-fdbk against back-propagation in PyTorch, eager and compiled, against
back-propagation by this engine, and FA."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from seqlra.bench.timing import TINY, Case, Update, alternate, fastest, ours
from seqlra.engine.initialization import initialize
from seqlra.network.builders import mlp
from seqlra.network.graph import Graph
from seqlra.rules import Backprop, LRAFeedback

PIXELS, CLASSES = 784, 10
THIS_ENGINE = "backprop by this engine"
OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}


def mlp_case(
    hidden: Sequence[int],
    batch: int,
    optimizer: str,
    rival: str,
    device: torch.device,
    rounds: int,
    compiled: bool = False,
) -> Case:
    """One update and optimizer step of a tanh network on images of 784 pixels, ours (as it is or compiled) against one
    of `RIVALS`.

    Both sides take the same kind of optimizer: ours as ``seqlra train`` makes it (fused), the rivals' as
    ``torch.optim`` does by default, or fused where their name says so.
    """
    x, t = torch.randn(batch, PIXELS, device=device), torch.randint(CLASSES, (batch,), device=device)
    graph = initialize(Graph(mlp(PIXELS, hidden, CLASSES, "tanh")), 0).to(device)
    lra = ours(graph, LRAFeedback(beta=0.1, c2=10.0), optimizer, x, t, compiled)
    name = f"{'x'.join(map(str, hidden))}" if len(set(hidden)) > 1 else f"{len(hidden)}x{hidden[0]}"
    theirs, how = RIVALS[rival](hidden, optimizer, x, t), ""
    if isinstance(theirs, dict):
        how, theirs = fastest(theirs)
    name += f", batch {batch}, {optimizer}{', compiled' if compiled else ''}"
    return alternate(name, rival + how, lra, theirs, rounds, operations(hidden, batch))


def operations(hidden: Sequence[int], batch: int) -> int:
    """Floating-point operations of the products of one LRA-fdbk update: forward, updates, and errors down to the first
    hidden layer."""
    sizes = [below * above for below, above in pairwise([PIXELS, *hidden, CLASSES])]
    return 2 * batch * (3 * sum(sizes) - sizes[0])


def _eager(hidden: Sequence[int], optimizer: str, x: Tensor, t: Tensor) -> Update:
    return _backprop(network(hidden, nn.Linear).to(x.device), optimizer, x, t)


def _fused(hidden: Sequence[int], optimizer: str, x: Tensor, t: Tensor) -> Update:
    return _backprop(network(hidden, nn.Linear).to(x.device), optimizer, x, t, fused=True)


def _compiled(hidden: Sequence[int], optimizer: str, x: Tensor, t: Tensor) -> dict[str, Update]:
    ways = {name: way for name, way in COMPILERS.items() if x.is_cuda or name not in CUDA_ONLY}
    return {
        f" ({name})": _backprop(network(hidden, nn.Linear).to(x.device), optimizer, x, t, compiler=way)
        for name, way in ways.items()
    }


def _this_engine(hidden: Sequence[int], optimizer: str, x: Tensor, t: Tensor) -> Update:
    graph = initialize(Graph(mlp(PIXELS, hidden, CLASSES, "tanh")), 0).to(x.device)
    return ours(graph, Backprop(), optimizer, x, t)


def _graphed(hidden: Sequence[int], optimizer: str, x: Tensor, t: Tensor) -> Update:
    """Forward, backward and the optimizer's step as one CUDA graph, captured as torch's manual describes: after a
    warm-up on another stream, with gradients set to None, so that the capture allocates them."""
    net = network(hidden, nn.Linear).to(x.device)
    capturable = {"capturable": True} if optimizer == "adam" else {}
    steps = OPTIMIZERS[optimizer](net.parameters(), lr=TINY, **capturable)

    def one() -> None:
        cross_entropy(net(x), t).backward()
        steps.step()

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            steps.zero_grad()
            one()
    torch.cuda.current_stream().wait_stream(side)
    steps.zero_grad()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        one()
    return graph.replay


def _biotorch(hidden: Sequence[int], optimizer: str, x: Tensor, t: Tensor) -> Update:
    from biotorch.layers.fa import Linear

    return _backprop(network(hidden, Linear).to(x.device), optimizer, x, t)


def network(hidden: Sequence[int], linear: Callable[[int, int], nn.Module]) -> nn.Module:
    """The rivals' tanh network."""
    torch.manual_seed(0)
    layers = [layer for sizes in pairwise([PIXELS, *hidden]) for layer in (linear(*sizes), nn.Tanh())]
    return nn.Sequential(*layers, linear(hidden[-1], CLASSES))


def _backprop(
    net: nn.Module,
    optimizer: str,
    x: Tensor,
    t: Tensor,
    compiler: Mapping[str, Any] | None = None,
    fused: bool | None = None,
) -> Update:
    steps = OPTIMIZERS[optimizer](net.parameters(), lr=TINY, fused=fused)

    def loss_of(x: Tensor, t: Tensor) -> Tensor:
        return cross_entropy(net(x), t)

    loss, step = loss_of, steps.step
    if compiler is not None:
        loss, step = torch.compile(loss_of, **compiler), torch.compile(steps.step, **compiler)

    def one() -> None:
        steps.zero_grad()
        loss(x, t).backward()
        step()

    return one


COMPILERS: dict[str, dict[str, Any]] = {
    "default": {},
    "max-autotune-no-cudagraphs": {"mode": "max-autotune-no-cudagraphs"},
    "reduce-overhead": {"mode": "reduce-overhead"},
    "max-autotune": {"mode": "max-autotune"},
    "C++ wrapper": {"options": {"cpp_wrapper": True}},
}
"""What `torch.compile` is given: its modes, and calls between kernels that are compiled, too, as ours are."""
CUDA_ONLY = ("reduce-overhead", "max-autotune")
"""They differ from the modes above them by CUDA graphs alone."""

RIVALS: dict[str, Callable[[Sequence[int], str, Tensor, Tensor], Update | dict[str, Update]]] = {
    "backprop, eager": _eager,
    "backprop, eager, fused optimizer": _fused,
    "backprop, compiled": _compiled,
    "backprop, CUDA graph": _graphed,
    THIS_ENGINE: _this_engine,
    "FA of biotorch": _biotorch,
}
"""The rivals: PyTorch as usually written; the same with our optimizer; its loss and its optimizer's step through
``torch.compile``, in the fastest of `COMPILERS`; all of it as one CUDA graph; backprop as a rule of this engine, which
tells what the rule gives from what the engine gives; and the layers of the biotorch package."""


BEST = "the best backprop of torch"


def of_torch(rival: str) -> bool:
    """Whether a rival is backprop as PyTorch does it."""
    return rival.startswith("backprop, ")


def available(rival: str, device: torch.device) -> bool:
    """Whether that rival can run there: on CUDA, or with a package that is installed."""
    if rival == "backprop, CUDA graph":
        return device.type == "cuda"
    return rival != "FA of biotorch" or find_spec("biotorch") is not None
