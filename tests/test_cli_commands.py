"""`coldwarm run -- COMMAND`: commands of the user, with programs that take no time."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import psutil
import pytest

from coldwarm.core.exit_codes import ExitCode
from coldwarm.launch import command_driver
from coldwarm.suite.command_case import command_case
from tests.support.commands import ROOT, Commands
from tests.support.processes import goes

TORCH = ROOT / "tests" / "support" / "fake_torch"
TWO = """
import os, torch
torch.compile_function("first", "a")
torch.compile_function("second", os.environ.get("KEY", "b"))
"""
SERVER = """
import json, os, signal, sys, torch
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({"/health": "", "/v1/models": {"data": [{"id": "tiny"}]}}.get(self.path))
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        tokens = [f"token_id:{asked['prompt'][n] + 1}" for n in range(asked["max_tokens"])]
        logprobs = {"tokens": tokens, "top_logprobs": [{token: float(os.environ.get("P", -0.5))} for token in tokens]}
        self.answer({"choices": [{"logprobs": logprobs}]})
    def answer(self, content):
        self.send_response(200 if content is not None else 404)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

def end(*_):
    print("goodbye", flush=True)
    os._exit(0)

signal.signal(signal.SIGTERM, end)
torch.compile_function("forward", "a")
open(os.environ["PID_FILE"], "w").write(str(os.getpid()))
server = HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("serving", flush=True)
server.serve_forever()
"""
Run = Callable[..., CompletedProcess[str]]


@pytest.fixture
def run(commands: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs ``coldwarm run`` on a program in Python, which has a torch that takes no time."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, [TORCH, ROOT, ROOT / "src"])))
    monkeypatch.setenv("PID_FILE", str(tmp_path / "pid"))

    def run(program: str, *options: str, arguments: tuple[str, ...] = ()) -> CompletedProcess[str]:
        (tmp_path / "program.py").write_text(program)
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        words = [*options, "--output", "out", "--", sys.executable, "program.py", *arguments]
        return commands.run_in_process("run", *words)

    return run


@pytest.fixture
def record(tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    def record(kind: str) -> dict[str, Any]:
        [path] = (tmp_path / "out").glob(f"*/{kind}.json")
        content: dict[str, Any] = json.loads(path.read_bytes())
        return content

    return record


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
        return number


@pytest.fixture
def listener() -> Iterator[int]:
    """A port that this process uses."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def test_a_program_that_compiles_two_functions_passes(run: Run, record: Callable[[str], Any], tmp_path: Path) -> None:
    done = run(TWO)
    assert done.returncode == ExitCode.HEALTHY, done.stdout + done.stderr
    [row] = [line.split() for line in done.stdout.splitlines() if line.startswith("program ")]
    assert (row[1:9], row[-1]) == (["2", "2", "2", "/", "0", "0", "/", "2"], "passed")
    warm = record("warm")
    [process] = warm["processes"]
    assert (process["role"], process["rank"], process["failed_probes"]) == ("program", 0, {})
    assert process["program"]["command"] == f"{sys.executable} program.py"
    assert (warm["engine"], warm["device"], warm["facts"]["versions"]["torch"]) == ("torch", "cpu", "2.13.0")
    functions = [(function["name"], function["loaded"]) for function in warm["compiler_work"]["functions"]]
    assert functions == [("first (model.py:7)", ["a"]), ("second (model.py:7)", ["b"])]


def test_a_function_whose_key_changes_is_named(run: Run, commands: Commands) -> None:
    done = run(TWO, "--warm-env", "KEY=c")
    assert done.returncode == ExitCode.FAILED
    assert "warm start saved 1 artifact (expected 0)" in done.stdout
    assert "second (model.py:7) missed the AOTAutograd cache" in done.stdout
    assert "first (model.py:7)" not in done.stdout
    # Stored like any other run.
    again = commands.run_in_process("judge", "out")
    assert again.returncode == ExitCode.FAILED
    assert "second (model.py:7)" in again.stdout
    assert f"-- {sys.executable} program.py" in again.stdout, "the command that repeats it"
    explained = commands.run_in_process("explain", "out").stdout
    assert "second (model.py:7)" in explained
    assert "were not recorded" not in explained


