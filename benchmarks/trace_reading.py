"""Reading traces: beside tlparse on the same file, and the memory that a trace of 1 GB takes.

python benchmarks/trace_reading.py RUN (the folder of one run, or of a suite)
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_ROUNDS = 5
_LARGE_BYTES = 1 << 30

_READ = """
import sys
from pathlib import Path
from coldwarm.engines.vllm.trace_records import TRACE
from coldwarm.graphs.subgraphs import SubgraphCollector
from coldwarm.measure.busy_time import BusyTime
from coldwarm.measure.compile_work import CompilerWorkCounter
from coldwarm.trace.reader import read_trace
tally = read_trace(Path(sys.argv[1]), CompilerWorkCounter(), BusyTime(), *[{more}], vocabulary=TRACE)
print(tally.records)
"""


def main() -> None:
    """Print the tables."""
    files = sorted(Path(sys.argv[1]).rglob("cold.trace/*.log"))
    if not files:
        raise SystemExit(f"no cold.trace below {sys.argv[1]}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("seconds of a whole process, median of", _ROUNDS)
        print(f"{'run':16} {'MiB':>6} {'coldwarm':>9} {'explained':>9} {'tlparse':>9}")
        for file in files:
            print(
                f"{file.parts[-3]:16} {file.stat().st_size / 2**20:6.1f} "
                f"{_seconds(_coldwarm(file.parent)):9.2f} "
                f"{_seconds(_coldwarm(file.parent, 'SubgraphCollector()')):9.2f} "
                f"{_seconds(_tlparse(file, folder / 'out')):9.2f}"
            )
        _large(files[0], folder / "large.trace")


def _large(file: Path, folder: Path) -> None:
    folder.mkdir()
    with (folder / "large.log").open("wb") as large:
        content = file.read_bytes()
        for _ in range(_LARGE_BYTES // len(content) + 1):
            large.write(content)
    began = time.monotonic()
    subprocess.run(_coldwarm(folder, "SubgraphCollector()"), check=True, capture_output=True)
    seconds = time.monotonic() - began
    # Linux counts ru_maxrss in KiB; the largest of all children is this one.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"a trace of {_LARGE_BYTES / 2**20:.0f} MiB: {seconds:.0f} s, at most {peak:.0f} MiB of memory")


def _coldwarm(folder: Path, more: str = "") -> list[str]:
    return [sys.executable, "-c", _READ.format(more=more), str(folder)]


def _tlparse(file: Path, out: Path) -> list[str]:
    program = Path(sys.executable).parent / "tlparse"
    if not program.is_file():
        raise SystemExit("tlparse is not installed: pip install tlparse")
    return [str(program), str(file), "-o", str(out), "--overwrite", "--no-browser"]


def _seconds(command: list[str]) -> float:
    times = []
    for _ in range(_ROUNDS):
        began = time.monotonic()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.monotonic() - began)
    return statistics.median(times)


if __name__ == "__main__":
    main()
