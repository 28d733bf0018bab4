"""Files in caches, and how they changed between two starts."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple

from coldwarm.core.deferred_model import DeferredModel


class CacheContent(DeferredModel):
    """The content of one cache folder."""

    files: int
    bytes: int


class FileState(NamedTuple):
    """A file of a cache."""

    bytes: int
    digest: str
    """Digest of the content; empty in the folder of temporary files, where only sizes are compared."""


class FileChange(DeferredModel):
    """A file that was changed."""

    path: str
    """Relative to the caches' folder."""
    how: Literal["missing", "truncated", "altered", "grown", "new"]
    """``altered``: different content of the same size."""
    bytes_due: int
    bytes_found: int

    def describe(self) -> str:
        """Describe the change."""
        match self.how:
            case "missing":
                return f"is missing (it had {self.bytes_due} bytes)"
            case "truncated":
                return f"is truncated: {self.bytes_found} of {self.bytes_due} bytes"
            case "altered":
                return f"was altered (still {self.bytes_found} bytes)"
            case "grown":
                return f"has grown from {self.bytes_due} to {self.bytes_found} bytes"
        return f"is new ({self.bytes_found} bytes)"


Manifest = dict[str, FileState]
"""The files of all caches, by path relative to their root."""


def changes(due: Manifest, found: Manifest) -> list[FileChange]:
    """Return how `found` differs from `due`, ordered by path; modification times are ignored."""
    changed = []
    for path in sorted(due.keys() | found.keys()):
        before, after = due.get(path), found.get(path)
        if before == after:
            continue
        size_due, size_found = before.bytes if before else 0, after.bytes if after else 0
        how: Literal["missing", "truncated", "altered", "grown", "new"]
        if after is None:
            how = "missing"
        elif before is None:
            how = "new"
        elif size_found == size_due:
            how = "altered"
        else:
            how = "truncated" if size_found < size_due else "grown"
        changed.append(FileChange(path=path, how=how, bytes_due=size_due, bytes_found=size_found))
    return changed


def rewritten_files(cold: Iterable[str], warm: Iterable[str], pattern: str) -> list[str]:
    """Return the files of this pattern that the cold start wrote and the warm start rewrote, in the warm start's order.

    Args:
        cold: Paths of the files that the cold start wrote, relative to the caches' folder.
        warm: Those of the warm start.
        pattern: As in `fnmatch`; ``*`` also matches slashes.
    """
    before = set(cold)
    return [path for path in warm if path in before and fnmatchcase(path, pattern)]


def content(manifest: Manifest) -> dict[str, CacheContent]:
    """Return the number and size of files in each non-empty cache, by folder."""
    found: dict[str, CacheContent] = {}
    for path, state in manifest.items():
        known = found.setdefault(path.split("/", 1)[0], CacheContent(files=0, bytes=0))
        known.files += 1
        known.bytes += state.bytes
    return found
