"""Names and paths of the files of runs and suites; no other module contains them.

A suite's folder contains ``suite.json``, ``report.html``, the logs of fork servers, and a folder for each run. A run's
folder contains ``case.json``, ``verdict.json`` and ``explanation.json``, and for each start its record
(``cold.json``), log (``cold.log``), trace (the folder ``cold.trace``) and cache key components (``cold.keys.json``; if
they differ in another rank, also ``cold.rank-1.keys.json``). Each further repetition of a run is itself a run's folder
in the run's folder (``repeat-2``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

CASE = "case.json"
VERDICT = "verdict.json"
EXPLANATION = "explanation.json"
SUITE = "suite.json"
REPETITIONS = "repeat-*"
"""The folders of further repetitions, in the folder of their run."""
REPORT = "report.html"
FORK_SERVER_LOGS = "fork-server-*.log"
WRITE_NOW = "write-now"
"""In the folder `reports_name`: when it changes, each process of a command writes its report."""
SEEN_SUFFIX = ".seen"
"""The suffix of the file by which a process reports that it is observed once it uses torch, in `reports_name`."""
UNOBSERVED_SUFFIX = ".unobserved"
"""The suffix of the file in which a process reports why it is not observed, in `reports_name`."""


def start_name(kind: str, number: int = 1) -> str:
    """Return the name of a case's first, second, ... start of `kind`: the prefix of the names of its files."""
    return kind if number == 1 else f"{kind}-{number}"


def record_name(start: str) -> str:
    """Return the name of the record of a start."""
    return f"{start}.json"


def log_name(start: str) -> str:
    """Return the name of the log of a start, or of a fork server."""
    return f"{start}.log"


def trace_name(start: str) -> str:
    """Return the name of the folder with the trace of a start."""
    return f"{start}.trace"


def keys_name(start: str, rank: int | None = None) -> str:
    """Return the name of the file with the components of a start's cache keys.

    Args:
        start: The name of the start.
        rank: A rank whose components differ from those of the first; None: the first.
    """
    return f"{start}.keys.json" if rank is None else f"{start}.rank-{rank}.keys.json"


def request_name(start: str) -> str:
    """Return the name of the file with a worker's request; it is not stored with the run."""
    return f"{start}.request.json"


def result_name(start: str) -> str:
    """Return the name of the file with a worker's result; it is not stored with the run."""
    return f"{start}.result.json"


def reports_name(start: str) -> str:
    """Return the name of the folder in which observed processes report; it is not stored with the run."""
    return f"{start}.reports"


def report_name(pid: int) -> str:
    """Return the name of the file with the report of one process, in the folder `reports_name`."""
    return f"{pid}.json"


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run."""

    path: Path

    @property
    def case(self) -> Path:
        """The file with the case of the run."""
        return self.path / CASE

    @property
    def verdict(self) -> Path:
        """The file with the verdict on the run."""
        return self.path / VERDICT

    @property
    def explanation(self) -> Path:
        """The file with the explanation of the run."""
        return self.path / EXPLANATION

    def repetition(self, number: int) -> RunFolder:
        """Return the folder of a repetition, counted from 1; the first is the run's own."""
        return self if number == 1 else RunFolder(self.path / REPETITIONS.replace("*", str(number)))

    def repetitions(self) -> Iterator[RunFolder]:
        """Return the folders of the second, third, ... repetition, as far as they exist."""
        for number in count(2):
            folder = self.repetition(number)
            if not folder.case.is_file():
                return
            yield folder

    def record(self, start: str) -> Path:
        """Return the file with the record of a start."""
        return self.path / record_name(start)

    def log(self, start: str) -> Path:
        """Return the log file of a start."""
        return self.path / log_name(start)

    def trace(self, start: str) -> Path:
        """Return the folder with the trace of a start."""
        return self.path / trace_name(start)

    def keys(self, start: str, rank: int | None = None) -> Path:
        """Return the file with the cache key components of a start; see `keys_name`."""
        return self.path / keys_name(start, rank)

    def has_trace(self, start: str) -> bool:
        """Return whether the trace of a start exists; traces are large, and often removed or not copied."""
        return any(self.trace(start).glob("*.log"))

    def logs(self) -> Iterator[Path]:
        """Return the log files of all starts."""
        return self.path.glob("*.log")

    def traces(self) -> Iterator[Path]:
        """Return the trace folders of all starts."""
        return self.path.glob("*.trace")


@dataclass(frozen=True)
class SuiteFolder:
    """The folder of one suite."""

    path: Path

    @property
    def suite(self) -> Path:
        """The file with the suite's command and models."""
        return self.path / SUITE

    @property
    def report(self) -> Path:
        """The file with the report on the suite."""
        return self.path / REPORT

    def run(self, name: str) -> RunFolder:
        """Return the folder of the run with this name."""
        return RunFolder(self.path / name)

    def fork_server_logs(self) -> Iterator[Path]:
        """Return the log files of the suite's fork servers."""
        return self.path.glob(FORK_SERVER_LOGS)
