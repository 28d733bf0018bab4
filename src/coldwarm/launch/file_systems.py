"""The user's cache folders: their file systems, their files, and whether what is written there outlives a container."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from coldwarm.core.cache_use import CacheUse

_LOST = {
    "overlay": "the container's own file system, which is lost with it",
    "tmpfs": "memory (tmpfs), which is lost at the end of the container or machine",
}


_MOST_FILES = 20_000
_MOST_SECONDS = 2.0
"""How long a folder is listed before a command is started: a network file system may take a millisecond for a file."""


@dataclass(frozen=True)
class Files:
    """The files in a folder, or the first of them if there are very many."""

    states: dict[str, tuple[int, int]]
    """The size and the time of change of each file, by path."""
    is_complete: bool


def files_of(folder: Path) -> Files:
    """Return the files below `folder`, which need not exist; at most 20,000, and as many as can be read in 2 s."""
    found: dict[str, tuple[int, int]] = {}
    deadline = time.monotonic() + _MOST_SECONDS
    for inner, _, names in os.walk(folder):
        for name in names:
            if len(found) == _MOST_FILES or time.monotonic() > deadline:
                return Files(found, is_complete=False)
            path = os.path.join(inner, name)  # noqa: PTH118
            with suppress(OSError):  # removed in the meantime
                status = os.lstat(path)
                found[path] = status.st_size, status.st_mtime_ns
    return Files(found, is_complete=True)


def cache_uses(before: Mapping[Path, Files], read: Iterable[str]) -> list[CacheUse]:
    """Return how a start used cache folders, without those that it found and left empty.

    Args:
        before: The files of each folder when the start began.
        read: Files that the start opened.
    """
    opened = {os.path.realpath(path) for path in read}
    uses = []
    for folder, found in before.items():
        written: int | None = None
        # Of two incomplete lists, each may have other files.
        if found.is_complete and (after := files_of(folder)).is_complete:
            written = sum(1 for path, state in after.states.items() if found.states.get(path) != state)
        if found.states or written != 0:
            uses.append(
                CacheUse(
                    folder=str(folder),
                    file_system=_file_system_of(folder.resolve()),
                    problem=problem_of(folder),
                    found=len(found.states),
                    found_all=found.is_complete,
                    read=_read(found, folder, opened),
                    written=written,
                )
            )
    return uses


def _read(found: Files, folder: Path, opened: set[str]) -> int:
    """Return how many of the files that were found were opened."""
    if found.is_complete:
        return sum(1 for path in found.states if os.path.realpath(path) in opened)
    # Most are not in the list, so that files that the start has written count, too.
    root = os.path.realpath(folder) + os.sep
    return sum(1 for path in opened if path.startswith(root))


def problem_of(folder: Path) -> str | None:
    """Return why a cache in `folder` is of no use to a later start; None if no reason is known."""
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"{folder} cannot be written by this user, so that nothing is saved there"
    kind = _file_system_of(existing.resolve())
    return f"{folder} is on {_LOST[kind]}" if kind in _LOST else None


def _file_system_of(folder: Path) -> str | None:
    """Return the type of the file system that has `folder`."""
    mounts = {Path(each.mountpoint): each.fstype for each in psutil.disk_partitions(all=True)}
    return next((mounts[each] for each in (folder, *folder.parents) if each in mounts), None)
