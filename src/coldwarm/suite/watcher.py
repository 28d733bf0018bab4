"""Who wants to follow a suite while it runs."""

from __future__ import annotations

from typing import Protocol

from coldwarm.core.case import Case
from coldwarm.core.record import StartKind, StartRecord
from coldwarm.suite.result import RunResult


class Watcher(Protocol):
    """Is told of every step, from the thread that runs the suite."""

    def start_began(self, case: Case, kind: StartKind) -> None:
        """A start of `case` begins."""

    def phase_began(self, case: Case, kind: StartKind, phase: str) -> None:
        """The start entered `phase`."""

    def start_ended(self, case: Case, record: StartRecord) -> None:
        """The start ended, however."""

    def run_ended(self, result: RunResult) -> None:
        """Both starts are done, or the second will not be made, and the verdict stands."""
