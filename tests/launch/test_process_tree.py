from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldwarm.core.depth import Depth
from coldwarm.core.isolation import IsolationKind
from coldwarm.core.phases import Step
from coldwarm.core.variables import TOKEN_VARIABLE
from coldwarm.launch import process_tree
from coldwarm.launch.process_tree import Ended, StartState, Steps, StoppedError, identity_of, kill_tree, launch
from coldwarm.launch.spawn import NewProcesses, SpawnedProcess, WorkerOrder, WorkerProcess
from tests.support.processes import is_gone

# The beginning of every child's program: `say(phase)`, and `leave_behind()`, which creates an orphaned grandchild in a
# separate session that can only be found by the start's token.
PRELUDE = """
import os, signal, sys, time
fd = int(sys.argv[1])
def say(phase):
    os.write(fd, b'{"phase": "%s"}\\n' % phase.encode())
def leave_behind(keep_events=False, burning=0):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            if not keep_events:
                os.close(fd)
            while time.process_time() < burning:
                pass
            open("grandchild.part", "w").write(str(os.getpid()))
            os.rename("grandchild.part", "grandchild")
            time.sleep(60)
        os._exit(0)
    os.wait()
    while not os.path.exists("grandchild"):
        time.sleep(0.005)
"""


def begin(
    command: list[str], events: int, folder: Path, token: str
) -> Callable[[int], tuple[WorkerProcess, IsolationKind]]:
    """Return a function that creates a process of `command` like a worker: in a new session, with the token."""

    def begin(output: int) -> tuple[WorkerProcess, IsolationKind]:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={TOKEN_VARIABLE: token},
            cwd=folder,
            pass_fds=(events,),
            start_new_session=True,
        )
        return SpawnedProcess(process), IsolationKind.SPAWN

    return begin


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Ended]:
    def start(
        code: str,
        *,
        time_limit: float = 20,
        on_phase: Callable[[str], None] = lambda phase: None,
        stop: Event | None = None,
        **how: Any,
    ) -> Ended:
        events = os.pipe()
        token = uuid.uuid4().hex
        return launch(
            begin([sys.executable, "-I", "-S", "-c", PRELUDE + code, str(events[1])], events[1], tmp_path, token),
            events,
            token,
            log=tmp_path / "log",
            time_limit=time_limit,
            on_phase=on_phase,
            stop=stop,
            **how,
        )

    return start


def seconds_of(step: Step) -> float:
    return step.end - step.begin


def grandchild(folder: Path) -> int:
    return int((folder / "grandchild").read_text())


def test_steps_are_reported_and_cover_the_whole_time_without_gaps(start: Callable[..., Ended]) -> None:
    phases: list[str] = []
    began = time.time()
    ended = start("say('a'); time.sleep(0.3); say('b'); time.sleep(0.3)", on_phase=phases.append)
    assert phases == ["a", "b"]
    assert [step.name for step in ended.steps] == ["process start", "a", "b"]
    for before, after in pairwise(ended.steps):
        assert before.end == after.begin
    assert ended.steps[-1].end - ended.steps[0].begin == pytest.approx(ended.seconds, abs=1e-5)
    # Less than the child sleeps, because on a busy machine the launcher may read the beginning of a step late.
    assert seconds_of(ended.steps[1]) >= 0.05
    assert seconds_of(ended.steps[2]) >= 0.05
    # On the clock of traces.
    assert began - 0.05 <= ended.steps[0].begin <= ended.steps[-1].end <= time.time() + 0.05


BURN = """
def burn(seconds):
    while time.process_time() < seconds:
        pass
"""


