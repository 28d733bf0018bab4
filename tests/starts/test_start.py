from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest

from coldwarm.starts.launcher import Ended
from coldwarm.starts.record import Failure, Outcome, Phase, StartKind
from coldwarm.starts.start import Starter, _failure, _outcome
from coldwarm.starts.worker import WorkerResult
from tests.support.processes import goes
from tests.support.records import cold_facts, tiny_config
from tests.support.runs import case_of

HEALTHY = WorkerResult(facts=cold_facts())


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "cold.log"
    path.write_bytes(b"".join(b"line %d\n" % n for n in range(100)) + b"last \xff\n")
    return path


def ended(status: int = 0, *, timed_out: bool = False, phases: tuple[str, ...] = ("import", "compile")) -> Ended:
    return Ended(status, timed_out, 1.0, [Phase(name=name, seconds=0.5) for name in phases])


def test_a_worker_with_facts_and_status_0_has_not_failed(log: Path) -> None:
    assert _failure(HEALTHY, ended(), 600, log) is None
    assert _outcome(None, ended()) is Outcome.FINISHED


@pytest.mark.parametrize("worker", [HEALTHY, WorkerResult(), WorkerResult(failure=Failure(what="too late"))])
def test_a_killed_hang_says_how_long_and_where(worker: WorkerResult, log: Path) -> None:
    failure = _failure(worker, ended(-9, timed_out=True), 90, log)
    assert failure is not None
    assert failure.what == "still running after 90 s, killed"
    assert failure.phase == "compile"
    assert failure.signal is None
    assert _outcome(failure, ended(-9, timed_out=True)) is Outcome.TIMED_OUT


def test_what_the_worker_says_of_its_crash_is_kept(log: Path) -> None:
    told = Failure(what="ValueError: no", phase="weights", exception="ValueError", traceback="...")
    failure = _failure(WorkerResult(failure=told), ended(1), 600, log)
    assert failure is not None
    assert failure.model_copy(update={"log_tail": []}) == told
    assert _outcome(failure, ended(1)) is Outcome.CRASHED


@pytest.mark.parametrize(("status", "name"), [(-9, "SIGKILL"), (-11, "SIGSEGV"), (-6, "SIGABRT")])
def test_a_signal_is_named(status: int, name: str, log: Path) -> None:
    failure = _failure(WorkerResult(), ended(status), 600, log)
    assert failure is not None
    assert (failure.signal, failure.what) == (name, f"the process was killed by {name}")


def test_a_signal_without_a_name_is_told_by_its_number(log: Path) -> None:
    failure = _failure(WorkerResult(), ended(-40), 600, log)
    assert failure is not None
    assert "40" in failure.what


def test_a_crash_while_leaving_is_a_crash_although_there_are_facts(log: Path) -> None:
    assert _failure(HEALTHY, ended(-11), 600, log) is not None
    assert _failure(HEALTHY, ended(1), 600, log) is not None


@pytest.mark.parametrize("status", [0, 2])
def test_a_worker_without_a_result_has_failed_whatever_its_status(status: int, log: Path) -> None:
    failure = _failure(WorkerResult(), ended(status), 600, log)
    assert failure is not None
    assert f"status {status}" in failure.what


def test_exit_is_no_phase_to_fail_in(log: Path) -> None:
    failure = _failure(WorkerResult(), ended(-9, phases=("import", "generate", "exit")), 600, log)
    assert failure is not None
    assert failure.phase == "generate"


def test_the_last_lines_of_the_log_come_with_a_failure(log: Path) -> None:
    failure = _failure(WorkerResult(), ended(1), 600, log)
    assert failure is not None
    assert len(failure.log_tail) == 40
    assert failure.log_tail[0] == "line 61"
    assert failure.log_tail[-1] == "last \N{REPLACEMENT CHARACTER}"


def starter(folder: Path, **config: object) -> Starter:
    case = case_of(engine="fake", config=tiny_config(**config))
    return Starter(case, folder / "scratch", folder / "output", time_limit=30)


