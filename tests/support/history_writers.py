"""Writers of a history in processes of their own: ``python -m tests.support.history_writers MODE STORE``.

They are forked from one process, which has imported everything. It prints what they reported as stored, as JSON:
a list of batches for each writer, and the exit status of each.

- ``kill``: fifty writers one after another, each killed at a random moment.
- ``race``: writers that begin at once in a store that does not exist yet.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path

import sqlalchemy as sa

from coldwarm.store.history.entries import Entry, entries_of
from coldwarm.store.history.history import History
from coldwarm.store.history.location import locate

RUN = Path(__file__).parents[2] / "records" / "cpu-2026-11-29-vllm-0.32" / "llama-3.1-8b"
KILLED = 50
RACING = 6
BATCHES = 4
"""How many batches a racing writer stores."""
IN_A_BATCH = 3
_MOST_STEPS = 3
"""How many steps a writer may finish before the one in which it is killed: opening the store, storing a batch, ..."""
_OPENED = "opened"


def batch(template: Entry, writer: int, number: int) -> list[Entry]:
    """Return the entries that a writer stores in one transaction; their name is that of the batch."""
    name = f"writer {writer}, batch {number}"
    return [_entry(template, name, f"{writer:08x}{number:08x}{each:016x}", each) for each in range(IN_A_BATCH)]


def _entry(template: Entry, name: str, run: str, later: int) -> Entry:
    point = template.point
    starts = tuple(replace(start, began=start.began + timedelta(seconds=later)) for start in point.starts)
    point = replace(point, id=run, name=name, when=point.when + timedelta(seconds=later), starts=starts)
    return replace(template, point=point)


def _fork(write: Callable[[int], None]) -> tuple[int, int]:
    """Run `write` in a forked process; return its id, and the end of the pipe from which its reports are read."""
    ours, theirs = os.pipe()
    if (pid := os.fork()) == 0:
        status = 1
        try:
            os.close(ours)
            write(theirs)
            status = 0
        finally:
            os._exit(status)
    os.close(theirs)
    return pid, ours


def _write(store: str, template: Entry, writer: int, batches: int | None, pipe: int) -> None:
    with History.open(store) as history:
        os.write(pipe, f"{_OPENED}\n".encode())
        for number in range(batches) if batches is not None else count():
            entries = batch(template, writer, number)
            assert history.add_entries(entries) == [True] * IN_A_BATCH
            # One write is one report: a pipe takes it as a whole.
            os.write(pipe, f"{entries[0].point.name}\n".encode())


def kill(store: str, template: Entry) -> list[tuple[list[str], int]]:
    """Kill fifty writers, and return what each reported, and how it ended."""
    moments = random.Random(20)
    longest = 0.1
    found = []
    for writer in range(KILLED):
        began = time.monotonic()
        pid, pipe = _fork(lambda theirs, writer=writer: _write(store, template, writer, None, theirs))  # type: ignore[misc]
        with os.fdopen(pipe) as file:
            lines = [file.readline() for _ in range(moments.randint(0, _MOST_STEPS))]
            # The next step takes about as long as those before it, however busy the machine is.
            step = (time.monotonic() - began) / len(lines) if lines else longest
            longest = max(longest, step)
            time.sleep(moments.uniform(0, step))
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            reported = "".join([*lines, file.read()]).splitlines()
        found.append((reported[1:], os.waitstatus_to_exitcode(status)))
    return found


def race(store: str, template: Entry) -> list[tuple[list[str], int]]:
    """Have writers begin at once, and return what each reported, and how it ended."""
    closed, barrier = os.pipe()

    def write(writer: int, pipe: int) -> None:
        os.close(barrier)
        os.read(closed, 1)
        _write(store, template, writer, BATCHES, pipe)

    writers = [_fork(lambda theirs, writer=writer: write(writer, theirs)) for writer in range(RACING)]  # type: ignore[misc]
    # Each of them reads the end of the file now.
    os.close(barrier)
    found = []
    for pid, pipe in writers:
        with os.fdopen(pipe) as file:
            _, *reported = file.read().splitlines()
        found.append((reported, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
    return found


def main() -> None:
    """Run a mode on a store."""
    mode, store = sys.argv[1:]
    [template], *_ = entries_of(RUN)
    # So that the writers import nothing.
    sa.create_engine(locate(store).url or "sqlite://").dispose()
    with History.open(str(Path(os.environ["SCRATCH"], "first.db"))) as history:
        history.points()
    modes = {"kill": kill, "race": race}
    json.dump(modes[mode](store, template), sys.stdout)


if __name__ == "__main__":
    main()
