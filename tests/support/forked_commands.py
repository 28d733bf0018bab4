"""Forks `coldwarm` commands from a process that has imported it, where a new Python would import it again.

The server runs as ``python -m tests.support.forked_commands DESCRIPTOR``. On this socket, it receives orders as JSON:
``start``, with the file descriptors of stdout and stderr, is answered with the pid, and ``wait`` with the exit status.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, Self

_LONGEST_MESSAGE = 1 << 18
# Of these, no module imports an engine. Most commands do not use the history, with its database.
_PACKAGES = ("bisection", "catalog", "checks", "cli", "core", "diagnose", "launch", "report", "store", "suite")


class ForkedCommand:
    """A running command, with the methods of `subprocess.Popen` that tests use.

    Args:
        words: The arguments of ``coldwarm``.
        folder: The working directory.
        environment: The whole environment.
        stdout: The file descriptor of its output.
        stderr: That of its messages.
    """

    def __init__(
        self, words: Sequence[str], folder: Path, environment: Mapping[str, str], stdout: int, stderr: int
    ) -> None:
        self._words = words
        order = {"start": words, "folder": str(folder), "environment": dict(environment)}
        self.pid = int(_asked(order, stdout, stderr))
        self.returncode: int | None = None
        self.stderr: IO[str] | None = None
        """Its messages, if whoever started it made a pipe for them."""

    def wait(self, timeout: float = 60.0) -> int:
        """Return its exit status, negative for a signal.

        Raises:
            subprocess.TimeoutExpired: It takes longer than `timeout` seconds.
        """
        if self.returncode is None:
            process = os.pidfd_open(self.pid)
            try:
                has_ended = select.select([process], [], [], timeout)[0]
            finally:
                os.close(process)
            if not has_ended:
                raise subprocess.TimeoutExpired(list(self._words), timeout)
            self.returncode = int(_asked({"wait": self.pid}))
        return self.returncode

    def poll(self) -> int | None:
        """Return its exit status, negative for a signal; None if it is still running."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the pipe and wait for its end."""
        if self.stderr is not None:
            self.stderr.close()
        self.wait()

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)


def _asked(order: Mapping[str, object], *descriptors: int) -> str:
    server = _server()
    socket.send_fds(server, [json.dumps(order).encode()], descriptors)
    answer = server.recv(_LONGEST_MESSAGE)
    assert answer, "the server has ended"
    return answer.decode()


@cache
def _server() -> socket.socket:
    """Start the server, which ends when this process closes the socket."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    words = [sys.executable, "-m", "tests.support.forked_commands", str(its.fileno())]
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": path}, pass_fds=[its.fileno()])
    its.close()
    atexit.register(process.wait)
    atexit.register(ours.close)  # first: the last that is registered
    return ours


def _serve(control: socket.socket) -> None:
    own_path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    for package in _PACKAGES:
        module = importlib.import_module(f"coldwarm.{package}")
        for found in pkgutil.walk_packages(module.__path__, f"{module.__name__}."):
            if not found.name.startswith("coldwarm.store.history."):
                importlib.import_module(found.name)
    gc.collect()
    gc.freeze()
    # A Ctrl-C in the terminal of the tests ends their process, and with it this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, _LONGEST_MESSAGE, 2)
        if not message:
            return
        order = json.loads(message)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            control.send(str(os.waitstatus_to_exitcode(status)).encode())
            continue
        pid = os.fork()
        if pid == 0:
            control.close()
            _run(order, descriptors, own_path)
            return
        for descriptor in descriptors:
            os.close(descriptor)
        control.send(str(pid).encode())


def _run(order: dict[str, Any], descriptors: Sequence[int], former_path: Sequence[str]) -> None:
    """Run the command in this process, as if Python had started with its environment."""
    for number, descriptor in enumerate(descriptors, start=1):
        os.dup2(descriptor, number)
        os.close(descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [order["folder"], *path, *(each for each in sys.path[1:] if each not in former_path)]
    importlib.invalidate_caches()
    sys.modules.pop("sitecustomize", None)
    with suppress(ModuleNotFoundError):
        importlib.import_module("sitecustomize")

    from coldwarm.cli.main import main

    sys.argv = ["coldwarm", *order["start"]]
    main()


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