@pytest.mark.parametrize(
    "code",
    [
        "burn(0.4)",
        "if os.fork() == 0:\n    burn(0.4)\n    os._exit(0)\nos.wait()",
        "leave_behind(burning=0.4)",
    ],
    ids=["in the worker", "in a child that ended", "in a process that was left behind"],
)
def test_cpu_time_is_that_of_all_processes(start: Callable[..., Ended], code: str) -> None:
    ended = start(BURN + code)
    assert ended.cpu_seconds is not None
    # What the interpreter needs to start comes on top.
    assert 0.38 <= ended.cpu_seconds <= 1.0


def test_cpu_time_does_not_count_waiting(start: Callable[..., Ended]) -> None:
    ended = start("time.sleep(0.5)")
    assert ended.seconds >= 0.5
    assert ended.cpu_seconds is None or ended.cpu_seconds < 0.4


def test_steps_reported_just_before_the_end_are_not_lost(start: Callable[..., Ended]) -> None:
    def be_slow(phase: str) -> None:
        if phase == "first":
            time.sleep(0.3)

    ended = start("say('first'); time.sleep(0.05)\nfor n in range(200): say(f'phase {n}')", on_phase=be_slow)
    assert [step.name for step in ended.steps[2:]] == [f"phase {n}" for n in range(200)]


def test_what_a_process_reports_while_it_is_used_and_ended_is_no_step(start: Callable[..., Ended]) -> None:
    def end(worker: WorkerProcess, enter: Callable[[str], None]) -> None:
        enter("generate")
        time.sleep(0.3)
        enter("exit")
        worker.wait()

    def be_late(state: StartState) -> bool:
        time.sleep(0.1)
        return True

    ended = start(
        "say('a'); say('b'); time.sleep(0.2); say('late'); time.sleep(0.4)",
        # Reads late, as on a busy machine: the first steps are still in the pipe.
        is_ready=be_late,
        end=end,
    )
    assert [step.name for step in ended.steps] == ["process start", "a", "b", "generate", "exit"]
    assert seconds_of(ended.steps[-1]) > 0.1


def test_a_worker_that_reports_no_phase_has_one_step(start: Callable[..., Ended]) -> None:
    ended = start("")
    assert [step.name for step in ended.steps] == ["process start"]


@pytest.mark.parametrize("status", [0, 1, 7])
def test_the_exit_status_is_that_of_the_worker(start: Callable[..., Ended], status: int) -> None:
    ended = start(f"sys.exit({status})")
    assert (ended.exit_status, ended.timed_out) == (status, False)


def test_a_killed_worker_has_a_negative_status(start: Callable[..., Ended]) -> None:
    ended = start("os.kill(os.getpid(), signal.SIGKILL)")
    assert (ended.exit_status, ended.timed_out) == (-9, False)


def test_the_log_has_all_output_of_the_worker_and_its_children(start: Callable[..., Ended], tmp_path: Path) -> None:
    start("print('out', flush=True); os.system('echo child'); print('err', file=sys.stderr)")
    assert (tmp_path / "log").read_text().split() == ["out", "child", "err"]


def test_the_worker_has_its_own_folder_and_session_and_an_empty_stdin(
    start: Callable[..., Ended], tmp_path: Path
) -> None:
    start("print(os.getcwd(), os.getsid(0) == os.getpid(), repr(sys.stdin.read()))")
    assert (tmp_path / "log").read_text().split() == [str(tmp_path), "True", "''"]


def test_a_hanging_worker_is_killed_with_its_process_tree(
    start: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skipped = 0.0

    def skip_time(phase: str) -> None:
        nonlocal skipped
        skipped = 100.0

    # A short time limit could end before a busy machine has created the grandchild.
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + skipped, time=time.time, sleep=time.sleep)
    monkeypatch.setattr(process_tree, "time", clock)
    ended = start("leave_behind(); say('a'); time.sleep(60)", time_limit=50, on_phase=skip_time)
    assert ended.timed_out
    assert ended.exit_status == -9
    assert 100 <= ended.seconds < 150
    assert is_gone(grandchild(tmp_path))


