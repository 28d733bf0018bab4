"""Writes the reports that a user names: whole or not at all, and never leaves one of an earlier run in their place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from coldwarm.core.errors import UsageError


def check_writable(path: Path) -> None:
    """Find out now whether a report can be written to `path`, and not after minutes of work; leave nothing there.

    Raises:
        UsageError: It cannot.
    """
    missing = [folder for folder in path.parents if not os.path.lexists(folder)]
    with _as_usage_error(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if _is_replaced(path):
                unfinished = _beside(path)
                unfinished.touch()
                unfinished.unlink()
            elif not os.access(path, os.W_OK) or path.is_dir():
                with path.open("ab"):
                    pass
        finally:
            for folder in missing:
                with suppress(OSError):
                    folder.rmdir()


def remove_stale(path: Path) -> None:
    """Remove the report of an earlier run from `path`; what is no file (a pipe, /dev/stdout) is left as it is.

    Raises:
        UsageError: It cannot be removed.
    """
    with _as_usage_error(path):
        if not path.is_file():
            return
        if _is_replaced(path):
            path.resolve().unlink()
        else:
            os.truncate(path, 0)


def write_report(path: Path, write: Callable[[Path], object]) -> None:
    """Have `write` write a report, and put it at `path` when it is whole; folders above are made.

    Args:
        path: Where the report goes. What is no file (a pipe, /dev/stdout) is written directly.
        write: Writes the report to the file that it is given.

    Raises:
        UsageError: The file cannot be written.
    """
    with _as_usage_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not _is_replaced(path):
            write(path)
            return
        unfinished = _beside(path)
        try:
            write(unfinished)
            if path.exists():
                shutil.copymode(path, unfinished)
            unfinished.replace(path.resolve())
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise


def _is_replaced(path: Path) -> bool:
    """Whether a report at `path` is a new file; not a device or a folder, nor a file in a folder that is read-only."""
    return not path.exists() or (path.is_file() and os.access(path.resolve().parent, os.W_OK))


def _beside(path: Path) -> Path:
    # Not the report's name with something added: that may be too long.
    return path.resolve().parent / f".coldwarm-report-{os.getpid()}"


@contextmanager
def _as_usage_error(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links
        raise UsageError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error
