"""The caches of one case: every folder that an engine or a compiler keeps anything in between two starts."""

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

CACHE_VARIABLES = frozenset(ALWAYS)
"""The variables that coldwarm sets for a start, whatever the user's environment says."""

_RENDEZVOUS = tuple(prefix for vocabulary in vocabularies() for prefix in vocabulary.caches.rendezvous)


class Caches:
    """The caches of one case, below one folder that belongs to nobody else."""

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
        """The variables that send every program to these caches, also where `user` names a cache by another one."""
        return replacements(self.root, user)

    def manifest(self) -> Manifest:
        """All files as they are now."""
        return {
            _recordable(file.relative_to(self.root).as_posix()): FileState(status.st_size, self._digest(file, status))
            for file, status in self._files()
        }

    def _digest(self, file: Path, status: os.stat_result) -> str:
        # Precompiled headers, hundreds of MiB, that the compiler checks by itself.
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
    """A path as text that JSON can hold, also where it is no UTF-8."""
    return path.encode("utf-8", "backslashreplace").decode()


@contextmanager
def temporary_root() -> Iterator[Path]:
    """A new folder below the user's temporary folder, removed with all it holds at the end."""
    with tempfile.TemporaryDirectory(prefix="coldwarm-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
