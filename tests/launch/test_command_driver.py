from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import UnixStreamServer

import pytest

from coldwarm.core.record import ProcessReport
from coldwarm.core.unix_url import unix_url
from coldwarm.launch import command_driver, readiness
from coldwarm.launch.command_driver import late_reports, reports_of_processes
from coldwarm.launch.completion import request_completion
from coldwarm.launch.observed_processes import Unobserved
from coldwarm.launch.process_tree import StartState
from coldwarm.launch.readiness import RanksAreWarm, UrlAnswers, user_of_address
from coldwarm.observe.probes import Observer, Probe

RUNNING = StartState(None, (), Path(os.devnull))


@pytest.fixture
def url() -> Iterator[str]:
    """The address of a server that speaks another protocol than HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"\x15\x03\x03\x00\x02\x02\x46\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_a_server_that_speaks_no_http_is_asked_again(url: str) -> None:
    before = set(threading.enumerate())
    asking = UrlAnswers(url)
    [thread] = set(threading.enumerate()) - before
    thread.join(0.5)
    assert thread.is_alive()
    assert not asking.is_ready(RUNNING)
    asking.give_up()
    thread.join(10)
    assert not thread.is_alive()


def test_a_server_that_speaks_no_http_has_no_completions(url: str) -> None:
    assert request_completion(url) is None


class Api(BaseHTTPRequestHandler):
    """Has one model, and always the same answer; as many requests to `/health` fail as `failures` says."""

    failures = 1

    def address_string(self) -> str:
        """Return a name for the client, which has no address."""
        return "client"

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        """Answer."""
        if self.path == "/health" and Api.failures:
            Api.failures -= 1
            self.send_error(503)
            return
        self._answer({"data": [{"id": f"the model of {self.headers['Host']}"}]})

    def do_POST(self) -> None:
        """Answer with the token of the prompt's first id."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert asked["model"] == "the model of localhost"
        self._answer({"choices": [{"logprobs": {"tokens": ["token_id:7"], "top_logprobs": [{"token_id:7": -0.5}]}}]})

    def _answer(self, content: object) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())


def test_a_server_at_a_unix_socket_is_asked(tmp_path: Path) -> None:
    path = str(tmp_path / "a b.sock")
    url = unix_url(path, "/health")
    assert url.endswith("a%20b.sock/health")
    assert user_of_address(url) is None
    with UnixStreamServer(path, Api) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            assert f"the socket {path} is in use" in str(user_of_address(url))
            asking = UrlAnswers(url)
            deadline = time.monotonic() + 20
            while not asking.is_ready(RUNNING):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert Api.failures == 0, "the first answer was an error"
            completion = request_completion(url)
        finally:
            server.shutdown()
            thread.join()
    assert completion is not None
    assert [token.token_id for token in completion.generated] == [7]


def test_ranks_are_ready_when_each_has_warmed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "_LOOK_SECONDS", 0.0)
    ready = RanksAreWarm(tmp_path)

    def write(pid: int, rank: int | None, *, warm: bool) -> None:
        report = ProcessReport(pid=pid, rank=rank, is_warmed_up=warm)
        (tmp_path / f"{pid}.json").write_text(report.model_dump_json())

    assert not ready.is_ready(RUNNING)
    write(1, None, warm=False)
    assert not ready.is_ready(RUNNING), "the engine core has no rank"
    write(2, 0, warm=True)
    write(3, 1, warm=False)
    assert not ready.is_ready(RUNNING)
    write(3, 1, warm=True)
    assert ready.is_ready(RUNNING)
    assert not ready.is_ready(StartState(1, (), Path(os.devnull)))


def test_a_process_that_does_not_report_when_asked_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_driver, "_REPORT_SECONDS", 0.1)
    this = os.getpid()
    Observer(tmp_path).write()
    assert late_reports(tmp_path) == [this]
    assert late_reports(tmp_path, give_up=lambda: True) == [], "the command has ended"
    [process] = reports_of_processes(tmp_path, Unobserved(), [this])
    assert process.failed_probes == {
        "last report": "the process did not write it within 0.1 s, so what it did last is not known"
    }
    [process] = reports_of_processes(tmp_path, Unobserved(), [])
    assert process.failed_probes == {}
    (tmp_path / f"{this}.json").rename(tmp_path / "999999999.json")
    assert late_reports(tmp_path) == [], "a process that has ended writes no more"


def test_a_report_counts_from_when_it_was_collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_driver, "_REPORT_SECONDS", 1.0)
    is_collected, asked = threading.Event(), threading.Event()

    class Asking(Probe):
        name = "asking"

        def install(self) -> None:
            pass

        def report(self, report: ProcessReport) -> None:
            """Be collected before the question, and written after it."""
            is_collected.set()
            asked.wait(20)

    observer = Observer(tmp_path)
    observer.write()
    observer.install(Asking())
    began_before = threading.Thread(target=observer.write)
    began_before.start()
    is_collected.wait(20)

    def ask() -> bool:
        asked.set()
        began_before.join()
        return False

    assert late_reports(tmp_path, give_up=ask) == [os.getpid()]

    def answer() -> bool:
        observer.write()
        return False

    assert late_reports(tmp_path, give_up=answer) == []


@pytest.mark.parametrize("program", ["sleep", "another Python program"])
def test_a_process_that_runs_another_program_now_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setattr(command_driver, "_REPORT_SECONDS", 0.1)
    words = ["sleep", "60"] if program == "sleep" else [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
    process = subprocess.Popen(words)
    try:
        report = tmp_path / f"{process.pid}.json"  # of the program before
        report.touch()
        mark = tmp_path / f"{process.pid}.seen"
        mark.touch()
        os.utime(report, (1000.0, 1000.0))
        if program == "sleep":  # it left none
            os.utime(mark, (999.0, 999.0))
        assert late_reports(tmp_path) == []
    finally:
        process.kill()
        process.wait()