def test_a_worker_that_reports_phases_forever_is_killed_too(start: Callable[..., Ended]) -> None:
    ended = start("while True: say('a'); say('b'); time.sleep(0.01)", time_limit=0.5)
    assert ended.timed_out
    assert ended.seconds < 30


def test_no_process_is_left_by_a_worker_that_succeeded(start: Callable[..., Ended], tmp_path: Path) -> None:
    ended = start("leave_behind()")
    assert ended.exit_status == 0
    assert is_gone(grandchild(tmp_path))


def test_no_process_is_left_by_a_worker_that_was_killed(start: Callable[..., Ended], tmp_path: Path) -> None:
    start("leave_behind(); os.kill(os.getpid(), signal.SIGKILL)")
    assert is_gone(grandchild(tmp_path))


def test_a_grandchild_with_an_open_pipe_does_not_delay_the_end(start: Callable[..., Ended], tmp_path: Path) -> None:
    ended = start("leave_behind(keep_events=True)", time_limit=20)
    assert not ended.timed_out
    assert ended.seconds < 15
    assert is_gone(grandchild(tmp_path))


def test_processes_of_other_starts_are_not_killed(start: Callable[..., Ended], tmp_path: Path) -> None:
    with psutil.Popen(["sleep", "60"], env={TOKEN_VARIABLE: "of another start", **os.environ}) as other:
        start("leave_behind()")
        assert not is_gone(other.pid)
        other.kill()


def test_a_process_that_has_reused_the_workers_id_is_not_killed() -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as worker:
        identity = identity_of(worker.pid)
        worker.kill()
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as other:
        for known in (identity, None):
            kill_tree(other.pid, known, "the token of nobody")
            assert not is_gone(other.pid)
        other.kill()


def test_a_process_without_token_in_the_session_of_an_ended_worker_is_killed(
    start: Callable[..., Ended], tmp_path: Path
) -> None:
    start(
        "import subprocess\n"
        "left = subprocess.Popen(['sleep', '60'], env={'PATH': os.defpath}, process_group=0)\n"
        "open('left', 'w').write(str(left.pid)); os._exit(0)"
    )
    assert is_gone(int((tmp_path / "left").read_text()))


def test_the_pid_of_a_process_is_not_reused_before_wait(tmp_path: Path) -> None:
    request = tmp_path / "request.json"
    request.write_text("not a request, so that the worker exits with status 1")
    order = WorkerOrder("fake", Depth.FULL, request, dict(os.environ), events=1, folder=tmp_path)
    with (tmp_path / "log").open("wb") as output:
        worker, _ = NewProcesses().begin(order, output.fileno())
    os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
    assert (worker.poll(), worker.poll()) == (1, 1)
    assert psutil.Process(worker.pid).status() == psutil.STATUS_ZOMBIE
    assert (worker.wait(), worker.poll()) == (1, 1)
    assert not psutil.pid_exists(worker.pid)


def test_a_worker_that_other_code_has_reaped_has_ended() -> None:
    worker = SpawnedProcess(subprocess.Popen(["true"]))
    os.waitpid(worker.pid, 0)
    assert (worker.poll(), worker.wait()) == (0, 0)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interrupt_kills_the_process_tree_and_propagates(
    start: Callable[..., Ended], tmp_path: Path, error: type[BaseException]
) -> None:
    def interrupt(phase: str) -> None:
        raise error

    began = time.monotonic()
    with pytest.raises(error):
        start("open('pid', 'w').write(str(os.getpid())); leave_behind(); say('a'); time.sleep(60)", on_phase=interrupt)
    assert time.monotonic() - began < 30
    assert is_gone(int((tmp_path / "pid").read_text()))
    assert is_gone(grandchild(tmp_path))


def test_launch_waits_for_a_worker_that_has_closed_the_pipe(start: Callable[..., Ended], tmp_path: Path) -> None:
    ended = start("say('a'); os.close(fd); time.sleep(0.3); open('done', 'w').close(); sys.exit(7)")
    assert (tmp_path / "done").exists()
    assert (ended.exit_status, ended.timed_out) == (7, False)
    assert ended.seconds >= 0.3


