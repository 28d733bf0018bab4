"""`coldwarm watch -- COMMAND`, with programs that take no time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from coldwarm.core.exit_codes import ExitCode
from coldwarm.store.function_keys import KEYS_FILE
from tests.support.commands import ROOT, Commands
from tests.support.forked_commands import ForkedCommand
from tests.support.processes import goes
from tests.test_cli_commands import SERVER, TORCH, TWO
from tests.test_cli_commands import port as port

Watch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a user with caches of their own."""
    folders = {name: str(tmp_path / name) for name in ("HOME", "TMPDIR", "TORCHINDUCTOR_CACHE_DIR")}
    for folder in folders.values():
        Path(folder).mkdir()
    path = os.pathsep.join(map(str, [TORCH, ROOT, ROOT / "src"]))
    return {"PYTHONPATH": path, "PID_FILE": str(tmp_path / "pid"), **folders}


@pytest.fixture
def watch(commands: Commands, environment: dict[str, str], tmp_path: Path) -> Watch:
    """Runs ``coldwarm watch`` on a program in Python, which has a torch that takes no time."""

    def watch(program: str, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "program.py").write_text(program)
        words = ["watch", *options, "--", sys.executable, "program.py"]
        return commands.run(*words, **{**environment, **variables})

    return watch


def begin(commands: Commands, environment: dict[str, str], *options: str, port: int) -> ForkedCommand:
    (commands.folder / "program.py").write_text(SERVER)
    ready = f"http://127.0.0.1:{port}/health"
    words = ["watch", *options, "--ready", ready, "--", sys.executable, "program.py", str(port)]
    return commands.begin(*words, **environment)


def reported(running: ForkedCommand) -> str:
    """Return the first line of the report of a command that is still running."""
    assert running.stderr is not None
    return next((line for line in running.stderr if line.startswith("coldwarm:")), "")


def test_a_start_is_cold_then_warm_then_partly_warm(watch: Watch, tmp_path: Path) -> None:
    first = watch(TWO + "print('its own output')\n")
    assert (first.returncode, first.stdout) == (0, "its own output\n")
    assert "coldwarm: cold after" in first.stderr
    assert ", program, rank 0: cold (2 artifacts saved, 2 AOTAutograd misses)" in first.stderr
    cache = tmp_path / "TORCHINDUCTOR_CACHE_DIR"
    assert f"  cache {cache} (" in first.stderr
    assert "): 0 files found, 0 read, 2 written" in first.stderr
    assert "why: the cache had no entry of any start" in first.stderr
    second = watch(TWO).stderr
    assert "coldwarm: warm after" in second
    assert "): 3 files found, 2 read, 0 written" in second, "with the keys of the functions"
    third = watch(TWO, KEY="c").stderr
    assert "coldwarm: partly warm" in third
    missed = "why: torch.compile of second (model.py:7) missed the AOTAutograd cache"
    assert f"{missed}: its key differs in graph: compute(b) -> compute(c)\n" in third
    (cache / KEYS_FILE).unlink()
    unknown = "what differs is not known, because no start that 'coldwarm watch' observed with this cache compiled"
    assert f"{missed}: {unknown} a function of this name, file and line\n" in watch(TWO, KEY="d").stderr
    assert "torch.compile of first" not in third
    assert list((tmp_path / "TMPDIR").iterdir()) == []


def test_the_gate_tells_warm_from_cold(watch: Watch) -> None:
    cold = watch(TWO, "--expect", "warm")
    assert cold.returncode == ExitCode.FAILED
    assert cold.stderr.endswith("coldwarm: expected a warm start, but something was compiled (exit code 1)\n")
    warm = watch(TWO, "--expect", "warm")
    assert (warm.returncode, "expected" in warm.stderr) == (ExitCode.HEALTHY, False)
    assert watch(TWO + "raise SystemExit(7)", "--expect", "warm").returncode == ExitCode.CRASHED
    nothing = watch("pass", "--expect", "warm")
    assert nothing.returncode == ExitCode.FAILED
    assert nothing.stderr.endswith(
        "coldwarm: expected a warm start, but nothing was loaded from a cache (exit code 1)\n"
    )


def test_the_gate_needs_the_trace(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "trace").mkdir()
    assert watch(TWO, "--expect", "warm").returncode == ExitCode.FAILED
    done = watch(TWO, "--expect", "warm", TORCH_TRACE=str(tmp_path / "trace"))
    assert done.returncode == ExitCode.FAILED
    assert "PyTorch's trace: it is in the folder that TORCH_TRACE names, so unset that" in done.stderr
    assert "expected a warm start, but not everything could be observed" in done.stderr


