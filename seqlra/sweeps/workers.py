"""Where independent runs are trained: in this process, in several of this machine, or on a cluster of Dask.

Other processes share nothing but the folder of the runs. A run belongs to whoever holds the lock of its directory, and
one that is done is not run again. So a process may be killed: what it had not finished goes on elsewhere, from its
checkpoint.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, chdir, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqlra import own
from seqlra.errors import SeqlraError, SeqlraWarning, first_line
from seqlra.optional import require
from seqlra.sweeps.run_store import Group, RunSpec, RunStore
from seqlra.training.runs import Watch
from seqlra.training.trainer import Stopped

if TYPE_CHECKING:
    from seqlra.training.trainer import Trainer

STOP = ".stop"
"""A file in the folder of the runs that asks every process to end after a checkpoint."""

SECONDS = 10
"""How long a cluster has to answer."""


@dataclass(frozen=True)
class Workers:
    """Processes that do independent work.

    Args:
        jobs: processes of this machine; 1: this process alone.
        cluster: the address of a scheduler of Dask, in place of ``jobs``.
        modules: with code of the user's own, which the processes import.

    Raises:
        SeqlraError: less than one job, or jobs and a cluster.
    """

    jobs: int = 1
    cluster: str | None = None
    modules: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise SeqlraError(f"jobs must be at least 1, not {self.jobs}")
        if self.cluster is not None and self.jobs > 1:
            raise SeqlraError("--jobs and --cluster do not go together: a cluster has as many jobs as workers")

    @property
    def alone(self) -> bool:
        """Whether all work is done in this process."""
        return self.jobs == 1 and self.cluster is None

    def map(self, work: Callable[..., Any], arguments: Iterator[tuple[Any, ...]]) -> Iterator[Any]:
        """Call a function once with each of the arguments; the results as they come.

        Raises:
            SeqlraError: the cluster cannot be reached or used, or a process was killed.
        """
        if self.alone:
            yield from (work(*each) for each in arguments)
            return
        from joblib import Parallel, delayed

        with self._backend() as options:
            calls = (delayed(_at_work)(self.modules, str(Path.cwd()), work, each) for each in arguments)
            try:
                yield from Parallel(return_as="generator_unordered", batch_size=1, **options)(calls)
            except Exception as error:
                if type(error).__name__ in ("TerminatedWorkerError", "KilledWorker", "BrokenProcessPool"):
                    raise SeqlraError(
                        f"a process was killed at its work ({first_line(error):.80}); what was done is kept: go on "
                        "with --resume, or of seqlra reproduce with the same command"
                    ) from error
                raise

    @contextmanager
    def _backend(self) -> Iterator[dict[str, Any]]:
        """The options of ``joblib.Parallel``."""
        if self.cluster is None:
            yield {"n_jobs": self.jobs, "backend": "loky", "pre_dispatch": "n_jobs"}
            return
        from joblib import parallel_config

        with _client(self.cluster) as client, parallel_config(backend="dask", client=client):
            yield {"n_jobs": -1, "pre_dispatch": "all"}


@contextmanager
def _client(address: str) -> Iterator[Any]:
    """A client of the scheduler at an address.

    Raises:
        SeqlraError: Dask is missing, nobody answers, or workers have several threads, which share a generator of random
            numbers.
    """
    require("cluster", "a cluster", "distributed")
    from distributed import Client

    try:
        client = Client(address, timeout=SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise SeqlraError(
            f"no scheduler of Dask at {address!r} ({first_line(error)}); accepted: its address, such as "
            "tcp://host:8786, which dask scheduler prints"
        ) from error
    with client:
        threads = {each["nthreads"] for each in client.scheduler_info(n_workers=-1)["workers"].values()}
        if not threads:
            raise SeqlraError(
                f"the cluster at {address} has no workers; start some: dask worker {address} --nthreads 1"
            )
        if threads != {1}:
            raise SeqlraError(f"workers of the cluster at {address} have several threads; start them with --nthreads 1")
        yield client


def _at_work(modules: Sequence[str], folder: str, work: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """The call in another process: in the same folder where there is one, with the user's modules."""
    with chdir(folder) if Path(folder).is_dir() else nullcontext():
        for module in modules:
            own.import_module(module)
        return work(*arguments)


