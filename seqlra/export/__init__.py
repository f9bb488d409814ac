"""Networks out of seqlra and into it: torch modules, ONNX through them, and safetensors."""

from seqlra.export.exporting import to_torch
from seqlra.export.importing import from_torch
from seqlra.export.recurrent import ElmanModule
from seqlra.export.weights import load_weights, save_weights

__all__ = ["ElmanModule", "from_torch", "load_weights", "save_weights", "to_torch"]
