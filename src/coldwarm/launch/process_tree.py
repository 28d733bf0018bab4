"""Launches a worker, reads its progress, enforces the time limit, and kills every process that it started."""

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
from threading import Event, Lock

import psutil

from coldwarm.core.isolation import IsolationKind
from coldwarm.core.phases import Step
from coldwarm.core.variables import TOKEN_VARIABLE
from coldwarm.launch.spawn import WorkerProcess

_GRACE_SECONDS = 5.0


class StoppedError(Exception):
    """A start was aborted because its suite is being aborted."""


@dataclass
class Ended:
    """How a worker's process ended."""

    exit_status: int
    """Negative: the number of the signal that ended it, as in `subprocess`."""
    timed_out: bool
    seconds: float
    """Wall time from the launch until all processes have ended."""
    steps: list[Step] = field(default_factory=list)
    isolation: IsolationKind = IsolationKind.SPAWN
    """How the process was created."""
    ready: bool = True
    """Whether the start became ready."""
    stopped: bool = False
    """Whether it was stopped because it was ready; then the exit status only reflects how it was stopped."""
    cpu_seconds: float | None = None
    """The result of `cpu_seconds_of` before what was left was killed; None: unknown."""


@dataclass(frozen=True)
class StartState:
    """The state of a running start."""

    exit_status: int | None
    """The exit status of its first process, negative for a signal; None: it is still running."""
    phases: tuple[str, ...]
    """The phases that it has reported, in order; the last is the current one."""
    log: Path
    """The file with the output of its processes so far."""


def has_ended(state: StartState) -> bool:
    """Return whether the process of the start has ended, which makes a worker ready."""
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
    end: Callable[[WorkerProcess, Callable[[str], None]], None] = lambda process, enter: None,
) -> Ended:
    """Run a worker until it is ready or has ended, whichever comes first.

    Args:
        begin: Creates the worker's process, with its output redirected to the given file descriptor. Returns the
            process and how it was created.
        events: Read and write end of the pipe for the worker's progress; this function closes both.
        token: The value of `TOKEN_VARIABLE` in the environment of the worker and its children.
        log: The file for the output of the worker and its children.
        time_limit: Seconds after which the worker's whole process tree is killed.
        on_phase: Called with the name of each phase that the worker enters.
        stop: Another thread sets this to have the worker's process tree killed.
        is_ready: Returns whether the start is ready. Called up to 50 times a second.
        end: Called with a process that is ready and still running, to shut it down, and with a function that enters a
            phase. Afterwards, the rest is killed.

    Raises:
        StoppedError: `stop` was set.

    If any exception interrupts this function (Ctrl-C), it kills the worker's process tree before the exception
    propagates.
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
    steps = Steps(began, on_phase)
    timed_out = stopped = ready = False
    cpu_seconds: float | None = None
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
                if not selector.get_map():  # the pipe is closed: the worker is about to end
                    time.sleep(0.02)
                elif selector.select(timeout=0.1):
                    data = os.read(read_end, 65536)
                    steps.take(data)
                    if not data:
                        selector.unregister(read_end)
            if stop is not None and stop.is_set():  # this may be why it ended
                raise StoppedError
            while selector.get_map() and selector.select(timeout=0) and (data := os.read(read_end, 65536)):
                steps.take(data)
            if ready and status is None:
                stopped = True
                # From here on, only `end` enters phases: processes do not know that they are used and ended.
                end(worker, steps.enter)
        cpu_seconds = cpu_seconds_of(identity, token)
    finally:
        os.close(read_end)
        # The worker is not reaped yet, so the ids of its process, group and session cannot have been reused.
        kill_tree(worker.pid, identity, token)
        exit_status = worker.wait()
    ended = time.monotonic()
    return Ended(exit_status, timed_out, ended - began, steps.finish(ended), isolation, ready, stopped, cpu_seconds)


def signal_name(number: int) -> str:
    """Return the name of a signal."""
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def identity_of(pid: int) -> psutil.Process | None:
    """Return the process with this id, in a form that detects a later reuse of the id; None if there is none."""
    with suppress(psutil.Error):
        return psutil.Process(pid)
    return None


def cpu_seconds_of(worker: psutil.Process | None, token: str) -> float | None:
    """Return the CPU time that the worker and its descendants have used, in seconds; None if it is unknown.

    It is user and system time as the kernel accounts it, to 10 ms for each process. A descendant that ended counts if
    its parent waited for it.

    Args:
        worker: The result of `identity_of` for the worker, which has not been reaped.
        token: The value of `TOKEN_VARIABLE` in the environment of the worker and its children.
    """
    if worker is None:
        return None
    seconds = 0.0
    for process in {worker, *_tree(worker, token)}:
        with suppress(psutil.Error, OSError):
            times = process.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
    return round(seconds, 2) or None


def kill_tree(pid: int, identity: psutil.Process | None, token: str) -> None:
    """Kill the worker, its process group and session, its descendants, and all other processes with its token.

    After the worker has been reaped, its id may belong to an unrelated process, which is not killed.

    A forked worker shows others the environment of its server, without the token, until it runs a program. If it forks
    a process that runs no program, leaves the session and outlives the worker, that process is found only when the
    server is ended.

    Args:
        pid: The worker's process id, which is also that of its process group.
        identity: The result of `identity_of` for the worker when it was launched.
        token: The value of `TOKEN_VARIABLE` in the environment of the worker and its children.
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
        # Not psutil.wait_procs: it would reap the worker, and its exit status would be lost.
        time.sleep(0.02)


