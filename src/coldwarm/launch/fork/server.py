"""The process that imports an engine once and forks each start from there.

Run by `ForkServers` as ``python -m coldwarm.launch.fork.server ENGINE DEPTH CACHES CONTROL``. One thread, which never
touches the device: a process can be forked only as long as no lock and no GPU context would be torn (CUDA refuses it,
filelock refuses it while another thread takes a lock). The standard library's forkserver shares one environment
among all and hides an import that fails, which is why it is not used.

Over the socket CONTROL the server says once, as a JSON object, that it is ready, with the names of the folders that
starts share, or its problem; then come orders, a JSON object each, with three file descriptors: the write end of the
worker's progress, what takes its output, and a socket for its status. On that the server writes the
worker's process id in a line, and once it has ended its exit status in another. The server does not reap the worker
before the launcher closes its end of that socket: until then, the kernel gives the pid to no other process.
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
from coldwarm.launch.fork.captured_paths import RememberedPaths
from coldwarm.launch.spawn import status_of_ended_child
from coldwarm.observe.bytecode import BytecodeProbe

LONGEST_MESSAGE = 1 << 16
"""Bytes of an order, or of the answer; an order's variables are paths, a score of them."""
_DESCRIPTORS = 3
_LONGEST_PROBLEM = 1000
_THREAD_EXIT_SECONDS = 1.0
"""How long the kernel may take to remove threads that have ended."""


def main() -> int:
    """Import the engine, then fork until the socket is closed at its other end."""
    engine_name, depth, caches = sys.argv[1], Depth(sys.argv[2]), Path(sys.argv[3])
    control = socket.socket(fileno=int(sys.argv[4]))
    control.set_inheritable(False)
    bytecode = BytecodeProbe()
    bytecode.install()
    # What is imported is never garbage: looking for some meanwhile would take a sixth of the time; and a collection in
    # a child need not walk it, nor copy its pages.
    gc.disable()
    try:
        engine = load_worker(engine_name)
        engine.preload(depth)
        remembered = RememberedPaths(caches, engine.shared_folders)
        _check_forkable()
    except Exception as error:
        traceback.print_exc()
        problem = f"{type(error).__name__}: {error}"
        control.send(json.dumps({"problem": problem[:_LONGEST_PROBLEM]}).encode())
        return 1
    gc.collect()
    gc.freeze()
    gc.enable()
    control.send(json.dumps({"problem": None, "shared": engine.shared_folders}).encode())
    return _Server(engine, caches, remembered, bytecode, control).serve()


# By name: jemalloc disables its background threads in a forked process (src/background_thread.c,
# `background_thread_postfork_child`); CUDA's driver has a thread once its library is loaded, before any device is used
# (`Worker.preload` raises if one was). With both running, all 32 starts of two suites were forked on an H100 and
# counted what spawned starts count (2026-11-25, vLLM 0.26, torch 2.11).
_HARMLESS_THREADS = re.compile(r"jemalloc_bg_thd|cuda[0-9a-fA-F]+")


def _check_forkable() -> None:
    """Raise `RuntimeError` if threads are running that a fork would not take along, with whatever locks they hold.

    Native threads that end before a fork do no harm: OpenBLAS starts a pool when it is imported, and ends it by
    `pthread_atfork` (driver/others/blas_server.c). The pools of NumPy and of OpenCV are all that importing vLLM 0.32
    with torch 2.13 leaves on a CPU (2026-11-25, seen with gdb). What counts is what is left after a trial fork.
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
    """All threads but the main one and harmless ones, each as its name and its id, as /proc has them.

    Empty where there is no /proc.
    """
    found = []
    with suppress(FileNotFoundError):
        for task in sorted(Path("/proc/self/task").iterdir(), key=lambda task: int(task.name)):
            if int(task.name) != os.getpid():
                with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
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
    """A forked worker that is not reaped yet."""

    status: int
    """The socket that takes its pid and its exit status."""
    reported: bool = False
    """Whether it has ended, and its exit status was written."""
    released: bool = False
    """Whether the launcher has closed its end of the socket, and uses the pid no more."""


class _Server:
    def __init__(
        self,
        engine: Worker,
        caches: Path,
        remembered: RememberedPaths,
        bytecode: BytecodeProbe,
        control: socket.socket,
    ) -> None:
        self._engine = engine
        self._caches = caches
        self._remembered = remembered
        self._bytecode = bytecode
        self._control = control
        self._children: dict[int, _Child] = {}
        self._selector = selectors.DefaultSelector()

    def serve(self) -> int:
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        os.set_blocking(read_end, False)
        # A child that ends interrupts the wait below.
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
                else:  # the launcher writes nothing there, so that it has closed its end
                    self._selector.unregister(key.fileobj)
                    self._children[key.data].released = True
            self._report_and_reap()

    def _take_order(self) -> bool:
        """Fork for the next order; whether there was one."""
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
        # The launcher may be gone; then the children are about to be, too.
        with suppress(BrokenPipeError):
            os.write(status, b"%d\n" % child)
        return True

    def _report_and_reap(self) -> None:
        """Tell the launcher of each child that has ended; reap those whose pid it uses no more."""
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
        """Do what the order `data` asks for, in the child, which ends here whatever happens."""
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
            self._remembered.move(Path(order["caches"]))
            self._engine.settle()
            request = StartRequest.model_validate_json(Path(order["request"]).read_bytes())
            # What it writes in the server's caches is seen by whoever compares them (`ForkServers`).
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
                # Nothing that the parent registered to be done at its end is the child's to do.
                os._exit(exit_status)


if __name__ == "__main__":
    sys.exit(main())
