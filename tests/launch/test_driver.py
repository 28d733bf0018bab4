from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from coldwarm.core.depth import Depth
from coldwarm.core.isolation import IsolationKind
from coldwarm.core.record import Outcome
from coldwarm.launch.driver import Driver, WorkerDriver
from coldwarm.launch.process_tree import StartState
from coldwarm.launch.spawn import NewProcesses, SpawnedProcess, WorkerOrder, WorkerProcess
from coldwarm.launch.start import Starter
from tests.support.processes import is_gone
from tests.support.records import tiny_config
from tests.support.runs import case_of

SERVER = """
import os, signal, sys, time
open("pid", "w").write(str(os.getpid()))
def end(*_):
    print("goodbye", flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, {on_term})
print("{says}", flush=True)
time.sleep(60)
"""


class ServerDriver:
    """Runs a program that prints a line when it is ready, and then runs until it is stopped."""

    def __init__(self, *, says: str = "ready", on_term: str = "end", grace: float = 20) -> None:
        self._program = SERVER.format(says=says, on_term=on_term)
        self._grace = grace
        self.prepared = 0

    def prepare(self, order: WorkerOrder, on_phase: Callable[[str], None]) -> None:
        self.prepared += 1

    def begin(self, order: WorkerOrder, output: int) -> tuple[WorkerProcess, IsolationKind]:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", self._program],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(order.environment),
            cwd=order.folder,
            start_new_session=True,
        )
        # The time limit of a test must not end before a busy machine has written it.
        pid = order.folder / "pid"
        while process.poll() is None and not (pid.exists() and pid.read_text()):
            time.sleep(0.01)
        return SpawnedProcess(process), IsolationKind.SPAWN

    def ready(self, state: StartState) -> bool:
        return "ready" in state.log.read_text()

    def stop(self, process: WorkerProcess, enter: Callable[[str], None]) -> None:
        os.kill(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + self._grace
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)

    def shared_caches_changed(self, order: WorkerOrder) -> list[str]:
        return []

    def why_not_forked(self, order: WorkerOrder) -> str | None:
        return None


def starter(folder: Path, driver: Driver, time_limit: float = 30) -> Starter:
    case = case_of(engine="fake", config=tiny_config())
    return Starter(case, folder / "scratch", folder / "output", time_limit=time_limit, driver=driver)


@pytest.mark.usefixtures("fake_engine")
class TestServer:
    def test_is_stopped_when_it_is_ready(self, tmp_path: Path) -> None:
        driver = ServerDriver()
        record = starter(tmp_path, driver).cold()
        assert (record.outcome, record.failure) == (Outcome.FINISHED, None)
        assert driver.prepared == 1
        assert record.seconds < 30
        assert (tmp_path / "output" / "cold.log").read_text().split() == ["ready", "goodbye"]
        assert is_gone(int((tmp_path / "scratch" / "pid").read_text()))

    def test_is_killed_if_it_does_not_stop(self, tmp_path: Path) -> None:
        record = starter(tmp_path, ServerDriver(on_term="signal.SIG_IGN", grace=0.3)).cold()
        assert (record.outcome, record.failure) == (Outcome.FINISHED, None)
        assert is_gone(int((tmp_path / "scratch" / "pid").read_text()))

    def test_is_killed_at_the_time_limit_if_it_is_never_ready(self, tmp_path: Path) -> None:
        record = starter(tmp_path, ServerDriver(says="wait"), time_limit=1.5).cold()
        assert record.outcome is Outcome.TIMED_OUT
        assert "goodbye" not in (tmp_path / "output" / "cold.log").read_text()
        assert is_gone(int((tmp_path / "scratch" / "pid").read_text()))

    def test_has_failed_if_it_ends_before_it_is_ready(self, tmp_path: Path) -> None:
        record = starter(tmp_path, ServerDriver(says='not yet", flush=True); sys.exit(0); print("')).cold()
        assert record.outcome is Outcome.CRASHED
        assert record.failure is not None
        assert "status" in record.failure.what


def test_a_worker_is_ready_when_it_has_ended(tmp_path: Path) -> None:
    driver = WorkerDriver()
    assert [driver.ready(StartState(status, ("import",), tmp_path)) for status in (None, 0, 1, -9)] == [
        False,
        True,
        True,
        True,
    ]


def test_stop_does_not_signal_a_worker(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as other:
        WorkerDriver().stop(SpawnedProcess(other), lambda phase: None)
        assert not is_gone(other.pid)
        other.kill()


def test_a_worker_is_created_by_the_given_isolation(tmp_path: Path) -> None:
    class Isolation(NewProcesses):
        def begin(self, order: WorkerOrder, output: int) -> tuple[WorkerProcess, IsolationKind]:
            return SpawnedProcess(subprocess.Popen(["true"])), IsolationKind.FORK

        def shared_caches_changed(self, order: WorkerOrder) -> list[str]:
            return ["a file"]

    order = WorkerOrder("fake", Depth.FULL, tmp_path, {}, events=1, folder=tmp_path)
    driver = WorkerDriver(Isolation())
    worker, how = driver.begin(order, 1)
    assert worker.wait() == 0
    assert (how, driver.shared_caches_changed(order)) == (IsolationKind.FORK, ["a file"])
