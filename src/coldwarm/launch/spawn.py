"""How the process of a start is made: each a new interpreter, or forked from a parent that has the engine imported."""

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
    """The process of one start, however it was made."""

    @property
    def pid(self) -> int:
        """Its process id; also that of its session and of its process group."""

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None: it still runs.

        Does not reap the process: until `wait`, the kernel gives its pid to no other process.
        """

    def wait(self) -> int:
        """Wait for its end, have it reaped, and return its exit status."""


def status_of_ended_child(pid: int) -> int | None:
    """The exit status of a child of this process, negative for a signal; None: it still runs. Does not reap it.

    Raises:
        ChildProcessError: It was reaped, or is no child of this process.
    """
    how = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if how is None:
        return None
    return how.si_status if how.si_code == os.CLD_EXITED else -how.si_status


class SpawnedProcess:
    """A child of this process that `subprocess` started; its pid stays its own until `wait`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid

    def poll(self) -> int | None:
        """Its exit status; None: it still runs."""
        if self._process.returncode is not None:
            return self._process.returncode
        try:
            return status_of_ended_child(self.pid)
        except ChildProcessError:  # something else in this process has reaped it
            return self._process.wait()

    def wait(self) -> int:
        """Wait for its end, and reap it."""
        return self._process.wait()


@dataclass(frozen=True)
class WorkerOrder:
    """What a worker's process is made with."""

    engine: str
    depth: Depth
    request: Path
    """The `StartRequest`."""
    environment: Mapping[str, str]
    """Its whole environment."""
    events: int
    """The write end of the pipe that takes its progress."""
    folder: Path
    """Where it runs."""


class Isolation(Protocol):
    """Makes the processes of starts."""

    def prepare(self, order: WorkerOrder, on_phase: Callable[[str], None]) -> None:
        """Do what is done once for several starts, before this one's time counts."""

    def begin(self, order: WorkerOrder, output: int) -> tuple[WorkerProcess, IsolationKind]:
        """Make the process, and say how; whatever it prints goes to the file descriptor `output`."""

    def shared_caches_changed(self, order: WorkerOrder) -> list[str]:
        """Return the files, of caches that forked starts have in common, that are not as before the first fork."""

    def close(self) -> None:
        """End whatever outlives a single start."""


class NewProcesses:
    """A new interpreter for each start."""

    def prepare(self, order: WorkerOrder, on_phase: Callable[[str], None]) -> None:
        """Nothing is shared."""

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
            # Its own session: a Ctrl-C in the terminal reaches the launcher alone, which ends the worker in order.
            start_new_session=True,
        )
        return SpawnedProcess(process), IsolationKind.SPAWN

    def shared_caches_changed(self, order: WorkerOrder) -> list[str]:
        """Nothing is shared."""
        return []

    def close(self) -> None:
        """Nothing outlives a start."""
