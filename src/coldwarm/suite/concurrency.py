"""Counts, for each start, how many starts ran in parallel with it, which affects its timings."""

from __future__ import annotations

from itertools import count
from threading import Lock


class ConcurrencyCounter:
    """Counts running starts; thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._numbers = count()
        self._most: dict[int, int] = {}
        """For each running start: the most that ran in parallel since it began."""

    def begin(self) -> int:
        """Count a start that begins, and return its number for `end`."""
        with self._lock:
            number = next(self._numbers)
            self._most[number] = 0
            for running in self._most:
                self._most[running] = max(self._most[running], len(self._most))
            return number

    def end(self, number: int) -> int:
        """Count a start that ended, and return the most starts, including it, that ran in parallel since it began."""
        with self._lock:
            return self._most.pop(number)
