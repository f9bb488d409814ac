"""What a run is made of: the only place of every setting that is not of one rule alone.

A field carries its default, its bounds and, as an `Option`, its words in ``--help``. Made of these fields are the
options of the command line (`seqlra.cli.options`), the keys of configuration files (`seqlra.training.config_file`) and
the keywords of `seqlra.training.configure.configure`. Settings of a rule are the fields of its class; those that have
an option of their own are named here in `RuleOptions`. All are recorded in ``config.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SkipValidation
from pydantic.dataclasses import dataclass

from seqlra.errors import SeqlraError, first_line
from seqlra.training.data_settings import STRICT, Data, Seed, data_of
from seqlra.training.option import (
    BOOKKEEPING,
    COMPILE,
    DEVICE,
    NETWORK,
    OPTIMIZATION,
    RULE,
    THREADS,
    ByTask,
    Option,
    hidden_sizes,
    log_names,
)
from seqlra.training.validation import Checked


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Network(Checked):
    """The list of subgraphs and how its weights start."""

    hidden: Annotated[
        tuple[int, ...],
        BeforeValidator(hidden_sizes),
        Option(
            "Hidden layers: 256,128 or 128x8 (8 layers of 128).",
            NETWORK,
            default=ByTask("256x3", "256", "100", "100"),
            kind=str,
        ),
    ]
    activation: Annotated[
        str, Option("f of the hidden units; see seqlra list.", NETWORK, "tanh; sigmoid under bernoulli", default=None)
    ]
    discretizer: Annotated[
        str | None,
        BeforeValidator(lambda name: None if name == "none" else name),
        Option("g: none, sign, heaviside, bernoulli, lwta, slwta, ...", NETWORK, default="none", none="none"),
    ] = None
    block_size: Annotated[int, Option("Units in one block of LWTA or SLWTA.", NETWORK)] = 4
    loss: Annotated[str, Option("Local loss: log-penalty, l2 or l1.", NETWORK, default=ByTask("log-penalty", "l2"))]
    leak: Annotated[
        float,
        Field(gt=0, le=1),
        Option("Leaky units: the share of f(h) in their output; 1: no memory.", NETWORK, tasks=("rnn",)),
    ] = 1.0
    train_leak: Annotated[
        bool, Option("Train the leak, one for each layer, from --leak on.", NETWORK, tasks=("rnn",))
    ] = False
    recurrence: Annotated[
        Literal["full", "diagonal"],
        Option("full, or diagonal: a unit reads its own last output, one weight a unit.", NETWORK, tasks=("rnn",)),
    ] = "full"
    weight_init: Annotated[
        str,
        Option(
            "zeros, gaussian, fan-in (eq. 5), reservoir or orthogonal.",
            NETWORK,
            default=ByTask("fan-in", "reservoir", "orthogonal", "orthogonal"),
        ),
    ]
    weight_std: Annotated[float, Option("Standard deviation of gaussian weights.", NETWORK)] = 0.05
    across_time: Annotated[
        bool,
        Option(
            "Error weights over recurrent connections.",
            NETWORK,
            "where a window needs them",
            default=None,
            tasks=("rnn",),
            flag=False,
        ),
    ] = False
    feedback_init: Annotated[
        str, Option("gaussian, fan-out or mirror.", NETWORK, "suits the rule; mirror where it is learned", default=None)
    ] = "gaussian"
    mirror_vectors: Annotated[
        int, Field(ge=1), Option("Vectors of noise that a mirror sees before training.", NETWORK)
    ] = 100_000  # seqlra.engine.mirror.VECTORS, without torch
    feedback_std: Annotated[float, Option("Standard deviation of gaussian error weights E.", NETWORK)] = 1.0
    init_from: Annotated[
        str | None,
        Option("Start from the chosen weights of this run, trained by any rule.", NETWORK, "--weight-init", kind=Path),
    ] = None

    @property
    def memory(self) -> dict[str, Any]:
        """How its units remember, in the words of `elman`."""
        return {"leak": self.leak, "train_leak": self.train_leak, "recurrence": self.recurrence}


SUITS = "suits the units"
WINDOWS = "full; 0 where lra-fdbk has fixed E, and by lra-diff"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RuleOptions(Checked):
    """The rule, and those of its settings that have an option; what is None is left to the rule, which checks it."""

    rule: Annotated[str, Option("lra-fdbk, lra-diff, backprop, fa, dfa, dtp, ste, ...", RULE)] = "lra-fdbk"
    beta: Annotated[float | None, Option("Step size of a displacement.", RULE, SUITS)] = None
    c1: Annotated[
        str | float | None, Option("Bound on the norm of a parameter's update, or off.", RULE, SUITS, kind=str)
    ] = None
    c2: Annotated[str | float | None, Option("Bound on the norm of a displacement, or off.", RULE, SUITS, kind=str)] = (
        None
    )
    c2_per: Annotated[str | None, Option("c2 for each sample, or batch.", RULE, "sample")] = None
    inner_steps: Annotated[int | None, Option("K of lra-diff: steps for each target.", RULE, "1", setting="steps")] = (
        None
    )
    feedback: Annotated[
        str | None,
        Option(
            "Error weights E are fixed, learned from the updates of W, or (online rules) exact: W^T.",
            RULE,
            "rnn by lra-fdbk: learned; e-prop, snap-1, rtrl, uoro: exact; else fixed",
        ),
    ] = None
    feedback_decay: Annotated[
        float | None, Option("Share of W and learned E taken away at every update.", RULE, "0: none")
    ] = None
    window: Annotated[
        str | int | None,
        Option(
            "Steps that errors go back over recurrent connections: 0 (the paper), 1, ... or full.",
            RULE,
            WINDOWS,
            kind=str,
            tasks=("rnn",),
        ),
    ] = None
    online: Annotated[
        bool,
        Option(
            "Online rules on a text: traces go on from chunk to chunk; with --unroll 1, which is then the default, an "
            "update at every step.",
            RULE,
            tasks=("rnn",),
        ),
    ] = False
    carry: Annotated[
        str | None,
        Option("What LRA hands down: its derivative (the paper), or its error.", RULE, "error where E is learned"),
    ] = None
    epsilon: Annotated[
        float | None, Option("Leave subgraphs whose loss is under this as they are.", RULE, "0: never")
    ] = None
    epsilon_output: Annotated[
        float | None, Option("The same for outputs, whose losses are on a scale of their own.", RULE, "epsilon")
    ] = None
    epsilon_per: Annotated[str | None, Option("epsilon for each sample, or batch.", RULE, "sample")] = None
    skip: Annotated[bool, Option("Leave such samples out of the computation: same updates, less time.", RULE)] = False
    reduction: Annotated[
        str | None,
        Option("Updates are the sum or the mean over a mini-batch.", RULE, "sum: LRA with sgd; else mean"),
    ] = None


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Optimization(Checked):
    """How updates become steps; ``batch_size`` is None where the task says it in another way."""

    optimizer: Annotated[str, Option("sgd, adam, rmsprop, ...; see seqlra list.", OPTIMIZATION, default="adam")]
    lr: Annotated[float, Field(gt=0), Option("Step size.", OPTIMIZATION, "suits rule and optimizer", default=None)]
    momentum: Annotated[float, Field(ge=0, lt=1), Option("Momentum of sgd and rmsprop.", OPTIMIZATION)] = 0.0
    weight_decay: Annotated[
        float | None, Field(ge=0), Option("Weight decay, as torch's optimizers define it.", OPTIMIZATION, "torch's own")
    ] = None
    schedule: Annotated[
        Literal["constant", "linear"],
        Option(
            "constant, or linear: lr falls to 0 at the end.",
            OPTIMIZATION,
            default=ByTask("constant", "linear", "constant", "constant"),
        ),
    ]
    batch_size: Annotated[
        int | None,
        Field(ge=1),
        Option(
            "Images or sequences in a mini-batch.", OPTIMIZATION, default=ByTask(50, None, 20, 50), without=("text",)
        ),
    ] = None
    epochs: Annotated[
        int | None,
        Field(ge=1),
        Option(
            "Passes over the training split, or 100 updates on generated sequences.",
            OPTIMIZATION,
            default=ByTask(15, 9, None, 15),
        ),
    ] = None
    steps: Annotated[
        int | None,
        Field(ge=1),
        Option("Number of updates, instead of epochs.", OPTIMIZATION, "off", default=ByTask(None, None, 5000, None)),
    ] = None


MAY_BE_OWN = ("rule", "activation", "discretizer", "loss", "optimizer")
"""Settings whose value may be ``module:name``, of the user's own (`seqlra.own`)."""

