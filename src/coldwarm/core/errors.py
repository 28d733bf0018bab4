"""The errors that a user can mend: each names what is wrong, where, and the way out."""

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
    """A command line, or a machine, that cannot do what was asked."""


class CatalogError(ColdwarmError):
    """A catalog entry or a model config that cannot be used.

    Args:
        path: The file at fault.
        problem: What is wrong, in words.
        key: The key at fault, dotted (``expect.0.cold``), when one key is.
        line: Its line in the file, counted from 1, when known.
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
    """Raise `UsageError`, with file and reason, if a file that a user named cannot be read."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot read {error.filename or 'a file'}: {error.strerror or error}") from error


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``; nearest: a, b`` for the known words most like `word`, or an empty string where none is."""
    words = list(known)
    close = difflib.get_close_matches(word, words, n=3, cutoff=0.5)
    if not close:
        as_written = {name.lower(): name for name in words}
        close = [as_written[name] for name in difflib.get_close_matches(word.lower(), as_written, n=3, cutoff=0.5)]
    return f"; nearest: {', '.join(close)}" if close else ""