@pytest.mark.usefixtures("fake_engine")
class TestWithAFakeEngine:
    def test_cold_then_warm(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VLLM_CACHE_ROOT", "/mine")
        monkeypatch.setenv("VLLM_MINE", "1")
        told: list[str] = []
        starts = starter(tmp_path)
        cold, warm = starts.cold(told.append), starts.warm()

        assert (cold.kind, cold.outcome, cold.failure) == (StartKind.COLD, Outcome.FINISHED, None)
        assert (warm.kind, warm.outcome, warm.failure) == (StartKind.WARM, Outcome.FINISHED, None)
        assert told == ["import", "compile", "exit"]
        assert [phase.name for phase in warm.phases] == ["process start", *told]

        assert cold.caches_before == {}
        assert cold.caches_as_left
        assert cold.caches_after["vllm"].files == 1
        assert warm.caches_before == cold.caches_after
        assert warm.caches_as_left

        assert cold.facts is not None
        assert cold.facts.counters["vllm.num_compiled_artifacts_saved"] == 3
        assert warm.facts is not None
        assert warm.facts.counters["vllm.num_compiled_artifacts_loaded"] == 3
        assert cold.compiler_work is not None
        assert (cold.compiler_work.files, cold.compiler_work.records) == (1, 1)
        assert cold.peak_memory_bytes is not None
        assert cold.peak_memory_bytes > 2**20

        assert [(m.logger, m.text) for m in cold.messages] == [("fake.compiler.cache", "cannot load it")]
        assert cold.environment["VLLM_MINE"] == "1"
        assert "VLLM_CACHE_ROOT" in cold.overridden
        assert "not watched" in (tmp_path / "output" / "cold.log").read_text()
        assert (tmp_path / "output" / "warm.trace" / "trace.log").is_file()

    def test_a_crash_is_told_with_its_phase_and_traceback(self, tmp_path: Path) -> None:
        record = starter(tmp_path, behaves="raises").cold()
        assert record.outcome is Outcome.CRASHED
        assert (record.facts, record.compiler_work) == (None, None)
        assert record.failure is not None
        assert record.failure.what == "ValueError: no such weights"
        assert record.failure.phase == "compile"
        assert record.failure.exception == "ValueError"
        assert "second line" in (record.failure.traceback or "")
        assert [message.text for message in record.messages] == ["cannot load it"]

    def test_a_killed_worker_is_told_with_its_signal(self, tmp_path: Path) -> None:
        record = starter(tmp_path, behaves="is killed").cold()
        assert record.outcome is Outcome.CRASHED
        assert record.failure is not None
        assert (record.failure.signal, record.failure.phase) == ("SIGKILL", "compile")

    def test_a_worker_dies_with_its_launcher(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        sleeper = tmp_path / "sleeper"
        monkeypatch.setenv("FAKE_SLEEPER", str(sleeper))
        launcher = os.fork()
        if launcher == 0:
            starter(tmp_path, behaves="hangs").cold()
            os._exit(0)
        while not sleeper.exists() or not sleeper.read_text():
            time.sleep(0.02)
        worker = psutil.Process(int(sleeper.read_text())).parent()
        assert worker is not None
        assert worker.ppid() == launcher
        os.kill(launcher, 9)
        os.waitpid(launcher, 0)
        os.kill(int(sleeper.read_text()), 9)
        assert goes(worker.pid)


@pytest.mark.usefixtures("fake_engine", "instant_launch")
class TestWithoutAProcess:
    def test_what_cold_left_is_what_is_due_to_warm(self, tmp_path: Path) -> None:
        starts = starter(tmp_path)
        cold = starts.cold()
        assert cold.caches_as_left
        assert starts.warm().caches_as_left

    def test_a_cold_start_with_something_in_its_caches_is_not_as_due(self, tmp_path: Path) -> None:
        starts = starter(tmp_path)
        (starts.caches.root / "triton" / "left").write_text("x")
        cold = starts.cold()
        assert not cold.caches_as_left
        assert cold.caches_before["triton"].files == 1

    def test_a_warm_start_with_meddled_caches_is_not_as_due(self, tmp_path: Path) -> None:
        starts = starter(tmp_path)
        starts.cold()
        (starts.caches.root / "vllm" / "more").write_text("x")
        assert not starts.warm().caches_as_left
