"""The process that imports an engine once and forks each start.

Run by `ForkServers` as ``python -m coldwarm.launch.fork.server ENGINE DEPTH CACHES CONTROL``. It has one thread and
never uses the device, because a process with a GPU context, or with locks held by other threads, cannot be forked
safely (CUDA refuses it, and filelock while another thread takes a lock). The standard library's forkserver is not used,
because it has one environment for all processes and hides failed imports.

On the socket CONTROL, the server first sends a JSON object: either that it is ready, with the names of the folders that
starts share, or its problem, with the seconds that every new process needs to compile the engine's modules. It then
receives orders, each a JSON object with three file descriptors: the write end of the worker's progress, the file for
its output, and a socket for its status. On the status socket, the server writes a line with the worker's process id,
and after the worker's end a line with its exit status. The server does not reap the worker before the launcher closes
its end of that socket, so that the kernel does not reuse the pid.
"""

from __future__ import annotations

import gc
import json
import os
import re
import selectors
import signal
import socket
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from coldwarm.core.depth import Depth
from coldwarm.core.request import StartRequest
from coldwarm.engines import worker
from coldwarm.engines.base import Worker, load_worker
from coldwarm.launch.fork.captured_paths import CapturedPaths, create_folders_of
from coldwarm.launch.spawn import status_of_ended_child
from coldwarm.observe.bytecode import BytecodeProbe

LONGEST_MESSAGE = 1 << 16
"""The maximum length of an order or an answer in bytes; an order has about twenty variables with paths."""
_DESCRIPTORS = 3
_LONGEST_PROBLEM = 1000
_THREAD_EXIT_SECONDS = 1.0
"""The time that the kernel may need to remove ended threads."""


def main() -> int:
    """Import the engine, then fork until the launcher closes the socket."""
    engine_name, depth, caches = sys.argv[1], Depth(sys.argv[2]), Path(sys.argv[3])
    control = socket.socket(fileno=int(sys.argv[4]))
    control.set_inheritable(False)
    bytecode = BytecodeProbe()
    bytecode.install()
    # Imported objects are not garbage. Collecting during the import would take a sixth of the time, and freezing them
    # prevents collections in children from visiting them and copying their pages.
    gc.disable()
    try:
        engine = load_worker(engine_name)
        engine.preload(depth)
        captured = CapturedPaths(caches, engine.shared_folders)
        _check_forkable()
    except Exception as error:
        traceback.print_exc()
        problem = f"{type(error).__name__}: {error}"
        answer = {"problem": problem[:_LONGEST_PROBLEM], "compiling": bytecode.missing().seconds_again}
        control.send(json.dumps(answer).encode())
        return 1
    gc.collect()
    gc.freeze()
    gc.enable()
    control.send(json.dumps({"problem": None, "shared": engine.shared_folders}).encode())
    return _Server(engine, caches, captured, bytecode, control).serve()


# Names of threads. jemalloc disables its background threads in a forked process (src/background_thread.c,
# `background_thread_postfork_child`); CUDA's driver has a thread once its library is loaded, before any device is used
# (`Worker.preload` raises if one was). With both running, all 32 starts of two suites were forked on an H100 and
# had the same counters as spawned starts (2026-11-25, vLLM 0.26, torch 2.11).
_HARMLESS_THREADS = re.compile(r"jemalloc_bg_thd|cuda[0-9a-fA-F]+")


def _check_forkable() -> None:
    """Raise `RuntimeError` if there are threads that would be missing after a fork, possibly with locks held.

    Native threads that end before a fork are harmless: OpenBLAS starts a pool when it is imported, and ends it by
    `pthread_atfork` (driver/others/blas_server.c). The pools of NumPy and of OpenCV are the only threads after
    importing vLLM 0.32 with torch 2.13 on a CPU (2026-11-25, seen with gdb). Only threads that remain after a trial
    fork matter.
    """
    others = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if others:
        raise RuntimeError(f"importing the engine left threads running: {', '.join(others)}")
    if _native_threads():
        _fork_and_exit()
    deadline = time.monotonic() + _THREAD_EXIT_SECONDS
    while native := _native_threads():
        if time.monotonic() > deadline:
            raise RuntimeError(f"importing the engine left native threads running: {', '.join(native)}")
        time.sleep(0.01)


