"""Measures what Python compiles from source while a start imports, because it finds no bytecode (.pyc) of a module."""

from __future__ import annotations

import os
import sys
import time
from importlib.machinery import SourceFileLoader
from importlib.util import cache_from_source
from pathlib import Path
from types import CodeType
from typing import Any

from pydantic import BaseModel, Field


class MissingBytecode(BaseModel):
    """Modules of which there was no bytecode."""

    modules: int
    """How many Python compiled from source."""
    seconds: float
    """The time that took, within the import."""
    modules_again: int
    """Of those, how many it compiles again at each start: what it compiled could not be kept."""
    roots: list[str] = Field(default_factory=list)
    """The folders of `sys.path` that they lie in."""
    switched_off: bool = False
    """Whether Python was told to keep no bytecode (PYTHONDONTWRITEBYTECODE, ``-B``); else it could not write it."""


class BytecodeWatch:
    """Listens to Python's importer, in this process and in those forked from it, from the time that it is made."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        """By source file."""
        compiled = SourceFileLoader.source_to_code

        # The importer's hook for it: called for a module without valid bytecode alone (importlib.abc.SourceLoader).
        def source_to_code(loader: SourceFileLoader, data: Any, path: str, **options: Any) -> CodeType:
            began = time.perf_counter()
            try:
                return compiled(loader, data, path, **options)
            finally:
                self._seconds[path] = time.perf_counter() - began

        SourceFileLoader.source_to_code = source_to_code  # type: ignore[method-assign, assignment]

    def missing(self) -> MissingBytecode:
        """What was compiled so far."""
        return MissingBytecode(
            modules=len(self._seconds),
            seconds=sum(self._seconds.values()),
            modules_again=sum(not _is_kept(source) for source in self._seconds),
            roots=sorted(set(map(_root, self._seconds))),
            switched_off=sys.dont_write_bytecode,
        )


def _is_kept(source: str) -> bool:
    return not sys.dont_write_bytecode and Path(cache_from_source(source)).exists()


def _root(source: str) -> str:
    """The folder that `source` was imported from: the longest of `sys.path` above it, or its own."""
    above = [entry for entry in sys.path if entry and source.startswith(entry.rstrip(os.sep) + os.sep)]
    return max(above, key=len, default=str(Path(source).parent))
