"""What tracing costs: the same cold start with and without TORCH_TRACE, in turns, on this machine.

python benchmarks/trace_cost.py [ROUNDS] [MODEL]
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

from coldwarm.catalog.catalog import Catalog
from coldwarm.core.case import Case
from coldwarm.launch import environment
from coldwarm.launch.start import Starter
from coldwarm.suite.plan import plan

_TIME_LIMIT = 600.0


def main() -> None:
    """Print seconds of wall and of CPU time, and their ratios."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    [case] = plan(Catalog.read(), [sys.argv[2] if len(sys.argv) > 2 else "llama-3.1-8b"])
    wall: dict[bool, list[float]] = {True: [], False: []}
    cpu: dict[bool, list[float]] = {True: [], False: []}
    for number in range(rounds):
        # Whichever comes first must not always come first.
        for traced in (True, False) if number % 2 else (False, True):
            seconds, cpu_seconds = _start(case, traced=traced)
            wall[traced].append(seconds)
            cpu[traced].append(cpu_seconds)
            print(f"{'traced' if traced else 'untraced':9} {seconds:6.1f} s wall {cpu_seconds:6.1f} s CPU", flush=True)
    for name, times in (("wall", wall), ("CPU", cpu)):
        with_trace, without = statistics.median(times[True]), statistics.median(times[False])
        print(f"{name}: median {with_trace:.2f} s traced, {without:.2f} s untraced, ratio {with_trace / without:.3f}")


def _start(case: Case, *, traced: bool) -> tuple[float, float]:
    make = environment.environment_of_start

    def without_trace(*args: Any, **kwargs: Any) -> dict[str, str]:
        variables = make(*args, **kwargs)
        if not traced:
            del variables["TORCH_TRACE"]
        return variables

    before = _cpu_seconds()
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(environment, "environment_of_start", without_trace),
    ):
        record = Starter(case, Path(folder), Path(folder, "output"), time_limit=_TIME_LIMIT).cold()
    if record.failure is not None or record.compiler_work is None:
        raise SystemExit(f"the start failed: {record.failure}")
    if (record.compiler_work.records > 0) is not traced:
        raise SystemExit("the trace is not what it should be; nothing was measured")
    return record.seconds, _cpu_seconds() - before


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
