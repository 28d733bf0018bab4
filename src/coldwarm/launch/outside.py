"""Compares the folders in which the user's own starts store caches before and after a start."""

# ruff: noqa: PTH118
# Strings instead of `Path`, for speed: every file of a cache is examined.

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from coldwarm.observe.outside import prefixes

_FILES_RECORDED = 100
_ENTRIES_COMPARED = 20_000


class Look:
    """The state of all files below some folders at one time: size and time of change.

    Args:
        folders: The folders to examine; they need not exist, and may contain one another.
        apart: Folders below them to leave out.
    """

    def __init__(self, folders: Iterable[Path], apart: Iterable[Path] = ()) -> None:
        self._apart = prefixes(apart)
        self._left = _ENTRIES_COMPARED
        self._states: dict[str, tuple[int, int]] = {}
        self.incomplete: list[str] = []
        """Folders with more files than are examined."""
        for folder in folders:
            self._walk(os.path.realpath(folder))

    def changed(self, later: Look) -> list[str]:
        """Return the files that are new, changed or missing at a `later` look, sorted; the first 100."""
        names = self._states.keys() | later._states.keys()
        if self.incomplete or later.incomplete:
            # The two may have examined different files.
            names = self._states.keys() & later._states.keys()
        return sorted(name for name in names if self._states.get(name) != later._states.get(name))[:_FILES_RECORDED]

    def _walk(self, top: str) -> None:
        for folder, folders, files in os.walk(top):
            folders.sort()
            for name in sorted(files):
                path = os.path.join(folder, name)
                if self._apart and path.startswith(self._apart):
                    continue
                if self._left == 0:
                    self.incomplete.append(top)
                    return
                self._left -= 1
                try:
                    status = os.lstat(path)
                except OSError:  # removed in the meantime
                    continue
                if stat.S_ISREG(status.st_mode):
                    self._states[path] = status.st_size, status.st_mtime_ns
