from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from threading import Barrier

import pytest

from coldwarm.checks.verdict import Status
from coldwarm.core.case import Case
from coldwarm.core.record import StartKind, StartRecord
from coldwarm.diagnose.explanation import Explanation
from coldwarm.launch.process_tree import StoppedError
from coldwarm.launch.spawn import NewProcesses
from coldwarm.store.suite_folder import Store, read_runs
from coldwarm.suite import capacity
from coldwarm.suite.result import RunResult
from coldwarm.suite.runner import Runner
from tests.support.processes import is_gone
from tests.support.records import cold_record, model_entry, tiny_config, unfinished_record, warm_record
from tests.support.runs import case_of


class RecordedSteps:
    def __init__(self, interrupt_at: str = "") -> None:
        self.steps: list[str] = []
        self._interrupt_at = interrupt_at

    def start_began(self, case: Case, kind: StartKind) -> None:
        self._record(f"{case.model_id} {kind}")

    def phase_began(self, case: Case, kind: StartKind, phase: str) -> None:
        self._record(f"{case.model_id} {kind}: {phase}")

    def start_ended(self, case: Case, record: StartRecord) -> None:
        self._record(f"{case.model_id} {record.kind} {record.outcome}")

    def run_ended(self, result: RunResult) -> None:
        self._record(f"{result.case.model_id}: {result.verdict.status}")

    def _record(self, step: str) -> None:
        self.steps.append(step)
        if step == self._interrupt_at:
            raise KeyboardInterrupt


def case(model_id: str, behaves: str = "healthy", **entry: object) -> Case:
    return case_of(model_entry(id=model_id, **entry), engine="fake", config=tiny_config(behaves=behaves))


def runner(folder: Path, observer: RecordedSteps) -> Runner:
    return Runner(Store.create(folder / "suite", ["a", "b", "c"]), observer, time_limit=30)


@pytest.mark.usefixtures("fake_engine")
def test_a_crash_ends_only_its_own_run(tmp_path: Path) -> None:
    observer = RecordedSteps()
    runs = runner(tmp_path, observer)
    runs.run([case("a", "raises"), case("b"), case("c", unsupported=[{"reason": "r", "devices": ["cpu"]}])])
    assert [result.verdict.status for result in runs.results] == [Status.ERROR, Status.PASSED, Status.UNSUPPORTED]
    phases = ["import", "compile", "exit"]
    assert observer.steps == [
        "a cold",
        *(f"a cold: {phase}" for phase in ("import", "compile", "weights", "compile", "exit")),
        "a cold crashed",
        "a: error",
        "b cold",
        *(f"b cold: {phase}" for phase in phases),
        "b cold finished",
        "b warm",
        *(f"b warm: {phase}" for phase in phases),
        "b warm finished",
        "b: passed",
        "c: unsupported",
    ]
    stored = read_runs(tmp_path / "suite")
    assert [RunResult.of(run.case, run.cold, run.warm).verdict for run in stored] == [
        result.verdict for result in runs.results
    ]
    assert (tmp_path / "suite" / "b" / "verdict.json").is_file()


@pytest.mark.usefixtures("fake_engine", "instant_launch")
def test_finished_runs_remain_after_an_interrupt(tmp_path: Path) -> None:
    runs = runner(tmp_path, RecordedSteps(interrupt_at="b warm"))
    with pytest.raises(KeyboardInterrupt):
        runs.run([case("a"), case("b"), case("c")])
    assert [result.case.model_id for result in runs.results] == ["a"]
    assert [(run.case.model_id, run.cold is None, run.warm is None) for run in read_runs(tmp_path / "suite")] == [
        ("a", False, False),
        ("b", False, True),
    ]


@pytest.mark.usefixtures("fake_engine")
def test_an_interrupted_start_leaves_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_LEAKS", str(tmp_path / "seen.json"))
    monkeypatch.setenv("HF_TOKEN", "hunter2-0a1b2c")
    runs = runner(tmp_path, RecordedSteps(interrupt_at="a cold: exit"))
    with pytest.raises(KeyboardInterrupt):
        runs.run([case("a")])
    for name in ("cold.log", "cold.trace/trace.log"):
        text = (tmp_path / "suite" / "a" / name).read_text()
        assert "'HF_TOKEN': '**************'" in text
        assert "hunter2" not in text


