"""Probes: each observes one thing in a process. The observer of the process installs them and writes their report.

What is observed never fails because of that: an error of a probe is recorded in the report, by the probe's name.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from coldwarm.core.record import ProcessReport
from coldwarm.core.request import StartRequest
from coldwarm.core.run_folder import report_name
from coldwarm.observe.bytecode import BytecodeProbe
from coldwarm.observe.kernels.all import kernel_probes
from coldwarm.observe.log_watch import WarningProbe
from coldwarm.observe.outside import OutsideProbe
from coldwarm.observe.progress import Progress


class Probe(Protocol):
    """Observes one thing in the process that it is installed in, and in those that are forked from it later.

    Both methods may raise: the `Observer` catches that. What a probe has the observed program call (a hook, a wrapper)
    must not.
    """

    name: str
    """Names it in `ProcessReport.failed_probes`."""

    def install(self) -> None:
        """Begin to observe. A second call has no effect."""

    def report(self, report: ProcessReport) -> None:
        """Write what was seen so far into the fields of `report` that are this probe's; may be called repeatedly."""


class Observer:
    """Everything that observes this process.

    Args:
        reports: The folder that the report is written to.
        role: What the process does, as far as is known without a probe.
    """

    def __init__(self, reports: Path, role: str = "worker") -> None:
        self._reports = reports
        self._role = role
        self._probes: list[Probe] = []
        self._failed: dict[str, str] = {}

    def install(self, *probes: Probe) -> None:
        """Install `probes`, after those that there are."""
        for probe in probes:
            try:
                probe.install()
            except Exception as error:
                self._failed[probe.name] = _text(error)
            else:
                self._probes.append(probe)

    def report(self) -> ProcessReport:
        """Return what was seen so far."""
        report = ProcessReport(pid=os.getpid(), parent_pid=os.getppid(), role=self._role)
        failed = dict(self._failed)
        for probe in self._probes:
            try:
                probe.report(report)
            except Exception as error:
                failed[probe.name] = _text(error)
        report.failed_probes = failed
        return report

    def write(self) -> None:
        """Write what was seen so far, in place of what this process wrote before.

        Raises:
            OSError: The file cannot be written.
        """
        path = self._reports / report_name(os.getpid())
        unfinished = path.with_suffix(".part")
        unfinished.touch(mode=0o600)  # it is written before secrets are removed from it
        unfinished.write_text(self.report().model_dump_json())
        unfinished.replace(path)


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip()


def process_probes(
    request: StartRequest,
    loggers: tuple[str, ...],
    bytecode: BytecodeProbe | None = None,
    progress: Progress | None = None,
) -> list[Probe]:
    """Return the probes that every observed process has, whatever its engine, in the order of installation.

    Args:
        request: The start.
        loggers: The loggers whose warnings are reported.
        bytecode: The probe that listens to the importer already; None: there is none.
        progress: Knows the phase of the start; None: this process does not.
    """
    return [
        bytecode or BytecodeProbe(),
        WarningProbe(loggers),
        OutsideProbe(request.own_folders, request.users_caches),
        MemoryProbe(),
        *kernel_probes(lambda: progress.phase if progress is not None else None),
    ]


class CounterProbe:
    """Reports how far counters rise.

    Args:
        snapshot: Reads all counters of this process, by flat name.
    """

    name = "counters"

    def __init__(self, snapshot: Callable[[], Mapping[str, int]]) -> None:
        self._snapshot = snapshot
        self._before: Mapping[str, int] = {}

    def install(self) -> None:
        """Take the counters as they are now for zero."""
        self._before = self._snapshot()

    def report(self, report: ProcessReport) -> None:
        """Report the rise of each counter since then."""
        report.counters = {name: count - self._before.get(name, 0) for name, count in self._snapshot().items()}


class MemoryProbe:
    """Reports the most memory that the process had, in the machine and on the GPU."""

    name = "memory"

    def install(self) -> None:
        """Nothing to install: the kernel and PyTorch count anyway."""

    def report(self, report: ProcessReport) -> None:
        """Report the peaks."""
        # Linux counts ru_maxrss in KiB.
        report.peak_memory_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        torch = sys.modules.get("torch")
        # Asking must not initialize CUDA.
        if torch is not None and torch.cuda.is_initialized():
            report.peak_device_memory_bytes = int(torch.cuda.max_memory_reserved())
