"""The process of one start: starts the model with the engine and writes a result and a report.

The launcher runs it as ``python -m coldwarm.engines.worker REQUEST``. It knows nothing about verdicts.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from pathlib import Path

from pydantic import BaseModel

from coldwarm.core.record import EngineFacts, Failure
from coldwarm.core.request import StartRequest
from coldwarm.engines.base import Worker, load_worker
from coldwarm.observe.bytecode import BytecodeProbe
from coldwarm.observe.probes import Observer, process_probes
from coldwarm.observe.progress import Progress


class WorkerResult(BaseModel):
    """The result that a worker returns to the launcher, in addition to the reports of observed processes."""

    facts: EngineFacts | None = None
    failure: Failure | None = None


def main() -> int:
    """Make the start described by the request file that the command line names; return the exit status."""
    bytecode = BytecodeProbe()
    bytecode.install()
    request = StartRequest.model_validate_json(Path(sys.argv[1]).read_bytes())
    return run(request, load_worker(request.engine), bytecode)


def run(request: StartRequest, engine: Worker, bytecode: BytecodeProbe) -> int:
    """Make a start with `engine`, and write its result and the report of this process.

    Returns:
        The exit status: 1 if the engine raised an error, otherwise 0.
    """
    die_with(request.launcher_pid)
    os.set_inheritable(request.events_fd, False)
    progress = Progress(request.events_fd)
    result = WorkerResult()
    observer = Observer(request.reports)
    observer.install(*process_probes(request, engine.compiler_loggers, bytecode))
    try:
        result.facts = engine.start(request, progress, observer)
    except Exception as error:
        traceback.print_exc()
        result.failure = Failure(
            what=f"{type(error).__name__}: {error}".strip().splitlines()[0],
            phase=progress.phase_of(error),
            exception=type(error).__name__,
            traceback=traceback.format_exc(),
        )
    observer.write()
    unfinished = request.result.with_suffix(".part")
    unfinished.touch(mode=0o600)  # the launcher removes secrets from it later
    unfinished.write_text(result.model_dump_json())
    unfinished.replace(request.result)
    progress.enter("exit")
    return 1 if result.failure else 0


def die_with(parent: int) -> None:
    """Make the kernel kill this process when its `parent` ends, even by SIGKILL. Linux only; no effect elsewhere."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
        # The parent may have ended before the call.
        if os.getppid() != parent:
            raise SystemExit("the launcher has ended")


if __name__ == "__main__":
    sys.exit(main())
