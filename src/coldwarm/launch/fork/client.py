"""The launcher's side of fork servers: one for each environment that starts differ in, begun when it is needed."""

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
from dataclasses import dataclass, field
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
from coldwarm.launch.environment import OF_ONE_START
from coldwarm.launch.fork.server import LONGEST_MESSAGE
from coldwarm.launch.outside import Look
from coldwarm.launch.process_tree import StoppedError, identity_of, kill_tree
from coldwarm.launch.spawn import NewProcesses, WorkerOrder, WorkerProcess

_REAPING_SECONDS = 2.0
# Each takes as much memory as an imported engine (`suite/capacity.py`). `coldwarm run` needs four at most: for each
# way to save artifacts, one for the cold starts and one for the warm starts with variables of their own.
_MOST_IDLE = 4


class ForkServers:
    """Forks each start from a process that has its engine imported, in its environment.

    When another server begins, those that have no start are ended, but for the last few that were used.

    Args:
        scratch: Where its folders go, ``fork-server-0`` and so on; removed by whoever made it.
        logs: Where what the servers print is kept, ``fork-server-0.log`` and so on.
        time_limit: Seconds that importing an engine may take.
    """

    def __init__(self, scratch: Path, logs: Path, *, time_limit: float) -> None:
        self._scratch = scratch
        self._time_limit = time_limit
        self.logs = logs
        self._lock = Lock()
        self.closed = False
        """Whether they were ended, so that nothing can be forked any more."""
        self._servers: dict[tuple[str, Depth, frozenset[tuple[str, str]]], _Server] = {}
        """The last used is the last."""
        self._numbers = count()
        self._new_processes = NewProcesses()

    def prepare(self, order: WorkerOrder, on_phase: Callable[[str], None]) -> None:
        """Have the server of the order's environment, which takes as long as importing the engine."""
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
            if not server.begun:
                on_phase("import, once for all starts")
                server.begin()
                if self.closed:
                    server.end()
                    raise StoppedError
                if server.problem is not None:
                    on_phase(f"nothing can be forked, so that each start is a new process: {server.problem}")

    def begin(self, order: WorkerOrder, output: int) -> tuple[WorkerProcess, IsolationKind]:
        """Fork a process; where that cannot be done, have a new one."""
        server = self._server_of(order)
        forked = server.fork(order, output, on_end=partial(self._release, server))
        if forked is None:
            self._release(server)
            return self._new_processes.begin(order, output)
        return forked, IsolationKind.FORK

    def _reserve(self, order: WorkerOrder) -> tuple[_Server, list[_Server]]:
        """Return the server of the order, which is in use from now on, and those to end, which no start will use."""
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
        """Return the files in the caches of the order's server that are not as they were once it was ready."""
        return self._server_of(order).changed()

    def close(self) -> None:
        """End all servers, and every start that was forked from one; again and again, to the same effect."""
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
    # What is replaced differs for each start, but not which variables are there.
    variables = {**dict.fromkeys(replaced_where_set(order.environment), ""), **_shared(order.environment)}
    return order.engine, order.depth, frozenset(variables.items())


def _shared(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in OF_ONE_START}


