"""Runs the `coldwarm` command as a user would, in an environment whose every trace can be seen afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

COLDWARM = Path(sys.executable).parent / "coldwarm"
PATIENCE_SECONDS = 900.0
_REPORT_SECONDS = 10.0
ENVIRONMENT = dict(os.environ)
"""The variables before any test imports vLLM, which sets some."""


@dataclass
class Finished:
    """A `coldwarm run` that has ended."""

    exit_code: int
    stdout: str
    stderr: str
    output: Path
    home: Path
    """The user's home folder, empty before."""
    tmp: Path
    """The user's temporary folder, empty before."""

    def runs(self) -> dict[str, Any]:
        """The runs of the JSON report, by name."""
        return {run["name"]: run for run in json.loads(self.stdout)["runs"]}


class Running:
    """A `coldwarm run` that is under way."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        environment: dict[str, str] | None = None,
        command: tuple[str, ...] = (),
    ) -> None:
        self._folder = folder
        for name in ("home", "tmp"):
            (folder / name).mkdir(parents=True)
        self._stderr: list[str] = []
        self._process = subprocess.Popen(
            # The tests run two commands at a time, each with a core of its own.
            [
                *(str(COLDWARM), "run", *([] if command else ["--jobs=1"]), *arguments),
                *("--output", str(folder / "output")),
                *(["--", *command] if command else []),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **ENVIRONMENT,
                "HOME": str(folder / "home"),
                "TMPDIR": str(folder / "tmp"),
                "OMP_NUM_THREADS": "1",
                **(environment or {}),
            },
            # A Ctrl-C for the tests is none for the command, and the other way round.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read_stderr)
        self._reader.start()

    def wait_for(self, words: str) -> None:
        """Return when a line of progress holds `words`."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not any(words in line for line in self._stderr):
            assert self._process.poll() is None, "".join(self._stderr)
            assert time.monotonic() < deadline, f"no {words!r} in {''.join(self._stderr)}"
            time.sleep(0.1)

    def wait_for_report(self, pid: int, *, rank: int) -> None:
        """Return when the process `pid` has reported that it is `rank`."""
        deadline = time.monotonic() + _REPORT_SECONDS
        while not self._has_reported(pid, f'"rank":{rank},'):
            assert time.monotonic() < deadline, f"process {pid} has not reported that it is rank {rank}"
            time.sleep(0.05)

    def _has_reported(self, pid: int, words: str) -> bool:
        # Compilers create and remove folders meanwhile.
        with suppress(FileNotFoundError):
            return any(words in path.read_text() for path in (self._folder / "tmp").rglob(f"{pid}.json"))
        return False

    def worker(self) -> psutil.Process:
        """The worker of the start that is under way."""
        [fork_server] = psutil.Process(self._process.pid).children()
        [worker] = fork_server.children()
        return worker

    def processes(self) -> list[psutil.Process]:
        """The command and everything below it."""
        process = psutil.Process(self._process.pid)
        return [process, *process.children(recursive=True)]

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def finish(self) -> Finished:
        """Wait for the end."""
        assert self._process.stdout is not None
        stdout = self._process.stdout.read()
        exit_code = self._process.wait(PATIENCE_SECONDS)
        self._reader.join()
        self._process.stdout.close()
        return Finished(
            exit_code,
            stdout,
            "".join(self._stderr),
            self._folder / "output",
            self._folder / "home",
            self._folder / "tmp",
        )

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            self._stderr.extend(iter(lines.readline, ""))


def run(
    folder: Path, *arguments: str, environment: dict[str, str] | None = None, command: tuple[str, ...] = ()
) -> Finished:
    """Run `coldwarm run` to its end, on models or on a `command`."""
    return Running(folder, *arguments, environment=environment, command=command).finish()
