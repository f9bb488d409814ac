"""A training that goes on: twice in one process, with a file in between, on a network with a unit of one's own."""

import tempfile
from pathlib import Path

import torch

import seqlra

arctan = seqlra.Activation("arctan", torch.atan, lambda h, z: 1 / (1 + h * h))
x = torch.randn(1000, 20, generator=torch.Generator().manual_seed(1))
t = x[:, :3].argmax(-1)
train, valid = (x[:800], t[:800]), (x[800:], t[800:])

graph = seqlra.initialize(seqlra.Graph(seqlra.mlp(20, [32, 24], 3, activation=arctan)), seed=0)
first = seqlra.fit(graph, seqlra.LRAFeedback(), train, valid=valid, epochs=10)

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "network.pt"
    seqlra.save(graph, file)
    graph = seqlra.load(file, own=[arctan])  # a file holds the names of units, never their code

stops = [seqlra.EarlyStopping(patience=5)]
second = seqlra.fit(graph, seqlra.Backprop(), train, valid=valid, epochs=100, callbacks=stops)  # fine-tuned
print(f"valid error: {first[-1]['valid_error']:.1f}%, then {min(row['valid_error'] for row in second):.1f}%")
print(f"stopped after epoch {second[-1]['epoch']}; the weights are those of epoch {second.best_epoch}")
