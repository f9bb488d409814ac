"""Networks out of seqlra and into it: torch modules, ONNX and ``torch.export`` through them, weights as safetensors.

A trained network leaves as a torch module with a copy of its weights, which torch runs, exports, quantizes or trains
further:

```python
from pathlib import Path

import torch
from seqlra.export import from_torch, to_torch
from seqlra.training.loading import load_best
from seqlra.training.run_directory import RunDirectory

graph = load_best(RunDirectory.open(Path("runs/first"))).graph
net = to_torch(graph, logits=True)  # without the softmax, as nn.CrossEntropyLoss wants it
net = to_torch(graph)  # an nn.Sequential: net(x) is graph(x), so probabilities
```

``torch.export`` and ONNX take such a module. Its batch may have any size if you say so:

```python
batch = torch.export.Dim("batch")
program = torch.export.export(net, (torch.zeros(2, 784),), dynamic_shapes=({0: batch},))
torch.onnx.export(program).save("net.onnx")  # needs pip install 'seqlra[export]', and runs in onnxruntime
```

Both unroll ``nn.RNN`` over the steps of the example. To run a network over any number of steps, export one step, with
the states that it takes and returns:

```python
graph = load_best(RunDirectory.open(Path("runs/text"))).graph  # a run of seqlra train rnn
net = to_torch(graph, tokens=True)
token = torch.zeros(2, 1, dtype=torch.long)
probabilities, state = net(token)
step = torch.export.export(net, (token, state), dynamic_shapes=({0: batch}, ({1: batch},)))
```

A network comes in from torch modules. Any rule of seqlra then trains it further:

```python
net = torch.nn.Sequential(torch.nn.Linear(784, 128), torch.nn.Tanh(), torch.nn.Linear(128, 10))
graph = from_torch(net, output="cross-entropy")
```

`save_weights` and `load_weights` keep the tensors of a graph in a safetensors file.
"""

from seqlra.export.exporting import to_torch
from seqlra.export.importing import from_torch
from seqlra.export.recurrent import ElmanModule
from seqlra.export.weights import load_weights, save_weights

__all__ = ["ElmanModule", "from_torch", "load_weights", "save_weights", "to_torch"]
