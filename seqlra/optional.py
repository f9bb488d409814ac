"""Libraries that only some uses need, and the extra of the package that brings each."""

from __future__ import annotations

import warnings
from importlib.util import find_spec

from seqlra.errors import SeqlraError, SeqlraWarning


class MissingLibrary(SeqlraError, ImportError):
    """A library that this use needs is not installed; the message names the extra that brings it."""


def is_installed(library: str) -> bool:
    """Whether a library can be imported; it is not imported, which may take a second."""
    return find_spec(library) is not None


def require(extra: str, use: str, *libraries: str) -> None:
    """Raise `MissingLibrary` unless all of these libraries are installed.

    Args:
        extra: the extra of seqlra that brings them.
        use: what needs them, as the subject of a sentence in the singular.
        libraries: the names by which they are imported.
    """
    if missing := [library for library in libraries if not is_installed(library)]:
        raise MissingLibrary(f"{use} needs {' and '.join(missing)}: {installing(extra)}")


def can_draw() -> bool:
    """Whether pictures can be drawn; where matplotlib is missing, a warning says that there are none."""
    if is_installed("matplotlib"):
        return True
    message = f"no pictures are drawn, because matplotlib is not installed: {installing('plots')}"
    warnings.warn(message, SeqlraWarning, stacklevel=1)  # of this line: once for all the pictures of a command
    return False


def installing(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install 'seqlra[{extra}]'"
