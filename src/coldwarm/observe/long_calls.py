"""Samples the line at which the main thread is, to find the calls in which a process stays for long.

The CUDA driver compiles PTX within the call of an operator, without a hook and without a record of when it began. The
operator that was being called then is known from these samples.
"""

from __future__ import annotations

import linecache
import os
import re
import sys
import threading
import time
from dataclasses import dataclass, field
from types import FrameType

from coldwarm.core.record import ProcessReport
from coldwarm.core.seen_in_process import MOST_LONG_CALLS, LongCall
from coldwarm.observe.fork_guard import ForkGuard
from coldwarm.observe.kernels.recorder import short_path
from coldwarm.observe.own_thread import start_thread

INTERVAL = 0.05
"""Seconds between two samples. A sample takes 5 to 10 µs."""
SHORTEST = 0.5
"""Calls that take less, in seconds, are not reported."""

_PLUMBING = os.path.join("torch", "_ops.py")  # noqa: PTH118
_OPERATOR = re.compile(r"\btorch\.ops\.(\w+\.\w+)")


class LongCallProbe:
    """Reports calls of the main thread that take at least `SHORTEST`.

    A call that holds Python's global lock stops the sampling too. If the thread is in it before and after, it counts as
    one call; operators of PyTorch release the lock.
    """

    name = "long calls"

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._guard = ForkGuard()
        self._clear()

    def _clear(self) -> None:
        self._calls: list[LongCall] = []
        self._stay: _Stay | None = None

    def install(self) -> None:
        """Start the thread that samples, also in processes that are forked from this one."""
        if self._thread is None:
            self._guard.install()
            os.register_at_fork(after_in_child=self._start)
            self._start()

    def _start(self) -> None:
        self._clear()
        self._thread = start_thread(self._sample, "coldwarm long calls")

    def report(self, report: ProcessReport) -> None:
        """Report the calls so far, including the one that the thread is in."""
        report.long_calls = list(self._calls)
        if self._stay is not None and (call := self._stay.call()):
            report.long_calls.append(call)

    def _sample(self) -> None:
        main = threading.main_thread().ident or 0
        while self._take_sample(main):
            time.sleep(INTERVAL)

    def _take_sample(self, thread: int) -> bool:
        """Note where a thread is; return whether it is still running."""
        with self._guard.lock:
            frame = sys._current_frames().get(thread)
            if frame is None:
                return False
            now = time.time()
            if self._stay is None or not self._stay.is_at(frame):
                if self._stay is not None and (call := self._stay.call()) and len(self._calls) < MOST_LONG_CALLS:
                    self._calls.append(call)
                self._stay = _Stay.of(frame, now)
            self._stay.until = now
            # The frame, which keeps the local variables of its function alive, is released here.
            return True


@dataclass
class _Stay:
    """The time for which the thread has been at one instruction of one call."""

    frame: int
    instruction: int
    file: str
    line: int
    function: str
    begin: float
    until: float = field(default=0.0)

    @classmethod
    def of(cls, frame: FrameType, now: float) -> _Stay:
        # PyTorch calls an operator from a line of its own; what matters is the line that calls that.
        caller = frame
        while caller.f_code.co_filename.endswith(_PLUMBING) and caller.f_back is not None:
            caller = caller.f_back
        code = caller.f_code
        return cls(id(frame), frame.f_lasti, code.co_filename, caller.f_lineno or 0, code.co_qualname, now)

    def is_at(self, frame: FrameType) -> bool:
        return id(frame) == self.frame and frame.f_lasti == self.instruction

    def call(self) -> LongCall | None:
        """Return the call; None: it is short."""
        if self.until - self.begin < SHORTEST:
            return None
        operator = _OPERATOR.search(linecache.getline(self.file, self.line))
        return LongCall(
            begin=self.begin,
            seconds=self.until - self.begin,
            where=f"{short_path(self.file)}:{self.line}",
            function=self.function,
            operator=operator[1] if operator else None,
        )
