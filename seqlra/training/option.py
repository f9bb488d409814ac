"""What a setting is as an option: its words in ``--help``, and how its text is read.

Neither pydantic nor torch is imported here, so that ``--help`` answers at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from seqlra.errors import SeqlraError, unknown

DATA, NETWORK, RULE, OPTIMIZATION, BOOKKEEPING = "Data", "Network", "Rule", "Optimization", "Bookkeeping"
"""The panels of ``--help``."""

TASKS = ("mlp", "rnn")


class Unset:
    """Marks an option whose default is that of its field."""


@dataclass(frozen=True)
class ByTask:
    """A default that depends on the task, and of an RNN on the kind of its data: ``rnn`` is that of a text, and where
    nothing else is said, of sequences, too."""

    mlp: Any
    rnn: Any
    generated: Any = Unset
    pixels: Any = Unset

    def of(self, kind: str) -> Any:
        """The default for a kind of data, by its name."""
        kinds = {"images": self.mlp, "rows": self.mlp, "text": self.rnn, "generated": self.generated}
        own = (kinds | {"pixels": self.pixels, "labeled": self.pixels})[kind]
        return self.rnn if own is Unset else own


@dataclass(frozen=True)
class Option:
    """How a field of the configuration is an option; stands in the ``Annotated`` of the field.

    Args:
        help: its line in ``--help``.
        panel: the panel it stands in.
        open_as: what happens where it is left open, in words; True shows the default itself, False nothing.
        default: where it is not the default of the field, as the user would write it; None leaves it open.
        name: its name with underscores, where it is not that of the field.
        setting: of an option of the rule, the name of the setting there.
        kind: the type of its text, where it is not that of the field.
        none: the word for None.
        tasks: the tasks that have it.
        without: kinds of data for which there is no such option.
        flag: whether the command line has it; configuration files and Python always do.
    """

    help: str
    panel: str
    open_as: str | bool = True
    default: Any = Unset
    name: str | None = None
    setting: str | None = None
    kind: type | None = None
    none: str | None = None
    tasks: tuple[str, ...] = TASKS
    without: tuple[str, ...] = ()
    flag: bool = True


DATA_DIR = "Folder with local copies, DIR/<dataset>/."
COMPILE = Option("Compile updates: faster on small networks, after some seconds.", BOOKKEEPING)
DEVICE = Option("auto, cpu or cuda.", BOOKKEEPING, default="auto")
THREADS = Option("CPU threads.", BOOKKEEPING, "torch's choice", default=None)


def hidden_sizes(given: str | int | Iterable[int]) -> tuple[int, ...]:
    """``"256,128"`` is two layers, ``"128x8"`` eight layers of 128 units; they combine. Numbers stay as they are.

    Raises:
        SeqlraError: anything else.
    """
    sizes: list[int] = []
    try:
        if not isinstance(given, str):
            given = ",".join(map(str, (given,) if isinstance(given, int) else given))
        for part in given.split(","):
            units, times, layers = part.strip().partition("x")
            many = int(layers) if times else 1
            sizes += [int(units)] * many if 0 < many < 10_000 else [0]
    except (TypeError, ValueError):
        sizes = []
    if not sizes or min(sizes) < 1:
        raise SeqlraError(f"cannot read the hidden sizes {given!r}; accepted: 256,128 or 128x8 (8 layers of 128)")
    return tuple(sizes)


LOGS = ("tensorboard", "wandb", "mlflow")


def log_names(given: str | Iterable[str] | None) -> tuple[str, ...]:
    """``["tensorboard,wandb", "mlflow"]`` as the names of logs, each once; None is none.

    Raises:
        SeqlraError: there is no such log.
    """
    try:
        text = given if isinstance(given, str) else ",".join(given or ())
    except TypeError:
        raise unknown("log", given, LOGS) from None
    names = tuple(dict.fromkeys(name.strip() for name in text.split(","))) if text else ()
    for name in names:
        if name not in LOGS:
            raise unknown("log", name, LOGS)
    return names


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


def bound(name: str, given: str | float) -> float | None:
    """A bound such as c1: a number above 0, or ``off``, which is None.

    Raises:
        SeqlraError: anything else.
    """
    if given == "off":
        return None
    try:
        value = float(given)
    except (TypeError, ValueError):
        value = 0.0
    if not 0 < value < float("inf"):
        raise SeqlraError(f"{name} must be a number above 0, or off; not {given!r}")
    return value


def steps_back(given: str | int) -> int | None:
    """A window: a number of steps, or ``full``, which is None.

    Raises:
        SeqlraError: anything else.
    """
    if given == "full":
        return None
    try:
        steps = int(given)
    except (TypeError, ValueError):
        steps = -1
    if steps < 0:
        raise SeqlraError(f"window must be a number of steps from 0 on, or full; not {given!r}")
    return steps