@dataclass(frozen=True)
class Done:
    """What became of runs that were trained together.

    Attributes:
        specs: the runs.
        stopped: whether they were stopped before their end.
        error: in one line, what else ended them.
    """

    specs: tuple[RunSpec, ...]
    stopped: bool = False
    error: str = ""


def train_all(
    store: RunStore, groups: Sequence[Group], workers: Workers, stacked: bool = True
) -> Iterator[Sequence[RunSpec]]:
    """Train what is left of all groups, by workers; each time, the runs that are done. Runs that start from the weights
    of another wait for it.

    One that fails does not end the others. On Ctrl-C all processes write a checkpoint and end.

    Raises:
        Stopped: the user asked to stop; checkpoints were written.
        SeqlraError: some could not be trained; the message is that of the first.
    """
    stop, failed = store.path / STOP, list[Done]()
    stop.unlink(missing_ok=True)
    try:
        for ready in _in_order(store, groups):
            tasks = [(group, tuple(specs)) for group in ready for specs in store.left(group.name, group.specs, stacked)]
            waiting = ((store.path.resolve(), group.name, specs, stacked) for group, specs in tasks)
            for done in _until_stopped(workers.map(train_in_worker, waiting), stop):
                if done.error or done.stopped:
                    failed.append(done)
                else:
                    yield done.specs
            if stop.exists() or any(done.stopped for done in failed):
                raise Stopped
    finally:
        stop.unlink(missing_ok=True)
    if failed:
        names = ", ".join(spec.folder for spec in failed[0].specs)
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise SeqlraError(f"{names}: {failed[0].error}{more}")


def _until_stopped(results: Iterator[Done], stop: Path) -> Iterator[Done]:
    """The results; on Ctrl-C all processes are asked to stop, and their last results are waited for."""
    import signal

    def ask(*_: object) -> None:
        if stop.exists():
            raise KeyboardInterrupt  # the second time
        stop.touch()
        print("stopping after a checkpoint of each run", file=sys.stderr, flush=True)

    try:
        before = signal.signal(signal.SIGINT, ask)
    except ValueError:  # not in the main thread, where no signal arrives
        yield from results
        return
    try:
        yield from results
    finally:
        signal.signal(signal.SIGINT, before)


def _in_order(store: RunStore, groups: Sequence[Group]) -> Iterator[list[Group]]:
    """The groups in sets that wait for the sets before them: for the weights that they start from."""
    waiting = list(groups)
    while waiting:
        open_runs = {
            str(store.run_of(spec).path.resolve())
            for group in waiting
            for spec in group.specs
            if store.outcome(spec) is None
        }
        ready = [
            group for group in waiting if not any(s.config.network.init_from in open_runs for s in group.specs)
        ] or waiting
        yield ready
        waiting = [group for group in waiting if group not in ready]


def train_in_worker(path: Path, group: str, specs: tuple[RunSpec, ...], stacked: bool) -> Done:
    """Train what is left of these runs, in whichever process; for `Workers.map`."""
    if not path.is_dir():
        return Done(specs, error=f"a worker does not see {path}; the machines of a cluster need it in a folder of all")
    if (path / STOP).exists():
        return Done(specs, stopped=True)
    store = RunStore(path)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            for members in store.left(group, specs, stacked):
                store.train(group, members, lambda members: _telling(members, path / STOP))
        except (Stopped, KeyboardInterrupt):
            return Done(specs, stopped=True)
        except SeqlraError as error:
            return Done(specs, error=str(error))
        except Exception as error:
            if (message := own.report(error)) is None:
                raise
            return Done(specs, error=str(message))
    return Done(specs)


def _show_warning(message: Warning | str, category: type[Warning], *rest: Any, **named: Any) -> None:
    if issubclass(category, SeqlraWarning):
        print(f"warning: {message}", file=sys.stderr, flush=True)


def _telling(specs: Sequence[RunSpec], stop: Path) -> AbstractContextManager[Watch]:
    """Prints a line an epoch, with the name of the run before it, and ends training where it is asked to."""
    from seqlra.training.progress import EpochLines

    lines = EpochLines(f"{specs[0].folder}{f' and {len(specs) - 1} more' if len(specs) > 1 else ''}: ")

    def watch(trainer: Trainer) -> None:
        lines(trainer)
        trainer.interrupted = trainer.interrupted or stop.exists()

    return nullcontext(watch)
