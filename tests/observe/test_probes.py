from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from coldwarm.core.record import ProcessReport
from coldwarm.core.request import StartRequest
from coldwarm.core.run_folder import report_name
from coldwarm.observe.kernels.recorder import Recorder
from coldwarm.observe.log_watch import WarningProbe
from coldwarm.observe.outside import OutsideProbe
from coldwarm.observe.probes import CounterProbe, MemoryProbe, Observer, process_probes
from coldwarm.observe.progress import Progress


class Probe:
    def __init__(self, name: str, *, installs: bool = True, reports: bool = True) -> None:
        self.name, self._installs, self._reports = name, installs, reports

    def install(self) -> None:
        if not self._installs:
            raise OSError("no hook")

    def report(self, report: ProcessReport) -> None:
        if not self._reports:
            raise ValueError("no such thing")
        report.counters[self.name] = 1


def test_a_report_identifies_its_process(tmp_path: Path) -> None:
    report = Observer(tmp_path, "engine core").report()
    assert (report.pid, report.parent_pid, report.role, report.rank) == (os.getpid(), os.getppid(), "engine core", None)


def test_an_error_of_a_probe_is_recorded_and_the_others_still_report(tmp_path: Path) -> None:
    observer = Observer(tmp_path)
    observer.install(Probe("a"), Probe("b", installs=False), Probe("c", reports=False))
    observer.install(Probe("d"))
    report = observer.report()
    assert report.counters == {"a": 1, "d": 1}
    assert report.failed_probes == {"b": "OSError: no hook", "c": "ValueError: no such thing"}


def test_a_later_report_replaces_the_earlier_one(tmp_path: Path) -> None:
    observer = Observer(tmp_path)
    observer.install(Probe("a"))
    observer.write()
    observer.install(Probe("b"))
    observer.write()
    [path] = tmp_path.iterdir()
    assert path.name == report_name(os.getpid())
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_bytes())["counters"] == {"a": 1, "b": 1}


def test_a_report_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Observer(tmp_path / "nowhere").write()


class Named:
    """A probe that reports a name which is not valid UTF-8, as that of a file may be."""

    name = "named"

    def install(self) -> None: ...

    def report(self, report: ProcessReport) -> None:
        report.role = "caf\udce9"
        report.counters = {"\udce9": 3}
        report.outside.written = ["/tmp/caf\udce9.txt"]


def test_a_report_may_have_text_that_is_not_utf_8(tmp_path: Path) -> None:
    observer = Observer(tmp_path)
    observer.install(Named())
    observer.write()
    report = ProcessReport.model_validate_json((tmp_path / f"{os.getpid()}.json").read_bytes())
    assert (report.role, report.counters) == ("caf\\udce9", {"\\udce9": 3})
    assert report.outside.written == ["/tmp/caf\\udce9.txt"]


def test_a_forked_process_does_not_report_what_its_parent_counted() -> None:
    counters = {"a": 3}
    probe = CounterProbe(lambda: dict(counters))
    probe.install()
    counters["a"] += 4
    if not (child := os.fork()):
        counters["a"] += 1
        report = ProcessReport()
        probe.report(report)
        os._exit(report.counters["a"])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def test_counters_are_reported_relative_to_the_installation() -> None:
    counters = {"a": 3}
    probe = CounterProbe(lambda: dict(counters))
    probe.install()
    counters |= {"a": 5, "b": 1}
    report = ProcessReport()
    probe.report(report)
    assert report.counters == {"a": 2, "b": 1}


def test_memory_is_reported_in_bytes() -> None:
    report = ProcessReport()
    MemoryProbe().report(report)
    assert report.peak_memory_bytes is not None
    assert report.peak_memory_bytes > 2**20


def test_an_error_in_storing_a_warning_fails_only_the_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coldwarm.observe.log_watch._text_of", None)
    probe = WarningProbe(("test_probes",))
    make = logging.getLogRecordFactory()
    observer = Observer(tmp_path)
    observer.install(probe)
    try:
        logging.getLogger("test_probes").warning("cannot load it")
    finally:
        logging.setLogRecordFactory(make)
    assert observer.report().failed_probes == {"warnings": "TypeError: 'NoneType' object is not callable"}


def test_an_error_in_recording_a_file_fails_only_the_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coldwarm.observe.outside._add", None)
    probe = OutsideProbe([], [])
    observer = Observer(tmp_path)
    observer.install(probe)
    try:
        (tmp_path / "file").write_text("x")
    finally:
        probe.stop()
    assert list(observer.report().failed_probes) == ["outside"]


def test_kernels_are_recorded_with_the_phase_of_the_process_that_knows_it(tmp_path: Path) -> None:
    request = StartRequest(
        engine="fake",
        device="cpu",
        compilation="piecewise",
        model_folder=tmp_path,
        overrides={},
        options={},
        result=tmp_path / "result",
        reports=tmp_path,
        launcher_pid=1,
        events_fd=1,
    )
    progress = Progress(-1)
    progress.enter("JIT warm-up")
    phases = []
    for known in (progress, None):
        [recorder] = [each for each in process_probes(request, (), None, known) if isinstance(each, Recorder)]
        phases.append(recorder.request().phase)
    assert phases == ["JIT warm-up", None]


def test_the_peak_is_that_of_the_device_that_the_process_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = [0, 0, 7]
    cuda = SimpleNamespace(
        is_initialized=lambda: True,
        device_count=lambda: len(peaks),
        # Without a device, PyTorch takes the current one of the thread: the first, in a new thread.
        max_memory_reserved=lambda device=0: peaks[device],
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    report = ProcessReport()
    MemoryProbe().report(report)
    assert report.peak_device_memory_bytes == 7


BUILT = """
from coldwarm.core.kernels import KernelEvent
from coldwarm.core.record import Message
from coldwarm.observe.kernels.recorder import Recorder
from coldwarm.observe.log_watch import WarningProbe

models = KernelEvent, Message
before = [model.__pydantic_complete__ for model in models]
Recorder().install()
WarningProbe(()).install()
print(before, [model.__pydantic_complete__ for model in models])
"""


def test_what_the_programs_threads_create_is_built_before() -> None:
    done = subprocess.run([sys.executable, "-c", BUILT], check=True, text=True, capture_output=True, timeout=60)
    assert done.stdout == "[False, False] [True, True]\n"


def test_a_probe_that_cannot_count_does_not_hide_what_others_see(tmp_path: Path) -> None:
    class Broken(CounterProbe):
        def seen(self) -> int:
            raise RuntimeError("dictionary changed size during iteration")

        def milestones(self) -> int:
            raise RuntimeError

    observer = Observer(tmp_path)
    observer.install(Broken(dict), CounterProbe(lambda: {"a": 3}))
    assert (observer.seen(), observer.milestones()) == (3, 0)
