"""A child process that an interrupt does not leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def child(
    line: Sequence[str], *, orderly: bool, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Start a process whose stderr can be read. If the block raises, end it and wait for it.

    Args:
        line: The program and its arguments.
        orderly: Whether the process ends its own children after a SIGTERM. Otherwise, it is killed with them.
        environment: All of its variables; None: those of this process.
    """
    # An interrupt while the process is being created would leave it: it is delivered once there is something to end.
    with _deferred_interrupts() as deliver:
        process = subprocess.Popen(
            line,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # A Ctrl-C is for this process, which ends the child.
            start_new_session=True,
        )
        try:
            deliver()
            yield process
        except BaseException:
            assert process.stderr is not None
            process.stderr.close()
            with suppress(ProcessLookupError):
                if orderly:
                    process.send_signal(signal.SIGTERM)
                else:
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise


@contextmanager
def _deferred_interrupts() -> Iterator[Callable[[], None]]:
    """Hold back interrupts until the yielded function is called, which delivers them.

    Blocking the signals would not be enough: a mask is that of one thread, and the kernel gives a signal to any thread
    that does not block it. Python runs handlers in the main thread only, so other threads are not interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    arrived: list[int] = []
    handlers = {number: signal.getsignal(number) for number in _INTERRUPTS}
    # None: not a handler of Python's, which could not be restored.
    handlers = {number: each for number, each in handlers.items() if each not in (signal.SIG_IGN, None)}

    def deliver() -> None:
        if not handlers:
            return
        while handlers:
            signal.signal(*handlers.popitem())
        if arrived:
            signal.raise_signal(arrived[0])

    try:
        for number in list(handlers):
            signal.signal(number, lambda number, frame: arrived.append(number))
        yield deliver
    finally:
        deliver()
