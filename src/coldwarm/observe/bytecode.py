"""Measures what Python compiles from source during a start, because it finds no bytecode (.pyc) of a module."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from importlib.util import cache_from_source
from pathlib import Path
from types import CodeType
from typing import Any

from coldwarm.core.record import ProcessReport
from coldwarm.core.seen_in_process import MissingBytecode

# File systems keep times less precisely than clocks do.
_CLOCK_SLACK_SECONDS = 2.0


class BytecodeProbe:
    """Listens to Python's importer, in this process and in those forked from it, from its installation."""

    name = "bytecode"

    def __init__(self) -> None:
        self._began: float | None = None
        self._seconds: dict[str, float] = {}
        """By source file."""

    def install(self) -> None:
        """Listen from now on."""
        if self._began is not None:
            return
        self._began = time.time()
        compiled = SourceFileLoader.source_to_code

        # The importer's hook for it: called for a module without valid bytecode alone (importlib.abc.SourceLoader).
        def source_to_code(loader: SourceFileLoader, data: Any, path: Any, **options: Any) -> CodeType:
            began = time.perf_counter()
            try:
                return compiled(loader, data, path, **options)
            finally:
                self._seconds[os.fspath(path)] = time.perf_counter() - began

        SourceFileLoader.source_to_code = source_to_code  # type: ignore[method-assign, assignment]

    def report(self, report: ProcessReport) -> None:
        """Report what was compiled so far."""
        report.missing_bytecode = self.missing()

    def missing(self) -> MissingBytecode:
        """What was compiled so far."""
        # A copy: another thread may be importing.
        seconds = dict(self._seconds)
        again = [source for source in seconds if not self._is_kept(source)]
        return MissingBytecode(
            modules=len(seconds),
            seconds=sum(seconds.values()),
            modules_again=len(again),
            seconds_again=sum(seconds[source] for source in again),
            roots=_outermost(map(_root, seconds)),
            switched_off=sys.dont_write_bytecode,
            python=sys.executable,
        )

    def _is_kept(self, source: str) -> bool:
        # Older bytecode is of another source: it was found, did not fit, and is still there.
        with suppress(OSError):
            return Path(cache_from_source(source)).stat().st_mtime >= (self._began or 0.0) - _CLOCK_SLACK_SECONDS
        return False


def _root(source: str) -> str:
    """The folder that `source` was imported from: the longest of `sys.path` above it, or its own."""
    above = [entry for entry in sys.path if entry and source.startswith(entry.rstrip(os.sep) + os.sep)]
    return max(above, key=len, default=str(Path(source).parent))


def _outermost(folders: Iterable[str]) -> list[str]:
    """The folders that lie in no other, sorted; what they hold is in the outer one (setuptools has a vendored one)."""
    found: list[str] = []
    for folder in sorted(set(folders)):
        if not any(folder.startswith(outer.rstrip(os.sep) + os.sep) for outer in found):
            found.append(folder)
    return found
