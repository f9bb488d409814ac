"""Options that several commands share, and how their text is read."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from seqlra.errors import SeqlraError

DATA, NETWORK, RULE, OPTIMIZATION, BOOKKEEPING = "Data", "Network", "Rule", "Optimization", "Bookkeeping"


def option(panel: str, text: str, open_as: str | bool = True, name: str | None = None) -> Any:
    """An option of a panel of ``--help``; ``open_as`` says what happens where the user leaves it open."""
    return typer.Option(*([name] if name else []), help=text, rich_help_panel=panel, show_default=open_as)


SUITS = "suits the units"

DataDir = Annotated[
    Path | None, option(DATA, "Folder with local copies, DIR/<dataset>/.", "Hub or embedded", "--data-dir")
]
Hidden = Annotated[str, option(NETWORK, "Hidden layers: 256,128 or 128x8 (8 layers of 128).")]
Activation = Annotated[
    str | None, option(NETWORK, "f of the hidden units; see seqlra list.", "tanh; sigmoid under bernoulli")
]
Discretizer = Annotated[str, option(NETWORK, "g: none, sign, heaviside, bernoulli, lwta, slwta, ...")]
BlockSize = Annotated[int, option(NETWORK, "Units in one block of LWTA or SLWTA.")]
Loss = Annotated[str, option(NETWORK, "Local loss: log-penalty, l2 or l1.")]
WeightInit = Annotated[str, option(NETWORK, "zeros, gaussian, fan-in (eq. 5) or reservoir.")]
WeightStd = Annotated[float, option(NETWORK, "Standard deviation of gaussian weights.")]
FeedbackInit = Annotated[str | None, option(NETWORK, "gaussian or fan-out.", "gaussian; fan-out for the rivals of LRA")]
FeedbackStd = Annotated[float, option(NETWORK, "Standard deviation of gaussian error weights E.")]
InitFrom = Annotated[
    Path | None, option(NETWORK, "Start from the chosen weights of this run, trained by any rule.", "--weight-init")
]

RuleName = Annotated[str, option(RULE, "lra-fdbk, lra-diff, backprop, fa, dfa, dtp, ste, ...", name="--rule")]
Beta = Annotated[float | None, option(RULE, "Step size of a displacement.", SUITS)]
C1 = Annotated[str | None, option(RULE, "Bound on the norm of a parameter's update, or off.", SUITS)]
C2 = Annotated[str | None, option(RULE, "Bound on the norm of a displacement, or off.", SUITS)]
C2Per = Annotated[str | None, option(RULE, "c2 for each sample, or batch.", "sample")]
InnerSteps = Annotated[int | None, option(RULE, "K of lra-diff: steps for each target.", "1")]
Epsilon = Annotated[float | None, option(RULE, "Leave subgraphs whose loss is under this as they are.", "0: never")]
EpsilonOutput = Annotated[
    float | None, option(RULE, "The same for outputs, whose losses are on a scale of their own.", "epsilon")
]
EpsilonPer = Annotated[str | None, option(RULE, "epsilon for each sample, or batch.", "sample")]
Skip = Annotated[
    bool, option(RULE, "Leave such samples out of the computation: same updates, less time.", name="--skip")
]
Settings = Annotated[
    list[str] | None,
    option(RULE, "NAME=VALUE: any setting of the rule, such as noise=0.2 of dtp; may be repeated.", False, "--set"),
]
Reduction = Annotated[
    str | None, option(RULE, "Updates are the sum or the mean over a mini-batch.", "sum: LRA with sgd; else mean")
]

Optimizer = Annotated[str, option(OPTIMIZATION, "sgd, adam, rmsprop, ...; see seqlra list.")]
Lr = Annotated[float | None, option(OPTIMIZATION, "Step size.", "suits rule and optimizer")]
Momentum = Annotated[float, option(OPTIMIZATION, "Momentum of sgd and rmsprop.")]
Schedule = Annotated[str, option(OPTIMIZATION, "constant, or linear: lr falls to 0 at the end.")]
Epochs = Annotated[int, option(OPTIMIZATION, "Passes over the training split.")]
Steps = Annotated[int | None, option(OPTIMIZATION, "Number of updates, instead of epochs.", "off")]

Seed = Annotated[int, option(BOOKKEEPING, "Seed of everything.")]
Seeds = Annotated[
    int | None,
    option(BOOKKEEPING, "Train so many models at once, each from a seed of its own, --seed and those after it.", False),
]
OneStream = Annotated[
    bool,
    option(
        BOOKKEEPING,
        "All --seeds see the images of the first, in its order, which saves time; of a text they do anyway.",
        name="--one-stream",
    ),
]
Diagnose = Annotated[
    int, option(BOOKKEEPING, "Every how many updates one is set beside backprop's, at the cost of two; 0: never.")
]
Device = Annotated[str, option(BOOKKEEPING, "auto, cpu or cuda.")]
Compile = Annotated[
    bool, option(BOOKKEEPING, "Compile updates: faster on small networks, after some seconds.", name="--compile")
]
Precision = Annotated[
    str, option(BOOKKEEPING, "Of products: float32, or on processors that can, faster and less exact: tf32 or bf16.")
]
Threads = Annotated[int | None, option(BOOKKEEPING, "CPU threads.", "torch's choice")]
Out = Annotated[Path | None, option(BOOKKEEPING, "Run directory to make.", "runs/<name>")]
Resume = Annotated[Path | None, option(BOOKKEEPING, "Go on with this run; it has its own options.", False)]
Json = Annotated[bool, option(BOOKKEEPING, "Print one JSON object as the last line of output.", name="--json")]


def hidden_sizes(text: str) -> tuple[int, ...]:
    """``"256,128"`` is two layers, ``"128x8"`` eight layers of 128 units; they combine.

    Raises:
        SeqlraError: anything else.
    """
    sizes: list[int] = []
    try:
        for part in text.split(","):
            units, _, layers = part.strip().partition("x")
            sizes += [int(units)] * (int(layers) if layers else 1)
    except ValueError:
        sizes = []
    if not sizes or min(sizes) < 1:
        raise SeqlraError(f"cannot read the hidden sizes {text!r}; accepted: 256,128 or 128x8 (8 layers of 128)")
    return tuple(sizes)


def setting(text: str) -> tuple[str, Any]:
    """``"noise=0.2"`` as a name and a value: a number where it reads as one, None for ``off``, else a word.

    Raises:
        SeqlraError: there is no ``=``.
    """
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (name and equals and value):
        raise SeqlraError(f"cannot read the setting {text!r}; accepted: NAME=VALUE, such as noise=0.2")
    for read in (int, float):
        with suppress(ValueError):
            return name, read(value)
    return name, {"off": None, "true": True, "false": False}.get(value, value)


def bound(name: str, text: str) -> float | None:
    """A bound such as c1: a number above 0, or ``off``.

    Raises:
        SeqlraError: anything else.
    """
    if text == "off":
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise SeqlraError(f"{name} must be a number above 0, or off; not {text!r}")
    return value
