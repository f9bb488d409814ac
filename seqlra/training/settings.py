"""What a run is made of, as dataclasses: every field is recorded in ``config.json`` and checked before work starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from seqlra.errors import SeqlraError, unknown


@dataclass(frozen=True)
class Images:
    """Images to classify.

    Args:
        dataset: a name from the registry.
        data_dir: folder with local copies, ``DIR/<dataset>/``; None for the embedded sample or the Hub.
        valid: how many training images are held out for validation; None for the dataset's own number.
        seed: draws the images for validation and the order of the others; None: the seed of the run does.
    """

    dataset: str
    data_dir: str | None = None
    valid: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        _require_seed(self.seed or 0)


@dataclass(frozen=True)
class Text:
    """Text to predict.

    Args:
        dataset: a name from the registry, or the name of the user's file.
        data_dir: as for images.
        text: the user's own file, in place of ``dataset``.
        tokens: ``chars`` or ``words``.
        max_words: the most symbols that a vocabulary of words has.
        streams: parallel streams that the training text is cut into; a mini-batch is one chunk of each.
        unroll: K, the steps of a chunk.
    """

    dataset: str
    data_dir: str | None = None
    text: str | None = None
    tokens: str = "chars"
    max_words: int = 10_000
    streams: int = 64
    unroll: int = 50

    def __post_init__(self) -> None:
        _require(self.streams > 0, f"streams must be at least 1, not {self.streams}")
        _require(self.unroll > 0, f"unroll must be at least 1, not {self.unroll}")
        _require(self.max_words > 1, f"max-words must be at least 2, not {self.max_words}")


@dataclass(frozen=True)
class Network:
    """The list of subgraphs and how its weights start.

    Args:
        hidden: units of each hidden layer.
        activation, discretizer: ``f`` and ``g`` of the hidden subgraphs; discretizer None for ``g(z) = z``.
        block_size: units that compete in one block of LWTA and SLWTA.
        loss: the local loss of the hidden subgraphs.
        weight_init, weight_std: how weights start, and the standard deviation of ``gaussian``.
        feedback_std: standard deviation of the error weights E, where they are Gaussian.
        feedback_init: how E starts, a name from `FEEDBACK_INITS`.
        across_time: whether recurrent connections have error weights, so that errors walk back through time.
        init_from: the run whose weights a new run started from, in place of ``weight_init``.
    """

    hidden: tuple[int, ...]
    activation: str
    discretizer: str | None
    block_size: int
    loss: str
    weight_init: str
    weight_std: float
    feedback_std: float
    feedback_init: str = "gaussian"
    across_time: bool = False
    init_from: str | None = None

    def __post_init__(self) -> None:
        _require(len(self.hidden) > 0 and min(self.hidden) > 0, f"hidden sizes must be above 0: {self.hidden}")


@dataclass(frozen=True)
class Optimization:
    """How updates become steps.

    Args:
        optimizer: a name from `OPTIMIZERS`.
        lr: step size.
        momentum: momentum of ``sgd`` and ``rmsprop``.
        schedule: ``constant``, or ``linear``: falling in a straight line to 0 at the last step.
        batch_size: examples in a mini-batch; None where the task says it in another way.
        epochs: passes over the training split.
        steps: number of updates; where given it takes the place of ``epochs``.
    """

    optimizer: str
    lr: float
    momentum: float
    schedule: str
    batch_size: int | None
    epochs: int | None
    steps: int | None

    def __post_init__(self) -> None:
        _require(self.lr > 0, f"the step size lr must be above 0, not {self.lr}")
        _require(0 <= self.momentum < 1, f"momentum must be in [0, 1), not {self.momentum}")
        _require(self.schedule in ("constant", "linear"), f"schedule must be constant or linear, not {self.schedule!r}")
        _require(self.batch_size is None or self.batch_size > 0, f"batch-size must be above 0: {self.batch_size}")
        _require(self.epochs is None or self.epochs > 0, f"epochs must be at least 1, not {self.epochs}")
        _require(self.steps is None or self.steps > 0, f"steps must be at least 1, not {self.steps}")


PRECISIONS = {"float32": "highest", "tf32": "high", "bf16": "medium"}
"""What torch calls them. Where the processor cannot, products are as exact as without."""


@dataclass(frozen=True)
class Config:
    """A whole run: ``task`` ("mlp" or "rnn"), its parts, the one ``seed`` of everything, and the device it ran on.

    ``rule`` holds the name of the rule and all its settings; every ``diagnose`` updates one is diagnosed (0: never).
    ``compile`` says whether updates are compiled, ``precision`` how exact products of matrices are, a name from
    `PRECISIONS`; numbers are stored as float32 all the same.
    """

    task: str
    data: Images | Text
    network: Network
    rule: Mapping[str, Any]
    optimization: Optimization
    seed: int
    device: str
    threads: int
    diagnose: int = 100
    compile: bool = False
    precision: str = "float32"
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require_seed(self.seed)
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        _require(self.diagnose >= 0, f"diagnose must be 0 or a number of updates, not {self.diagnose}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(plain: Mapping[str, Any]) -> Config:
        """The reverse of `to_dict`.

        Raises:
            SeqlraError: fields are missing, unknown or make no sense.
        """
        try:
            network = {**plain["network"], "hidden": tuple(plain["network"]["hidden"])}
            parts = {
                "data": {"mlp": Images, "rnn": Text}[plain["task"]](**plain["data"]),
                "network": Network(**network),
                "optimization": Optimization(**plain["optimization"]),
            }
            return Config(**{**plain, **parts})
        except (KeyError, TypeError) as error:
            raise SeqlraError(f"this is not the configuration of a run of this version: {error}") from error


def _require_seed(seed: int) -> None:
    _require(0 <= seed < 2**62, f"seed must be from 0 to 2**62, not {seed}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SeqlraError(message)