class Shared(NewProcesses):
    """A process factory that several suites share."""

    closed = False

    def close(self) -> None:
        self.closed = True


@pytest.mark.usefixtures("fake_engine", "instant_launch")
def test_a_shared_process_factory_is_closed_only_if_a_suite_is_aborted(tmp_path: Path) -> None:
    shared = Shared()
    for name, interrupt_at in (("first", ""), ("second", "b warm")):
        observer = RecordedSteps(interrupt_at=interrupt_at)
        runs = Runner(Store.create(tmp_path / name, ["a", "b"]), observer, time_limit=30, isolation=shared)
        if interrupt_at:
            with pytest.raises(KeyboardInterrupt):
                runs.run([case("a"), case("b")])
        else:
            runs.run([case("a"), case("b")])
        assert shared.closed == bool(interrupt_at)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace every start by a fixed record; the cold start of the model ``bad`` crashes."""

    class Recorded:
        def __init__(self, case: Case, *_: object, **__: object) -> None:
            self._crashes = case.model_id == "bad"

        def cold(self, on_phase: Callable[[str], None]) -> StartRecord:
            return unfinished_record() if self._crashes else cold_record()

        def warm(self, on_phase: Callable[[str], None]) -> StartRecord:
            return warm_record()

    monkeypatch.setattr("coldwarm.suite.runner.Starter", Recorded)


@pytest.mark.usefixtures("recorded")
def test_a_run_that_was_stopped_between_its_starts_has_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> StartRecord:
        raise StoppedError

    monkeypatch.setattr("coldwarm.suite.runner.Starter.warm", stopped)
    runs = Runner(Store.create(tmp_path / "suite", ["a"]), RecordedSteps(), time_limit=30)
    runs.run([case("a")])
    assert runs.results == []


@pytest.mark.usefixtures("recorded")
def test_every_executed_run_is_explained_and_its_explanation_stored(tmp_path: Path) -> None:
    runs = Runner(Store.create(tmp_path / "suite", ["a", "bad", "c"]), RecordedSteps(), time_limit=30)
    runs.run([case("a"), case("bad"), case("c", unsupported=[{"reason": "r", "devices": ["cpu"]}])])
    healthy, crashed, unsupported = (result.explanation for result in runs.results)
    assert healthy is not None and crashed is not None
    assert (len(healthy.layers), healthy.findings) == (6, [])
    assert healthy.notes == [
        "cold.trace contains no trace",
        "warm.trace contains no trace",
        "the components of the cache keys were not recorded",
    ]
    assert crashed == Explanation(notes=["cold.trace contains no trace"])
    assert unsupported is None
    assert [run.explanation for run in read_runs(tmp_path / "suite")] == [healthy, crashed, None]
    assert not (tmp_path / "suite" / "c" / "explanation.json").exists()


@pytest.mark.usefixtures("recorded")
def test_a_run_is_explained_from_its_records_and_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def explain(folder: Path, cold: StartRecord | None, warm: StartRecord | None) -> Explanation:
        calls.append((folder, cold, warm))
        return Explanation(notes=[folder.name])

    monkeypatch.setattr("coldwarm.suite.runner.explain", explain)
    runs = Runner(Store.create(tmp_path / "suite", ["a", "bad"]), RecordedSteps(), time_limit=30)
    runs.run([case("a"), case("bad")])
    suite = tmp_path / "suite"
    assert calls == [(suite / "a", cold_record(), warm_record()), (suite / "bad", unfinished_record(), None)]
    assert [run.explanation for run in read_runs(suite)] == [Explanation(notes=[model]) for model in ("a", "bad")]


@pytest.mark.usefixtures("recorded")
def test_a_run_that_was_interrupted_has_no_explanation(tmp_path: Path) -> None:
    runs = runner(tmp_path, RecordedSteps(interrupt_at="a warm"))
    with pytest.raises(KeyboardInterrupt):
        runs.run([case("a")])
    [run] = read_runs(tmp_path / "suite")
    assert (run.cold, run.explanation) == (cold_record(), None)


@pytest.mark.usefixtures("recorded")
def test_a_failed_explanation_does_not_affect_other_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def explain(folder: Path, *_: object) -> Explanation:
        raise RuntimeError("an unknown trace layout")

    monkeypatch.setattr("coldwarm.suite.runner.explain", explain)
    runs = runner(tmp_path, RecordedSteps())
    runs.run([case("a"), case("b")])
    assert [result.verdict.status for result in runs.results] == [Status.PASSED, Status.PASSED]
    for result in runs.results:
        assert result.explanation == Explanation(
            notes=["could not explain this run: RuntimeError: an unknown trace layout"], failed=True
        )


@pytest.mark.usefixtures("fake_engine")
def test_parallel_runs_are_reported_in_the_order_of_their_cases_with_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = Barrier(2, timeout=30)

    class Meeting(RecordedSteps):
        def phase_began(self, case: Case, kind: StartKind, phase: str) -> None: ...

        def start_began(self, case: Case, kind: StartKind) -> None: ...

    def meet(folder: Path, *_: object) -> Explanation:
        # Explain neither run before both are started.
        both.wait()
        return Explanation()

    monkeypatch.setattr("coldwarm.suite.runner.explain", meet)
    runs = Runner(Store.create(tmp_path / "suite", ["a", "b"]), Meeting(), time_limit=30, jobs=2)
    runs.run([case("a"), case("b")])
    assert [result.case.model_id for result in runs.results] == ["a", "b"]
    assert [result.verdict.status for result in runs.results] == [Status.PASSED] * 2
    for result in runs.results:
        assert result.cold is not None and result.cold.side_by_side == 2
    assert [run.cold and run.cold.side_by_side for run in read_runs(tmp_path / "suite")] == [2, 2]


@pytest.mark.usefixtures("fake_engine", "instant_launch")
@pytest.mark.parametrize(("jobs", "models", "share"), [(1, 2, None), (8, 1, None), (2, 2, "4"), (8, 2, "4")])
def test_a_start_has_its_share_of_the_cores_and_is_reproduced_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int, models: int, share: str | None
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("coldwarm.suite.runner.cores", lambda: 8)
    cases = [case(name) for name in ("a", "b")[:models]]
    runs = Runner(Store.create(tmp_path / "suite", ["a", "b"]), RecordedSteps(), time_limit=30, jobs=jobs)
    runs.run(cases)
    for result in runs.results:
        assert result.cold is not None
        assert result.cold.environment.get("OMP_NUM_THREADS") == share
        assert result.reproduce.startswith("OMP_NUM_THREADS=4 ") == (share is not None)


@pytest.mark.usefixtures("fake_engine", "instant_launch")
@pytest.mark.parametrize(("jobs", "share"), [(1, "4"), (2, "2")])
def test_in_an_xdist_worker_a_start_has_a_share_of_the_workers_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int, share: str
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv(capacity.XDIST_WORKERS, "2")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(capacity, "_cgroup", lambda _: "")
    runs = Runner(Store.create(tmp_path / "suite", ["a", "b"]), RecordedSteps(), time_limit=30, jobs=jobs)
    runs.run([case("a"), case("b")])
    shares = [result.cold.environment["OMP_NUM_THREADS"] for result in runs.results if result.cold is not None]
    assert shares == [share] * 2


@pytest.mark.usefixtures("fake_engine")
def test_an_interrupt_ends_the_starts_of_other_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = tmp_path / "sleeper"
    monkeypatch.setenv("FAKE_SLEEPER", str(ready))

    class Interrupting(RecordedSteps):
        def start_began(self, case: Case, kind: StartKind) -> None: ...

        def phase_began(self, case: Case, kind: StartKind, phase: str) -> None:
            if case.model_id == "b":
                deadline = time.monotonic() + 20
                while not (ready.exists() and ready.read_text()) and time.monotonic() < deadline:
                    time.sleep(0.01)
                raise KeyboardInterrupt

    runs = Runner(Store.create(tmp_path / "suite", ["a", "b", "c"]), Interrupting(), time_limit=60, jobs=2)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        runs.run([case("a", "hangs"), case("b"), case("c")])
    assert time.monotonic() - began < 30
    assert runs.results == []
    assert is_gone(int(ready.read_text()))
    assert not (tmp_path / "suite" / "c").exists()
