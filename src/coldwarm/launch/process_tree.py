"""Launches a worker, follows its progress, ends it when it hangs, and leaves no process of it behind."""

from __future__ import annotations

import json
import os
import selectors
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import psutil

from coldwarm.core.isolation import IsolationKind
from coldwarm.core.phases import Step
from coldwarm.core.variables import TOKEN_VARIABLE
from coldwarm.launch.spawn import WorkerProcess

_GRACE_SECONDS = 5.0


class StoppedError(Exception):
    """A start was ended because its suite is being ended."""


@dataclass
class Ended:
    """How a worker's process ended."""

    exit_status: int
    """Negative: the signal that ended it, as `subprocess` has it."""
    timed_out: bool
    seconds: float
    steps: list[Step] = field(default_factory=list)
    isolation: IsolationKind = IsolationKind.SPAWN
    """How the process was made."""
    ready: bool = True
    """Whether the start got as far as it was to get."""
    stopped: bool = False
    """Whether it was ended because it was ready; then the exit status is that of the way in which it was ended."""


@dataclass(frozen=True)
class StartState:
    """What is known of a start while it runs."""

    exit_status: int | None
    """Of the process that was begun, negative for a signal; None: it still runs."""
    phases: tuple[str, ...]
    """The phases that it has announced, in order; the last is the current one."""
    log: Path
    """What its processes have printed so far."""


def has_ended(state: StartState) -> bool:
    """Return whether the process of the start has ended, which is when a worker is ready."""
    return state.exit_status is not None


def launch(
    begin: Callable[[int], tuple[WorkerProcess, IsolationKind]],
    events: tuple[int, int],
    token: str,
    *,
    log: Path,
    time_limit: float,
    on_phase: Callable[[str], None] = lambda phase: None,
    stop: Event | None = None,
    is_ready: Callable[[StartState], bool] = has_ended,
    end: Callable[[WorkerProcess], None] = lambda process: None,
) -> Ended:
    """Run a worker until it is ready or has ended, whichever comes first.

    Args:
        begin: Makes the worker's process, and says how; its output goes to the file descriptor that it is given.
        events: Read and write end of the pipe that the worker writes its progress to; both are closed here.
        token: What the environment of the worker and of its children has as `TOKEN_VARIABLE`.
        log: Takes all that the worker and its children print.
        time_limit: Seconds after which the worker's whole process tree is killed.
        on_phase: Called with each phase that the worker enters.
        stop: Once this is set, from another thread, the worker's process tree is killed.
        is_ready: Whether the start got as far as it is to get; asked up to 50 times a second.
        end: Called with a process that is ready and still runs, to end it in order; what is left then is killed.

    Raises:
        StoppedError: `stop` was set.

    If this is interrupted by any exception (Ctrl-C), the worker's process tree is killed before that passes.
    """
    read_end, write_end = events
    began = time.monotonic()
    try:
        with log.open("wb") as output:
            worker, isolation = begin(output.fileno())
            identity = identity_of(worker.pid)
    except BaseException:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
    steps = _Steps(began, on_phase)
    timed_out = stopped = ready = False
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(read_end, selectors.EVENT_READ)
            while True:
                status = worker.poll()
                ready = is_ready(StartState(status, steps.phases(), log))
                if ready or status is not None:
                    break
                if stop is not None and stop.is_set():
                    raise StoppedError
                if time.monotonic() - began > time_limit:
                    timed_out = True
                    break
                if not selector.get_map():  # the pipe is closed: the worker is about to be gone
                    time.sleep(0.02)
                elif selector.select(timeout=0.1):
                    data = os.read(read_end, 65536)
                    steps.take(data)
                    if not data:
                        selector.unregister(read_end)
            if stop is not None and stop.is_set():  # which may be why it ended
                raise StoppedError
            if ready and status is None:
                stopped = True
                end(worker)
            while selector.get_map() and selector.select(timeout=0) and (data := os.read(read_end, 65536)):
                steps.take(data)
    finally:
        os.close(read_end)
        # It is not reaped yet: the ids of its process, its group and its session cannot have been recycled.
        kill_tree(worker.pid, identity, token)
        exit_status = worker.wait()
    ended = time.monotonic()
    return Ended(exit_status, timed_out, ended - began, steps.finish(ended), isolation, ready, stopped)


