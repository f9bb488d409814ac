"""Logs of a training in TensorBoard, Weights & Biases and MLflow, and those that ``--log`` names."""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from seqlra.optional import require
from seqlra.training.logger import Logger, Memory, numbers
from seqlra.training.run_directory import RunDirectory
from seqlra.training.settings import Config


class TensorBoard(Logger):
    """Writes event files for ``tensorboard --logdir``: scalars by update, and hyperparameters.

    A training that goes on marks what its log has beyond the checkpoint as gone, which TensorBoard then leaves out.

    Args:
        folder: where the event files go, one folder for each run.
        settings, model: see `seqlra.training.logger.Logger`.

    Raises:
        SeqlraError: tensorboard is not installed.
    """

    LIBRARY: ClassVar[str] = "tensorboard"
    TITLE: ClassVar[str] = "TensorBoard"

    def __init__(self, folder: Path | str, settings: Mapping[str, Any] | None = None, model: int = 0) -> None:
        super().__init__(settings, model)
        self.folder = Path(folder)
        self._writer: Any = None

    def open(self, step: int) -> None:
        """Open a new event file."""
        from torch.utils.tensorboard import SummaryWriter

        self.logged = step
        self._writer = SummaryWriter(str(self.folder), purge_step=step + 1 if step else None)
        if self.settings and not step:
            lines = (f"    {name}: {value}" for name, value in self.settings.items())
            self._writer.add_text("settings", "\n".join(lines))

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """One scalar for each metric."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def summarize(self, result: Mapping[str, Any]) -> None:
        """As scalars ``result/...`` at the last update, beside the hyperparameters."""
        from torch.utils.tensorboard.summary import hparams

        found = {f"result/{name}": value for name, value in numbers(result).items()}
        if self.settings:
            plain = {name: value if _is_plain(value) else str(value) for name, value in self.settings.items()}
            for summary in hparams(plain, found):
                self._writer.file_writer.add_summary(summary)
        self.write(self.logged, found)

    def close(self, whole: bool) -> None:
        """Close the file."""
        self._writer.close()


class WandB(Logger):
    """Keeps a run in Weights & Biases: offline, in files for ``wandb sync``, unless ``WANDB_MODE`` says otherwise.

    The id of the run is noted in ``folder/wandb.json``, so that a training that goes on is the same run there.

    Args:
        project: its project there.
        folder: where its files go.
        name: of the run there.
        settings, model: see `seqlra.training.logger.Logger`.

    Raises:
        SeqlraError: wandb is not installed.
    """

    LIBRARY: ClassVar[str] = "wandb"
    TITLE: ClassVar[str] = "Weights & Biases"

    def __init__(
        self,
        project: str = "seqlra",
        folder: Path | str = ".",
        name: str | None = None,
        settings: Mapping[str, Any] | None = None,
        model: int = 0,
    ) -> None:
        super().__init__(settings, model)
        self.project, self.folder, self.name = project, Path(folder), name
        self._memory = Memory(self.folder / "wandb.json")
        self._run: Any = None

    def open(self, step: int) -> None:
        """Begin the run, or go on with the one that is noted, unless the training begins anew."""
        import wandb

        mode: Any = os.environ.get("WANDB_MODE", "offline")
        known = self._memory.read()
        if not step and known.get("step"):
            known = {}
        self.logged = int(known.get("step", 0))
        self.folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=self.project,
            name=self.name,
            id=known.get("id", uuid.uuid4().hex[:12]),
            resume="allow",
            dir=str(self.folder),
            config=self.settings,
            mode=mode,
            reinit="create_new",  # the models of a stack have a run each
            settings=wandb.Settings(silent=True, console="off"),
        )
        self._note()

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """One row of its history."""
        self._run.log(dict(metrics), step=step, commit=True)
        self.logged = step
        self._note()

    def summarize(self, result: Mapping[str, Any]) -> None:
        """In the summary of the run, as ``result/...``."""
        self._run.summary.update({f"result/{name}": value for name, value in result.items()})

    def close(self, whole: bool) -> None:
        """End the run."""
        self._run.finish(exit_code=0 if whole else 1)

    def _note(self) -> None:
        self._memory.write({"id": self._run.id, "step": self.logged})


class MLflow(Logger):
    """Keeps a run in MLflow, on a server or in a file of SQLite.

    Its id is noted in ``folder/mlflow.json``, so that a training that goes on is the same run there.

    Args:
        uri: of the store; None: ``MLFLOW_TRACKING_URI``, or else ``sqlite:///mlflow.db``.
        experiment: its name there.
        folder: where the id is noted; None: every training is a new run.
        name: of the run there.
        settings, model: see `seqlra.training.logger.Logger`.

    Raises:
        SeqlraError: mlflow is not installed.
    """

    LIBRARY: ClassVar[str] = "mlflow"
    TITLE: ClassVar[str] = "MLflow"
    MOST: ClassVar[int] = 100
    """Parameters that one call takes; of metrics it takes more."""

    def __init__(
        self,
        uri: str | None = None,
        experiment: str = "seqlra",
        folder: Path | str | None = None,
        name: str | None = None,
        settings: Mapping[str, Any] | None = None,
        model: int = 0,
    ) -> None:
        super().__init__(settings, model)
        self.uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
        self.experiment, self.name = experiment, name
        self._memory = Memory(None if folder is None else Path(folder) / "mlflow.json")
        self._client: Any = None
        self._id = ""

    def open(self, step: int) -> None:
        """Begin a run, or go on with the one that is noted, unless the training begins anew."""
        import mlflow

        self._client = mlflow.MlflowClient(tracking_uri=self.uri)
        self._id = str(self._memory.read().get("id", ""))
        epochs = self._client.get_metric_history(self._id, "epoch") if self._id else []
        self.logged = max((point.step for point in epochs), default=0)
        if self._id and (step or not self.logged):
            self._client.update_run(self._id, status="RUNNING")
            return
        self.logged = 0
        self._id = self._client.create_run(self._experiment_id(), run_name=self.name).info.run_id
        self._memory.write({"id": self._id})
        of_mlflow = [mlflow.entities.Param(_key(name), str(value)) for name, value in self.settings.items()]
        for first in range(0, len(of_mlflow), self.MOST):
            self._client.log_batch(self._id, params=of_mlflow[first : first + self.MOST])

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """One point for each metric; the epoch comes last, as the mark of a whole row."""
        import mlflow

        now = int(time.time() * 1000)
        in_order = sorted(metrics, key="epoch".__eq__)
        points = [mlflow.entities.Metric(_key(name), float(metrics[name]), now, step) for name in in_order]
        for first in range(0, len(points), self.MOST):
            self._client.log_batch(self._id, metrics=points[first : first + self.MOST])

    def summarize(self, result: Mapping[str, Any]) -> None:
        """As metrics ``result/...`` at the last update; words are tags."""
        self.write(self.logged, {f"result/{name}": value for name, value in numbers(result).items()})
        for name, value in result.items():
            if isinstance(value, str):
                self._client.set_tag(self._id, _key(name), value)

    def close(self, whole: bool) -> None:
        """End the run."""
        self._client.set_terminated(self._id, "FINISHED" if whole else "KILLED")

    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(self.experiment)
        return self._client.create_experiment(self.experiment) if found is None else found.experiment_id


LIBRARIES: dict[str, type[Logger]] = {"tensorboard": TensorBoard, "wandb": WandB, "mlflow": MLflow}
"""The logs by the names that ``--log`` takes (`seqlra.training.option.LOGS`)."""


def demand_libraries(names: Sequence[str]) -> None:
    """Raise `SeqlraError` where the library of one of these logs is not installed."""
    for name in names:
        require("log", f"--log {name}", LIBRARIES[name].LIBRARY)


@contextmanager
def logs_of(configs: Sequence[Config], runs: Sequence[RunDirectory]) -> Iterator[list[list[Logger]]]:
    """The logs of each run, as its configuration names them, open until the end of the context."""
    with ExitStack() as held:
        yield [
            [held.enter_context(_log(name, config, run, model)) for name in config.log]
            for model, (config, run) in enumerate(zip(configs, runs, strict=True))
        ]


def _log(name: str, config: Config, run: RunDirectory, model: int) -> Logger:
    """A log in the run directory; MLflow has one store for the runs of a folder, to compare them."""
    settings = {key: value for key, value in config.to_dict().items() if key != "log"}
    title = f"{run.path.absolute().parent.name}/{run.path.absolute().name}"
    match name:
        case "tensorboard":
            return TensorBoard(run.path / "tensorboard", settings, model)
        case "wandb":
            return WandB("seqlra", run.path, title, settings, model)
    store = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{run.path.absolute().parent / 'mlflow.db'}"
    return MLflow(store, "seqlra", run.path, title, settings, model)


def _is_plain(value: object) -> bool:
    return isinstance(value, bool | int | float | str)


def _key(name: str) -> str:
    """A name that MLflow takes."""
    return re.sub(r"[^\w./ -]", "_", name)
