from __future__ import annotations

import signal
import subprocess
import threading
from typing import Any

import pytest

from coldwarm.bisection.child import child
from tests.support.processes import goes


def test_an_interrupt_while_the_process_is_created_does_not_leave_it(monkeypatch: pytest.MonkeyPatch) -> None:
    created: list[subprocess.Popen[str]] = []

    def popen(*arguments: Any, **options: Any) -> subprocess.Popen[str]:
        created.append(real(*arguments, **options))
        # To this thread: one for the process could go to another thread, which does not block it.
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        return created[0]

    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", popen)
    with pytest.raises(KeyboardInterrupt), child(["sleep", "60"], orderly=False) as process:
        process.wait()
    assert created[0].returncode == -signal.SIGKILL
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_process_is_killed_with_its_children() -> None:
    with pytest.raises(ZeroDivisionError), child(["sh", "-c", "sleep 60 & echo $! >&2; wait"], orderly=False) as shell:
        assert shell.stderr is not None
        with shell.stderr as lines:
            number = int(lines.readline())
        raise ZeroDivisionError
    assert goes(number)