def _native_threads() -> list[str]:
    """Return the name and id from /proc of all threads except the main one and harmless ones.

    Empty without /proc.
    """
    found = []
    with suppress(FileNotFoundError):
        for task in sorted(Path("/proc/self/task").iterdir(), key=lambda task: int(task.name)):
            if int(task.name) != os.getpid():
                with suppress(FileNotFoundError, ProcessLookupError):  # the thread has just ended
                    name = (task / "comm").read_text().strip()
                    if not _HARMLESS_THREADS.fullmatch(name):
                        found.append(f"{name} (thread {task.name})")
    return found


def _fork_and_exit() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


@dataclass
class _Child:
    """A forked worker that has not been reaped."""

    status: int
    """The socket for its pid and its exit status."""
    reported: bool = False
    """Whether it has ended and its exit status was written."""
    released: bool = False
    """Whether the launcher has closed its end of the socket and no longer uses the pid."""


class _Server:
    def __init__(
        self,
        engine: Worker,
        caches: Path,
        captured: CapturedPaths,
        bytecode: BytecodeProbe,
        control: socket.socket,
    ) -> None:
        self._engine = engine
        self._caches = caches
        self._captured = captured
        self._bytecode = bytecode
        self._control = control
        self._children: dict[int, _Child] = {}
        self._selector = selectors.DefaultSelector()

    def serve(self) -> int:
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        os.set_blocking(read_end, False)
        # The end of a child interrupts the wait below.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        self._selector.register(self._control, selectors.EVENT_READ)
        self._selector.register(read_end, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj == read_end:
                    with suppress(BlockingIOError):
                        os.read(read_end, 4096)
                elif key.fileobj == self._control:
                    if not self._take_order():
                        return 0
                else:  # the launcher never writes there, so it has closed its end
                    self._selector.unregister(key.fileobj)
                    self._children[key.data].released = True
            self._report_and_reap()

    def _take_order(self) -> bool:
        """Fork for the next order; return False if there was none."""
        data, descriptors, _, _ = socket.recv_fds(self._control, LONGEST_MESSAGE, _DESCRIPTORS)
        if not data:
            return False
        events, output, status = descriptors
        sys.stdout.flush()
        sys.stderr.flush()
        server = os.getpid()
        child = os.fork()
        if child == 0:
            self._become_worker(data, server, events, output, status)
        self._children[child] = _Child(status)
        self._selector.register(status, selectors.EVENT_READ, data=child)
        os.close(events)
        os.close(output)
        # The launcher may have ended; the children then end too.
        with suppress(BrokenPipeError):
            os.write(status, b"%d\n" % child)
        return True

    def _report_and_reap(self) -> None:
        """Report ended children to the launcher, and reap those whose pid it no longer uses."""
        for pid, child in list(self._children.items()):
            if not child.reported and (exit_status := status_of_ended_child(pid)) is not None:
                child.reported = True
                with suppress(BrokenPipeError):
                    os.write(child.status, b"%d\n" % exit_status)
            if child.reported and child.released:
                os.waitpid(pid, 0)
                os.close(child.status)
                del self._children[pid]

    def _become_worker(self, data: bytes, server: int, events: int, output: int, status: int) -> NoReturn:
        """Execute the order `data` in the child, which always exits here."""
        exit_status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            self._control.close()
            self._selector.close()
            for each in (status, *(child.status for child in self._children.values())):
                os.close(each)
            order = json.loads(data)
            os.chdir(order["folder"])
            os.environ.update(order["variables"])
            self._captured.move(Path(order["caches"]))
            create_folders_of(self._caches, Path(order["caches"]))
            self._engine.after_fork()
            request = StartRequest.model_validate_json(Path(order["request"]).read_bytes())
            # Writes to the server's caches are detected by comparing them (`ForkServers`).
            own = [*request.own_folders, self._caches]
            request = request.model_copy(update={"launcher_pid": server, "events_fd": events, "own_folders": own})
            exit_status = worker.run(request, self._engine, self._bytecode)
        except BaseException:
            traceback.print_exc()
        finally:
            try:
                with suppress(OSError, ValueError):
                    sys.stdout.flush()
                    sys.stderr.flush()
            finally:
                # The exit handlers of the parent must not run in the child.
                os._exit(exit_status)


if __name__ == "__main__":
    sys.exit(main())
