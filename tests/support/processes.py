"""Checks for the state of processes."""

from __future__ import annotations

import time

import psutil


def is_gone(pid: int) -> bool:
    """Return whether no process with this id is alive; a zombie is not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def goes(pid: int, seconds: float = 5) -> bool:
    """Return whether the process ends within these seconds."""
    until = time.monotonic() + seconds
    while not is_gone(pid) and time.monotonic() < until:
        time.sleep(0.01)
    return is_gone(pid)
