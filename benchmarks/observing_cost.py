"""What observing a start costs: the same cold start with nothing observed, with the trace, with probes, and with both.

python benchmarks/observing_cost.py [--rounds N] [--model MODEL] [--device DEVICE] [--only WAY]... [--together]

Each start is a new process. Its seconds count from the end of the import of the engine, because the times of imports
vary most and nothing but missing bytecode is observed there. Without probes, the phases are still announced, and the
process still reports its rank, so that the seconds can be compared.

--together makes the starts of a round at the same time, each on its own share of the cores, so that whatever else the
machine does affects all of them alike. Otherwise they run one after another, in another order each round.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

from coldwarm.catalog.catalog import Catalog
from coldwarm.launch import environment
from coldwarm.launch.start import Starter
from coldwarm.suite.plan import plan

_TIME_LIMIT = 600.0
_WAYS = {"nothing": (False, False), "trace": (True, False), "probes": (False, True), "both": (True, True)}
"""By name, whether a start is traced, and whether it has probes."""

# Python imports this first in every process, in place of the next `sitecustomize`, if there is one. The processes that
# compile for Inductor need not be changed.
_WITHOUT_PROBES = """
import runpy, sys
from pathlib import Path
for folder in sys.path[sys.path.index(str(Path(__file__).parent)) + 1:]:
    if Path(folder, "sitecustomize.py").is_file():
        runpy.run_path(str(Path(folder, "sitecustomize.py")))
        break
if b"coldwarm.engines.worker" in Path("/proc/self/cmdline").read_bytes():
    from coldwarm.observe.probes import Observer
    install = Observer.install
    Observer.install = lambda self, *probes: install(self, *(probe for probe in probes if probe.name == "model"))
"""


def main() -> None:
    """Print the seconds of each start, and the medians and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="llama-3.1-8b")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", action="append", choices=list(_WAYS), metavar="WAY", help=", ".join(_WAYS))
    parser.add_argument("--together", action="store_true")
    parser.add_argument("--one", choices=list(_WAYS), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(_start(asked.model, asked.device, *_WAYS[asked.one])))
        return
    ways = asked.only or list(_WAYS)
    wall: dict[str, list[float]] = {way: [] for way in ways}
    cpu: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(asked.rounds):
        # Whichever comes first must not always come first.
        order = ways[number % len(ways) :] + ways[: number % len(ways)]
        for way, (seconds, cpu_seconds) in _round(order, asked).items():
            wall[way].append(seconds)
            cpu[way].append(cpu_seconds)
            print(f"{number + 1}  {way:8} {seconds:6.2f} s wall {cpu_seconds:6.2f} s CPU", flush=True)
    for name, times in (("wall", wall), ("CPU", cpu)):
        base = statistics.median(times[ways[0]])
        for way in ways:
            median = statistics.median(times[way])
            print(f"{name:4} {way:8} median {median:6.2f} s, ratio to {ways[0]} {median / base:.3f}")


def _round(order: list[str], asked: argparse.Namespace) -> dict[str, tuple[float, float]]:
    command = [sys.executable, __file__, "--model", asked.model, "--device", asked.device, "--one"]
    cores = sorted(os.sched_getaffinity(0))
    share = len(cores) // len(order) if asked.together else len(cores)
    measured = {}
    running: list[tuple[str, subprocess.Popen[str]]] = []
    for place, way in enumerate(order):
        own = cores[place * share : (place + 1) * share] if asked.together else cores
        process = subprocess.Popen(
            ["taskset", "-c", ",".join(map(str, own)), *command, way], stdout=subprocess.PIPE, text=True
        )
        running.append((way, process))
        if not asked.together:
            process.wait()
    for way, process in running:
        output, _ = process.communicate()
        if process.returncode != 0:
            raise SystemExit(f"the start with {way} failed")
        measured[way] = tuple(json.loads(output.splitlines()[-1]))
    return measured


def _start(model: str, device: str, traced: bool, probed: bool) -> tuple[float, float]:
    """Make a start; return its seconds since the import of the engine, and the CPU time of its whole process tree."""
    [case] = plan(Catalog.read(), [model], device=device)
    make = environment.environment_of_start
    with tempfile.TemporaryDirectory() as folder:
        hook = Path(folder, "hook")
        hook.mkdir()
        (hook / "sitecustomize.py").write_text(_WITHOUT_PROBES)

        def changed(*args: Any, **kwargs: Any) -> dict[str, str]:
            variables = make(*args, **kwargs)
            if not traced:
                del variables["TORCH_TRACE"]
            if not probed:
                variables["PYTHONPATH"] = os.pathsep.join([str(hook), *filter(None, [variables.get("PYTHONPATH")])])
            return variables

        scratch = Path(folder, "scratch")
        scratch.mkdir()
        before = _cpu_seconds()
        with patch.object(environment, "environment_of_start", changed):
            record = Starter(case, scratch, Path(folder, "output"), time_limit=_TIME_LIMIT).cold()
    if record.failure is not None or record.compiler_work is None:
        raise SystemExit(f"the start failed: {record.failure}")
    if (record.compiler_work.records > 0) is not traced or bool(record.facts and record.facts.counters) is not probed:
        raise SystemExit("the start was not observed as it should be; nothing was measured")
    imported = max(step.end for step in record.steps if step.name == "import")
    return record.steps[-1].end - imported, _cpu_seconds() - before


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
