"""Runs a user's command: decides when it is ready, uses it, and stops it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from threading import Event

import psutil

from coldwarm.core.command import Command
from coldwarm.core.errors import UsageError
from coldwarm.core.isolation import IsolationKind
from coldwarm.core.phases import GENERATE
from coldwarm.core.record import ProcessReport, in_order
from coldwarm.core.run_folder import SEEN_SUFFIX, WRITE_NOW
from coldwarm.core.unix_url import socket_of
from coldwarm.launch.completion import Completion, request_completion
from coldwarm.launch.observed_processes import LostRanks, Unobserved, is_running
from coldwarm.launch.process_tree import StartState, StoppedError, signal_name
from coldwarm.launch.readiness import HasEnded, Ready, ready_of, user_of_address
from coldwarm.launch.spawn import SpawnedProcess, WorkerOrder, WorkerProcess
from coldwarm.launch.start import read_reports

GRACE_SECONDS = 15.0
"""How long a command may take to end after SIGTERM."""
_THEN_SECONDS = 300.0
_REPORT_SECONDS = 30.0
"""How long a process may take to report when it is asked, which it may not do while it runs code that is not Python."""
_PORT_SECONDS = 10.0
_LOOK_SECONDS = 2.0


class CommandDriver:
    """Runs a user's command.

    Args:
        command: The command.
        output: The file for the output of `Command.then`.
        stop: Another thread sets this to abort the start.
    """

    def __init__(self, command: Command, output: Path, stop: Event | None = None) -> None:
        self._command = command
        self._output = output
        self._stop = stop or Event()
        self._ready: Ready = HasEnded()
        self._order: WorkerOrder | None = None
        self._root: psutil.Process | None = None
        self._unobserved = Unobserved()
        self.lost = LostRanks()
        """The rank that ended too early in the last start, if one did."""
        self._looked = 0.0
        self._late: list[int] = []
        self.completion: Completion | None = None
        """The answer to the request that was sent after the command was ready."""
        self.problem: str | None = None
        """Why the command could not be used after it was ready."""

    def prepare(self, order: WorkerOrder, on_phase: Callable[[str], None]) -> None:
        """Wait until the port of the command is free.

        Raises:
            UsageError: Another process uses it.
        """
        if self._command.ready_url is None:
            return
        deadline = time.monotonic() + _PORT_SECONDS
        while (user := user_of_address(self._command.ready_url)) is not None:
            if time.monotonic() > deadline:
                raise UsageError(user)
            self._pause(0.2)
        # A server that was ended may leave the file of its socket, at which the next one cannot listen.
        if self._root is not None and (path := socket_of(self._command.ready_url)) is not None:
            Path(path).unlink(missing_ok=True)

    def begin(self, order: WorkerOrder, output: int) -> tuple[WorkerProcess, IsolationKind]:
        """Start the command.

        Raises:
            UsageError: It cannot be started.
        """
        self.give_up()
        self.completion = self.problem = None
        self._order, self._unobserved, self._looked = order, Unobserved(), time.monotonic()
        self.lost, self._late = LostRanks(), []
        try:
            process = subprocess.Popen(
                self._command.words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(order.environment),
                cwd=order.folder,
                # A new session, so that a Ctrl-C in the terminal reaches only coldwarm, which then ends the command.
                start_new_session=True,
            )
        except OSError as error:
            raise UsageError(f"cannot start {self._command.words[0]!r}: {error.strerror}") from error
        with suppress(psutil.Error):
            self._root = psutil.Process(process.pid)
        assert order.reports is not None, "CommandStarter names it"
        self._ready = ready_of(self._command, order.reports)
        return SpawnedProcess(process), IsolationKind.SPAWN

    def ready(self, state: StartState) -> bool:
        """Return whether the command is ready, or has ended if nothing else makes it ready."""
        if state.exit_status is None and time.monotonic() - self._looked > _LOOK_SECONDS:
            self._look()
        if self._order is not None and self._order.reports is not None:
            self.lost.look(self._order.reports, command_runs=state.exit_status is None)
        return self._ready.is_ready(state)

    def stop(self, process: WorkerProcess, enter: Callable[[str], None]) -> None:
        """Use the command, have its processes report, and end it with SIGTERM."""
        assert self._order is not None and self._order.reports is not None, "begin() comes first"
        self._ready.give_up()
        enter(GENERATE)
        self._use(process, self._order)
        self._look()
        self._late = late_reports(self._order.reports, lambda: process.poll() is not None or self._stop.is_set())
        if status := process.poll():
            # Whatever else went wrong then follows from it.
            how = f"was killed by {signal_name(-status)}" if status < 0 else f"exited with status {status}"
            self.problem = f"the command {how} after it was ready"
        enter("exit")
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            self._pause(0.05)

    def give_up(self) -> None:
        """No longer ask whether the command is ready: its start has ended."""
        self._ready.give_up()
        self.lost.close()

    def shared_caches_changed(self, order: WorkerOrder) -> list[str]:
        """Return an empty list: starts share nothing."""
        return []

    def why_not_forked(self, order: WorkerOrder) -> str | None:
        """Return None: no start was to be forked."""
        return None

    def processes(self) -> list[ProcessReport]:
        """Return the reports of the last start's processes, also of those that could not be observed."""
        assert self._order is not None and self._order.reports is not None, "begin() comes first"
        return reports_of_processes(self._order.reports, self._unobserved, self._late)

    def _look(self) -> None:
        self._looked = time.monotonic()
        if self._root is not None and self._order is not None and self._order.reports is not None:
            self._unobserved.look(self._root, self._order.reports)

    def _use(self, process: WorkerProcess, order: WorkerOrder) -> None:
        if self._command.then:
            self._run_then(process, order)
        elif self._command.ready_url is not None:
            try:
                self.completion = request_completion(self._command.ready_url)
            except OSError as error:
                self.problem = f"the command was ready, but did not answer a request: {error}"

    def _run_then(self, process: WorkerProcess, order: WorkerOrder) -> None:
        with self._output.open("ab") as output:
            try:
                then = subprocess.Popen(
                    self._command.then,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=order.folder,
                    start_new_session=True,
                )
            except OSError as error:
                self.problem = f"cannot start {self._command.then[0]!r}: {error.strerror}"
                return
            deadline = time.monotonic() + _THEN_SECONDS
            try:
                while then.poll() is None and process.poll() is None and time.monotonic() < deadline:
                    self._pause(0.05)
            finally:
                if then.poll() is None:
                    with suppress(ProcessLookupError):
                        os.killpg(then.pid, signal.SIGKILL)
                    then.wait()
        if then.returncode != 0:
            how = f"killed after {_THEN_SECONDS:g} s" if time.monotonic() > deadline else f"status {then.returncode}"
            self.problem = f"{self._command.then[0]!r}, which --then runs, failed: {how} ({self._output})"

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise StoppedError