def test_the_users_own_sitecustomize_runs_too(run: Run, tmp_path: Path) -> None:
    (tmp_path / "users").mkdir()
    (tmp_path / "users" / "sitecustomize.py").write_text("import builtins\nbuiltins.of_the_user = 1\n")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(tmp_path / "users"), os.environ["PYTHONPATH"]])
    done = run(TWO + "assert of_the_user == 1\nimport sitecustomize\nassert 'users' in sitecustomize.__file__\n")
    assert done.returncode == ExitCode.HEALTHY, done.stdout


def test_a_process_that_was_forked_reports_too(run: Run, record: Callable[[str], Any]) -> None:
    done = run(
        "import multiprocessing, torch\n"
        "compile = lambda: torch.compile_function('inner', 'x')\n"
        "process = multiprocessing.get_context('fork').Process(target=compile)\n"
        "process.start()\nprocess.join()\n"
    )
    assert done.returncode == ExitCode.HEALTHY, done.stdout
    parent, child = record("warm")["processes"]
    assert (parent["rank"], child["rank"], child["parent_pid"]) == (None, 0, parent["pid"])


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("raise SystemExit(3)", "the command exited with status 3"),
        ("import os; os.kill(os.getpid(), 9)", "the command was killed by SIGKILL"),
        ("pass", "no Python process of the command imported torch"),
        ("import torch", "no process of the command compiled"),
    ],
)
def test_a_command_with_nothing_to_judge_is_an_error(run: Run, program: str, words: str) -> None:
    done = run(program)
    assert done.returncode == ExitCode.CRASHED
    assert words in done.stdout


def test_a_process_that_is_killed_leaves_what_it_had_seen(run: Run, record: Callable[[str], Any]) -> None:
    done = run(
        "import json, os, time, torch\n"
        "from pathlib import Path\n"
        "torch.compile_function('f', 'a')\n"
        "reports = json.loads(Path(os.environ['COLDWARM_OBSERVATION']).read_bytes())['reports']\n"
        "report = Path(reports, f'{os.getpid()}.json')\n"
        "while not (report.exists() and 'autograd_cache_miss\":1' in report.read_text()):\n"
        "    time.sleep(0.05)\n"
        "os.kill(os.getpid(), 9)\n",
        "--timeout=30",
    )
    assert done.returncode == ExitCode.CRASHED
    assert "the command was killed by SIGKILL" in done.stdout
    [process] = record("cold")["processes"]
    assert process["counters"]["torch.aot_autograd.autograd_cache_miss"] == 1


def test_a_process_that_cannot_be_observed_is_named(
    run: Run, record: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "coldwarm.launch.observed_processes._has_torch", lambda pid: "-I" in psutil.Process(pid).cmdline()
    )
    monkeypatch.setattr(command_driver, "_LOOK_SECONDS", 0.1)
    # Long enough for two looks, however busy the machine is.
    child = (
        "import subprocess, sys\nfrom pathlib import Path\n"
        "if not Path('is-warm').exists():\n"
        "    Path('is-warm').touch()\n"
        "    subprocess.run([sys.executable, '-I', '-c', 'import time; time.sleep(5)'])\n"
    )
    done = run(child + TWO)
    assert done.returncode == ExitCode.HEALTHY, done.stdout
    assert "-I -c import time; time.sleep(5)) could not be observed in the cold start: it did not load" in done.stdout
    [unobserved] = [process for process in record("cold")["processes"] if process["role"] == "not observed"]
    assert unobserved["failed_probes"].keys() == {"process"}


def test_no_secret_of_a_command_is_stored_or_printed(run: Run, tmp_path: Path) -> None:
    program = "import sys, warnings\nprint('key:', sys.argv[2])\n" + TWO
    done = run(program, arguments=("--api-key", "k3y-0f-th3-us3r"))
    assert done.returncode == ExitCode.HEALTHY, done.stdout
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert "key: ***" in (tmp_path / "out" / "program" / "warm.log").read_text()
    assert [path for path in files if b"k3y-0f-th3-us3r" in path.read_bytes()] == []
    assert "k3y-0f-th3-us3r" not in done.stdout + done.stderr


