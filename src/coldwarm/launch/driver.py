"""Drivers: what creates the process of a start, knows when the start is ready, and stops it.

A driver knows nothing of what is observed in the process, nor of verdicts. `process_tree.launch` follows the process,
enforces the time limit, and kills whatever is left at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from coldwarm.core.isolation import IsolationKind
from coldwarm.launch.process_tree import StartState
from coldwarm.launch.spawn import Isolation, NewProcesses, WorkerOrder, WorkerProcess


class Driver(Protocol):
    """Creates the process of each start of a case, and ends it."""

    def prepare(self, order: WorkerOrder, on_phase: Callable[[str], None]) -> None:
        """Do what does not count as time of the start, for example import the engine once for several starts."""

    def begin(self, order: WorkerOrder, output: int) -> tuple[WorkerProcess, IsolationKind]:
        """Create the process in a session of its own, and return it with how it was created.

        Args:
            order: Its environment, its folder, and the request of the start.
            output: The file descriptor that takes all that it prints.

        Raises:
            OSError: The process cannot be created.
        """

    def ready(self, state: StartState) -> bool:
        """Return whether the start got as far as it is to get. Called up to 50 times a second; must not block."""

    def stop(self, process: WorkerProcess) -> None:
        """End a process that is ready and still runs, and return once it has ended or was given enough time."""

    def shared_caches_changed(self, order: WorkerOrder) -> list[str]:
        """Return the files, in caches that starts of this driver share, that are not as before the first start."""


class WorkerDriver:
    """Runs coldwarm's own worker (`coldwarm.engines.worker`), which starts the engine, reports, and exits.

    Args:
        isolation: Creates the processes; None: a new interpreter for each.
    """

    def __init__(self, isolation: Isolation | None = None) -> None:
        self._isolation = isolation or NewProcesses()

    def prepare(self, order: WorkerOrder, on_phase: Callable[[str], None]) -> None:
        """Have the engine imported, if starts are forked from a process that has it."""
        self._isolation.prepare(order, on_phase)

    def begin(self, order: WorkerOrder, output: int) -> tuple[WorkerProcess, IsolationKind]:
        """Spawn or fork the worker."""
        return self._isolation.begin(order, output)

    def ready(self, state: StartState) -> bool:
        """Return whether the worker has finished."""
        return state.exit_status is not None

    def stop(self, process: WorkerProcess) -> None:
        """Do nothing: once the worker is ready, it has ended."""

    def shared_caches_changed(self, order: WorkerOrder) -> list[str]:
        """Return the files that forked starts changed in the caches of the process that they were forked from."""
        return self._isolation.shared_caches_changed(order)
