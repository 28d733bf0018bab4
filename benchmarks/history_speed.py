"""Reading a history of ten thousand runs, in SQLite and in PostgreSQL.

python benchmarks/history_speed.py [--runs N] [--store URL]...

The runs are those of `records/`, with other ids, times and seconds: as many days as it takes, each with all of them.
Without --store, the stores are a new SQLite file and, if it is installed, a PostgreSQL server that this program starts.
Stores must be empty.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from coldwarm.core.exit_codes import ExitCode
from coldwarm.store.history.entries import Entry, entries_of
from coldwarm.store.history.history import History
from coldwarm.store.history.points import Filter
from tests.support import postgresql

RECORDS = Path(__file__).parents[1] / "records"
MODEL = "glm-4.5"
COMMANDS = (
    ["history"],
    ["history", MODEL],
    ["history", MODEL, "--limit", "1000", "--json"],
    ["history", MODEL, "--trend"],
    # The newest 20 runs of each, among them those with the most kernels.
    ["compare", f"version=0.32,model={MODEL}", f"version=0.33,model={MODEL}"],
)
_IN_A_BATCH = 500
_ROUNDS = 5


def main() -> None:
    """Print a table for each store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--store", action="append", default=[])
    arguments = parser.parse_args()
    kept = [entry for suite in sorted(RECORDS.glob("*/suite.json")) for entry in entries_of(suite.parent)[0]]
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"{arguments.runs} runs, made from {len(kept)} of records/; {load}; wall time, and CPU time of this process")
    with ExitStack() as stack:
        stores = arguments.store
        if not stores:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            stores = [str(Path(folder, "history.db"))]
            if (programs := postgresql.programs()) is not None:
                stores.append(stack.enter_context(postgresql.server(programs)))
        for store in stores:
            measure(store, kept, arguments.runs)


def measure(store: str, kept: list[Entry], runs: int) -> None:
    """Fill a store, and print how long it takes to read it."""
    print(f"\n{'PostgreSQL' if '://' in store else 'SQLite'}")
    with History.open(store) as history:
        if history.models():
            raise SystemExit(f"{history.location} is not empty")
        began = time.perf_counter()
        made = (later(entry, day) for day in range(runs) for entry in kept)
        for first in range(0, runs, _IN_A_BATCH):
            history.add_entries(list(islice(made, min(_IN_A_BATCH, runs - first))))
        print(f"  {time.perf_counter() - began:6.2f} s  store all, {_IN_A_BATCH} in a transaction")
        if history.location.file is not None:
            print(f"  {history.location.file.stat().st_size / 1e6:6.0f} MB on disk")
        number = len(history.points(MODEL))
        last = history.points(limit=1)[0].when
        for what, read in (
            ("the points of all runs", lambda: history.points()),
            (f"the points of {MODEL} ({number})", lambda: history.points(MODEL)),
            (f"the newest 20 points of {MODEL}", lambda: history.points(MODEL, limit=20)),
            ("the points of the last 30 days", lambda: history.points(which=Filter(since=last - timedelta(days=30)))),
            ("all models", lambda: history.models()),
            ("the records of one run", lambda: history.content(history.points(MODEL, limit=1)[0].id)),
        ):
            print(f"  {seconds(read)}  {what}")
        for words in COMMANDS:
            print(f"  {seconds(partial(command, words, store))}  coldwarm {' '.join(words)}, the whole process")


def later(entry: Entry, days: int) -> Entry:
    """Return `entry` so many days later, with seconds that vary by up to ten percent."""
    if days == 0:
        return entry
    point = entry.point
    chance = random.Random(f"{point.id} {days}")
    factor = chance.uniform(0.9, 1.1)
    starts = tuple(
        replace(
            start,
            began=start.began + timedelta(days=days),
            seconds=start.seconds * factor,
            phases={name: taken * factor for name, taken in start.phases.items()},
        )
        for start in point.starts
    )
    run = hashlib.sha256(f"{point.id} {days}".encode()).hexdigest()[: len(point.id)]
    return replace(entry, point=replace(point, id=run, when=point.when + timedelta(days=days), starts=starts))


def seconds(read: Callable[[], object]) -> str:
    """Return how long `read` takes: the median and the range of wall time, and the median of CPU time."""
    wall, cpu = [], []
    for _ in range(_ROUNDS):
        began, began_cpu = time.perf_counter(), cpu_seconds()
        read()
        wall.append(time.perf_counter() - began)
        cpu.append(cpu_seconds() - began_cpu)
    return f"{statistics.median(wall):6.2f} s ({min(wall):.2f} to {max(wall):.2f}), CPU {statistics.median(cpu):.2f} s"


def cpu_seconds() -> float:
    """Return the CPU time of this process and of those that it waited for."""
    return sum(os.times()[:4])


def command(words: list[str], store: str) -> None:
    """Run ``coldwarm`` to its end, which may be that it found a regression."""
    done = subprocess.run([sys.executable, "-m", "coldwarm", *words, "--store", store], capture_output=True, text=True)
    if done.returncode not in (ExitCode.HEALTHY, ExitCode.FAILED):
        raise SystemExit(done.stderr)


if __name__ == "__main__":
    main()
