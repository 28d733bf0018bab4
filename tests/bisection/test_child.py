from __future__ import annotations

import signal
import socket
import subprocess
import threading
from typing import Any

import pytest

from coldwarm.bisection.child import child
from tests.support.processes import goes


@pytest.mark.parametrize("thread", ["this", "another"])
def test_an_interrupt_while_the_process_is_created_does_not_leave_it(
    monkeypatch: pytest.MonkeyPatch, thread: str
) -> None:
    created: list[subprocess.Popen[str]] = []
    woken, wakes = socket.socketpair()
    wakes.setblocking(False)
    over = threading.Event()
    other = threading.Thread(target=over.wait)
    other.start()
    interrupted = threading.get_ident() if thread == "this" else other.ident
    assert interrupted is not None

    def popen(*arguments: Any, **options: Any) -> subprocess.Popen[str]:
        created.append(real(*arguments, **options))
        # The kernel gives a signal for the process to any thread that does not block it.
        signal.pthread_kill(interrupted, signal.SIGINT)
        woken.recv(1)  # Python has seen it, and runs the handler in this thread.
        return created[0]

    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", popen)
    handler = signal.getsignal(signal.SIGINT)
    signal.set_wakeup_fd(wakes.fileno())
    try:
        with pytest.raises(KeyboardInterrupt), child(["sleep", "60"], orderly=False) as process:
            process.wait()
    finally:
        signal.set_wakeup_fd(-1)
        over.set()
        other.join()
        woken.close()
        wakes.close()
    assert created[0].returncode == -signal.SIGKILL
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_process_is_killed_with_its_children() -> None:
    with pytest.raises(ZeroDivisionError), child(["sh", "-c", "sleep 60 & echo $! >&2; wait"], orderly=False) as shell:
        assert shell.stderr is not None
        with shell.stderr as lines:
            number = int(lines.readline())
        raise ZeroDivisionError
    assert goes(number)
