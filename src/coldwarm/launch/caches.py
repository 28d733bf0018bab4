"""The caches of one case: every folder in which an engine or a compiler stores anything between two starts."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from coldwarm.core.cache_files import FileState, Manifest
from coldwarm.engines.base import vocabularies
from coldwarm.launch.cache_variables import ALWAYS, replacements
from coldwarm.launch.leftovers import PREFIX, mark_as_own, remove_leftovers

CACHE_VARIABLES = frozenset(ALWAYS)
"""The variables that coldwarm sets for every start, whatever the user's environment contains."""

_RENDEZVOUS = tuple(prefix for vocabulary in vocabularies() for prefix in vocabulary.caches.rendezvous)


class Caches:
    """The caches of one case, below one folder that nothing else uses."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def fresh(cls, root: Path) -> Caches:
        """Create empty caches at `root`, which must not exist."""
        root.mkdir(parents=True)
        caches = cls(root)
        for folder in ALWAYS.values():
            (root / folder).mkdir()
        return caches

    def environment(self, user: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
        """Return the variables that make every program use these caches, including those that `user` sets."""
        return replacements(self.root, user)

    def manifest(self) -> Manifest:
        """Return the current state of all files."""
        return {
            _recordable(file.relative_to(self.root).as_posix()): FileState(status.st_size, self._digest(file, status))
            for file, status in self._files()
        }

    def _digest(self, file: Path, status: os.stat_result) -> str:
        # The temporary folder has precompiled headers, hundreds of MiB, which the compiler itself verifies.
        if file.is_relative_to(self.root / ALWAYS["TMPDIR"]) or not stat.S_ISREG(status.st_mode):
            return ""
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "blake2b").hexdigest()[:32]

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for folder, _, names in os.walk(self.root):
            for name in names:
                file = Path(folder, name)
                status = file.lstat()
                if not stat.S_ISSOCK(status.st_mode) and not name.startswith(_RENDEZVOUS):
                    yield file, status


def _recordable(path: str) -> str:
    """Return a path as text for JSON, even if it is not UTF-8."""
    return path.encode("utf-8", "backslashreplace").decode()


@contextmanager
def temporary_root(*, has_users_command: bool = False) -> Iterator[Path]:
    """Yield a new folder below the user's temporary folder; remove it with its contents at the end.

    First, what a killed coldwarm left there is removed, with the processes of its starts.

    Args:
        has_users_command: Whether the user's own command runs with it, which must go on if coldwarm is killed.
    """
    remove_leftovers()
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as folder:
        mark_as_own(Path(folder), has_users_command=has_users_command)
        yield Path(folder)
