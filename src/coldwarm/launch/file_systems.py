"""The user's cache folders: their file systems, their files, and whether what is written there outlives a container."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from coldwarm.core.cache_use import CacheUse

_LOST = {
    "overlay": "the container's own file system, which is lost with it",
    "tmpfs": "memory (tmpfs), which is lost at the end of the container or machine",
}


Files = dict[str, tuple[int, int]]
"""The size and the time of change of each file in a folder, by path."""
_MOST_FILES = 20_000


def files_of(folder: Path) -> Files:
    """Return the files below `folder`, which need not exist; at most 20,000."""
    found: Files = {}
    for inner, _, names in os.walk(folder):
        for name in names:
            if len(found) == _MOST_FILES:
                return found
            path = os.path.join(inner, name)  # noqa: PTH118
            with suppress(OSError):  # removed in the meantime
                status = os.lstat(path)
                found[path] = status.st_size, status.st_mtime_ns
    return found


def cache_uses(before: Mapping[Path, Files], read: Iterable[str]) -> list[CacheUse]:
    """Return how a start used cache folders, without those that it found and left empty.

    Args:
        before: The files of each folder when the start began.
        read: Files that the start opened.
    """
    opened = {os.path.realpath(path) for path in read}
    uses = []
    for folder, found in before.items():
        after = files_of(folder)
        written = sum(1 for path, state in after.items() if found.get(path) != state)
        if found or written:
            uses.append(
                CacheUse(
                    folder=str(folder),
                    file_system=_file_system_of(folder.resolve()),
                    problem=problem_of(folder),
                    found=len(found),
                    read=sum(1 for path in found if os.path.realpath(path) in opened),
                    written=written,
                )
            )
    return uses


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
