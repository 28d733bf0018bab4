"""Writes the report of a process as things happen, so that a process that is killed leaves what it had seen."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import util
from pathlib import Path

from coldwarm.core.run_folder import WRITE_NOW
from coldwarm.observe.probes import Observer

_SECONDS_BETWEEN_LOOKS = 0.5


class ReportWriter:
    """Writes the report of this process, and of each one that is forked from it, from a thread of its own.

    A report is written when what was seen has changed, when the launcher asks for it, and when the process exits. No
    signal is handled for it, because that would change the program.

    Args:
        observer: The observer of the process.
        reports: The folder of the reports, in which the launcher asks for them.
        seen: Returns a number that changes when something was seen; must be fast.
    """

    def __init__(self, observer: Observer, reports: Path, seen: Callable[[], int]) -> None:
        self._observer = observer
        self._request = reports / WRITE_NOW
        self._seen = seen
        self._written: tuple[int, int] | None = None
        self._writing = threading.Lock()
        self._has_ended = False
        self._pid = 0

    def begin(self) -> None:
        """Begin to write."""
        os.register_at_fork(after_in_child=self._begin_in_this_process)
        # Processes of `multiprocessing` may end without running what is registered with `atexit`.
        util.register_after_fork(self, ReportWriter._write_at_end)
        atexit.register(self._write_last)
        self._begin_in_this_process()

    def _begin_in_this_process(self) -> None:
        if self._pid == os.getpid():
            return
        self._pid = os.getpid()
        self._has_ended = False
        self._written = None
        self._writing = threading.Lock()
        with suppress(RuntimeError):  # Python is exiting
            threading.Thread(target=self._write_repeatedly, name="coldwarm reports", daemon=True).start()

    def _write_at_end(self) -> None:
        util.Finalize(self, self._write_last, exitpriority=-1000)

    def _write_repeatedly(self) -> None:
        wait = threading.Event()
        while self._pid == os.getpid() and not self._has_ended:
            with suppress(Exception):  # the next look may succeed; a program must not see it
                state = self._seen(), self._asked()
                if state != self._written:
                    self._write()
                    self._written = state
            wait.wait(_SECONDS_BETWEEN_LOOKS)

    def _asked(self) -> int:
        try:
            return self._request.stat().st_mtime_ns
        except OSError:
            return 0

    def _write(self) -> None:
        # The folder is removed after the start, which a process may outlive.
        with self._writing, suppress(OSError):
            if not self._has_ended:
                self._observer.write()

    def _write_last(self) -> None:
        self._write()
        # Python ends threads that are in C++ code while it exits, which can abort the process.
        self._has_ended = True
