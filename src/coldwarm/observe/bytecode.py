"""Measures the time in which Python compiles modules from source because they have no cached bytecode (.pyc)."""

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
from typing import TYPE_CHECKING, Any

from coldwarm.observe.import_root import import_root

if TYPE_CHECKING:
    from coldwarm.core.record import ProcessReport
    from coldwarm.core.seen_in_process import MissingBytecode

# File systems store times with a lower precision than that of the clock.
_CLOCK_SLACK_SECONDS = 2.0
# A program that is observed would not import these.
_OWN = str(Path(__file__).parents[1]) + os.sep


class BytecodeProbe:
    """Reports the modules that Python compiles from source in this process, or in one forked from it."""

    name = "bytecode"

    def __init__(self) -> None:
        self._began: float | None = None
        self._seconds: dict[str, float] = {}
        """The time that each source file took to compile."""

    def install(self) -> None:
        """Hook into Python's importer."""
        if self._began is not None:
            return
        self._began = time.time()
        compiled = SourceFileLoader.source_to_code

        # The importer calls this only for modules without valid bytecode (importlib.abc.SourceLoader).
        def source_to_code(loader: SourceFileLoader, data: Any, path: Any, **options: Any) -> CodeType:
            began = time.perf_counter()
            try:
                return compiled(loader, data, path, **options)
            finally:
                self._seconds[os.fspath(path)] = time.perf_counter() - began

        SourceFileLoader.source_to_code = source_to_code  # type: ignore[method-assign, assignment]

    def report(self, report: ProcessReport) -> None:
        """Report the modules compiled so far."""
        report.missing_bytecode = self.missing()

    def missing(self) -> MissingBytecode:
        """Return the modules compiled so far."""
        # Here, because this probe is installed in processes that may never report.
        from coldwarm.core.seen_in_process import MissingBytecode

        # A copy: another thread may be importing.
        seconds = {source: taken for source, taken in dict(self._seconds).items() if not source.startswith(_OWN)}
        uncached = [source for source in seconds if not self._is_cached(source)]
        return MissingBytecode(
            modules=len(seconds),
            seconds=sum(seconds.values()),
            modules_again=len(uncached),
            seconds_again=sum(seconds[source] for source in uncached),
            roots=_outermost(import_root(source) or str(Path(source).parent) for source in seconds),
            switched_off=sys.dont_write_bytecode,
            python=sys.executable,
        )

    def _is_cached(self, source: str) -> bool:
        # Bytecode that is older than this probe was found, but belongs to a different version of the source.
        with suppress(OSError):
            return Path(cache_from_source(source)).stat().st_mtime >= (self._began or 0.0) - _CLOCK_SLACK_SECONDS
        return False


def _outermost(folders: Iterable[str]) -> list[str]:
    """Return the folders that no other of them contains, sorted. (setuptools adds a nested one to `sys.path`.)"""
    found: list[str] = []
    for folder in sorted(set(folders)):
        if not any(folder.startswith(outer.rstrip(os.sep) + os.sep) for outer in found):
            found.append(folder)
    return found
