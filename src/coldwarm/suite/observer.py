"""The interface for following a suite while it runs."""

from __future__ import annotations

from typing import Protocol

from coldwarm.core.case import Case
from coldwarm.core.record import StartKind, StartRecord
from coldwarm.suite.result import RunResult


class ProgressObserver(Protocol):
    """Receives progress events, one at a time, from the threads that execute the runs."""

    def start_began(self, case: Case, kind: StartKind) -> None:
        """Called when a start of `case` begins."""

    def phase_began(self, case: Case, kind: StartKind, phase: str) -> None:
        """Called when the start enters `phase`."""

    def start_ended(self, case: Case, record: StartRecord) -> None:
        """Called when the start has ended, with any outcome."""

    def run_ended(self, result: RunResult) -> None:
        """Called when the run has its verdict; its warm start may not have been run."""


class SilentObserver:
    """Ignores progress events."""

    def start_began(self, case: Case, kind: StartKind) -> None:
        """Do nothing."""

    def phase_began(self, case: Case, kind: StartKind, phase: str) -> None:
        """Do nothing."""

    def start_ended(self, case: Case, record: StartRecord) -> None:
        """Do nothing."""

    def run_ended(self, result: RunResult) -> None:
        """Do nothing."""