@dataclass
class _Server:
    like: WorkerOrder
    """The first order; others differ from it in what is of one start alone."""
    folder: Path
    log: Path
    time_limit: float
    lock: Lock = field(default_factory=Lock)
    users: int = 0
    """Starts that it was prepared for, and that have not ended."""
    retired: bool = False
    """Whether it was ended because it had no start; what was seen of its caches stays."""
    begun: bool = False
    problem: str | None = None
    """Why it can fork nothing; None: as far as is known it can."""
    _process: subprocess.Popen[bytes] | None = None
    _identity: psutil.Process | None = None
    """Tells the process from a later one that has its pid."""
    _ready: bool = False
    """Whether it takes orders, and reaps what it forked."""

    def begin(self) -> None:
        """Begin the process, and wait until it has the engine imported or could not."""
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
            self.problem = f"its process cannot be started: {type(error).__name__}: {error}"
            raise
        self._identity = identity_of(self._process.pid)
        self._control.settimeout(self.time_limit)
        try:
            answer = self._control.recv(LONGEST_MESSAGE)
        except TimeoutError:
            self.problem = f"the engine was still being imported after {self.time_limit:g} s; see {self.log}"
            self.end()
            return
        told = json.loads(answer) if answer else {"problem": f"the process ended; see {self.log}"}
        self.problem = told["problem"]
        self._ready = self.problem is None
        self._shared_names = frozenset(told.get("shared", ()))
        self._look = Look([self._caches])

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
        """Whether its process waits for a start."""
        return self.users == 0 and self._ready and self._process is not None

    def fork(self, order: WorkerOrder, output: int, on_end: Callable[[], None]) -> WorkerProcess | None:
        """Have a process forked for `order`; None: there is no server that could.

        `on_end` is called once the process was waited for.
        """
        if self.problem is not None:
            return None
        content = {
            "request": str(order.request),
            "folder": str(order.folder),
            "caches": str(_caches_of(order.environment)),
            "variables": {name: value for name, value in order.environment.items() if name in OF_ONE_START},
        }
        status, theirs = socket.socketpair()
        with status, theirs:
            try:
                with self.lock:
                    descriptors = [order.events, output, theirs.fileno()]
                    socket.send_fds(self._control, [json.dumps(content).encode()], descriptors)
            except OSError:
                self.problem = "it is gone"
                return None
            theirs.close()
            process = ForkedProcess(status.detach(), on_end)
        if process.pid == 0:
            self.problem = "it ended before it could fork"
        return process if process.pid else None

    def changed(self) -> list[str]:
        """Return the files in its caches that are not as they were once it was ready, by path below the caches."""
        if not self._ready:
            return []
        paths = (Path(file).relative_to(self._caches.resolve()) for file in self._look.changed(Look([self._caches])))
        return [str(path) for path in paths if self._shared_names.isdisjoint(path.parts)]

    def end(self) -> None:
        """Kill the process and all that it forked; whoever waits for its answer has it then. Once: a process id may be
        another process's later."""
        process, self._process = self._process, None
        if process is not None:
            if self._ready and self._identity is not None:
                _end_children(self._identity)
            kill_tree(process.pid, self._identity, self._token)
            process.wait()
            self._control.close()


def _end_children(server: psutil.Process) -> None:
    """Kill what a server forked, while it is there to reap it: in a container whose first process reaps nothing, what
    outlived its parent would stay as a zombie."""
    deadline = time.monotonic() + _REAPING_SECONDS
    # psutil asks no process whose pid was recycled for its children, and signals none.
    with suppress(psutil.NoSuchProcess):
        while (children := server.children()) and time.monotonic() < deadline:
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            time.sleep(0.02)


def _caches_of(environment: Mapping[str, str]) -> Path:
    return Path(os.path.commonpath([environment[name] for name in CACHE_VARIABLES]))


class ForkedProcess:
    """A process that a fork server made, known by what the server writes of it.

    Args:
        status: A socket or a pipe that the server writes the pid and the exit status to. It is closed by `wait`, or
            here if the server is gone; before that, the server does not reap the process.
        on_end: Called when the process was waited for, once.
    """

    def __init__(self, status: int, on_end: Callable[[], None] = lambda: None) -> None:
        self._status: int | None = status
        self._on_end: Callable[[], None] | None = on_end
        self._told = b""
        try:
            self._read_lines(1)
        except BaseException:
            self._close()
            raise
        self.pid = int(self._told.partition(b"\n")[0] or 0)

    def poll(self) -> int | None:
        """Its exit status; None: it still runs."""
        if self._status is not None:
            os.set_blocking(self._status, False)
            with suppress(BlockingIOError):
                self._read_lines(2)
        return self._exit_status() if self._status is None or self._lines() >= 2 else None

    def wait(self) -> int:
        """Wait for its end, and have the server reap it."""
        if self._status is not None:
            os.set_blocking(self._status, True)
            self._read_lines(2)
            self._close()
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end()
        return self._exit_status()

    def _read_lines(self, number: int) -> None:
        """Read until the server has written `number` lines in all, or is gone."""
        while self._status is not None and self._lines() < number:
            data = os.read(self._status, 64)
            self._told += data
            if not data:
                self._close()

    def _lines(self) -> int:
        return self._told.count(b"\n")

    def _close(self) -> None:
        if self._status is not None:
            os.close(self._status)
            self._status = None

    def _exit_status(self) -> int:
        lines = self._told.split()
        # A server that is gone took its children with it.
        return int(lines[1]) if len(lines) > 1 else -signal.SIGKILL
