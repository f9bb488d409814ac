"""Reading of a run directory: its configuration and its vocabulary."""

from __future__ import annotations

from seqlra.data.vocabulary import Vocabulary
from seqlra.training.run_directory import RunDirectory
from seqlra.training.settings import Config


def read_config(run: RunDirectory) -> Config:
    """The configuration of a run.

    Raises:
        SeqlraError: it is missing or damaged.
    """
    return Config.from_dict(run.read_json(run.config))


def read_vocabulary(run: RunDirectory) -> Vocabulary:
    """The meaning of the tokens of a run.

    Raises:
        SeqlraError: ``vocabulary.json`` is missing or damaged.
    """
    return Vocabulary.from_dict(run.read_json(run.vocabulary))
