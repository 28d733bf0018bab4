"""Errors that the user can fix. Each message gives the problem, its location and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class ColdwarmError(Exception):
    """An error that the user can fix; the command line prints it as one message and exits with 2.

    Any other exception is an internal error, with exit code 4 (`coldwarm.core.exit_codes`).
    """


class UsageError(ColdwarmError):
    """The command line or the machine cannot do what was requested."""


class CatalogError(ColdwarmError):
    """A catalog entry or a model config that cannot be used.

    Args:
        path: The file at fault.
        problem: A description of the problem.
        key: The dotted key at fault (``expect.0.cold``), if there is one.
        line: Its line in the file, counted from 1, if known.
    """

    def __init__(self, path: Path, problem: str, *, key: str | None = None, line: int | None = None) -> None:
        self.path = path
        self.problem = problem
        self.key = key
        self.line = line
        where = f"{path}:{line}" if line is not None else str(path)
        super().__init__(f"{where}: {f'{key}: ' if key else ''}{problem}")


@contextmanager
def unreadable_as_usage_error() -> Iterator[None]:
    """Raise `UsageError`, with file and reason, if a file cannot be read."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot read {error.filename or 'a file'}: {error.strerror or error}") from error


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``; nearest: a, b`` with the known words most similar to `word`, or an empty string if there are none."""
    words = list(known)
    close = difflib.get_close_matches(word, words, n=3, cutoff=0.5)
    if not close:
        as_written = {name.lower(): name for name in words}
        close = [as_written[name] for name in difflib.get_close_matches(word.lower(), as_written, n=3, cutoff=0.5)]
    return f"; nearest: {', '.join(close)}" if close else ""
