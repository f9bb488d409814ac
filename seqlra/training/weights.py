"""The weights that validation chose in a finished run, given to a graph."""

from __future__ import annotations

import torch

from seqlra.errors import SeqlraError
from seqlra.network.graph import Graph
from seqlra.training import checkpoint
from seqlra.training.run_directory import RunDirectory


def load_best_weights(graph: Graph, run: RunDirectory) -> None:
    """Give a graph the weights that validation chose in a run of the same network.

    Raises:
        SeqlraError: the checkpoint is damaged, or of another network.
    """
    state = checkpoint.load(run.checkpoint, next(graph.parameters()).device)
    try:
        graph.load_state_dict(state["best"]["weights"])
    except (KeyError, RuntimeError) as error:
        raise SeqlraError(f"the checkpoint {run.checkpoint} does not fit its config.json") from error


@torch.no_grad()
def take_weights(graph: Graph, run: RunDirectory) -> None:
    """Start from the weights and biases that validation chose in another run, whatever rule trained it (Section 3.5).

    Error weights stay those of the new run's seed.

    Raises:
        SeqlraError: that run has another network, or its checkpoint is damaged.
    """
    chosen = checkpoint.load(run.checkpoint, next(graph.parameters()).device)["best"]["weights"]
    own = {name: p for name, p in graph.named_parameters() if name.startswith(("weights.", "biases."))}  # not learned E
    theirs = {name: tensor for name, tensor in chosen.items() if name.startswith(("weights.", "biases."))}
    here, there = ({name: tuple(t.shape) for name, t in held.items()} for held in (own, theirs))
    for name in {**here, **there}:
        if here.get(name) != there.get(name):
            shapes = f"{name} is {there.get(name, 'missing')} there and {here.get(name, 'missing')} here"
            raise SeqlraError(f"{run.path} has another network: {shapes}")
    for name, parameter in own.items():
        parameter.copy_(theirs[name])
