from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing import util
from pathlib import Path
from types import SimpleNamespace

import pytest

from coldwarm.core.record import ProcessReport
from coldwarm.core.run_folder import WRITE_NOW
from coldwarm.observe import report_writer
from coldwarm.observe.probes import Observer
from coldwarm.observe.report_writer import ReportWriter


def test_nothing_is_written_while_python_exits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_exit: list[Callable[[], None]] = []
    monkeypatch.setattr(atexit, "register", at_exit.append)
    monkeypatch.setattr(util, "register_after_fork", lambda *_: None)
    monkeypatch.setattr(os, "register_at_fork", lambda **_: None)
    before = set(threading.enumerate())
    ReportWriter(Observer(tmp_path), tmp_path).begin()
    [thread] = set(threading.enumerate()) - before
    [write] = at_exit
    write()
    [report] = tmp_path.iterdir()
    report.unlink()
    thread.join(5)
    assert not thread.is_alive()
    write()
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_takes_long_is_written_rarely_but_at_once_if_the_launcher_asks_and_at_a_milestone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, cpu, seen, written, milestones = [100.0], [0.0], [0], [0], [0]

    class Slow(Observer):
        def seen(self) -> int:
            return seen[0]

        def milestones(self) -> int:
            return milestones[0]

        def write(self) -> None:
            cpu[0] += 0.05
            written[0] += 1

    clock = SimpleNamespace(monotonic=lambda: now[0], thread_time=lambda: cpu[0])
    monkeypatch.setattr(report_writer, "time", clock)
    writer = ReportWriter(Slow(tmp_path), tmp_path)

    def writes(*, at: float, sees: bool) -> bool:
        now[0] = at
        seen[0] += sees
        before = written[0]
        writer._write_if_due()
        return written[0] > before

    assert writes(at=100.0, sees=False), "the first report"
    assert not writes(at=104.0, sees=True)
    assert writes(at=105.1, sees=False), "after 5 s, of which writing took 1 %"
    assert not writes(at=200.0, sees=False), "nothing new was seen"
    (tmp_path / WRITE_NOW).touch()
    assert writes(at=200.1, sees=False)
    assert not writes(at=200.2, sees=True)
    milestones[0] += 1
    assert writes(at=200.3, sees=False), "a milestone"
    assert not writes(at=200.4, sees=True)


def test_a_process_ends_even_if_a_report_never_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_writer, "_LONGEST_LAST_WAIT", 0.1)
    writer = ReportWriter(Observer(tmp_path), tmp_path)
    began, done = threading.Event(), threading.Event()

    def hold() -> None:
        with writer._guard.lock:
            began.set()
            done.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    began.wait()
    last = threading.Thread(target=writer._write_last, daemon=True)
    last.start()
    last.join(10)
    ended = not last.is_alive()
    done.set()
    thread.join()
    assert ended
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_the_last_report_does_not_reach_the_program(tmp_path: Path) -> None:
    class Failing(Observer):
        def write(self) -> None:
            raise ValueError("a defect")

    ReportWriter(Failing(tmp_path), tmp_path)._write_last()


_BEGINS_IN_A_FORKED_PROCESS = """
import multiprocessing, time
from pathlib import Path
from coldwarm.observe.probes import CounterProbe, Observer
from coldwarm.observe.report_writer import ReportWriter

def work():
    counters = {"a": 0}
    observer = Observer(Path())
    observer.install(CounterProbe(lambda: dict(counters)))
    ReportWriter(observer, Path()).begin()
    while not list(Path().glob("*.json")):
        time.sleep(0.02)
    counters["a"] = 7

process = multiprocessing.get_context("fork").Process(target=work)
process.start()
process.join()
"""


def test_a_process_of_multiprocessing_in_which_it_begins_writes_a_last_report(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", _BEGINS_IN_A_FORKED_PROCESS], check=True, cwd=tmp_path, timeout=60)
    [report] = tmp_path.glob("*.json")
    assert ProcessReport.model_validate_json(report.read_bytes()).counters == {"a": 7}
