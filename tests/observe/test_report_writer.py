from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from multiprocessing import util
from pathlib import Path

import pytest

from coldwarm.observe.probes import Observer
from coldwarm.observe.report_writer import ReportWriter


def test_nothing_is_written_while_python_exits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_exit: list[Callable[[], None]] = []
    monkeypatch.setattr(atexit, "register", at_exit.append)
    monkeypatch.setattr(util, "register_after_fork", lambda *_: None)
    monkeypatch.setattr(os, "register_at_fork", lambda **_: None)
    before = set(threading.enumerate())
    ReportWriter(Observer(tmp_path), tmp_path, lambda: 0).begin()
    [thread] = set(threading.enumerate()) - before
    [write] = at_exit
    write()
    [report] = tmp_path.iterdir()
    report.unlink()
    thread.join(5)
    assert not thread.is_alive()
    write()
    assert list(tmp_path.iterdir()) == []
