"""Starts the threads that coldwarm adds to a process."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

# A fault in a thread must end the process as without coldwarm.
_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}


def start_thread(work: Callable[[], None], name: str) -> threading.Thread:
    """Start a daemon thread that takes no signals.

    A program may block a signal in all of its threads, to wait for it with `sigwait`. The kernel would deliver it to
    another thread that does not block it, and end the process.

    Raises:
        RuntimeError: Python is exiting, or no thread can be started.
    """
    thread = threading.Thread(target=work, name=name, daemon=True)
    # A thread inherits the mask of the one that starts it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - _FAULTS)
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return thread
