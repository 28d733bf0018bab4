"""`coldwarm watch` in the foreground of a terminal, and as a process group without one."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shlex
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.support.commands import Commands

PROGRAM = """
import os, signal, sys

def note(number, frame):
    with open("signals", "a") as file:
        print(signal.Signals(number).name, file=file)
    if number == signal.SIGTERM:
        os._exit(5)

for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCONT):
    signal.signal(number, note)
print("reads", flush=True)
for line in sys.stdin:
    with open("typed", "a") as file:
        file.write(line)
while True:
    signal.pause()
"""


class Terminal:
    """A program under ``coldwarm watch``, in the foreground of a terminal or without one."""

    def __init__(self, commands: Commands, *, has_terminal: bool) -> None:
        (commands.folder / "program.py").write_text(PROGRAM)
        self._folder = commands.folder
        self._keyboard, screen = pty.openpty()
        self.process = subprocess.Popen(
            commands.line("watch", "--", sys.executable, "program.py"),
            cwd=commands.folder,
            env=commands.environment(),
            stdin=screen if has_terminal else subprocess.DEVNULL,
            stdout=screen,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=(lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)) if has_terminal else None,
        )
        os.close(screen)
        assert b"reads" in os.read(self._keyboard, 1000)

    def type(self, keys: bytes) -> None:
        """Type at the terminal."""
        os.write(self._keyboard, keys)

    def wait_for(self, name: str, content: str) -> None:
        """Wait until the program has written something to a file."""
        wait_until(lambda: (self._folder / name).is_file() and content in (self._folder / name).read_text())

    def signals(self) -> list[str]:
        """Have the program end, and return the signals that it got before."""
        self.process.terminate()
        assert self.process.wait(20) == 5
        *signals, last = (self._folder / "signals").read_text().split()
        assert last == "SIGTERM"
        return signals

    def close(self) -> None:
        """End what is left."""
        if self.process.poll() is None:
            for process in [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children()]:
                process.kill()
            self.process.wait()
        os.close(self._keyboard)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def make(commands: Commands) -> Iterator[Callable[[bool], Terminal]]:
    made: list[Terminal] = []

    def make(has_terminal: bool) -> Terminal:
        made.append(Terminal(commands, has_terminal=has_terminal))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize("has_terminal", [True, False])
def test_a_signal_to_the_process_group_reaches_the_command_once(
    make: Callable[[bool], Terminal], has_terminal: bool
) -> None:
    terminal = make(has_terminal)
    os.killpg(terminal.process.pid, signal.SIGINT)
    terminal.wait_for("signals", "SIGINT")
    assert terminal.signals() == ["SIGINT"]


def test_what_is_typed_reaches_the_command(make: Callable[[bool], Terminal]) -> None:
    terminal = make(True)
    terminal.type(b"a line\n")
    terminal.wait_for("typed", "a line\n")
    terminal.type(b"\x03")  # Ctrl-C
    terminal.wait_for("signals", "SIGINT")
    assert terminal.signals() == ["SIGINT"]


def test_the_terminal_is_not_taken_from_a_shell_that_continued_the_job_in_the_background(commands: Commands) -> None:
    (commands.folder / "program.py").write_text("import time; print('reads', flush=True); time.sleep(3)")
    keyboard, screen = pty.openpty()
    line = shlex.join(commands.line("watch", "--", sys.executable, "program.py"))
    # An interactive shell gives each job a process group, and has the terminal while none is in the foreground.
    shell = subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"],
        cwd=commands.folder,
        env=commands.environment(),
        stdin=screen,
        stdout=screen,
        stderr=screen,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(screen)
    printed = b""

    def prints(text: bytes) -> bool:
        nonlocal printed
        if select.select([keyboard], [], [], 0.1)[0]:
            printed += os.read(keyboard, 1000)
        return text in printed

    try:
        os.write(keyboard, line.encode() + b" 2>/dev/null\n")
        wait_until(lambda: prints(b"reads"))
        os.write(keyboard, b"\x1a")  # Ctrl-Z
        wait_until(lambda: prints(b"Stopped"))
        os.write(keyboard, b"bg\n")
        # The shell is at its prompt meanwhile.
        wait_until(lambda: not (prints(b"") and psutil.Process(shell.pid).children()))
        os.write(keyboard, b"echo still $((40 + 2))\n")
        wait_until(lambda: prints(b"still 42"))
    finally:
        for process in [*psutil.Process(shell.pid).children(recursive=True), psutil.Process(shell.pid)]:
            process.kill()
        shell.wait()
        os.close(keyboard)


def test_a_command_that_is_stopped_stops_coldwarm_and_goes_on_with_it(make: Callable[[bool], Terminal]) -> None:
    terminal = make(True)
    terminal.type(b"\x1a")  # Ctrl-Z
    wait_until(lambda: psutil.Process(terminal.process.pid).status() == psutil.STATUS_STOPPED)
    os.killpg(terminal.process.pid, signal.SIGCONT)  # as a shell does
    terminal.wait_for("signals", "SIGCONT")
    terminal.type(b"again\n")
    terminal.wait_for("typed", "again\n")
    assert set(terminal.signals()) == {"SIGCONT"}