PRECISIONS = {"float32": "highest", "tf32": "high", "bf16": "medium"}
"""What torch calls them. Where the processor cannot, products are as exact as without."""


def _as_tuples(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A rule can be hashed, and JSON has only lists."""
    if not isinstance(settings.get("name"), str):
        raise ValueError("a rule has a name")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config(Checked):
    """A whole run: ``task``, its parts, the one ``seed`` of everything, and what it ran on.

    ``rule`` holds the name of the rule and all its settings. Numbers are stored as float32 in every ``precision``.
    """

    task: Literal["mlp", "rnn"]
    data: SkipValidation[Data]
    network: Network
    rule: Annotated[Mapping[str, Any], AfterValidator(_as_tuples)]
    optimization: Annotated[Optimization, Field(validation_alias=AliasChoices("optimization", "optimisation"))]
    seed: Annotated[Seed, Option("Seed of everything.", BOOKKEEPING, default=0)]
    diagnose: Annotated[
        int,
        Field(ge=0),
        Option(
            "Every how many updates of an epoch one is set beside backprop's, at the cost of two, and at least four "
            "an epoch; 0: never.",
            BOOKKEEPING,
        ),
    ] = 100
    log: Annotated[
        tuple[str, ...],
        BeforeValidator(log_names),
        Option(
            "Log to tensorboard, wandb or mlflow besides, with commas, or repeated: in the run directory, unless their "
            "own variables say otherwise.",
            BOOKKEEPING,
            False,
            default=None,
            kind=list[str],
        ),
    ] = ()
    compile: Annotated[bool, COMPILE] = False
    precision: Annotated[
        Literal["float32", "tf32", "bf16"],
        Option("Of products: float32, or on processors that can, faster and less exact: tf32 or bf16.", BOOKKEEPING),
    ] = "float32"
    device: Annotated[str, DEVICE]
    threads: Annotated[int, Field(ge=1, lt=1025), THREADS]  # torch crashes with very many
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(plain: Mapping[str, Any]) -> Config:
        """The reverse of `to_dict`.

        Raises:
            SeqlraError: fields are missing, unknown or make no sense.
        """
        not_one = "this is not the configuration of a run of this version"
        try:
            return Config(**{**plain, "data": data_of(plain["task"], plain["data"])(**plain["data"])})
        except (AttributeError, KeyError, TypeError) as error:
            raise SeqlraError(f"{not_one}: {type(error).__name__}: {first_line(error)}") from error
        except SeqlraError as error:
            raise SeqlraError(f"{not_one}: {error}") from error


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Models(Checked):
    """How many runs differ in their seeds alone, the first of which is ``seed``."""

    seed: Seed = 0
    seeds: Annotated[
        int | None,
        Field(ge=1),
        Option(
            "Train so many models at once, each from a seed of its own, --seed and those after it.",
            BOOKKEEPING,
            open_as=False,
        ),
    ] = None
    one_stream: Annotated[
        bool,
        Option(
            "All --seeds see the images of the first, in its order, which saves time; of texts and sequences they do.",
            BOOKKEEPING,
        ),
    ] = False
