"""The errors that a user can fix."""

from __future__ import annotations

from collections.abc import Iterable


class SeqlraError(Exception):
    """Something the user gave cannot be used; the message names it, and what is accepted.

    The command line prints the message on one line and exits with a status other than 0.
    """


class Diverged(SeqlraError):
    """Training met NaN or infinity; the message names the step."""


class SeqlraWarning(UserWarning):
    """Something that works, but not as one may think. The command line prints it on one line and goes on."""


def first_line(error: Exception) -> str:
    """The first line of another library's error, cut to fit one of our lines."""
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


def unknown(kind: str, given: object, known: Iterable[str]) -> SeqlraError:
    """The error for an unknown name, with the known ones."""
    return SeqlraError(f"unknown {kind} {given!r:.80}; known: {', '.join(known)}")
