from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from coldwarm.core.record import ProcessReport
from coldwarm.launch import observed_processes
from coldwarm.launch.observed_processes import LostRanks, Unobserved

RANK = {"rank": 1, "role": "worker", "is_warmed_up": False}


@pytest.fixture
def lost() -> LostRanks:
    return LostRanks()


def write(folder: Path, pid: int, **fields: Any) -> None:
    unfinished = folder / f"{pid}.part"
    unfinished.write_text(ProcessReport(pid=pid, **fields).model_dump_json())
    unfinished.replace(folder / f"{pid}.json")


@pytest.fixture
def ended() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_rank_that_ends_before_it_has_warmed_up_is_noticed(lost: LostRanks, tmp_path: Path, ended: int) -> None:
    write(tmp_path, os.getpid(), **RANK)
    lost.look(tmp_path, command_runs=True)
    assert lost.first is None, "it is running"
    write(tmp_path, ended, **RANK)
    lost.look(tmp_path, command_runs=True)
    assert lost.first is not None
    assert (lost.first.pid, lost.first.rank) == (ended, 1)


def test_the_rank_that_ended_first_is_named_even_if_all_ended_before_the_next_search(
    lost: LostRanks, tmp_path: Path
) -> None:
    first, second = (subprocess.Popen(["sleep", "60"]) for _ in range(2))
    try:
        write(tmp_path, second.pid, **{**RANK, "rank": 0})
        write(tmp_path, first.pid, **RANK)
        lost.look(tmp_path, command_runs=True)
        for process in (first, second):
            process.kill()
            process.wait()
            lost.look(tmp_path, command_runs=True)
    finally:
        second.kill()
        lost.close()
    assert lost.first is not None
    assert (lost.first.pid, lost.first.rank) == (first.pid, 1)


def test_a_report_is_read_again_when_the_process_has_written_it_again(
    lost: LostRanks, tmp_path: Path, ended: int
) -> None:
    write(tmp_path, ended, **{**RANK, "rank": None})
    lost.look(tmp_path, command_runs=True)
    assert lost.first is None
    write(tmp_path, ended, **RANK)
    lost.look(tmp_path, command_runs=True)
    assert lost.first is not None


@pytest.mark.parametrize("command_runs", [True, False])
def test_it_is_known_whether_the_command_ended_after_the_rank(
    lost: LostRanks, tmp_path: Path, ended: int, command_runs: bool
) -> None:
    write(tmp_path, ended, **RANK)
    lost.look(tmp_path, command_runs=command_runs)
    assert (lost.first is not None, lost.after_it) == (True, command_runs)
    lost.look(tmp_path, command_runs=False)
    assert lost.after_it is command_runs


def test_nothing_stays_open_after_the_last_look(lost: LostRanks, tmp_path: Path) -> None:
    open_before = psutil.Process().num_fds()
    write(tmp_path, os.getpid(), **RANK)
    lost.look(tmp_path, command_runs=True)
    assert psutil.Process().num_fds() == open_before + 1
    lost.close()
    assert psutil.Process().num_fds() == open_before


@pytest.mark.parametrize("changed", [{"rank": None}, {"is_warmed_up": True}, {"is_warmed_up": None}])
def test_other_processes_may_end(lost: LostRanks, tmp_path: Path, ended: int, changed: dict[str, Any]) -> None:
    write(tmp_path, ended, **{**RANK, **changed})
    (tmp_path / "notes.json").write_text("{}")
    lost.look(tmp_path, command_runs=True)
    assert lost.first is None


@pytest.fixture
def sleeping(monkeypatch: pytest.MonkeyPatch) -> Iterator[psutil.Process]:
    """A process that has loaded torch, as far as anyone can see."""
    monkeypatch.setattr(observed_processes, "_has_torch", lambda pid: True)
    monkeypatch.setattr(observed_processes, "_UNOBSERVED_SECONDS", 0.0)
    process = subprocess.Popen(["sleep", "60"])
    yield psutil.Process(process.pid)
    process.kill()
    process.wait()


def test_a_process_that_is_not_observed_is_found_by_the_second_look(sleeping: psutil.Process, tmp_path: Path) -> None:
    unobserved = Unobserved()
    unobserved.look(sleeping, tmp_path)
    assert unobserved.reports() == []
    for _ in range(2):
        unobserved.look(sleeping, tmp_path)
        [found] = unobserved.reports()
        assert (found.pid, found.parent_pid) == (sleeping.pid, os.getpid())
        assert found.program is not None
        assert found.program.command == "sleep 60"


def test_looks_in_quick_succession_are_not_enough(
    sleeping: psutil.Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observed_processes, "_UNOBSERVED_SECONDS", 60.0)
    unobserved = Unobserved()
    for _ in range(3):
        unobserved.look(sleeping, tmp_path)
    assert unobserved.reports() == []


def test_a_process_that_was_just_forked_counts_as_observed_once_it_says_so(
    sleeping: psutil.Process, tmp_path: Path
) -> None:
    unobserved = Unobserved()
    unobserved.look(sleeping, tmp_path)
    (tmp_path / f"{sleeping.pid}.seen").touch()
    unobserved.look(sleeping, tmp_path)
    unobserved.look(sleeping, tmp_path)
    assert unobserved.reports() == []


def test_a_process_that_runs_another_program_after_the_fork_is_not_reported(
    sleeping: psutil.Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unobserved = Unobserved()
    for has_torch in (True, False, True, False):
        monkeypatch.setattr(observed_processes, "_has_torch", lambda pid, has_torch=has_torch: has_torch)
        unobserved.look(sleeping, tmp_path)
    assert unobserved.reports() == []
