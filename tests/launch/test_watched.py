from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_cli_commands import port as port

SERVER = """
import os, signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

def end(*_):
    open("ended", "w").close()
    os._exit(5)

signal.signal(signal.SIGTERM, end)
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
# In a process of its own, because a thread of the tests' process could take the signal.
WATCH = """
import os, signal, sys, time
from pathlib import Path
from coldwarm.core.command import Command
from coldwarm.launch.watched import WatchedCommand

def on_ready(observe):
    os.kill(os.getpid(), signal.SIGTERM)
    deadline = time.monotonic() + 10
    while not Path("ended").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    print("ended" if Path("ended").exists() else "still running")
    return False

url = f"http://127.0.0.1:{sys.argv[1]}/"
command = Command(words=[sys.executable, "server.py", sys.argv[1]], ready_url=url)
print(WatchedCommand(command, Path("scratch")).run(on_ready))
print(sorted(path.name for path in Path("scratch").iterdir()))
"""


def test_a_command_gets_signals_while_it_is_reported_on_and_is_not_observed_afterwards(
    tmp_path: Path, port: int
) -> None:
    (tmp_path / "server.py").write_text(SERVER)
    (tmp_path / "scratch").mkdir()
    words = [sys.executable, "-c", WATCH, str(port)]
    done = subprocess.run(words, cwd=tmp_path, text=True, capture_output=True, timeout=60)
    assert done.stdout == "ended\n5\n['trace']\n", done.stderr


def test_a_signal_after_the_end_of_the_command_does_not_change_the_status(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from coldwarm.core.command import Command\n"
        "from coldwarm.launch.watched import WatchedCommand\n"
        "command = Command(words=[sys.executable, '-c', 'raise SystemExit(5)'])\n"
        "on_ready = lambda observe: bool(os.kill(os.getpid(), signal.SIGTERM))\n"
        "print(WatchedCommand(command, Path('scratch')).run(on_ready))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, text=True, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "5\n"), done.stderr


HANGING_REPORT = """
import os, signal, sys, threading, time
from pathlib import Path
from coldwarm.core.command import Command
from coldwarm.launch import watched

watched._LAST_REPORT_SECONDS = PATIENCE
command = Command(words=[sys.executable, "-c", "raise SystemExit(5)"])

def on_ready(observe):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(HANGS)
    print("reported", flush=True)
    return False

start = watched.WatchedCommand(command, Path("scratch"))
print(start.run(on_ready), start.lost_report)
"""


@pytest.mark.parametrize(("seconds", "patience", "output"), [(60, 0.5, "5 True\n"), (0.1, 20, "reported\n5 False\n")])
def test_a_signal_ends_the_wait_for_a_report_that_hangs(
    tmp_path: Path, seconds: float, patience: float, output: str
) -> None:
    (tmp_path / "scratch").mkdir()
    program = HANGING_REPORT.replace("HANGS", str(seconds)).replace("PATIENCE", str(patience))
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, cwd=tmp_path, text=True, capture_output=True, timeout=40)
    assert (done.returncode, done.stdout) == (0, output), done.stderr
