"""A process that is forked while a thread of coldwarm's own works does not wait for what that thread holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# Each in a process of its own, whose only other thread is the one that is tested.
_REPORTS = """
import os, signal, threading, time
from pathlib import Path
from coldwarm.core.record import ProcessReport
from coldwarm.observe.probes import Observer
from coldwarm.observe.report_writer import ReportWriter

lock, began = threading.Lock(), threading.Event()

class Slow:
    # As pydantic, which builds a validator within a lock.
    name = "slow"

    def install(self):
        pass

    def report(self, report):
        with lock:
            began.set()
            time.sleep(0.5)

observer = Observer(Path())
observer.install(Slow())
ReportWriter(observer, Path()).begin()
began.wait()
"""

_SAMPLES = """
import os, signal, threading, time
from coldwarm.observe import long_calls

lock, began = threading.Lock(), threading.Event()
real = long_calls._Stay.of

def slow(*args):
    with lock:
        began.set()
        time.sleep(0.5)
    return real(*args)

long_calls._Stay.of = slow
long_calls.LongCallProbe().install()
began.wait()
"""

_FORK = """
if not (child := os.fork()):
    signal.alarm(10)
    with lock:
        os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

_WORKING_IN_A_WAIT_FOR_THE_FORKING_THREAD = """
import os, threading
from coldwarm.observe import fork_guard

fork_guard._LONGEST_WAIT = 0.2
guard, began, done = fork_guard.ForkGuard(), threading.Event(), threading.Event()
guard.install()

def work():
    with guard.lock:
        began.set()
        done.wait()

thread = threading.Thread(target=work)
thread.start()
began.wait()
if not (child := os.fork()):
    with guard.lock:
        os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
done.set()
thread.join()
with guard.lock:  # it can be taken again, and the next fork has it
    pass
if not (child := os.fork()):
    os._exit(8)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def output_of(program: str, folder: Path) -> str:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder, timeout=60).stdout


@pytest.mark.parametrize("program", [_REPORTS, _SAMPLES], ids=["reports", "samples"])
def test_a_fork_waits_until_the_thread_holds_no_lock(program: str, tmp_path: Path) -> None:
    assert output_of(program + _FORK, tmp_path) == "7\n"


def test_a_fork_does_not_wait_forever(tmp_path: Path) -> None:
    assert output_of(_WORKING_IN_A_WAIT_FOR_THE_FORKING_THREAD, tmp_path) == "7\n8\n"
