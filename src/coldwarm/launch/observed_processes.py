"""Reads the reports of the processes of a user's command, and finds the processes that could not be observed."""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from pathlib import Path

import psutil
from pydantic import ValidationError

from coldwarm.core.command import shown
from coldwarm.core.record import WHOLE_PROCESS, ProcessReport, Program
from coldwarm.core.run_folder import SEEN_SUFFIX, UNOBSERVED_SUFFIX, report_name

_ROLE = "not observed"
_LONGEST_COMMAND = 200
_UNOBSERVED_SECONDS = 0.5


class Unobserved:
    """Collects the processes of one start that have loaded torch, and that coldwarm does not observe.

    A process counts if looks in a row found it for half a second. One that has just been forked still has the memory of
    its parent, and with it torch, until it runs another program or reports that it is observed.
    """

    def __init__(self) -> None:
        self._found: dict[int, ProcessReport] = {}
        self._observed: set[int] = set()
        self._first_seen: dict[psutil.Process, float] = {}

    def look(self, root: psutil.Process, reports: Path) -> None:
        """Look at the running processes of the start.

        Args:
            root: Its first process.
            reports: The folder in which observed processes leave a file.
        """
        seen_before, self._first_seen = self._first_seen, {}
        with suppress(psutil.Error):
            for process in [root, *root.children(recursive=True)]:
                if self._is_unobserved(process, reports):
                    now = time.monotonic()
                    self._first_seen[process] = seen_before.get(process, now)
                    if process in seen_before and now - seen_before[process] >= _UNOBSERVED_SECONDS:
                        self._add(process, reports)

    def reports(self) -> list[ProcessReport]:
        """Return a report for each, with the reason."""
        return list(self._found.values())

    def _is_unobserved(self, process: psutil.Process, reports: Path) -> bool:
        """Return whether a process that is not in the reports yet has loaded torch and is not observed."""
        if process.pid in self._observed or process.pid in self._found:
            return False
        if (reports / f"{process.pid}{SEEN_SUFFIX}").exists() and not _failure(process, reports).exists():
            self._observed.add(process.pid)
            return False
        return _has_torch(process.pid)

    def _add(self, process: psutil.Process, reports: Path) -> None:
        why = (
            "it did not load coldwarm's sitecustomize, because Python ignored PYTHONPATH or another one replaced it, "
            "or it runs as another user"
        )
        with suppress(OSError):
            why = _failure(process, reports).read_text(encoding="utf-8")
        with suppress(psutil.Error):
            words = " ".join(shown(process.cmdline())).split()
            self._found[process.pid] = ProcessReport(
                pid=process.pid,
                parent_pid=process.ppid(),
                role=_ROLE,
                program=Program(command=" ".join(words)[:_LONGEST_COMMAND], engine=""),
                failed_probes={WHOLE_PROCESS: why},
            )


def _failure(process: psutil.Process, reports: Path) -> Path:
    """Return the file in which a process reports why it is not observed."""
    return reports / f"{process.pid}{UNOBSERVED_SUFFIX}"


class LostRanks:
    """Notices a rank whose process ends before it has warmed up: it crashed or was killed.

    The command then ends, too, with a status that does not say so. Often it does within half a second, and with it the
    other ranks, so the kernel is asked which process has ended, at each look.
    """

    def __init__(self) -> None:
        self._read: dict[int, tuple[int, int]] = {}
        """What identifies the last report that was read of a process, by the process id."""
        self._ranks: dict[int, int] = {}
        """The process ids of running ranks, by the file descriptor that stands for the process (pidfd_open(2))."""
        self._known: set[int] = set()
        self._ended = select.poll()
        self.first: ProcessReport | None = None
        """The report of the first such process."""
        self.after_it: bool = False
        """Whether the command ended after that process, so that this may be why; otherwise the order is not known."""

    def look(self, reports: Path, *, command_runs: bool) -> None:
        """Look at the processes of a command.

        Args:
            reports: The folder of their reports.
            command_runs: Whether the command was still running just before.
        """
        found_before = self.first is not None
        if self.first is None:
            self._find_ranks(reports)
        for descriptor, _ in self._ended.poll(0):
            pid = self._ranks[descriptor]
            self._forget(descriptor)
            self._has_ended(pid, reports)
        if self.first is not None and not found_before:
            self.after_it = command_runs

    def close(self) -> None:
        """Look no more: the command has ended."""
        for descriptor in list(self._ranks):
            self._forget(descriptor)

    def _find_ranks(self, reports: Path) -> None:
        for path in reports.glob("*.json"):
            pid = int(path.stem) if path.stem.isdigit() else None
            if pid is None or pid in self._known or not self._is_new(pid, path):
                continue
            if (report := _read(path)) is None or report.rank is None:
                continue
            self._known.add(pid)
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                self._has_ended(pid, reports)
            except OSError:  # an old kernel, or too many open files
                continue
            else:
                self._ranks[descriptor] = pid
                self._ended.register(descriptor, select.POLLIN)

    def _is_new(self, pid: int, path: Path) -> bool:
        """Return whether a report was written since this was last asked; reading one takes longer than looking."""
        try:
            status = path.stat()
        except OSError:
            return False
        # Each report is a new file.
        identity = status.st_ino, status.st_mtime_ns
        is_new = identity != self._read.get(pid)
        self._read[pid] = identity
        return is_new

    def _has_ended(self, pid: int, reports: Path) -> None:
        report = _read(reports / report_name(pid))
        if self.first is None and report is not None and report.rank is not None and report.is_warmed_up is False:
            self.first = report

    def _forget(self, descriptor: int) -> None:
        del self._ranks[descriptor]
        self._ended.unregister(descriptor)
        os.close(descriptor)


def _read(path: Path) -> ProcessReport | None:
    with suppress(OSError, ValidationError):
        return ProcessReport.model_validate_json(path.read_bytes())
    return None


def is_running(pid: int) -> bool:
    """Return whether there is a process of this id that has not ended."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def failed_to_observe(reports: Path) -> list[str]:
    """Return why processes that tried to be observed failed to, each once."""
    found = []
    for path in sorted(reports.glob(f"*{UNOBSERVED_SUFFIX}")):
        with suppress(OSError):
            found.append(path.read_text(encoding="utf-8"))
    return list(dict.fromkeys(found))


def _has_torch(pid: int) -> bool:
    """Return whether a process has imported torch."""
    try:
        with Path(f"/proc/{pid}/maps").open(encoding="utf-8", errors="replace") as maps:
            return any("libtorch_python" in line for line in maps)
    except OSError:
        return False