def late_reports(reports: Path, give_up: Callable[[], bool] = lambda: False) -> list[int]:
    """Ask the observed processes for their reports, and wait until they have written them, at most some seconds.

    Returns:
        The ids of the processes that have not; their last report is older than the question.
    """
    asked = time.time_ns()
    (reports / WRITE_NOW).write_text(str(asked))
    deadline = time.monotonic() + _REPORT_SECONDS
    while True:
        late = [path for path in reports.glob("*.json") if _can_report(path) and path.stat().st_mtime_ns < asked]
        if not late or give_up():
            return []
        if time.monotonic() > deadline:
            return [int(path.stem) for path in late]
        time.sleep(0.05)


def reports_of_processes(reports: Path, unobserved: Unobserved, late: Collection[int]) -> list[ProcessReport]:
    """Return the reports of a command's processes.

    Args:
        reports: The folder of the reports.
        unobserved: The processes that could not be observed.
        late: The ids of those that did not report when they were asked.
    """
    processes = read_reports(reports)
    for process in processes:
        if process.pid in late:
            process.failed_probes["last report"] = (
                f"the process did not write it within {_REPORT_SECONDS:g} s, so what it did last is not known"
            )
    return in_order([*processes, *unobserved.reports()])


def _can_report(report: Path) -> bool:
    """Return whether the process that wrote `report` still runs the same program."""
    if not report.stem.isdigit() or not is_running(int(report.stem)):
        return False
    try:
        program = Path(psutil.Process(int(report.stem)).exe()).name
        # Python that runs another program in the same process leaves a new mark.
        seen = report.with_suffix(SEEN_SUFFIX).stat().st_mtime_ns
    except (psutil.Error, OSError):
        return True
    return program.startswith("python") and seen <= report.stat().st_mtime_ns
