"""Writes the report files that the user asked for, atomically, and removes those of earlier runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from coldwarm.core.errors import UsageError


def check_writable(path: Path) -> None:
    """Check, before minutes of work, that a report can be written to `path`; create nothing.

    Raises:
        UsageError: It cannot be written.
    """
    missing = [folder for folder in path.parents if not os.path.lexists(folder)]
    with _as_usage_error(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if _is_replaced(path):
                unfinished = _temporary_path(path)
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
    """Remove the report of an earlier run from `path`, unless `path` is not a regular file (a pipe, /dev/stdout).

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
    """Write a report to `path` atomically; create missing parent folders.

    Args:
        path: Where the report goes. If it is not a regular file (a pipe, /dev/stdout), it is written directly.
        write: Writes the report to the path that it is called with.

    Raises:
        UsageError: The file cannot be written.
    """
    with _as_usage_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not _is_replaced(path):
            write(path)
            return
        unfinished = _temporary_path(path)
        try:
            write(unfinished)
            if path.exists():
                shutil.copymode(path, unfinished)
            unfinished.replace(path.resolve())
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise


def _is_replaced(path: Path) -> bool:
    """Return False if `path` is a device or a folder, or is in a read-only folder; a report then cannot replace it."""
    return not path.exists() or (path.is_file() and os.access(path.resolve().parent, os.W_OK))


def _temporary_path(path: Path) -> Path:
    # Not derived from the report's name, which could become too long.
    return path.resolve().parent / f".coldwarm-report-{os.getpid()}"


@contextmanager
def _as_usage_error(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # RuntimeError: a symbolic link loop
        raise UsageError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error
