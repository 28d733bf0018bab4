"""The launcher's side of fork servers. There is one for each distinct environment, started when needed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from threading import Lock

import psutil

from coldwarm.core.depth import Depth
from coldwarm.core.isolation import IsolationKind
from coldwarm.core.run_folder import log_name
from coldwarm.core.variables import TOKEN_VARIABLE
from coldwarm.launch.cache_variables import replaced_where_set
from coldwarm.launch.caches import CACHE_VARIABLES, Caches
from coldwarm.launch.environment import OF_ONE_START, SOCKETS
from coldwarm.launch.fork.server import LONGEST_MESSAGE
from coldwarm.launch.outside import Look
from coldwarm.launch.process_tree import StoppedError, identity_of, kill_tree
from coldwarm.launch.spawn import NewProcesses, WorkerOrder, WorkerProcess

_REAPING_SECONDS = 2.0
# Each needs as much memory as an imported engine (`suite/capacity.py`). `coldwarm run` needs at most four: for each
# kind of AOT artifact, one for cold starts and one for warm starts with changed variables.
_MOST_IDLE = 4
# If a new process takes longer than this to compile the engine's modules, starts that cannot be forked share bytecode.
_COMPILE_SECONDS = 2.0


class ForkServers:
    """Forks each start from a process that has already imported the engine in the start's environment.

    If importing the engine makes that impossible, it spawns them, in any environment: trying again takes as long as a
    start's own import. If the machine keeps no bytecode, they then share a folder for it below
    `scratch`, so that not each of them compiles the engine's modules.

    When a server is started, idle ones are stopped, except for the few that were used last.

    Args:
        scratch: The parent of the servers' folders, ``fork-server-0`` and so on; the caller removes it.
        logs: The folder for the servers' logs, ``fork-server-0.log`` and so on.
        time_limit: Seconds that importing an engine may take.
    """

    def __init__(self, scratch: Path, logs: Path, *, time_limit: float) -> None:
        self._scratch = scratch
        self._time_limit = time_limit
        self.logs = logs
        self._lock = Lock()
        self.closed = False
        """Whether the servers were stopped, so that nothing can be forked."""
        self._servers: dict[tuple[str, Depth, frozenset[tuple[str, str]]], _Server] = {}
        """Ordered by last use."""
        self._unforkable: dict[tuple[str, Depth], _Server] = {}
        """The server that could not fork after it had imported the engine, by engine and depth."""
        self._numbers = count()
        self._new_processes = NewProcesses()

    def prepare(self, order: WorkerOrder, on_phase: Callable[[str], None]) -> None:
        """Start the server for the order's environment if necessary, which takes as long as importing the engine."""
        server, idle = self._reserve(order)
        for each in idle:
            each.end()
        try:
            self._begin(server, on_phase)
        except BaseException:
            self._release(server)
            raise

    def _begin(self, server: _Server, on_phase: Callable[[str], None]) -> None:
        with server.lock:
            failed = self._unforkable.get((server.like.engine, server.like.depth))
            if not server.begun and failed is not None:
                server.give_up_like(failed)
            if not server.begun:
                on_phase("import (once for all starts)")
                server.begin()
                if self.closed:
                    server.end()
                    raise StoppedError
                if server.has_answered and server.problem is not None:
                    self._unforkable[server.like.engine, server.like.depth] = server
                if server.problem is not None:
                    on_phase(f"cannot fork ({server.problem}); falling back to spawn")

    def begin(self, order: WorkerOrder, output: int) -> tuple[WorkerProcess, IsolationKind]:
        """Fork a process, or spawn one if it cannot be forked."""
        server = self._server_of(order)
        forked = server.fork(order, output, on_end=partial(self._release, server))
        if forked is None:
            self._release(server)
            if server.compile_seconds > _COMPILE_SECONDS:
                order = replace(order, environment=_with_bytecode(order.environment, self._scratch / "bytecode"))
            return self._new_processes.begin(order, output)
        return forked, IsolationKind.FORK

    def _reserve(self, order: WorkerOrder) -> tuple[_Server, list[_Server]]:
        """Return the server of the order, marked as used, and idle servers to stop."""
        key = _key(order)
        with self._lock:
            if self.closed:
                raise StoppedError
            server = self._servers.pop(key, None)
            if server is None or server.retired:
                server = self._new_server(order)
            self._servers[key] = server
            server.users += 1
            if server.begun:
                return server, []
            idle = [each for each in self._servers.values() if each.is_idle()]
            idle = idle[: max(0, len(idle) - _MOST_IDLE)]
            for each in idle:
                each.retired = True
            return server, idle

    def _release(self, server: _Server) -> None:
        with self._lock:
            server.users -= 1

    def shared_caches_changed(self, order: WorkerOrder) -> list[str]:
        """Return the files in the caches of the order's server that changed since it was ready."""
        return self._server_of(order).changed()

    def why_not_forked(self, order: WorkerOrder) -> str | None:
        """Return the problem of the order's server; None if it could fork."""
        return self._server_of(order).problem

    def close(self) -> None:
        """Stop all servers and all starts that were forked from them; may be called repeatedly."""
        self.closed = True
        for server in list(self._servers.values()):
            server.end()

    def _server_of(self, order: WorkerOrder) -> _Server:
        with self._lock:
            if self.closed:
                raise StoppedError
            return self._servers[_key(order)]

    def _new_server(self, order: WorkerOrder) -> _Server:
        name = f"fork-server-{next(self._numbers)}"
        return _Server(order, self._scratch / name, self.logs / log_name(name), self._time_limit)


