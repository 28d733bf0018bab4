"""Observes any process of a user's command that has imported torch."""

from __future__ import annotations

import platform
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from coldwarm.core.command import shown
from coldwarm.core.engine import TORCH
from coldwarm.core.phases import PROGRAM
from coldwarm.core.record import ProcessReport, Program
from coldwarm.engines.counters import snapshot
from coldwarm.observe.distributed import DistributedRank
from coldwarm.observe.hardware import hardware
from coldwarm.observe.probes import CounterProbe, Observer
from coldwarm.observe.progress import Progress

loggers = ("torch._dynamo", "torch._functorch", "torch._inductor")

# Counters that rise when a process compiles with torch.compile, or loads what was compiled.
_COMPILES = ("torch.aot_autograd.",)
_RECORDED = ("triton", "numpy", "transformers")
_LONGEST_COMMAND = 300


def observe(observer: Observer, progress: Progress) -> None:
    """Install the probes of any program that uses torch."""
    observer.install(CounterProbe(snapshot), ProgramProbe())
    progress.announce(PROGRAM)


class ProgramProbe:
    """Reports what the process runs, and its rank if it compiles something."""

    name = "program"

    def __init__(self) -> None:
        self._rank = DistributedRank()

    def install(self) -> None:
        """Do nothing: the process knows all of it."""

    def report(self, report: ProcessReport) -> None:
        """Report the command line, versions and hardware. Only a process that compiles has a rank."""
        import torch

        report.program = Program(
            command=_command(),
            engine=TORCH,
            versions=dict(_versions()),
            # The program may never use the GPU, and must not because it is observed.
            hardware=hardware(uses_gpu=torch.cuda.is_initialized()),
        )
        report.rank = self._rank.known()
        if report.rank is None and _compiles(report):
            report.rank = 0

    def milestones(self) -> int:
        """Return a number that rises when the process joins a process group."""
        return 0 if self._rank.known() is None else 1


def _compiles(report: ProcessReport) -> bool:
    return any(count for name, count in report.counters.items() if name.startswith(_COMPILES))


def _command() -> str:
    words = " ".join(" ".join(shown(sys.orig_argv)).split())
    return words if len(words) <= _LONGEST_COMMAND else f"{words[:_LONGEST_COMMAND]}..."


@cache
def _versions() -> dict[str, str]:
    torch = sys.modules["torch"]
    found = {"torch": str(torch.__version__), "python": platform.python_version()}
    for distribution in _RECORDED:
        try:
            found[distribution] = version(distribution)
        except PackageNotFoundError:
            continue
    return found
