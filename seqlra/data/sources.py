"""Tasks: a dataset as tensors on the device. This file finds data, shipped with seqlra or on the Hub."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from seqlra.errors import SeqlraError


def embedded(name: str) -> Path:
    """The file or folder of that name under ``data/``: inside the package in a wheel, beside it in a checkout.

    Raises:
        SeqlraError: it is in neither place.
    """
    package = Path(__file__).parents[1]
    places = [package / "data" / name, package.parent / "data" / name]
    for place in places:
        if place.exists():
            return place
    raise SeqlraError(f"the embedded data {name!r} is missing, in {places[0]} and in {places[1]}; reinstall seqlra")


def local_folder(dataset: str, data_dir: Path | None, is_embedded: bool, offline_ways: str) -> Path | None:
    """The folder ``data_dir/<dataset>`` if the data is to come from there; None where it is embedded or on the Hub.

    An embedded dataset goes without such a folder, but not without the ``data_dir`` that was given.

    Raises:
        SeqlraError: it should be there and is not; ``offline_ways`` ends the message.
    """
    if data_dir is None:
        return None
    folder = Path(data_dir) / dataset
    if folder.is_dir():
        return folder
    if is_embedded and folder.parent.is_dir():
        return None
    nor = "" if folder.parent.is_dir() else f", nor {folder.parent}"
    raise SeqlraError(f"there is no folder {folder}{nor}; {offline_ways}")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder to fill, which becomes ``folder`` when it is complete, or never.

    Raises:
        SeqlraError: ``folder`` is already there, or cannot be written.
    """
    if folder.exists():
        raise SeqlraError(f"{folder} exists already; remove it, or give another --out")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as passing:
            whole = Path(passing) / folder.name  # a folder of its own, with the permissions of any new folder
            whole.mkdir()
            yield whole
            whole.rename(folder)
    except OSError as error:
        raise SeqlraError(f"{folder} cannot be written: {error.strerror or error}") from error


def from_hub(
    hub_id: str, offline_ways: str, revision: str | None = None, config: str | None = None, local: bool = False
) -> Any:
    """``datasets.load_dataset(hub_id)``, without its log and progress bars.

    What was loaded before comes from the cache of ``datasets`` where the Hub does not answer.

    Args:
        hub_id: ``"owner/name"`` on the Hub; where it is ``local``, a folder with the files of a dataset.
        revision: a commit of the dataset, where its main branch cannot be used.
        config: the configuration, of a dataset that has several.
        offline_ways: what to do without the Hub; the end of the error's message.

    Raises:
        SeqlraError: the dataset could not be loaded, for whatever reason.
    """
    import datasets  # slow to import, and most runs do without

    with _quiet():
        answers = not local and _hub_answers(datasets.config.HF_ENDPOINT)
        try:
            with nullcontext() if answers else _offline(datasets.config):
                return datasets.load_dataset(hub_id, *([config] if config else []), revision=revision)
        except Exception as error:  # of many libraries: network, file system, formats
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            if not answers and not local:
                reason = "the Hub does not answer, and it is not in the cache of an earlier run"
            raise SeqlraError(f"{hub_id} could not be loaded: {reason}; {offline_ways}") from error


def _hub_answers(endpoint: str) -> bool:
    """One request with a short timeout, because ``load_dataset`` retries for half a minute without a network."""
    # the connection of the download, so that it has the same proxies and certificates
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]  # public, but not in its __all__

    try:
        return get_session().head(endpoint, timeout=5).status_code < 500
    except Exception:  # no connection, or offline mode; the type depends on the version
        return False


@contextmanager
def _offline(config: Any) -> Iterator[None]:
    """Let ``datasets`` look at its cache alone (the setting was renamed in version 2.20)."""
    names = [name for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE") if hasattr(config, name)]
    before = {name: getattr(config, name) for name in names}
    for name in names:
        setattr(config, name, True)
    try:
        yield
    finally:
        for name in names:
            setattr(config, name, before[name])


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no log below an error from ``datasets`` and its downloader; then as it was."""
    import datasets.utils
    import huggingface_hub.utils

    talkers = [logging.getLogger(name) for name in ("datasets", "huggingface_hub", "httpx", "urllib3")]
    levels = [talker.level for talker in talkers]
    shown = [part for part in (datasets.utils, huggingface_hub.utils) if not part.are_progress_bars_disabled()]
    for talker in talkers:
        talker.setLevel(max(talker.level, logging.ERROR))
    for part in shown:
        part.disable_progress_bars()
    try:
        yield
    finally:
        for talker, level in zip(talkers, levels, strict=True):
            talker.setLevel(level)
        for part in shown:
            part.enable_progress_bars()