def _is_recycled(pid: int, identity: psutil.Process | None) -> bool:
    """Return whether `pid` now belongs to another process; impossible while a process group of that id has members."""
    return psutil.pid_exists(pid) and (identity is None or not identity.is_running())


def _processes_of(worker: psutil.Process | None, token: str) -> list[psutil.Process]:
    """Return the processes of `_tree` that are alive."""
    return [process for process in _tree(worker, token) if _is_alive(process)]


def _tree(worker: psutil.Process | None, token: str) -> list[psutil.Process]:
    """Return the worker, its descendants, its session, and all other processes with its token, without this one."""
    found: dict[int, psutil.Process] = {}
    session = None
    # For a process whose id was reused, `children` raises NoSuchProcess.
    with suppress(psutil.Error):
        if worker is not None and worker.is_running():
            session = worker.pid
            found = {process.pid: process for process in [worker, *worker.children(recursive=True)]}
    # Not psutil.process_iter: it returns objects of earlier calls, whose pids may have been reused since.
    for process in filter(None, map(identity_of, psutil.pids())):
        if _has_token(process, token) or (session is not None and _session_of(process) == session):
            found[process.pid] = process
    found.pop(os.getpid(), None)
    return list(found.values())


def _has_token(process: psutil.Process, token: str) -> bool:
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


class Steps:
    """Converts the phases that the worker reports to steps with their times."""

    def __init__(self, began: float, on_phase: Callable[[str], None]) -> None:
        self._steps: list[Step] = []
        # Added to the monotonic clock, this gives the clock of the trace.
        self._epoch = time.time() - time.monotonic()
        self._current = "process start"
        self._since = began
        self._on_phase = on_phase
        self._rest = b""
        self._lock = Lock()

    def take(self, data: bytes) -> None:
        """Take what was read from the pipe."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if (reported := _reported(line)) is not None:
                self.enter(*reported)

    def phases(self) -> tuple[str, ...]:
        """Return the phases reported so far."""
        return (*(step.name for step in self._steps[1:]), *([self._current] if self._steps else []))

    def enter(self, phase: str, at: float | None = None) -> None:
        """Begin the step `phase`.

        Args:
            phase: The phase.
            at: When it began, by the monotonic clock; None: now. Not before the current step, which another process may
                have reported.
        """
        now = time.monotonic()
        with self._lock:
            begin = now if at is None else min(now, max(self._since, at))
            self._steps.append(self._step(begin))
            self._current, self._since = phase, begin
        self._on_phase(phase)

    def finish(self, ended: float) -> list[Step]:
        """Return the steps until `ended`, by the monotonic clock, without those that another thread took later."""
        with self._lock:
            steps = [*self._steps, self._step(max(ended, self._since))]
        last = self._epoch + ended
        return [
            step if step.end <= last else step.model_copy(update={"end": last})
            for step in steps
            if step.begin < last or step is steps[0]
        ]

    def _step(self, end: float) -> Step:
        return Step(name=self._current, begin=self._epoch + self._since, end=self._epoch + end)


def _reported(line: bytes) -> tuple[str, float | None] | None:
    """Return the phase that a line of the pipe reports and when it began, by the monotonic clock.

    None if the line is malformed, which only makes the steps coarser.
    """
    try:
        report = json.loads(line)
        at = report.get("at")
        return str(report["phase"]), float(at) if at is not None else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
