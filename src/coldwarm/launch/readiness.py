"""Decides when a user's command is ready: a URL answers, a line is in its log, its ranks are warm, or it has ended."""

from __future__ import annotations

import re
import socket
import threading
import time
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from threading import Event
from typing import Protocol
from urllib.parse import urlsplit

import psutil

from coldwarm.core.command import Command
from coldwarm.core.record import ProcessReport
from coldwarm.core.unix_url import socket_of
from coldwarm.launch.http import open_url
from coldwarm.launch.process_tree import StartState
from coldwarm.launch.start import read_reports

_LOOK_SECONDS = 2.0


class Ready(Protocol):
    """Knows whether a start is ready."""

    def is_ready(self, state: StartState) -> bool:
        """Return whether the start is ready; must not block."""

    def give_up(self) -> None:
        """End: nobody asks any more."""


def ready_of(command: Command, reports: Path) -> Ready:
    """Return what decides when `command` is ready, once it has been started.

    Args:
        command: The command.
        reports: The folder with the reports of its processes.
    """
    if command.ready_url is not None:
        return UrlAnswers(command.ready_url)
    if command.ready_log is not None:
        return LogMatches(re.compile(command.ready_log))
    return RanksAreWarm(reports) if command.ready_ranks else HasEnded()


class HasEnded:
    """A command that is ready when it has ended."""

    def is_ready(self, state: StartState) -> bool:
        """Return whether it has ended."""
        return state.exit_status is not None

    def give_up(self) -> None:
        """Do nothing."""


class UrlAnswers:
    """Asks a URL, in a thread of its own, until it answers with status 200.

    Args:
        url: The URL.
    """

    def __init__(self, url: str) -> None:
        self._answered = Event()
        self._over = Event()
        threading.Thread(target=self._ask, args=(url,), name="ready", daemon=True).start()

    def is_ready(self, state: StartState) -> bool:
        """Return whether it has answered, and the command is running."""
        if state.exit_status is not None:
            self.give_up()
            return False
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


class LogMatches:
    """Reads what a command has printed, line by line, until one matches.

    Args:
        pattern: What a line must match.
    """

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._pattern = pattern
        self._position = 0
        self._line = ""

    def is_ready(self, state: StartState) -> bool:
        """Return whether a line has matched since the last call, and the command is running."""
        if state.exit_status is not None:
            return False
        with state.log.open("rb") as log:
            log.seek(self._position)
            data = log.read()
        self._position += len(data)
        *lines, self._line = (self._line + data.decode("utf-8", "replace")).split("\n")
        return any(self._pattern.search(line) for line in [*lines, self._line])

    def give_up(self) -> None:
        """Do nothing."""


class RanksAreWarm:
    """Reads the reports of a command's processes until each rank has warmed up, as on a node without an API server.

    Args:
        reports: The folder with the reports.
    """

    def __init__(self, reports: Path) -> None:
        self._reports = reports
        self._looked = 0.0

    def is_ready(self, state: StartState) -> bool:
        """Return whether all ranks have warmed up, and the command is running. Looks every other second."""
        if state.exit_status is not None or time.monotonic() - self._looked < _LOOK_SECONDS:
            return False
        self._looked = time.monotonic()
        ranks = [each for each in read_reports(self._reports) if each.rank is not None]
        return bool(ranks) and all(map(_is_warm, ranks))

    def give_up(self) -> None:
        """Do nothing."""


def _is_warm(rank: ProcessReport) -> bool:
    return rank.is_warmed_up is True


def user_of_address(url: str) -> str | None:
    """Return a message if something accepts connections at the address of `url`; None if nothing does."""
    if (path := socket_of(url)) is not None:
        if not _accepts(path):
            return None
        return f"the socket {path} is in use; end the process that listens there, or give the command another path"
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


def _accepts(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(1)
        try:
            asking.connect(path)
        except OSError:
            return False
    return True


def _answers(url: str) -> bool:
    """Return whether `url` answers with status 200."""
    try:
        with open_url(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError, HTTPException):  # urllib's errors are `OSError`; an answer may be no HTTP
        return False