def _key(order: WorkerOrder) -> tuple[str, Depth, frozenset[tuple[str, str]]]:
    # The values of replaced variables differ for each start, but their names do not.
    variables = {**dict.fromkeys(replaced_where_set(order.environment), ""), **_shared(order.environment)}
    return order.engine, order.depth, frozenset(variables.items())


def _with_bytecode(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the variables with which Python stores its bytecode in `folder`, although it otherwise stores none."""
    kept = {name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(folder.absolute())}


def _shared(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in OF_ONE_START | SOCKETS}


@dataclass
class _Server:
    like: WorkerOrder
    """The first order; others differ from it only in variables of a single start."""
    folder: Path
    log: Path
    time_limit: float
    lock: Lock = field(default_factory=Lock)
    users: int = 0
    """The number of starts that use it."""
    retired: bool = False
    """Whether it was stopped because it was idle; the observed changes of its caches remain available."""
    begun: bool = False
    problem: str | None = None
    """Why it cannot fork; None if no problem is known."""
    has_answered: bool = False
    """Whether it has imported the engine, or could not."""
    compile_seconds: float = 0.0
    """If it cannot: how long Python took to compile modules from source, whose bytecode it could not store."""
    _process: subprocess.Popen[bytes] | None = None
    _identity: psutil.Process | None = None
    """Distinguishes the process from a later one with the same pid."""
    _ready: bool = False
    """Whether it accepts orders and reaps its children."""

    def begin(self) -> None:
        """Start the process, and wait until it has imported the engine or failed to."""
        self.begun = True
        caches = Caches.fresh(self.folder / "caches")
        trace = self.folder / "trace"
        trace.mkdir()
        self._token = uuid.uuid4().hex
        environment = {
            **_shared(self.like.environment),
            **caches.environment(self.like.environment),
            "TORCH_TRACE": str(trace),
            TOKEN_VARIABLE: self._token,
        }
        self._caches = caches.root
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._process = self._popen(environment, theirs.fileno())
        except BaseException as error:
            self._control.close()
            self.problem = f"cannot start the fork server: {type(error).__name__}: {error}"
            raise
        self._identity = identity_of(self._process.pid)
        self._control.settimeout(self.time_limit)
        try:
            answer = self._control.recv(LONGEST_MESSAGE)
        except TimeoutError:
            self.problem = f"importing the engine took more than {self.time_limit:g} s; see {self.log}"
            self.end()
            return
        self.has_answered = bool(answer)
        reply = json.loads(answer) if answer else {"problem": f"the fork server ended; see {self.log}"}
        self.problem = reply["problem"]
        self.compile_seconds = float(reply.get("compiling", 0.0))
        self._ready = self.problem is None
        self._shared_names = frozenset(reply.get("shared", ()))
        self._look = Look([self._caches])

    def give_up_like(self, other: _Server) -> None:
        """Take the problem of a server of the same engine, instead of beginning."""
        self.begun = True
        self.problem, self.compile_seconds = other.problem, other.compile_seconds

    def _popen(self, environment: dict[str, str], control: int) -> subprocess.Popen[bytes]:
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "coldwarm.launch.fork.server",
                    self.like.engine,
                    self.like.depth,
                    str(self._caches),
                    str(control),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=self.folder,
                pass_fds=(control,),
                start_new_session=True,
            )

    def is_idle(self) -> bool:
        """Return whether its process is waiting for a start."""
        return self.users == 0 and self._ready and self._process is not None

    def fork(self, order: WorkerOrder, output: int, on_end: Callable[[], None]) -> WorkerProcess | None:
        """Fork a process for `order`; None if the server cannot.

        `on_end` is called after the process was waited for.
        """
        if self.problem is not None:
            return None
        content = {
            "request": str(order.request),
            "folder": str(order.folder),
            "caches": str(_caches_of(order.environment)),
            "variables": {name: value for name, value in order.environment.items() if name in OF_ONE_START | SOCKETS},
        }
        status, theirs = socket.socketpair()
        with status, theirs:
            try:
                with self.lock:
                    descriptors = [order.events, output, theirs.fileno()]
                    socket.send_fds(self._control, [json.dumps(content).encode()], descriptors)
            except OSError:
                self.problem = "the fork server ended unexpectedly"
                return None
            theirs.close()
            process = ForkedProcess(status.detach(), on_end)
        if process.pid == 0:
            self.problem = "the fork server ended before it could fork"
        return process if process.pid else None

    def changed(self) -> list[str]:
        """Return the files in its caches that changed since it was ready, by path relative to the caches."""
        if not self._ready:
            return []
        paths = (Path(file).relative_to(self._caches.resolve()) for file in self._look.changed(Look([self._caches])))
        return [str(path) for path in paths if self._shared_names.isdisjoint(path.parts)]

    def end(self) -> None:
        """Kill the process and its children, which also ends a wait for its answer.

        Does so only once, because the process id may be reused.
        """
        process, self._process = self._process, None
        if process is not None:
            if self._ready and self._identity is not None:
                _end_children(self._identity)
            kill_tree(process.pid, self._identity, self._token)
            process.wait()
            self._control.close()


def _end_children(server: psutil.Process) -> None:
    """Kill the children of a server while it can reap them.

    In a container whose first process does not reap, they would otherwise remain as zombies.
    """
    deadline = time.monotonic() + _REAPING_SECONDS
    # psutil does not query or signal a process whose pid was reused.
    with suppress(psutil.NoSuchProcess):
        while (children := server.children()) and time.monotonic() < deadline:
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            time.sleep(0.02)


def _caches_of(environment: Mapping[str, str]) -> Path:
    return Path(os.path.commonpath([environment[name] for name in CACHE_VARIABLES]))


class ForkedProcess:
    """A process that was forked by a fork server, observed through a socket to the server.

    Args:
        status: A socket or a pipe to which the server writes the pid and the exit status. `wait` closes it, or the
            constructor if the server has ended. The server does not reap the process before.
        on_end: Called once, after the process was waited for.
    """

    def __init__(self, status: int, on_end: Callable[[], None] = lambda: None) -> None:
        self._status: int | None = status
        self._on_end: Callable[[], None] | None = on_end
        self._received = b""
        try:
            self._read_lines(1)
        except BaseException:
            self._close()
            raise
        self.pid = int(self._received.partition(b"\n")[0] or 0)

    def poll(self) -> int | None:
        """Return the exit status; None if the process is still running."""
        if self._status is not None:
            os.set_blocking(self._status, False)
            with suppress(BlockingIOError):
                self._read_lines(2)
        return self._exit_status() if self._status is None or self._lines() >= 2 else None

    def wait(self) -> int:
        """Wait for the end of the process, and let the server reap it."""
        if self._status is not None:
            os.set_blocking(self._status, True)
            self._read_lines(2)
            self._close()
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end()
        return self._exit_status()

    def _read_lines(self, number: int) -> None:
        """Read until the server has written `number` lines in total, or has ended."""
        while self._status is not None and self._lines() < number:
            data = os.read(self._status, 64)
            self._received += data
            if not data:
                self._close()

    def _lines(self) -> int:
        return self._received.count(b"\n")

    def _close(self) -> None:
        if self._status is not None:
            os.close(self._status)
            self._status = None

    def _exit_status(self) -> int:
        lines = self._received.split()
        # The children of a server end with it.
        return int(lines[1]) if len(lines) > 1 else -signal.SIGKILL
