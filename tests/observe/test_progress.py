from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from coldwarm.observe.progress import Progress


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_end, write_end = os.pipe()
    yield read_end, write_end
    os.close(write_end)
    os.close(read_end)


def reported(read_end: int) -> list[str]:
    return [json.loads(line)["phase"] for line in os.read(read_end, 65536).splitlines()]


def test_each_phase_is_a_line(pipe: tuple[int, int]) -> None:
    progress = Progress(pipe[1])
    progress.enter("import")
    progress.enter("compile")
    assert reported(pipe[0]) == ["import", "compile"]
    assert progress.phase == "compile"


def test_a_phase_is_reported_once_until_the_next_one(pipe: tuple[int, int]) -> None:
    progress = Progress(pipe[1])
    for phase in ("compile", "compile", "warm-up", "compile"):
        progress.enter(phase)
    assert reported(pipe[0]) == ["compile", "warm-up", "compile"]


def test_a_phase_that_is_not_announced_is_known_to_the_process_only(pipe: tuple[int, int]) -> None:
    progress = Progress(pipe[1])
    progress.enter("weights")
    with progress.within("compile", announce=False):
        assert progress.phase == "compile"
    assert progress.phase == "weights"
    assert reported(pipe[0]) == ["weights"]


def test_progress_after_the_launcher_has_ended_is_not_an_error() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    Progress(write_end).enter("import")
    os.close(write_end)


def test_the_outer_phase_continues_after_a_nested_one(pipe: tuple[int, int]) -> None:
    progress = Progress(pipe[1])
    with progress.within("weights"):
        pass
    assert progress.phase == "weights", "there is no outer phase"
    progress.enter("warm-up")
    with progress.within("compile"), progress.within("compile"), progress.within("cache save"):
        assert progress.phase == "cache save"
    assert reported(pipe[0]) == ["weights", "warm-up", "compile", "cache save", "compile", "warm-up"]


def test_an_exception_has_the_innermost_phase_of_its_cause(pipe: tuple[int, int]) -> None:
    progress = Progress(pipe[1])
    progress.enter("engine setup")
    with pytest.raises(RuntimeError) as raised, progress.within("warm-up"):
        try:
            with progress.within("compile"):
                raise ValueError
        except ValueError as error:
            raise RuntimeError from error
    assert progress.phase == "engine setup"
    assert progress.phase_of(raised.value) == "compile"
    assert progress.phase_of(ValueError()) == "engine setup"


def test_a_handled_exception_does_not_matter(pipe: tuple[int, int]) -> None:
    progress = Progress(pipe[1])
    progress.enter("engine setup")
    with pytest.raises(KeyError) as raised, progress.within("warm-up"):
        try:
            with progress.within("compile"):
                raise ValueError
        except ValueError:
            raise KeyError from None
    assert progress.phase_of(raised.value) == "warm-up"


def test_another_process_opens_the_shared_pipe(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLDWARM_PROGRESS", raising=False)
    assert Progress.shared("engine setup") is None
    os.set_inheritable(pipe[1], False)
    Progress(pipe[1]).share()
    code = (
        "from coldwarm.observe.progress import Progress\n"
        "progress = Progress.shared('engine setup')\n"
        "progress.enter('engine setup'); progress.enter('device')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert reported(pipe[0]) == ["device"]


@pytest.mark.parametrize("value", ["", "nonsense", "1", "x:y", "999999999:1", "own:987654"])
def test_a_pipe_that_cannot_be_opened_is_no_error(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLDWARM_PROGRESS", value.replace("own", str(os.getpid())))
    assert Progress.shared("engine setup") is None


def test_a_process_does_not_know_the_phase_outside_of_its_own_steps() -> None:
    progress = Progress.to_pipe(None, "engine setup")
    assert progress.known_phase is None
    with progress.within("warm-up"):
        assert progress.known_phase == "warm-up"
    # The start may be ready by now, which only the launcher knows.
    assert progress.known_phase is None


def test_a_phase_is_announced_to_a_named_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "events")
    reader = os.open(tmp_path / "events", os.O_RDONLY | os.O_NONBLOCK)
    progress = Progress.to_pipe(tmp_path / "events", "engine setup")
    progress.announce("import")
    announced = json.loads(os.read(reader, 100))
    assert (announced.pop("phase"), announced.pop("at")) == ("import", pytest.approx(time.monotonic(), abs=60))
    assert announced == {}
    assert progress.phase == "engine setup"
    os.close(reader)
    progress.announce("nobody reads it")
    assert Progress.to_pipe(tmp_path / "gone", "engine setup").phase == "engine setup"


def test_a_program_may_close_all_descriptors_and_open_its_own_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "events")
    before = psutil.Process().num_fds()
    progress = Progress.to_pipe(tmp_path / "events", "engine setup")
    progress.announce("import")
    assert psutil.Process().num_fds() == before


def test_a_program_that_ends_on_sigpipe_outlives_the_launcher(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "events")
    program = (
        "import signal\nfrom pathlib import Path\nfrom coldwarm.observe.progress import Progress\n"
        "signal.signal(signal.SIGPIPE, signal.SIG_DFL)\n"
        "progress = Progress.to_pipe(Path('events'), 'engine setup')\n"
        "open('opened', 'w').close()\nopen('closed').read()\nprogress.announce('import')\n"
    )
    os.mkfifo(tmp_path / "closed")
    reader = os.open(tmp_path / "events", os.O_RDONLY | os.O_NONBLOCK)
    process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path)
    while not (tmp_path / "opened").exists():
        time.sleep(0.02)
    os.close(reader)
    (tmp_path / "closed").write_text("")
    assert process.wait(20) == 0
