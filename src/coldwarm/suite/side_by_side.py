"""How many starts ran at one time, for each of them: a start's times mean little without it."""

from __future__ import annotations

from itertools import count
from threading import Lock


class SideBySide:
    """Counts the starts that run now; may be used from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._numbers = count()
        self._most: dict[int, int] = {}
        """Of each start that runs now: the most that ran at one time since it began."""

    def begin(self) -> int:
        """Count a start that begins, and return what `end` wants to know it by."""
        with self._lock:
            number = next(self._numbers)
            self._most[number] = 0
            for running in self._most:
                self._most[running] = max(self._most[running], len(self._most))
            return number

    def end(self, number: int) -> int:
        """Count a start that ended; returns the most starts that ran at one time since it began, itself among them."""
        with self._lock:
            return self._most.pop(number)
