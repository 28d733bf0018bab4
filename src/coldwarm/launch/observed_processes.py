"""Reads the reports of the processes of a user's command, and finds the processes that could not be observed."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil

from coldwarm.core.command import shown
from coldwarm.core.record import WHOLE_PROCESS, ProcessReport, Program
from coldwarm.core.run_folder import SEEN_SUFFIX, UNOBSERVED_SUFFIX

_ROLE = "not observed"
_LONGEST_COMMAND = 200


class Unobserved:
    """Collects the processes of one start that have loaded torch, and that coldwarm does not observe."""

    def __init__(self) -> None:
        self._found: dict[int, ProcessReport] = {}
        self._observed: set[int] = set()

    def look(self, root: psutil.Process, reports: Path) -> None:
        """Look at the running processes of the start.

        Args:
            root: Its first process.
            reports: The folder in which observed processes leave a file.
        """
        with suppress(psutil.Error):
            for process in [root, *root.children(recursive=True)]:
                self._look_at(process, reports)

    def reports(self) -> list[ProcessReport]:
        """Return a report for each, with the reason."""
        return list(self._found.values())

    def _look_at(self, process: psutil.Process, reports: Path) -> None:
        if process.pid in self._observed:
            return
        failure = reports / f"{process.pid}{UNOBSERVED_SUFFIX}"
        if (reports / f"{process.pid}{SEEN_SUFFIX}").exists() and not failure.exists():
            self._observed.add(process.pid)
            return
        if process.pid in self._found or not _has_torch(process.pid):
            return
        why = (
            "it did not load coldwarm's sitecustomize, because Python ignored PYTHONPATH or another one replaced it, "
            "or it runs as another user"
        )
        with suppress(OSError):
            why = failure.read_text(encoding="utf-8")
        with suppress(psutil.Error):
            words = " ".join(shown(process.cmdline())).split()
            self._found[process.pid] = ProcessReport(
                pid=process.pid,
                parent_pid=process.ppid(),
                role=_ROLE,
                program=Program(command=" ".join(words)[:_LONGEST_COMMAND], engine=""),
                failed_probes={WHOLE_PROCESS: why},
            )


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