def identity_of(pid: int) -> psutil.Process | None:
    """The process that has this id now, which can later be told from another one with the same id; None: it is gone."""
    with suppress(psutil.Error):
        return psutil.Process(pid)
    return None


def kill_tree(pid: int, identity: psutil.Process | None, token: str) -> None:
    """Kill the worker, its process group and session, its descendants, and whatever else carries its token.

    Once the worker was reaped, its id may be that of any other process, which is left alone.

    A forked worker has the token in no environment that others can read: that is the server's until it runs a program.
    What it forks, without running one, and lets outlive it in a session of its own is found when the server is ended.

    Args:
        pid: The worker's process id, which is also that of its process group.
        identity: What `identity_of` returned for it when it was begun.
        token: What the environment of the worker and of its children has as `TOKEN_VARIABLE`.
    """
    deadline = time.monotonic() + _GRACE_SECONDS
    while time.monotonic() < deadline:
        if not _is_recycled(pid, identity):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        left = _processes_of(identity, token)
        if not left:
            return
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        # No psutil.wait_procs: it would reap the worker, and its exit status with it.
        time.sleep(0.02)


def _is_recycled(pid: int, identity: psutil.Process | None) -> bool:
    """Whether `pid` is now the id of another process; as long as a group of that id has members, it cannot be."""
    return psutil.pid_exists(pid) and (identity is None or not identity.is_running())


def _processes_of(worker: psutil.Process | None, token: str) -> list[psutil.Process]:
    found: dict[int, psutil.Process] = {}
    session = None
    # psutil raises NoSuchProcess for the children of a process whose id is another's by now.
    with suppress(psutil.Error):
        if worker is not None and worker.is_running():
            session = worker.pid
            found = {process.pid: process for process in [worker, *worker.children(recursive=True)]}
    # No psutil.process_iter, which returns objects of earlier calls: their pids may have been recycled since.
    for process in filter(None, map(identity_of, psutil.pids())):
        if _carries(process, token) or (session is not None and _session_of(process) == session):
            found[process.pid] = process
    found.pop(os.getpid(), None)
    return [process for process in found.values() if _is_alive(process)]


def _carries(process: psutil.Process, token: str) -> bool:
    try:
        return bool(process.environ().get(TOKEN_VARIABLE) == token)
    except (psutil.Error, OSError):
        return False


def _session_of(process: psutil.Process) -> int | None:
    with suppress(ProcessLookupError, PermissionError):
        return os.getsid(process.pid)
    return None


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class _Steps:
    """Turns the worker's announcements into steps with their times."""

    def __init__(self, began: float, on_phase: Callable[[str], None]) -> None:
        self._steps: list[Step] = []
        # From the monotonic clock to the one that the trace tells.
        self._epoch = time.time() - time.monotonic()
        self._current = "process start"
        self._since = began
        self._on_phase = on_phase
        self._rest = b""

    def take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if (phase := _phase_of(line)) is not None:
                self._enter(phase)

    def phases(self) -> tuple[str, ...]:
        """What was announced so far."""
        return (*(step.name for step in self._steps[1:]), *([self._current] if self._steps else []))

    def _enter(self, phase: str) -> None:
        now = time.monotonic()
        self._steps.append(self._step(now))
        self._current, self._since = phase, now
        self._on_phase(phase)

    def finish(self, ended: float) -> list[Step]:
        return [*self._steps, self._step(ended)]

    def _step(self, end: float) -> Step:
        return Step(name=self._current, begin=self._epoch + self._since, end=self._epoch + end)


def _phase_of(line: bytes) -> str | None:
    """The phase that a line of the pipe announces; whatever else is written there only makes the phases coarser."""
    try:
        return str(json.loads(line)["phase"])
    except (ValueError, KeyError, TypeError):
        return None
