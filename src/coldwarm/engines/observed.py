"""Observes a process of a user's command, whatever it runs; inert in every other process.

`begin` is called when the process starts (``engines/startup/sitecustomize.py``), or by an engine's plugin. It imports
only the standard library; the rest is imported with torch, so that other programs cost nothing.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from coldwarm.core.variables import OBSERVATION_VARIABLE
from coldwarm.observe.after_import import after_import
from coldwarm.observe.bytecode import BytecodeProbe
from coldwarm.observe.forked_process import runs_another_program

# The processes in which Inductor compiles for another process, which reports it (torch/_inductor/compile_worker).
_HELPERS = ("torch._inductor.compile_worker", "compile_worker/__main__.py")

_this_process: _ObservedProcess | None = None


def begin() -> None:
    """Observe this process and those that are forked from it, once, if it belongs to a user's command.

    Does nothing once the start has ended, or if this process may not read its files, as one of another user.
    """
    global _this_process
    path = os.environ.get(OBSERVATION_VARIABLE)
    if path is None or _this_process is not None:
        return
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError:
        _leave_torch_alone()
        return
    _this_process = _ObservedProcess(content)
    _this_process.begin()


def _leave_torch_alone() -> None:
    """Have PyTorch write no trace in a folder that it cannot use: torch.compile would fail, or create it again."""
    folder = os.environ.get("TORCH_TRACE")
    if folder is not None and not os.access(folder, os.W_OK | os.X_OK):
        del os.environ["TORCH_TRACE"]


class _ObservedProcess:
    """This process.

    Args:
        request: The content of the `ObservationRequest`.
    """

    def __init__(self, request: dict[str, Any]) -> None:
        self._request = request
        self._bytecode = BytecodeProbe()

    def begin(self) -> None:
        """Observe the process once it has imported torch."""
        self._note_seen()
        os.register_at_fork(after_in_child=self._note_seen)
        if any(helper in word for word in sys.orig_argv for helper in _HELPERS):
            return
        self._bytecode.install()
        after_import(("torch",), self._observe)

    def _note_seen(self) -> None:
        if not runs_another_program():
            self._note("seen", "")

    def _note(self, suffix: str, text: str) -> None:
        try:
            path = Path(self._request["reports"], f"{os.getpid()}.{suffix}")
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError:  # the start has ended
            return

    def _observe(self, torch: ModuleType) -> None:
        try:
            _observe(self._request, self._bytecode)
        except Exception as error:  # the program must not fail because it is observed
            self._note("unobserved", f"{type(error).__name__}: {error}")


def _observe(content: dict[str, Any], bytecode: BytecodeProbe) -> None:
    """Install all probes in this process, and begin to write its report."""
    from coldwarm.core.phases import SETUP
    from coldwarm.core.request import ObservationRequest
    from coldwarm.engines.base import observed_engines
    from coldwarm.observe.probes import Observer, process_probes
    from coldwarm.observe.progress import Progress
    from coldwarm.observe.report_writer import ReportWriter

    request = ObservationRequest.model_validate(content)
    progress = Progress.to_pipe(request.events, SETUP)
    observer = Observer(request.reports, role="program")
    engines = observed_engines()
    loggers = tuple(logger for engine in engines for logger in engine.loggers)
    observer.install(*process_probes(request, loggers, bytecode, progress))
    for engine in engines:
        engine.observe(observer, progress)
    ReportWriter(observer, request.reports).begin()
