"""Drivers create the process of a start, decide when the start is ready, and stop it.

A driver knows nothing about probes or verdicts. `process_tree.launch` monitors the process, enforces the time limit,
and kills all remaining processes at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from coldwarm.core.isolation import IsolationKind
from coldwarm.launch.process_tree import StartState
from coldwarm.launch.spawn import Isolation, NewProcesses, WorkerOrder, WorkerProcess


class Driver(Protocol):
    """Creates and ends the process of each start of a case."""

    def prepare(self, order: WorkerOrder, on_phase: Callable[[str], None]) -> None:
        """Do the work that is not part of the start's time, for example import the engine once for several starts."""

    def begin(self, order: WorkerOrder, output: int) -> tuple[WorkerProcess, IsolationKind]:
        """Create the process in a new session; return it and how it was created.

        Args:
            order: Its environment, its working directory, and the request of the start.
            output: The file descriptor for its output.

        Raises:
            OSError: The process cannot be created.
        """

    def ready(self, state: StartState) -> bool:
        """Return whether the start is ready. Called up to 50 times a second; must not block."""

    def stop(self, process: WorkerProcess, enter: Callable[[str], None]) -> None:
        """Use and then end a process that is ready and still running; return when it has ended, or after a grace time.

        Args:
            process: The process.
            enter: Enters a phase of the start.
        """

    def shared_caches_changed(self, order: WorkerOrder) -> list[str]:
        """Return the files that changed since the first start, in caches that starts of this driver share."""

    def why_not_forked(self, order: WorkerOrder) -> str | None:
        """Return why a start that was to be forked had to be spawned; None: it was created as it was to be."""


class WorkerDriver:
    """Runs coldwarm's own worker (`coldwarm.engines.worker`), which starts the engine, reports, and exits.

    Args:
        isolation: Creates the processes; None: a new interpreter for each.
    """

    def __init__(self, isolation: Isolation | None = None) -> None:
        self._isolation = isolation or NewProcesses()

    def prepare(self, order: WorkerOrder, on_phase: Callable[[str], None]) -> None:
        """Import the engine in the process that starts are forked from, if they are."""
        self._isolation.prepare(order, on_phase)

    def begin(self, order: WorkerOrder, output: int) -> tuple[WorkerProcess, IsolationKind]:
        """Spawn or fork the worker."""
        return self._isolation.begin(order, output)

    def ready(self, state: StartState) -> bool:
        """Return whether the worker has ended."""
        return state.exit_status is not None

    def stop(self, process: WorkerProcess, enter: Callable[[str], None]) -> None:
        """Do nothing: once the worker is ready, it has ended."""

    def shared_caches_changed(self, order: WorkerOrder) -> list[str]:
        """Return the files that forked starts changed in the caches of their parent process."""
        return self._isolation.shared_caches_changed(order)

    def why_not_forked(self, order: WorkerOrder) -> str | None:
        """Return the problem of the process that starts are forked from."""
        return self._isolation.why_not_forked(order)
