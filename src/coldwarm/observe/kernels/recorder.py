"""Records what kernel compilers do in a process, whichever thread it happens in."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from coldwarm.core.kernels import MOST_EVENTS, KernelEvent, KernelEvents
from coldwarm.core.record import ProcessReport
from coldwarm.observe.import_root import import_root

OWNER: ContextVar[str | None] = ContextVar("owner of the kernels that are compiled", default=None)
"""What of the engine asks for kernels in this context, with its compile key."""

_LONGEST_COMPONENT = 400
_OWN_FOLDER = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep  # noqa: PTH100, PTH120
# Frames that are nobody's request: pools of threads, context managers, decorators.
_PLUMBING = (
    f"{os.sep}concurrent{os.sep}futures{os.sep}",
    f"{os.sep}threading.py",
    f"{os.sep}contextlib.py",
    f"{os.sep}functools.py",
)


@dataclass(frozen=True)
class Request:
    """Who asked for a kernel, and when. Taken in the thread that asks, which need not be the one that compiles."""

    where: str | None
    owner: str | None
    phase: str | None


class Recorder:
    """The events of this process, at most `MOST_EVENTS` of them.

    A process that is forked from this one begins with none: what was compiled before is in its parent's report.

    Args:
        phase: Returns the current phase of the start; None: not known.
    """

    name = "kernels"

    def __init__(self, phase: Callable[[], str | None] = lambda: None) -> None:
        self._phase = phase
        self._began = False
        self._clear()

    def _clear(self) -> None:
        # Another thread may have held the lock when the process was forked.
        self._lock = threading.Lock()
        self._events: list[KernelEvent] = []
        self._dropped = 0

    def install(self) -> None:
        """Begin to record."""
        if not self._began:
            self._began = True
            # Here, because pydantic builds it within a lock, which the program's threads would hold when they compile.
            KernelEvent.model_rebuild()
            os.register_at_fork(after_in_child=self._clear)

    def report(self, report: ProcessReport) -> None:
        """Report the events so far."""
        with self._lock:
            report.kernels = KernelEvents(events=list(self._events), dropped=self._dropped)

    def seen(self) -> int:
        """Return the number of events."""
        return len(self._events) + self._dropped

    def request(self, *library: str) -> Request:
        """Return who asks for a kernel.

        Args:
            library: The beginnings of file names that are the compiler's own.
        """
        where = call_site(*library)
        owner = OWNER.get()
        # The engine's compiler asks for kernels of graphs, whatever line of it that is.
        if owner is None and where is not None and where.startswith("torch/_inductor/"):
            owner = "Inductor"
        return Request(where, owner, self._phase())

    def add(self, request: Request, **values: Any) -> None:
        """Record an event.

        Args:
            request: Who asked for the kernel.
            values: The other fields of `KernelEvent`.
        """
        event = KernelEvent(where=request.where, owner=request.owner, phase=request.phase, **values)
        with self._lock:
            if len(self._events) < MOST_EVENTS:
                self._events.append(event)
            else:
                self._dropped += 1


def call_site(*library: str) -> str | None:
    """Return the line of the innermost code outside coldwarm and a library, as ``file:line``; None: there is none.

    Args:
        library: The beginnings of file names that are the library's.
    """
    frame = sys._getframe(1)
    inside = (_OWN_FOLDER, *library, "<frozen")
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(inside) and not any(each in file for each in _PLUMBING):
            return f"{short_path(file)}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return None


@lru_cache(maxsize=256)
def short_path(file: str) -> str:
    """Return a file's path from the folder that it was imported from."""
    root = import_root(file)
    return file if root is None else file[len(root) + 1 :]


def digest(*parts: str | bytes) -> str:
    """Return what identifies the `parts`, in 32 characters."""
    hashed = hashlib.sha256()
    for part in parts:
        content = part.encode("utf-8", "backslashreplace") if isinstance(part, str) else part
        hashed.update(len(content).to_bytes(8, "big") + content)
    return hashed.hexdigest()[:32]


def component(value: object) -> str:
    """Return a component of a key as text that is not too long; different values stay different."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST_COMPONENT else f"{text[:_LONGEST_COMPONENT]}... ({digest(text)})"
