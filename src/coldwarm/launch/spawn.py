"""Creates the process of a start: the protocols, and their implementation with a new interpreter for each start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from coldwarm.core.depth import Depth
from coldwarm.core.isolation import IsolationKind


class WorkerProcess(Protocol):
    """The process of one start, however it was created."""

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its session and its process group."""

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal; None if the process is still running.

        Does not reap the process: until `wait`, the kernel gives its pid to no other process.
        """

    def wait(self) -> int:
        """Wait until the process ends, reap it, and return its exit status."""


def status_of_ended_child(pid: int) -> int | None:
    """Return the exit status of a child of this process, negative for a signal; None if it is still running.

    Does not reap the child.

    Raises:
        ChildProcessError: The child was already reaped, or `pid` is not a child of this process.
    """
    how = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if how is None:
        return None
    return how.si_status if how.si_code == os.CLD_EXITED else -how.si_status


class SpawnedProcess:
    """A child of this process, created by `subprocess`. Its pid is not reused before `wait`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal; None if the process is still running."""
        if self._process.returncode is not None:
            return self._process.returncode
        try:
            return status_of_ended_child(self.pid)
        except ChildProcessError:  # reaped by other code in this process
            return self._process.wait()

    def wait(self) -> int:
        """Wait until the process ends, reap it, and return its exit status."""
        return self._process.wait()


@dataclass(frozen=True)
class WorkerOrder:
    """The arguments for creating a worker's process."""

    engine: str
    depth: Depth
    request: Path
    """The file with the `StartRequest`."""
    environment: Mapping[str, str]
    """The complete environment of the process."""
    events: int
    """The write end of the pipe for its progress."""
    folder: Path
    """Its working directory."""
    reports: Path | None = None
    """The folder in which the processes of a user's command report; None: coldwarm's worker knows it."""


class Isolation(Protocol):
    """Creates the processes of starts."""

    def prepare(self, order: WorkerOrder, on_phase: Callable[[str], None]) -> None:
        """Do the work that several starts share, before the time of this one is measured."""

    def begin(self, order: WorkerOrder, output: int) -> tuple[WorkerProcess, IsolationKind]:
        """Create the process with the file descriptor `output` as its output; return it and how it was created."""

    def shared_caches_changed(self, order: WorkerOrder) -> list[str]:
        """Return the files that changed since the first fork, in caches that forked starts share."""

    def why_not_forked(self, order: WorkerOrder) -> str | None:
        """Return why a start that was to be forked had to be spawned; None: it was created as it was to be."""

    def close(self) -> None:
        """End all processes that outlive a single start."""


class NewProcesses:
    """Creates a new interpreter for each start."""

    def prepare(self, order: WorkerOrder, on_phase: Callable[[str], None]) -> None:
        """Do nothing: starts share nothing."""

    def begin(self, order: WorkerOrder, output: int) -> tuple[WorkerProcess, IsolationKind]:
        """Run ``python -m coldwarm.engines.worker``."""
        process = subprocess.Popen(
            [sys.executable, "-m", "coldwarm.engines.worker", str(order.request)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(order.environment),
            cwd=order.folder,
            pass_fds=(order.events,),
            # A new session, so that a Ctrl-C in the terminal reaches only the launcher, which then ends the worker.
            start_new_session=True,
        )
        return SpawnedProcess(process), IsolationKind.SPAWN

    def shared_caches_changed(self, order: WorkerOrder) -> list[str]:
        """Return an empty list: starts share nothing."""
        return []

    def why_not_forked(self, order: WorkerOrder) -> str | None:
        """Return None: no start was to be forked."""
        return None

    def close(self) -> None:
        """Do nothing: no process outlives its start."""
