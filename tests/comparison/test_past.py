"""Comparing runs of the history, with folders and with each other."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from coldwarm.core.exit_codes import ExitCode
from coldwarm.core.record import StartRecord
from coldwarm.store.history.history import History
from coldwarm.suite.result import RunResult
from tests.support.commands import Commands
from tests.support.records import cold_record, model_entry, warm_record
from tests.support.repeated import repeated, timed
from tests.support.runs import case_of
from tests.support.stored import stored

STARTS = [20.0, 20.1, 20.2, 20.3, 20.4, 20.5]


def on_day(record: StartRecord, day: int, version: str) -> StartRecord:
    assert record.facts is not None
    facts = record.facts.model_copy(update={"versions": {"vllm": version, "torch": "2.13.0"}})
    return record.model_copy(update={"facts": facts, "began": datetime(2026, 11, day, tzinfo=UTC)})


def run(day: int, version: str, seconds: float) -> RunResult:
    cold, warm = timed(cold_record(), seconds), timed(warm_record(), seconds / 5)
    return RunResult.of(case_of(model_entry(id="tiny")), on_day(cold, day, version), on_day(warm, day, version))


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A history with six runs of each of two versions, the newer of which is slower."""
    path = str(tmp_path / "history.db")
    with History.open(path) as history:
        for number, seconds in enumerate(STARTS):
            history.add(stored(tmp_path / f"old{number}", run(number + 1, "0.32.0", seconds)))
            history.add(stored(tmp_path / f"new{number}", run(number + 11, "0.33.0", seconds * 1.2)))
    return path


def test_versions_are_compared_with_all_of_their_runs(commands: Commands, store: str) -> None:
    done = commands.run_in_process("compare", "version=0.32", "version=0.33", "--store", store)
    assert done.returncode == ExitCode.FAILED, done.stderr
    assert "- vllm: 0.32.0, now 0.33.0" in done.stdout
    assert "| tiny | cold | 20.25 | 24.30 | +20 % |" in done.stdout


def test_a_folder_is_compared_with_the_history(commands: Commands, store: str, tmp_path: Path) -> None:
    stored(tmp_path / "mine", repeated(STARTS))
    done = commands.run_in_process("compare", "version=0.32", "mine", "--store", store)
    assert done.returncode == ExitCode.HEALTHY, done.stdout + done.stderr


def test_one_run_is_named_by_its_id(commands: Commands, store: str) -> None:
    with History.open(store) as history:
        first, last = (history.points()[index].id for index in (0, -1))
    done = commands.run_in_process("compare", first[:8], last, "--store", store, "--report", "json=c.json")
    assert done.returncode == ExitCode.USAGE, "one start each is not enough"
    content = json.loads((commands.folder / "c.json").read_text())
    assert content["runs"][0]["seconds"][0]["before"] == [20.0]
    assert content["runs"][0]["seconds"][0]["after"] == [pytest.approx(24.6)]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("version=0.99", "no run in"),
        ("vresion=0.33", "no condition 'vresion'; nearest: version"),
        ("version=", "the value of 'version' is missing"),
        ("no-such-folder", "is not a folder, and not the id of a run"),
        ("abcdef12", "no run in"),
        ("~no-such-user=1", "~no-such-user=1: there is no such user, or one without a home folder"),
    ],
)
def test_what_names_no_run_is_refused(commands: Commands, store: str, word: str, message: str) -> None:
    done = commands.run_in_process("compare", word, "version=0.33", "--store", store)
    assert done.returncode == ExitCode.USAGE and message in done.stderr and done.stdout == ""


def test_all_repetitions_are_in_the_history(tmp_path: Path, commands: Commands) -> None:
    path = str(tmp_path / "history.db")
    result = repeated(STARTS, cpu_seconds=18.5)
    folder = stored(tmp_path / "suite", result)
    with History.open(path) as history:
        history.add(folder)
        [point] = history.points()
        assert [(start.kind, start.number) for start in point.starts if start.kind == "cold"] == [
            ("cold", number) for number in range(1, 7)
        ]
        assert {start.cpu_seconds for start in point.starts} == {18.5}
        content = history.content(point.id)
        assert len(content.repetitions) == 5
        assert [each.cold for each in content.repetitions] == [each.cold for each in result.repetitions[1:]]
        history.export(point.id, tmp_path / "exported")
    again = commands.run_in_process("compare", "suite", "exported")
    assert again.returncode == ExitCode.HEALTHY, again.stdout + again.stderr
    done = commands.run_in_process("compare", point.id, "suite", "--store", path)
    assert done.returncode == ExitCode.HEALTHY and "**No regression in 1 run.**" in done.stdout