def test_the_secret_in_the_url_of_a_command_is_not_stored(tmp_path: Path) -> None:
    words = [sys.executable, "program.py"]
    case = command_case(words, ready_url="http://127.0.0.1:9/health?api_key=k3y-0f-th3-us3r")
    assert "k3y-0f-th3-us3r" not in case.model_dump_json() + case.reproduce({})
    assert case.secrets().text("GET k3y-0f-th3-us3r") == "GET (secret)"
    assert case.command is not None and str(case.command.ready_url).endswith("k3y-0f-th3-us3r"), "the start needs it"


class TestServer:
    def test_is_ready_answers_and_is_stopped(
        self, run: Run, record: Callable[[str], Any], tmp_path: Path, port: int
    ) -> None:
        done = run(SERVER, "--ready", f"http://127.0.0.1:{port}/health", arguments=(str(port),))
        assert done.returncode == ExitCode.HEALTHY, done.stdout + done.stderr
        warm = record("warm")
        assert [token["token_id"] for token in warm["facts"]["generated"]] == [2 + 7 * n for n in range(8)]
        assert [step["name"] for step in warm["steps"]] == ["process start", "program", "generate", "exit"]
        assert (tmp_path / "out" / "program" / "warm.log").read_text().splitlines()[-1] == "goodbye"
        assert goes(int((tmp_path / "pid").read_text()))

    def test_that_generates_something_else_fails(self, run: Run, port: int) -> None:
        done = run(SERVER, "--ready", f"http://127.0.0.1:{port}/health", "--warm-env=P=-0.9", arguments=(str(port),))
        assert done.returncode == ExitCode.FAILED
        assert "cold and warm outputs: token 1" in done.stdout

    def test_is_used_by_a_command_when_its_log_says_that_it_is_ready(self, run: Run, tmp_path: Path, port: int) -> None:
        then = f"{sys.executable} -S -c \"print('used')\""
        done = run(SERVER, "--ready-log", "^serv.ng$", "--then", then, arguments=(str(port),))
        assert done.returncode == ExitCode.HEALTHY, done.stdout + done.stderr
        assert (tmp_path / "out" / "program" / "then.log").read_text() == "used\nused\n"

    def test_no_secret_of_the_command_that_uses_it_is_stored(self, run: Run, tmp_path: Path, port: int) -> None:
        then = f"{sys.executable} -S -c \"import sys; print('key:', sys.argv[2])\" --api-key k3y-0f-th3-us3r"
        done = run(SERVER, "--ready-log", "serving", "--then", then, arguments=(str(port),))
        assert done.returncode == ExitCode.HEALTHY, done.stdout + done.stderr
        log = (tmp_path / "out" / "program" / "then.log").read_text()
        assert log == "key: ***************\n" * 2

    def test_that_cannot_be_used_is_an_error(self, run: Run, port: int) -> None:
        done = run(SERVER, "--ready-log", "serving", "--then", "false", arguments=(str(port),))
        assert done.returncode == ExitCode.CRASHED
        assert "'false', which --then runs, failed: status 1" in done.stdout

    def test_that_refuses_the_request_is_an_error(self, run: Run, port: int) -> None:
        refusing = SERVER.replace("asked = json.loads", "return self.send_error(500, 'no model'); asked = json.loads")
        done = run(refusing, "--ready", f"http://127.0.0.1:{port}/health", arguments=(str(port),))
        assert done.returncode == ExitCode.CRASHED
        assert "the command was ready, but did not answer a request: HTTP Error 500: no model" in done.stdout

    def test_without_that_api_gets_no_request(self, run: Run, port: int) -> None:
        other = SERVER.replace("/v1/models", "/other")
        done = run(other, "--ready", f"http://127.0.0.1:{port}/health", arguments=(str(port),))
        assert done.returncode == ExitCode.HEALTHY, done.stdout
        assert "outputs: not checked, because what the command generated is not known" in done.stdout

    def test_that_ends_before_it_is_ready_is_an_error(self, run: Run, port: int) -> None:
        done = run("print('no model'); raise SystemExit(3)", "--ready", f"http://127.0.0.1:{port}/health")
        assert done.returncode == ExitCode.CRASHED
        assert "the command exited with status 3 before it was ready" in done.stdout
        assert "cold.log: no model" in done.stdout

    @pytest.mark.parametrize(
        ("end", "how"), [("sys.exit(3)", "exited with status 3"), ("os.kill(os.getpid(), 9)", "was killed by SIGKILL")]
    )
    def test_that_ends_by_itself_after_it_was_ready_is_an_error(self, run: Run, end: str, how: str) -> None:
        program = f"import os, sys, time, torch; torch.compile_function('f', 'a'); print('serving', flush=True); {end}"
        done = run(program.replace(end, f"time.sleep(0.5); {end}"), "--ready-log", "serving", "--then", "sleep 20")
        assert done.returncode == ExitCode.CRASHED, done.stdout + done.stderr
        assert f"the command {how} after it was ready" in done.stdout
        assert "which --then runs" not in done.stdout

    def test_that_is_never_ready_is_an_error(self, run: Run, port: int) -> None:
        done = run(SERVER, "--ready-log", "no such line", "--timeout=3", arguments=(str(port),))
        assert done.returncode == ExitCode.CRASHED
        assert "not ready after 3 s, killed" in done.stdout
        assert not [each for each in psutil.process_iter(["cmdline"]) if str(port) in (each.info["cmdline"] or ())]

    def test_whose_port_is_in_use_is_not_started(self, run: Run, tmp_path: Path, listener: int) -> None:
        done = run(SERVER, "--ready", f"http://127.0.0.1:{listener}/health", arguments=(str(listener),))
        assert done.returncode == ExitCode.USAGE
        assert f"port {listener} is in use by process {os.getpid()}" in done.stderr
        assert not (tmp_path / "out").exists()


