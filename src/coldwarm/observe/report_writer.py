"""Writes the report of a process as things happen, so that a process that is killed leaves what it had seen."""

from __future__ import annotations

import atexit
import os
import threading
import time
from contextlib import suppress
from multiprocessing import util
from pathlib import Path

from coldwarm.core.run_folder import WRITE_NOW
from coldwarm.observe.fork_guard import ForkGuard
from coldwarm.observe.forked_process import runs_another_program
from coldwarm.observe.own_thread import start_thread
from coldwarm.observe.probes import Observer

_SECONDS_BETWEEN_LOOKS = 0.5
_PAUSE_PER_SECOND = 100.0
"""The least pause after a report, per second of CPU time that it took, unless the launcher asks: at most 1 % of a core.
While an engine compiles, something is seen all the time, and its report may have thousands of key components."""

_LONGEST_PAUSE = 10.0
_LONGEST_LAST_WAIT = 5.0
"""Seconds that a process which exits waits for a report that is being written."""


class ReportWriter:
    """Writes the report of this process, and of each one that is forked from it, from a thread of its own.

    A report is written when what was seen has changed, at most as often as is cheap; at a milestone; when the launcher
    asks for it; and when the process exits. No signal is handled for it, because that would change the program.

    Args:
        observer: The observer of the process.
        reports: The folder of the reports, in which the launcher asks for them.
    """

    def __init__(self, observer: Observer, reports: Path) -> None:
        self._observer = observer
        self._request = reports / WRITE_NOW
        self._written: tuple[int, int, int] | None = None
        self._pauses_until = 0.0
        self._guard = ForkGuard()
        self._has_ended = False
        self._pid = 0

    def begin(self) -> None:
        """Begin to write."""
        self._guard.install()
        os.register_at_fork(after_in_child=self._begin_in_this_process)
        # Processes of `multiprocessing` may end without running what is registered with `atexit`. This may be one.
        util.register_after_fork(self, ReportWriter._write_at_end)
        self._write_at_end()
        atexit.register(self._write_last)
        self._begin_in_this_process()

    def _begin_in_this_process(self) -> None:
        if self._pid == os.getpid() or runs_another_program():
            return
        self._pid = os.getpid()
        self._has_ended = False
        self._written = None
        self._pauses_until = 0.0
        with suppress(RuntimeError):  # Python is exiting
            start_thread(self._write_repeatedly, "coldwarm reports")

    def _write_at_end(self) -> None:
        util.Finalize(self, self._write_last, exitpriority=-1000)

    def _write_repeatedly(self) -> None:
        wait = threading.Event()
        while self._pid == os.getpid() and not self._has_ended:
            # The next look may succeed. The program must not see an error.
            with suppress(Exception), self._guard.lock:
                self._write_if_due()
            wait.wait(_SECONDS_BETWEEN_LOOKS)

    def _write_if_due(self) -> None:
        state = self._observer.seen(), self._observer.milestones(), self._asked()
        is_urgent = self._written is None or state[1:] != self._written[1:]
        if is_urgent or (state != self._written and time.monotonic() >= self._pauses_until):
            began = time.thread_time()
            self._write()
            self._written = state
            pause = (time.thread_time() - began) * _PAUSE_PER_SECOND
            self._pauses_until = time.monotonic() + min(pause, _LONGEST_PAUSE)

    def _asked(self) -> int:
        try:
            return self._request.stat().st_mtime_ns
        except OSError:
            return 0

    def _write(self) -> None:
        # The folder is removed after the start, which a process may outlive.
        with self._guard.lock, suppress(OSError):
            if not self._has_ended:
                self._observer.write()

    def _write_last(self) -> None:
        # A thread may hold the lock for ever: one that waits for an import that was going on in another thread when
        # this process was forked.
        if self._guard.lock.acquire(timeout=_LONGEST_LAST_WAIT):
            try:
                with suppress(Exception):  # the program must not see an error
                    self._write()
            finally:
                self._guard.lock.release()
        # Python ends threads that are in C++ code while it exits, which can abort the process.
        self._has_ended = True
