from __future__ import annotations

from pathlib import Path

import pytest

from coldwarm.starts.case import Case
from coldwarm.starts.record import StartKind, StartRecord
from coldwarm.suite.result import RunResult
from coldwarm.suite.runner import Runner
from coldwarm.suite.store import Store, read_runs
from coldwarm.verdict.verdict import Status
from tests.support.records import model_entry, tiny_config
from tests.support.runs import case_of


class Told:
    def __init__(self, interrupt_at: str = "") -> None:
        self.steps: list[str] = []
        self._interrupt_at = interrupt_at

    def start_began(self, case: Case, kind: StartKind) -> None:
        self._tell(f"{case.model_id} {kind}")

    def phase_began(self, case: Case, kind: StartKind, phase: str) -> None:
        self._tell(f"{case.model_id} {kind}: {phase}")

    def start_ended(self, case: Case, record: StartRecord) -> None:
        self._tell(f"{case.model_id} {record.kind} {record.outcome}")

    def run_ended(self, result: RunResult) -> None:
        self._tell(f"{result.case.model_id}: {result.verdict.status}")

    def _tell(self, step: str) -> None:
        self.steps.append(step)
        if step == self._interrupt_at:
            raise KeyboardInterrupt


def case(model_id: str, behaves: str = "healthy", **entry: object) -> Case:
    return case_of(model_entry(id=model_id, **entry), engine="fake", config=tiny_config(behaves=behaves))


def runner(folder: Path, told: Told) -> Runner:
    return Runner(Store.create(folder / "suite", ["a", "b", "c"]), told, time_limit=30)


@pytest.mark.usefixtures("fake_engine")
def test_a_crash_ends_its_own_run_only(tmp_path: Path) -> None:
    told = Told()
    runs = runner(tmp_path, told)
    runs.run([case("a", "raises"), case("b"), case("c", unsupported=[{"reason": "r", "devices": ["cpu"]}])])
    assert [result.verdict.status for result in runs.results] == [Status.ERROR, Status.PASSED, Status.UNSUPPORTED]
    phases = ["import", "compile", "exit"]
    assert told.steps == [
        "a cold",
        *(f"a cold: {phase}" for phase in phases),
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
def test_what_is_finished_stays_after_an_interrupt(tmp_path: Path) -> None:
    runs = runner(tmp_path, Told(interrupt_at="b warm"))
    with pytest.raises(KeyboardInterrupt):
        runs.run([case("a"), case("b"), case("c")])
    assert [result.case.model_id for result in runs.results] == ["a"]
    assert [(run.case.model_id, run.cold is None, run.warm is None) for run in read_runs(tmp_path / "suite")] == [
        ("a", False, False),
        ("b", False, True),
    ]