def test_the_command_that_repeats_a_run_has_its_options(run: Run, port: int) -> None:
    done = run(
        SERVER, "--ready-log", "no such", "--timeout=1", "--warm-env=X=1", "--then", "true 1", "--compilation=piecewise"
    )
    [line] = [line for line in done.stdout.splitlines() if "reproduce:" in line]
    expected = "coldwarm run --compilation piecewise --warm-env X=1 --ready-log 'no such' --then 'true 1' -- "
    assert f"{expected}{sys.executable} program.py" in line


def test_nothing_is_left_after_an_interrupt(commands: Commands, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)\n")
    (tmp_path / "tmp").mkdir()
    words = ["run", "--output", "out", "--ready-log", "never", "--", sys.executable, "program.py"]
    running = commands.begin(*words, TMPDIR=str(tmp_path / "tmp"))
    log = tmp_path / "out" / "program" / "cold.log"
    deadline = time.monotonic() + 30
    while not (log.exists() and log.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    assert running.wait(30) == ExitCode.INTERRUPTED
    assert goes(int(log.read_text()))
    assert list((tmp_path / "tmp").iterdir()) == []
    assert running.stderr is not None
    running.stderr.close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--"], "no command after --; for example: coldwarm run -- python script.py"),
        (["--", "no-such-command"], "no command 'no-such-command'"),
        (["--depth", "count", "--", "true"], "--depth does not apply to a command"),
        (["llama-3.1-8b", "--", "true"], "give either models or a command after --, not both"),
        (["--ready", "http://x/", "llama-3.1-8b"], "are for a command, which comes after --"),
        (["--then", "true", "--", "true"], "--then runs once the command is ready"),
        (["--ready-log", "(", "--", "true"], "not a regular expression"),
        (["--ready", "127.0.0.1:8000", "--", "true"], "is not a URL"),
        (["--ready", "http://127.0.0.1:80a/", "--", "true"], "is not a URL"),
        (
            ["--ready", "http://127.0.0.1:80/", "--then", "echo 'a", "--", "true"],
            "is not a command: No closing",
        ),
    ],
)
def test_wrong_arguments_start_nothing(commands: Commands, arguments: list[str], words: str) -> None:
    done = commands.run_in_process("run", *arguments)
    assert done.returncode == ExitCode.USAGE
    assert words in done.stderr
    assert not (commands.folder / "coldwarm-runs").exists()
