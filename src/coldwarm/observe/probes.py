"""Probes: each observes one aspect of a process. The process's `Observer` installs them and writes a report.

An error in a probe never fails the observed program: it is recorded in the report, under the probe's name.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pydantic_core import PydanticSerializationError

from coldwarm.core.record import ProcessReport
from coldwarm.core.request import ObservationRequest, StartRequest
from coldwarm.core.run_folder import report_name
from coldwarm.observe.bytecode import BytecodeProbe
from coldwarm.observe.kernels.all import kernel_probes
from coldwarm.observe.log_watch import WarningProbe
from coldwarm.observe.long_calls import LongCallProbe
from coldwarm.observe.outside import OutsideProbe
from coldwarm.observe.progress import Progress


class Probe(Protocol):
    """Observes one aspect of the process that it is installed in, and of processes that are forked from it later.

    Both methods may raise; the `Observer` catches the error. Hooks and wrappers that the observed program calls must
    not raise.
    """

    name: str
    """Its key in `ProcessReport.failed_probes`."""

    def install(self) -> None:
        """Start observing. A second call has no effect."""

    def report(self, report: ProcessReport) -> None:
        """Write the observations so far to this probe's fields of `report`. May be called repeatedly."""


@runtime_checkable
class CountingProbe(Protocol):
    """A probe that knows, without delay, how much it has seen."""

    def seen(self) -> int:
        """Return a number that rises when the probe sees something."""


@runtime_checkable
class MilestoneProbe(Protocol):
    """A probe that sees what must be reported at once, such as the rank of the process, without which nobody knows it.

    These are rare. What is seen all the time is reported as often as is cheap (`CountingProbe`).
    """

    def milestones(self) -> int:
        """Return a number that rises when the probe sees such a thing. Must be fast."""


class Observer:
    """Manages the probes of this process.

    Args:
        reports: The folder to write the report to.
        role: The role of the process; probes may change it in the report.
    """

    def __init__(self, reports: Path, role: str = "worker") -> None:
        self._reports = reports
        self._role = role
        self._probes: list[Probe] = []
        self._failed: dict[str, str] = {}

    def install(self, *probes: Probe) -> None:
        """Install additional `probes`."""
        for probe in probes:
            try:
                probe.install()
            except Exception as error:
                self._failed[probe.name] = _text(error)
            else:
                self._probes.append(probe)

    def report(self) -> ProcessReport:
        """Return a report of the observations so far."""
        report = ProcessReport(pid=os.getpid(), parent_pid=os.getppid(), role=self._role)
        failed = dict(self._failed)
        for probe in self._probes:
            try:
                probe.report(report)
            except Exception as error:
                failed[probe.name] = _text(error)
        report.failed_probes = failed
        return report

    def seen(self) -> int:
        """Return a number that changes when a probe sees something."""
        return sum(_number(probe.seen) for probe in self._probes if isinstance(probe, CountingProbe))

    def milestones(self) -> int:
        """Return a number that changes when a probe sees what must be reported at once."""
        return sum(_number(probe.milestones) for probe in self._probes if isinstance(probe, MilestoneProbe))

    def write(self) -> None:
        """Write a report of the observations so far; it replaces an earlier one of this process.

        The time of the file is when the observations were collected, which may be long before they are written.

        Raises:
            OSError: The file cannot be written.
        """
        path = self._reports / report_name(os.getpid())
        unfinished = path.with_suffix(".part")
        unfinished.touch(mode=0o600)  # the launcher removes secrets from it later
        collected = time.time_ns()
        unfinished.write_bytes(_as_json(self.report()))
        os.utime(unfinished, ns=(collected, collected))
        unfinished.replace(path)


def _number(of_probe: Callable[[], int]) -> int:
    """Return the number of a probe; 0 if it fails, as it may while the process changes what it counts."""
    try:
        return of_probe()
    except Exception:
        return 0


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip()


def _as_json(report: ProcessReport) -> bytes:
    """Return a report as JSON, whatever text it has: names of files and arguments need not be valid UTF-8."""
    try:
        return report.model_dump_json().encode()
    except PydanticSerializationError:
        return ProcessReport.model_validate(_readable(report.model_dump())).model_dump_json().encode()


def _readable(value: Any) -> Any:
    """Return `value` with an escape in place of each character that UTF-8 cannot encode."""
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case Mapping():
            return {_readable(key): _readable(each) for key, each in value.items()}
        case list() | tuple():
            return [_readable(each) for each in value]
    return value


def process_probes(
    request: StartRequest | ObservationRequest,
    loggers: tuple[str, ...],
    bytecode: BytecodeProbe | None = None,
    progress: Progress | None = None,
) -> list[Probe]:
    """Return the probes for every observed process of any engine, in the order of installation.

    Args:
        request: The start.
        loggers: The loggers whose warnings are reported.
        bytecode: A probe that is already installed; None: create one.
        progress: Knows the phase of the start; None: this process does not.
    """
    on_gpu = [LongCallProbe()] if isinstance(request, StartRequest) and request.device != "cpu" else []
    return [
        *on_gpu,
        bytecode or BytecodeProbe(),
        WarningProbe(loggers),
        OutsideProbe(request.own_folders, request.users_caches),
        MemoryProbe(),
        *kernel_probes(lambda: progress.known_phase if progress is not None else None),
    ]


class CounterProbe:
    """Reports by how much counters rise.

    Args:
        snapshot: Returns all counters of this process, by flat name.
    """

    name = "counters"

    def __init__(self, snapshot: Callable[[], Mapping[str, int]]) -> None:
        self._snapshot = snapshot
        self._before: Mapping[str, int] = {}
        self._began = False

    def install(self) -> None:
        """Use the current counters as the baseline, also in processes that are forked from this one."""
        self._rebase()
        if not self._began:
            self._began = True
            os.register_at_fork(after_in_child=self._rebase)

    def _rebase(self) -> None:
        self._before = self._snapshot()

    def report(self, report: ProcessReport) -> None:
        """Report the rise of each counter since the baseline."""
        report.counters = {name: count - self._before.get(name, 0) for name, count in self._snapshot().items()}

    def seen(self) -> int:
        """Return the sum of all counters."""
        return sum(self._snapshot().values())


class MemoryProbe:
    """Reports the peak memory of the process, in main memory and on the GPU."""

    name = "memory"

    def install(self) -> None:
        """Do nothing: the kernel and PyTorch record the peaks anyway."""

    def report(self, report: ProcessReport) -> None:
        """Report the peaks in bytes; that of the GPU only if the process uses CUDA."""
        # Linux counts ru_maxrss in KiB.
        report.peak_memory_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        torch = sys.modules.get("torch")
        # Reading the peak must not initialize CUDA.
        if torch is not None and torch.cuda.is_initialized():
            # Of all devices: the current one is that of the thread, and a thread of coldwarm's own has the first.
            devices = range(torch.cuda.device_count())
            report.peak_device_memory_bytes = max(map(int, map(torch.cuda.max_memory_reserved, devices)), default=0)
