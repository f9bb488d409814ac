"""seqlra: train Elman RNNs and MLPs without back-propagation, by Local Representation Alignment."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from seqlra import export as export
    from seqlra.analysis.diagnostics import Diagnosis as Diagnosis
    from seqlra.analysis.diagnostics import diagnose as diagnose
    from seqlra.analysis.predicting import evaluate as evaluate
    from seqlra.analysis.predicting import forecast as forecast
    from seqlra.analysis.predicting import predict as predict
    from seqlra.engine.compiled import CompiledUpdate as CompiledUpdate
    from seqlra.engine.initialization import initialize as initialize
    from seqlra.engine.recorded import RecordedUpdate as RecordedUpdate
    from seqlra.engine.update import Step as Step
    from seqlra.engine.update import update as update
    from seqlra.errors import Diverged as Diverged
    from seqlra.errors import SeqlraError as SeqlraError
    from seqlra.network.builders import elman as elman
    from seqlra.network.builders import mlp as mlp
    from seqlra.network.graph import Graph as Graph
    from seqlra.network.losses import LocalLoss as LocalLoss
    from seqlra.network.losses import OutputLoss as OutputLoss
    from seqlra.network.losses import masked as masked
    from seqlra.network.subgraph import Connection as Connection
    from seqlra.network.subgraph import Input as Input
    from seqlra.network.subgraph import Subgraph as Subgraph
    from seqlra.network.units import Activation as Activation
    from seqlra.network.units import Discretizer as Discretizer
    from seqlra.rules import DNI as DNI
    from seqlra.rules import RFLO as RFLO
    from seqlra.rules import RTRL as RTRL
    from seqlra.rules import UORO as UORO
    from seqlra.rules import Backprop as Backprop
    from seqlra.rules import DifferenceTargetPropagation as DifferenceTargetPropagation
    from seqlra.rules import DirectFeedbackAlignment as DirectFeedbackAlignment
    from seqlra.rules import EProp as EProp
    from seqlra.rules import FeedbackAlignment as FeedbackAlignment
    from seqlra.rules import LRADiff as LRADiff
    from seqlra.rules import LRAFeedback as LRAFeedback
    from seqlra.rules import PassThroughSTE as PassThroughSTE
    from seqlra.rules import Reinforce as Reinforce
    from seqlra.rules import Rule as Rule
    from seqlra.rules import SigmoidAdjustedSTE as SigmoidAdjustedSTE
    from seqlra.rules import SlopeAnnealing as SlopeAnnealing
    from seqlra.rules import SnAp1 as SnAp1
    from seqlra.rules import VarianceAdjustedReinforce as VarianceAdjustedReinforce
    from seqlra.rules.views import ConnectionView as ConnectionView
    from seqlra.rules.views import LayerView as LayerView
    from seqlra.training.callback import Callback as Callback
    from seqlra.training.callbacks import Checkpoint as Checkpoint
    from seqlra.training.callbacks import Diagnostics as Diagnostics
    from seqlra.training.callbacks import EarlyStopping as EarlyStopping
    from seqlra.training.fitting import History as History
    from seqlra.training.fitting import fit as fit
    from seqlra.training.loggers import MLflow as MLflow
    from seqlra.training.loggers import TensorBoard as TensorBoard
    from seqlra.training.loggers import WandB as WandB
    from seqlra.training.progress import Progress as Progress
    from seqlra.training.saving import load as load
    from seqlra.training.saving import save as save

_HOMES = {
    "seqlra.engine.compiled": ("CompiledUpdate",),
    "seqlra.analysis.diagnostics": ("Diagnosis", "diagnose"),
    "seqlra.analysis.predicting": ("evaluate", "forecast", "predict"),
    "seqlra.engine.update": ("Step", "update"),
    "seqlra.errors": ("Diverged", "SeqlraError"),
    "seqlra.network.graph": ("Graph",),
    "seqlra.engine.initialization": ("initialize",),
    "seqlra.network.losses": ("LocalLoss", "OutputLoss", "masked"),
    "seqlra.network.builders": ("elman", "mlp"),
    "seqlra.engine.recorded": ("RecordedUpdate",),
    "seqlra.rules.views": ("ConnectionView", "LayerView"),
    "seqlra.rules": (
        "DNI",
        "RFLO",
        "RTRL",
        "UORO",
        "Backprop",
        "DifferenceTargetPropagation",
        "DirectFeedbackAlignment",
        "EProp",
        "FeedbackAlignment",
        "LRADiff",
        "LRAFeedback",
        "PassThroughSTE",
        "Reinforce",
        "Rule",
        "SigmoidAdjustedSTE",
        "SlopeAnnealing",
        "SnAp1",
        "VarianceAdjustedReinforce",
    ),
    "seqlra.network.subgraph": ("Connection", "Input", "Subgraph"),
    "seqlra.network.units": ("Activation", "Discretizer"),
    "seqlra.training.callback": ("Callback",),
    "seqlra.training.callbacks": ("Checkpoint", "Diagnostics", "EarlyStopping"),
    "seqlra.training.fitting": ("History", "fit"),
    "seqlra.training.loggers": ("MLflow", "TensorBoard", "WandB"),
    "seqlra.training.progress": ("Progress",),
    "seqlra.training.saving": ("load", "save"),
}
_FOLDERS = ("export",)
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [*_FOLDERS, *_HOME]


def __getattr__(name: str) -> Any:
    """Import on first use, so that the command line can answer before torch is loaded."""
    if name == "__version__":
        return _version()
    if name in _FOLDERS:
        return import_module(f"seqlra.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'seqlra' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def _version() -> str:
    """The installed version. Its library takes longer to import than all else here, so it waits until it is asked."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("seqlra")
    except PackageNotFoundError:  # a checkout that is not installed
        return "0+unknown"


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
