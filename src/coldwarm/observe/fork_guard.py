"""Keeps the threads that coldwarm adds to a process from blocking the processes that are forked from it.

A forked process inherits all locks, but only the thread that forks. A lock that another thread holds at that moment,
such as one of pydantic or of an import, is never released in the new process. Whoever needs it there waits forever.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress

_LONGEST_WAIT = 2.0
"""Seconds that a fork waits for the thread. Longer than a report takes, but not forever: the thread may itself wait for
what the thread that forks holds, such as the import of a module."""


class ForkGuard:
    """Delays a fork until a thread of coldwarm's own holds no locks.

    The thread does its work within `lock`::

        guard = ForkGuard()
        guard.install()
        with guard.lock:
            ...
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        """Held by the thread while it works, and during a fork by the thread that forks."""

    def install(self) -> None:
        """Guard this process, and those that are forked from it. Before other functions are registered for a fork."""
        os.register_at_fork(
            before=self._before, after_in_parent=self._after_in_parent, after_in_child=self._after_in_child
        )

    def _before(self) -> None:
        self.lock.acquire(timeout=_LONGEST_WAIT)

    def _after_in_parent(self) -> None:
        with suppress(RuntimeError):  # it was not acquired in time
            self.lock.release()

    def _after_in_child(self) -> None:
        self.lock = threading.RLock()
