"""Runs a user's command: decides when it is ready, uses it, and stops it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from threading import Event
from typing import Protocol
from urllib.parse import urlsplit

import psutil

from coldwarm.core.command import Command
from coldwarm.core.errors import UsageError
from coldwarm.core.isolation import IsolationKind
from coldwarm.core.phases import GENERATE
from coldwarm.core.record import ProcessReport
from coldwarm.core.run_folder import WRITE_NOW
from coldwarm.launch.completion import Completion, request_completion
from coldwarm.launch.observed_processes import Unobserved
from coldwarm.launch.process_tree import StartState, StoppedError
from coldwarm.launch.spawn import SpawnedProcess, WorkerOrder, WorkerProcess

GRACE_SECONDS = 15.0
"""How long a command may take to end after SIGTERM."""
_THEN_SECONDS = 300.0
_REPORT_SECONDS = 5.0
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
        self._ready: _Ready = _Exit()
        self._order: WorkerOrder | None = None
        self._root: psutil.Process | None = None
        self._unobserved = Unobserved()
        self._looked = 0.0
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
        while (user := user_of_port(self._command.ready_url)) is not None:
            if time.monotonic() > deadline:
                raise UsageError(user)
            self._pause(0.2)

    def begin(self, order: WorkerOrder, output: int) -> tuple[WorkerProcess, IsolationKind]:
        """Start the command.

        Raises:
            UsageError: It cannot be started.
        """
        self.completion = self.problem = None
        self._order, self._unobserved, self._looked = order, Unobserved(), time.monotonic()
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
        if self._command.ready_url is not None:
            self._ready = _Url(self._command.ready_url)
        elif self._command.ready_log is not None:
            self._ready = _Log(re.compile(self._command.ready_log))
        return SpawnedProcess(process), IsolationKind.SPAWN

    def ready(self, state: StartState) -> bool:
        """Return whether the command is ready, or has ended if nothing else makes it ready."""
        if state.exit_status is None and time.monotonic() - self._looked > _LOOK_SECONDS:
            self._look()
        return self._ready.is_ready(state)

    def stop(self, process: WorkerProcess, enter: Callable[[str], None]) -> None:
        """Use the command, have its processes report, and end it with SIGTERM."""
        assert self._order is not None and self._order.reports is not None, "begin() comes first"
        enter(GENERATE)
        self._use(process, self._order)
        self._look()
        have_reported(self._order.reports, lambda: process.poll() is not None or self._stop.is_set())
        enter("exit")
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            self._pause(0.05)

    def shared_caches_changed(self, order: WorkerOrder) -> list[str]:
        """Return an empty list: starts share nothing."""
        return []

    def why_not_forked(self, order: WorkerOrder) -> str | None:
        """Return None: no start was to be forked."""
        return None

    def unobserved(self) -> list[ProcessReport]:
        """Return the processes of the last start that have loaded torch and could not be observed."""
        return self._unobserved.reports()

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


def have_reported(reports: Path, give_up: Callable[[], bool] = lambda: False) -> None:
    """Ask the observed processes for their reports, and wait until they have written them, at most some seconds."""
    asked = time.time()
    (reports / WRITE_NOW).write_text(str(asked))
    deadline = time.monotonic() + _REPORT_SECONDS
    while time.monotonic() < deadline and not give_up():
        late = [path for path in reports.glob("*.json") if _is_alive(path) and path.stat().st_mtime < asked]
        if not late:
            return
        time.sleep(0.05)


def _is_alive(report: Path) -> bool:
    try:
        return psutil.Process(int(report.stem)).status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ValueError):
        return False


def user_of_port(url: str) -> str | None:
    """Return a message if something accepts connections at the address of `url`; None if nothing does."""
    address = urlsplit(url)
    host, port = address.hostname or "127.0.0.1", address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return None
    owner = ""
    with suppress(psutil.Error, OSError):
        pids = [
            each.pid
            for each in psutil.net_connections("inet")
            if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port and each.pid
        ]
        owner = f" by process {pids[0]} ({psutil.Process(pids[0]).name()})" if pids else ""
    return f"port {port} is in use{owner}; end that process, or give the command another port"


class _Ready(Protocol):
    def is_ready(self, state: StartState) -> bool:
        """Return whether the command is ready; must not block."""


class _Exit:
    def is_ready(self, state: StartState) -> bool:
        return state.exit_status is not None


class _Url:
    def __init__(self, url: str) -> None:
        self._url = UrlAnswers(url)

    def is_ready(self, state: StartState) -> bool:
        if state.exit_status is not None:
            self._url.give_up()
            return False
        return self._url.answered


class UrlAnswers:
    """Asks a URL, in a thread of its own, until it answers with status 200.

    Args:
        url: The URL.
    """

    def __init__(self, url: str) -> None:
        self._answered = Event()
        self._over = Event()
        threading.Thread(target=self._ask, args=(url,), name="ready", daemon=True).start()

    @property
    def answered(self) -> bool:
        """Whether it has answered."""
        return self._answered.is_set()

    def give_up(self) -> None:
        """Stop asking."""
        self._over.set()

    def _ask(self, url: str) -> None:
        while not self._over.is_set():
            if _answers(url):
                self._answered.set()
                return
            self._over.wait(0.2)


class _Log:
    """Reads what the command has printed, line by line."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._pattern = pattern
        self._position = 0
        self._line = ""

    def is_ready(self, state: StartState) -> bool:
        if state.exit_status is not None:
            return False
        with state.log.open("rb") as log:
            log.seek(self._position)
            data = log.read()
        self._position += len(data)
        *lines, self._line = (self._line + data.decode("utf-8", "replace")).split("\n")
        return any(self._pattern.search(line) for line in [*lines, self._line])


def _answers(url: str) -> bool:
    """Return whether `url` answers with status 200."""
    # Without the proxy of the environment: the command runs on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError, HTTPException):  # urllib's errors are `OSError`; an answer may be no HTTP
        return False
