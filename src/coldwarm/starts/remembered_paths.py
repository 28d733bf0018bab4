"""What imported modules remember of the environment that they were imported in: paths below a folder.

Modules read the environment once, while they are imported (``tempfile.tempdir``, ``HF_HUB_CACHE``); a process that is
forked after that has its own folders in the environment alone, and must tell them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType


class RememberedPaths:
    """The variables of all modules imported now that hold a path below `folder`.

    Args:
        folder: Of the caches that are in the environment.
        stays: Names of folders; a path through one of these is not to be changed.
    """

    def __init__(self, folder: Path, stays: Iterable[str] = ()) -> None:
        self._folder = str(folder)
        self._stays = frozenset(stays)
        # By type and not by `isinstance`: asking some objects for their class has side effects.
        self.variables: list[tuple[ModuleType, str]] = [
            (module, name)
            for module in list(sys.modules.values())
            for name, value in list(getattr(module, "__dict__", {}).items())
            if (type(value) is str or issubclass(type(value), Path)) and self._is_meant(str(value))
        ]

    def move(self, folder: Path) -> None:
        """Have every one of them hold the same path below another folder."""
        for module, name in self.variables:
            value = vars(module)[name]
            vars(module)[name] = type(value)(str(folder) + str(value)[len(self._folder) :])

    def _is_meant(self, path: str) -> bool:
        is_below = path == self._folder or path.startswith(self._folder + os.sep)
        return is_below and self._stays.isdisjoint(Path(path).parts)
