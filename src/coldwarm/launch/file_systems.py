"""The file systems of cache folders, and whether what is written there outlives a container."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

_LOST = {
    "overlay": "the container's own file system, which is lost with it",
    "tmpfs": "memory (tmpfs), which is lost at the end of the container or machine",
}


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
