"""Writers that are killed, and writers that write at once, in real processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import sqlalchemy as sa

from coldwarm.store.history.database import Database
from coldwarm.store.history.history import History
from coldwarm.store.history.location import locate
from coldwarm.store.history.tables import CONTENT, RUN, START
from coldwarm.suite.result import RunResult
from tests.support.commands import Commands
from tests.support.history_writers import BATCHES, IN_A_BATCH, KILLED, RACING


def written(mode: str, store: str, scratch: Path) -> tuple[list[str], list[int]]:
    """Run writers, and return the batches that they reported as stored, and how each ended."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.history_writers", mode, store],
        env={**Commands(scratch, []).environment(), "SCRATCH": str(scratch)},
        cwd=Path(__file__).parents[3],
        check=True,
        capture_output=True,
        text=True,
        timeout=240,
    )
    writers = json.loads(done.stdout)
    return [batch for batches, _ in writers for batch in batches], [status for _, status in writers]


def check_whole(store: str) -> Counter[str]:
    """Check that each run in the store is whole, and return the number of runs by batch."""
    with History.open(store, create=False) as history:
        points = history.points()
        for point in points[-20:]:
            content = history.content(point.id)
            assert content.case is not None and content.verdict is not None
            result = RunResult(content.case, content.cold, content.warm, content.verdict, content.explanation)
            assert result.ok
    assert {len(point.starts) for point in points} <= {2}
    database = Database(locate(store), create=False)
    with database.reading() as connection:
        rows = {
            table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar()
            for table in (RUN, START, CONTENT)
        }
    assert rows == {RUN.name: len(points), START.name: 2 * len(points), CONTENT.name: len(points)}
    return Counter(point.name for point in points)


def test_a_writer_killed_at_fifty_random_moments_stores_no_half_run_and_loses_none(store: str, tmp_path: Path) -> None:
    reported, statuses = written("kill", store, tmp_path)
    assert statuses == [-signal.SIGKILL] * KILLED
    stored = check_whole(store)
    assert set(reported) <= stored.keys()
    assert set(stored.values()) == {IN_A_BATCH}
    # Some were killed before their first report, and some while they stored one after another.
    writers = {batch.split(",")[0] for batch in reported}
    assert 0 < len(writers) < KILLED
    assert len(reported) > len(writers)


def test_writers_that_begin_at_once_create_the_store_once_and_lose_nothing(store: str, tmp_path: Path) -> None:
    reported, statuses = written("race", store, tmp_path)
    assert statuses == [0] * RACING
    assert len(reported) == RACING * BATCHES
    assert check_whole(store) == dict.fromkeys(reported, IN_A_BATCH)