def test_a_hanging_worker_that_has_closed_the_pipe_is_killed(start: Callable[..., Ended]) -> None:
    ended = start("os.close(fd); time.sleep(60)", time_limit=0.5)
    assert ended.timed_out
    assert ended.seconds < 30


def test_both_ends_of_the_pipe_are_closed(tmp_path: Path) -> None:
    events = os.pipe()
    launch(
        begin(["true"], events[1], tmp_path, str(tmp_path)), events, str(tmp_path), log=tmp_path / "log", time_limit=9
    )
    for end in events:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(end)


def test_both_ends_of_the_pipe_are_closed_if_the_command_cannot_be_run(tmp_path: Path) -> None:
    events = os.pipe()
    with pytest.raises(FileNotFoundError):
        failing = begin([str(tmp_path / "no such program")], events[1], tmp_path, str(tmp_path))
        launch(failing, events, str(tmp_path), log=tmp_path / "log", time_limit=9)
    for end in events:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(end)


@settings(max_examples=60)
@given(st.lists(st.text(max_size=20), max_size=8), st.data())
def test_steps_are_complete_however_the_pipe_splits_them(names: list[str], data: st.DataObject) -> None:
    sent = b"".join(json.dumps({"phase": name}).encode() + b"\n" for name in names)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=6)))
    phases: list[str] = []
    began = time.monotonic()
    steps = Steps(began, phases.append)
    for begin, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        steps.take(sent[begin:end])
    assert phases == names
    finished = steps.finish(time.monotonic())
    assert [step.name for step in finished] == ["process start", *names]
    assert all(before.end == after.begin for before, after in pairwise(finished))


def test_steps_that_begin_after_the_end_are_none() -> None:
    began = time.monotonic() - 10.0
    steps = Steps(began, lambda phase: None)
    for at in (2.0, 5.0, 7.0):
        steps.take(json.dumps({"phase": f"at {at:g}", "at": began + at}).encode() + b"\n")
    finished = steps.finish(began + 6.0)
    assert [(step.name, round(step.end - step.begin, 3)) for step in finished] == [
        ("process start", 2.0),
        ("at 2", 3.0),
        ("at 5", 1.0),
    ]


@pytest.mark.parametrize(
    ("reported", "begins"),
    [(-3.0, 7.0), (-20.0, 0.0), (60.0, 10.0), (math.nan, 0.0), (None, 10.0)],
    ids=["before it was read", "before the step before", "in the future", "never", "by an older worker"],
)
def test_a_step_begins_when_its_process_says(
    monkeypatch: pytest.MonkeyPatch, reported: float | None, begins: float
) -> None:
    began = time.monotonic()
    steps = Steps(began, lambda phase: None)
    monkeypatch.setattr(time, "monotonic", lambda: began + 10.0)
    report = {"phase": "generate"} if reported is None else {"phase": "generate", "at": began + 10.0 + reported}
    steps.take(json.dumps(report).encode() + b"\n")
    first, second = steps.finish(began + 11.0)
    assert first.end == second.begin
    assert second.begin - first.begin == pytest.approx(begins, abs=1e-5)


@pytest.mark.parametrize(
    "code",
    ["say('a'); leave_behind(); say('b'); time.sleep(60)", "leave_behind(); say('b'); os.close(fd); time.sleep(60)"],
)
def test_a_stopped_start_is_killed_with_its_process_tree(
    start: Callable[..., Ended], tmp_path: Path, code: str
) -> None:
    stop = Event()
    began = time.monotonic()
    with pytest.raises(StoppedError):
        start(code, stop=stop, on_phase=lambda phase: stop.set() if phase == "b" else None)
    assert time.monotonic() - began < 30
    assert is_gone(grandchild(tmp_path))
