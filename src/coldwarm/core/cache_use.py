"""How one start used one of the user's caches, as plain data."""

from __future__ import annotations

from pydantic import BaseModel


class CacheUse(BaseModel):
    """One cache folder in one start."""

    folder: str
    file_system: str | None
    """The type of its file system (ext4, overlay, nfs4); None: not known."""
    problem: str | None
    """Why it is of no use to a later start; None: no reason is known."""
    found: int
    """Files in it when the start began."""
    found_all: bool = True
    """Whether these are all files; False: only the first ones were counted, because there are very many."""
    read: int
    """Of these, those that Python code of the start opened; at most 100 of each process are known."""
    written: int | None
    """Files that are new or changed since then; None: there are too many files to compare them."""
