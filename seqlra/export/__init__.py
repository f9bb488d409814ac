"""Networks out of seqlra and into it: torch modules, ONNX and ``torch.export`` through them, weights as safetensors.

A trained network leaves as a torch module with a copy of its weights, which torch runs, exports, quantizes or trains
further:

    import torch
    from pathlib import Path
    from seqlra.export import to_torch
    from seqlra.training.loading import load_best
    from seqlra.training.run_directory import RunDirectory

    graph = load_best(RunDirectory.open(Path("runs/first"))).graph
    net = to_torch(graph)                  # an nn.Sequential; net(x) is graph(x): probabilities
    net = to_torch(graph, logits=True)     # without the softmax, as nn.CrossEntropyLoss wants it

``torch.export`` and ONNX take such a module. Its batch may have any size if you say so:

    batch = torch.export.Dim("batch")
    program = torch.export.export(net, (torch.zeros(2, 784),), dynamic_shapes=({0: batch},))
    torch.onnx.export(program).save("net.onnx")  # needs pip install 'seqlra[export]', and runs in onnxruntime

Both unroll ``nn.RNN`` over the steps of the example. To run over any number of steps, export one step, with the states
that it takes and returns:

    net = to_torch(graph, tokens=True)     # from a run of seqlra train rnn
    out, state = net(torch.zeros(2, 1, dtype=torch.long))
    shapes = {"x": {0: batch}, "states": ({1: batch},)}
    step = torch.export.export(net, (torch.zeros(2, 1, dtype=torch.long), state), dynamic_shapes=shapes)

A network comes in from torch modules, is trained by any rule, and leaves again:

    graph = from_torch(nn.Sequential(nn.Linear(784, 128), nn.Tanh(), nn.Linear(128, 10)), output="cross-entropy")

`save_weights` and `load_weights` keep the tensors of a graph in a safetensors file.
"""

from seqlra.export.exporting import to_torch
from seqlra.export.importing import from_torch
from seqlra.export.recurrent import ElmanModule
from seqlra.export.weights import load_weights, save_weights

__all__ = ["ElmanModule", "from_torch", "load_weights", "save_weights", "to_torch"]
