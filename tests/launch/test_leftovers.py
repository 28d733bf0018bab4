from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from coldwarm.core.variables import OBSERVATION_VARIABLE, TOKEN_VARIABLE
from coldwarm.launch import leftovers
from coldwarm.launch.leftovers import mark_as_own, remove_leftovers
from tests.support.commands import Commands
from tests.support.processes import goes, is_gone


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of coldwarm's in that of the user.

    No other folder is looked at: with what the tests change, those of running starts would look like leftovers.
    """
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(leftovers, "SHORT_FOLDER", tmp_path)
    folder = tmp_path / "coldwarm-x"
    folder.mkdir()
    return folder


def owned_by(folder: Path, **values: object) -> None:
    mark_as_own(folder)
    owner = json.loads((folder / "owner.json").read_bytes())
    (folder / "owner.json").write_text(json.dumps({**owner, **values}))


def dead_pid() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_folder_whose_process_has_ended_is_removed(folder: Path) -> None:
    owned_by(folder, pid=dead_pid())
    remove_leftovers()
    assert not folder.exists()


def test_a_folder_outside_of_a_temporary_folder_with_a_long_path_is_removed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder.parent / "long"))
    owned_by(folder, pid=dead_pid())
    remove_leftovers()
    assert not folder.exists()


def test_a_folder_whose_process_has_the_id_of_another_one_is_removed(folder: Path) -> None:
    owned_by(folder, ticks=1)
    remove_leftovers()
    assert not folder.exists()


@pytest.mark.parametrize("case", ["running", "elsewhere", "not marked", "damaged", "other name"])
def test_any_other_folder_stays(folder: Path, case: str) -> None:
    match case:
        case "running":
            mark_as_own(folder)
        case "elsewhere":
            owned_by(folder, pid=dead_pid(), where=["another machine", ""])
        case "damaged":
            (folder / "owner.json").write_text("[")
        case "other name":
            owned_by(folder, pid=dead_pid())
            folder = folder.rename(folder.with_name("mine"))
    remove_leftovers()
    assert folder.is_dir()


def test_the_folder_of_a_running_process_stays_when_the_clock_of_the_machine_is_set(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark_as_own(folder)
    began = psutil.Process().create_time()
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: began - 60)
    remove_leftovers()
    assert folder.is_dir()


def test_a_users_command_goes_on_if_the_coldwarm_that_watches_it_was_killed(folder: Path) -> None:
    owned_by(folder, pid=dead_pid(), has_users_command=True)
    variables = {TOKEN_VARIABLE: str(folder), OBSERVATION_VARIABLE: str(folder / "observation.json")}
    server = subprocess.Popen(["sleep", "60"], env={**os.environ, **variables})
    try:
        remove_leftovers()
        assert server.poll() is None
        assert folder.is_dir()
    finally:
        server.kill()
        server.wait()
    remove_leftovers()
    assert not folder.exists()


def test_a_killed_run_is_cleaned_up_by_the_next_one(commands: Commands, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    sleep = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
    words = ["run", "--output", "out", "--", sys.executable, "-c", sleep]
    running = commands.begin(*words, TMPDIR=str(tmp_path / "tmp"))
    pid = tmp_path / "pid"
    deadline = time.monotonic() + 30
    while not (pid.exists() and pid.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert running.stderr is not None
    running.stderr.close()
    left = int(pid.read_text())
    assert not is_gone(left)
    assert list((tmp_path / "tmp").iterdir())
    commands.run("run", "--output", "again", "--", "true", TMPDIR=str(tmp_path / "tmp"))
    assert goes(left)
    assert list((tmp_path / "tmp").iterdir()) == []