@pytest.mark.parametrize(
    ("program", "status"), [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 15)", 143)]
)
def test_the_exit_status_is_that_of_the_command(watch: Watch, program: str, status: int) -> None:
    assert watch(program).returncode == status


def test_the_report_can_go_to_a_file(watch: Watch, tmp_path: Path) -> None:
    done = watch(TWO, "--report", "r.json")
    assert done.stderr == ""
    report = json.loads((tmp_path / "r.json").read_bytes())
    assert (report["warmth"], report["processes"][0]["rank"]) == ("cold", 0)
    assert watch(TWO, "--report", "no/such/folder").returncode == ExitCode.USAGE


class TestServer:
    def test_keeps_serving_after_the_report_and_gets_signals(
        self, commands: Commands, environment: dict[str, str], tmp_path: Path, port: int
    ) -> None:
        running = begin(commands, environment, port=port)
        assert reported(running).startswith("coldwarm: cold after")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models") as answer:
            assert answer.status == 200
        running.send_signal(signal.SIGTERM)
        # The server exits with 0 when it gets SIGTERM.
        assert running.wait(20) == 0
        assert goes(int((tmp_path / "pid").read_text()))
        assert list((tmp_path / "TMPDIR").iterdir()) == []
        running.stderr.close()  # type: ignore[union-attr]

    def test_is_stopped_by_the_gate(
        self, commands: Commands, environment: dict[str, str], tmp_path: Path, port: int
    ) -> None:
        for status in (ExitCode.FAILED, ExitCode.HEALTHY):
            running = begin(commands, environment, "--expect", "warm", port=port)
            reported(running)
            assert running.wait(20) == status
            assert goes(int((tmp_path / "pid").read_text()))
            running.stderr.close()  # type: ignore[union-attr]

    def test_leaves_no_process_behind_the_gate(
        self, commands: Commands, environment: dict[str, str], tmp_path: Path, port: int
    ) -> None:
        child = "import subprocess\nchild = subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
        (tmp_path / "program.py").write_text(child + "open('child', 'w').write(str(child.pid))\n" + SERVER)
        ready = f"http://127.0.0.1:{port}/health"
        words = ["--expect", "warm", "--ready", ready, "--", sys.executable, "program.py", str(port)]
        assert commands.run("watch", *words, **environment).returncode == ExitCode.FAILED
        assert goes(int((tmp_path / "child").read_text()))

    def test_that_is_not_ready_in_time_is_reported(
        self, commands: Commands, environment: dict[str, str], port: int
    ) -> None:
        (commands.folder / "program.py").write_text("import time\ntime.sleep(60)\n")
        ready = f"http://127.0.0.1:{port}/health"
        words = ["--expect", "warm", "--timeout", "1", "--ready", ready, "--", sys.executable, "program.py"]
        began = time.monotonic()
        done = commands.run("watch", *words, **environment)
        assert done.returncode == ExitCode.CRASHED
        assert "coldwarm: the command was not ready after 1 s" in done.stderr
        assert time.monotonic() - began < 50, "less than it would run"

    def test_that_is_ready_late_is_reported_then_unless_it_is_a_gate(
        self, commands: Commands, environment: dict[str, str], port: int
    ) -> None:
        (commands.folder / "program.py").write_text(_LATE)
        ready = f"http://127.0.0.1:{port}/health"
        words = [
            "--timeout",
            "1",
            "--report",
            "r.json",
            "--ready",
            ready,
            "--",
            sys.executable,
            "program.py",
            str(port),
        ]
        done = commands.run("watch", *words, **environment)
        assert done.returncode == 0
        assert done.stderr == "coldwarm: the command was not ready after 1 s; the report follows once it is\n"
        assert json.loads((commands.folder / "r.json").read_bytes())["warmth"] == "compiles nothing"

    def test_that_is_never_ready_leaves_no_report(
        self, commands: Commands, environment: dict[str, str], port: int
    ) -> None:
        ready = f"http://127.0.0.1:{port}/health"
        words = ["--report", "r.json", "--ready", ready, "--", sys.executable, "-c", "pass"]
        done = commands.run("watch", *words, **environment)
        assert (done.returncode, done.stderr) == (0, "coldwarm: the command exited with status 0 before it was ready\n")
        assert not (commands.folder / "r.json").exists()


_LATE = """
import http.server, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass

time.sleep(2)
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
server.handle_request()
time.sleep(2)
"""


def test_a_command_is_needed(commands: Commands) -> None:
    assert "no command; for example: coldwarm watch --" in commands.run_in_process("watch").stderr
