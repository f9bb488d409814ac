"""Code of the user's own, by names such as ``my_rules:MyRule``: rules, units, losses, optimizers.

To import a module is to run it, so it matters who named it. `import_module` is for a name that the person typed; it
looks into the working directory, too, last of all. `find` is for a name that stood in a file, which may be a
stranger's: it finds what is imported already, or installed, and looks nowhere else.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from seqlra.errors import SeqlraError, first_line


def is_own(name: object) -> bool:
    """Whether a name is that of something of the user's own."""
    return isinstance(name, str) and ":" in name


def find(name: str, kind: type, words: str) -> Any:
    """What ``module:attribute`` names.

    Args:
        name: the name.
        kind: a class; what is named is an object of it, or a class that extends it.
        words: what that is, for messages: "a rule".

    Raises:
        SeqlraError: there is no such thing, or its module is neither imported nor installed.
    """
    demand_known(name)
    module, _, attribute = name.partition(":")
    found = getattr(sys.modules[module], attribute, None)
    if found is None:
        raise SeqlraError(f"there is no {name!r}: the module {module} has no attribute {attribute!r}")
    if not (isinstance(found, kind) or (isinstance(found, type) and issubclass(found, kind))):
        raise SeqlraError(f"{name!r} is not {words}: it must be, or extend, {kind.__module__}.{kind.__name__}")
    return found


def demand_known(name: object) -> None:
    """Raise `SeqlraError` unless a name is none of the user's own, or its module is imported or installed."""
    if not isinstance(name, str) or ":" not in name:
        return
    module, _, attribute = name.partition(":")
    if not attribute.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise SeqlraError(f"cannot read {name!r}; accepted: MODULE:NAME for something of your own")
    if module not in sys.modules:
        _import_installed(module, name)


def import_named(*names: object) -> None:
    """Import the modules of those names that are of the user's own, for `find`; the person named them."""
    for name in names:
        if isinstance(name, str) and ":" in name:
            module = name.partition(":")[0]
            if all(part.isidentifier() for part in module.split(".")):  # others are refused by `find`
                import_module(module)


def import_module(module: str) -> None:
    """Import a module that the person named, from the working directory if it is found nowhere else.

    Raises:
        SeqlraError: there is none, or it fails; the message names the file and the line.
    """
    if not all(part.isidentifier() for part in module.split(".")):
        raise SeqlraError(f"{module!r} cannot be a module; accepted: the name of one of your own, such as my_rules")
    if module not in sys.modules:
        with _searching([*sys.path, str(Path.cwd())]):
            _import(module)


def place(error: BaseException) -> str | None:
    """The last line of the user's own code that an error came through, as ``FILE, line N``; None: it came through
    none."""
    if isinstance(error, SyntaxError) and error.filename and _is_own_file(error.filename):
        return f"{error.filename}, line {error.lineno}"
    return _last_own(error.__traceback__)


def defined_at(method: Any) -> str:
    """Where a method is written, as ``FILE, line N``; empty where that is unknown."""
    code = getattr(method, "__code__", None)
    return f"{code.co_filename}, line {code.co_firstlineno}" if code is not None else ""


def report(error: BaseException) -> SeqlraError | None:
    """The error of the user's own code in one line; None where that took no part in it."""
    where = place(error)
    if where is None:
        return None
    text = f"exit({error.code})" if isinstance(error, SystemExit) else first_line(error)  # type: ignore[arg-type]
    kind = "" if isinstance(error, (SystemExit, SeqlraError)) else f"{type(error).__name__}: "
    return SeqlraError(f"{where}: {kind}{text}")


def _import_installed(module: str, name: str) -> None:
    """Import a module that a file named, if it is installed: if it is on the path, and not for the working directory's
    sake. The standard library has no such things, but modules that do something when imported."""
    here = Path.cwd()
    top = module.partition(".")[0]
    trusted = [entry for entry in sys.path if entry and Path(entry).resolve() != here]
    with _searching(trusted):
        known = top not in sys.stdlib_module_names and "__main__" not in module and _is_there(top)
        if known:
            _import(module)
    if not known:
        raise SeqlraError(
            f"{name!r} is code of your own, and only a file names it: to run it, name its module yourself "
            f"(--import {module}; in Python: import {module})"
        )


def _is_there(top: str) -> bool:
    return importlib.util.find_spec(top) is not None


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may even exit
        shown = report(error) or SeqlraError(first_line(error))  # type: ignore[arg-type]
        raise SeqlraError(f"cannot import {module}: {shown}") from error


@contextmanager
def _searching(path: list[str]) -> Iterator[None]:
    """Import along this path only."""
    before, sys.path = sys.path, path
    importlib.invalidate_caches()  # files may be younger than the last look
    try:
        yield
    finally:
        sys.path = before


def _last_own(trace: TracebackType | None) -> str | None:
    frames = [frame for frame in traceback.extract_tb(trace) if _is_own_file(frame.filename)]
    return f"{frames[-1].filename}, line {frames[-1].lineno}, in {frames[-1].name}" if frames else None


def _is_own_file(name: str) -> bool:
    """Whether a file is neither of this package, nor installed, nor of Python itself."""
    if name.startswith("<"):
        return False
    path = Path(name).resolve()
    parts = path.parts
    if "site-packages" in parts or "dist-packages" in parts or path.is_relative_to(Path(__file__).resolve().parent):
        return False
    stdlib, script = Path(traceback.__file__).resolve().parent, Path(sys.argv[0]).resolve()
    return not path.is_relative_to(stdlib) and path != script
