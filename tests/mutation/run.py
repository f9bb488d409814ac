"""Test the tests: plant one-line defects, one at a time, and demand that a test fails for each.

    python -m tests.mutation              # all of them
    python -m tests.mutation beta E       # those with one of these words in their name
    python -m tests.mutation rules/lra    # those of one file or folder of the package
    python -m tests.mutation --check      # only report those that no longer fit the source: at once
    python -m tests.mutation --jobs 8     # at a time

Each defect goes into a copy of the package, as it was at the start, in a temporary folder; the checkout is never
touched. The exit status is 1 if a defect survives its tests, if it stops its module from being imported (that proves
nothing about the tests), if the test that fails for it fails without it, or if it no longer fits the source.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from .planting import DEFECTS, Defect, copy_of_the_package, plant, read_defects, unfit

IMPORTED_ONCE = [
    "torch",
    "torch.distributed.tensor",  # torch.testing.assert_close does
    "torch._dynamo",  # an optimizer does
    "einops",
    "pytest",
    "typer.testing",
    "rich.progress",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "sklearn.manifold",
    "sklearn.neighbors",
    "datasets",
]
"""What takes seconds to import: a server does so once, and every run of the tests is forked from it."""

LIMIT = 600
"""Seconds after which a run of the tests counts as hung."""


@dataclass(frozen=True)
class Ran:
    """How a run of the tests ended: the test that failed, or None, and what else there is to report: of a test that
    failed, how, which shows a defect that breaks the code rather than what it computes."""

    failed: str | None
    report: str = ""


class _Failures:
    """A plugin of pytest: remembers which test failed first, and the first word of why."""

    first: str | None = None
    why: str = ""

    def pytest_runtest_logreport(self, report) -> None:  # type: ignore[no-untyped-def]
        if report.failed and self.first is None:
            crash = getattr(report.longrepr, "reprcrash", None)
            self.first, self.why = (
                report.nodeid,
                str(crash.message).partition(" ")[0].strip(":") if crash else report.when,
            )


def _test(copy: Path, module: str, tests: Sequence[str], output: Path, answer: Connection) -> None:
    """Run those tests on the copy, up to the first that fails: the body of a process of its own."""
    os.setsid()  # what the tests start ends with it
    gc.freeze()  # pytest collects garbage at its end; what torch left behind need not be looked through
    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    for name in [name for name in sys.modules if name.split(".")[0] in ("seqlra", "tests", "mutation")]:
        del sys.modules[name]
    os.chdir(copy)
    sys.path.insert(0, str(copy))
    os.environ["PYTHONPATH"] = str(copy)  # for what the tests start
    sys.dont_write_bytecode = False  # compiled once, in the copy that all others are copied from
    try:
        where = importlib.import_module(module).__file__
    except Exception as error:
        answer.send((None, f"{module} cannot be imported: {type(error).__name__}: {error}"))
        return
    if not Path(str(where)).is_relative_to(copy):
        answer.send((None, f"Python imports {module} from {where}, not from the copy at {copy}"))
        return
    import pytest

    failures = _Failures()
    status = pytest.main(
        ["-x", "-q", "--tb=short", "-p", "no:cacheprovider", "-p", "no:xdist", *tests], plugins=[failures]
    )
    if failures.first or status == 0:
        answer.send((failures.first, failures.why))
    else:
        answer.send((None, f"pytest ended with {int(status)}"))


def run_tests(copy: Path, module: str, tests: Sequence[str]) -> Ran:
    """Import the module and run the tests on that copy, in a fork of a process that has imported torch and pytest."""
    context = multiprocessing.get_context("forkserver")
    answer, send = context.Pipe(duplex=False)
    output = copy / f"output-{abs(hash(tuple(tests)))}.txt"
    process = context.Process(target=_test, args=(copy, module, tests, output, send), daemon=True)
    process.start()
    send.close()
    process.join(LIMIT)
    if process.is_alive():
        os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()
        return Ran(None, f"no end after {LIMIT} seconds")
    try:
        failed, report = answer.recv()
    except EOFError:
        failed, report = None, f"Python ended with {process.exitcode}"
    return Ran(failed, report if failed or not report else f"{report}\n{output.read_text().strip()[-600:]}".strip())


class Judge:
    """Plants defects in copies of one copy, and says which tests fail for them.

    Args:
        ground: the copy without a defect.
    """

    def __init__(self, ground: Path) -> None:
        self.ground = ground
        self._passes: dict[str, bool] = {}  # without a defect, by test

    def verdict(self, defect: Defect) -> tuple[bool, str]:
        """Whether a test fails for this defect alone, and which."""
        began = time.monotonic()
        with copy_of_the_package(self.ground) as copy:
            plant(defect, copy)
            ran = run_tests(copy, defect.module, [defect.tests])
        seconds = f"{time.monotonic() - began:.0f} s"
        if ran.failed is None:
            return False, ran.report or f"SURVIVED {defect.tests} ({seconds})"
        if not self.passes(ran.failed):
            return False, f"{ran.failed} fails without the defect, too"
        return True, f"{ran.failed} ({ran.report}, {seconds})"

    def passes(self, test: str) -> bool:
        """Whether this test passes without a defect."""
        if test not in self._passes:
            self._passes[test] = run_tests(self.ground, "seqlra", [test]) == Ran(None)
        return self._passes[test]


def prepare_server() -> None:
    """What all the runs inherit: one thread each, pictures without a screen, and the slow imports."""
    os.environ.update(OMP_NUM_THREADS="1", MPLBACKEND="agg")
    multiprocessing.get_context("forkserver").set_forkserver_preload(IMPORTED_ONCE)


def plant_all(chosen: Sequence[Defect], jobs: int) -> int:
    """Plant them one at a time, and print what caught each; how many were caught."""
    caught = 0
    prepare_server()
    with copy_of_the_package() as ground, ThreadPoolExecutor(max_workers=jobs) as pool:
        files = sorted({defect.tests.split("::")[0] for defect in chosen})
        run_tests(ground, "seqlra", ["--collect-only", *files])  # compiles what all copies are made of
        for defect, (found, by) in zip(chosen, pool.map(Judge(ground).verdict, chosen), strict=True):
            caught += found
            print(f"{defect.name:<42} -> {by}", flush=True)
    print(f"{caught} of {len(chosen)} defects were caught")
    return caught


def main(arguments: Sequence[str] | None = None) -> int:
    """Plant the chosen defects; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", help="only defects whose name or file has one of these")
    parser.add_argument("--check", action="store_true", help="plant nothing: report the defects that no longer fit")
    parser.add_argument("--defects", type=Path, default=DEFECTS, help="the folder with their files")
    parser.add_argument("--jobs", type=int, default=2, help="defects to test at a time (default 2)")
    options = parser.parse_args(arguments)
    words: list[str] = options.words
    defects = read_defects(options.defects)
    chosen = [d for d in defects if not words or any(word in d.name or word in d.file for word in words)]
    if not chosen:
        print(f"no defect is called {' or '.join(words)}")
        return 1
    reports = unfit(chosen)
    print(*reports, f"{len(chosen) - len(reports)} of {len(chosen)} defects fit the source", sep="\n", flush=True)
    if reports or options.check:
        return 1 if reports else 0
    return 0 if plant_all(chosen, options.jobs) == len(chosen) else 1
