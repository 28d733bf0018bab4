"""Reports the current phase of a start to the launcher."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from coldwarm.core.variables import PROGRESS_VARIABLE

_RAISED_IN = "_coldwarm_phase"


class Progress:
    """The worker's end of the pipe to the launcher.

    Args:
        events_fd: The file descriptor of the pipe's write end; None: only this process knows its phases.
        phase: The phase that another process has announced.
    """

    def __init__(self, events_fd: int | None, phase: str | None = None) -> None:
        self._fd = events_fd
        self._pipe: Path | None = None
        self._outermost = phase
        self.phase = phase

    def share(self) -> None:
        """Let processes that this one starts announce phases, too (`shared`), by an environment variable."""
        os.environ[PROGRESS_VARIABLE] = f"{os.getpid()}:{self._fd}"

    @classmethod
    def shared(cls, phase: str) -> Progress | None:
        """Return the progress that the first process of the start shares; `phase` is what it has announced.

        None: it shares none, or the pipe cannot be opened (it has ended, or the system is not Linux).
        """
        pid, _, descriptor = os.environ.get(PROGRESS_VARIABLE, "").partition(":")
        # By way of /proc, because a spawned process inherits no descriptors.
        with suppress(OSError, ValueError):
            return cls(os.open(f"/proc/{int(pid)}/fd/{int(descriptor)}", os.O_WRONLY), phase)
        return None

    @classmethod
    def to_pipe(cls, pipe: Path | None, phase: str) -> Progress:
        """Return a progress that announces phases to the launcher by a named `pipe`; None: only this process knows."""
        progress = cls(None, phase)
        progress._pipe = pipe
        return progress

    @property
    def known_phase(self) -> str | None:
        """The current phase; None if only another process knows it, as in one that does not know when it is ready."""
        return None if self.phase == self._outermost else self.phase

    def enter(self, phase: str, *, announce: bool = True) -> None:
        """Report that `phase` begins. Has no effect if it is the current one.

        Args:
            phase: The phase.
            announce: Whether to report it to the launcher; if not, only this process knows.
        """
        if phase == self.phase:
            return
        self.phase = phase
        if announce:
            self.announce(phase)

    def announce(self, phase: str) -> None:
        """Report to the launcher that `phase` begins, without entering it in this process."""
        # With the time, since a busy launcher may read it much later; all processes share the monotonic clock.
        line = json.dumps({"phase": phase, "at": time.monotonic()}).encode() + b"\n"
        # A single write of a short line to a pipe is atomic. It fails if the launcher has ended, which is harmless.
        with suppress(OSError):
            if self._fd is not None:
                os.write(self._fd, line)
            elif self._pipe is not None:
                _write_to_pipe(self._pipe, line)

    @contextmanager
    def within(self, phase: str, *, announce: bool = True) -> Iterator[None]:
        """Enter `phase`, and at the end, even by an exception, the outer phase again (see `enter`)."""
        outer = self.phase
        self.enter(phase, announce=announce)
        try:
            yield
        except BaseException as error:
            if _phase_noted(error) is None:
                # Some exceptions have no attributes; the outer phase is then reported.
                with suppress(Exception):
                    setattr(error, _RAISED_IN, phase)
            raise
        finally:
            if outer is not None:
                self.enter(outer, announce=announce)

    def phase_of(self, error: BaseException) -> str | None:
        """Return the innermost phase in which `error`, or its cause, was raised; else the current phase."""
        return _phase_noted(error) or self.phase


def _write_to_pipe(pipe: Path, line: bytes) -> None:
    """Write to a named pipe, in a user's program.

    It is opened each time, because a program may close all descriptors that it does not know, and then open files of
    its own with the same numbers. It is opened for reading, too, so that a launcher that has ended causes no SIGPIPE.
    """
    descriptor = os.open(pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def _phase_noted(error: BaseException) -> str | None:
    """Return the phase that was noted in `error` or in its explicit causes."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        if isinstance(phase := getattr(each, _RAISED_IN, None), str):
            return phase
        each = each.__cause__
    return None
