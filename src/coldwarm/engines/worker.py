"""The process of one start: starts the model with the engine and writes down what it saw.

Run by the launcher as ``python -m coldwarm.engines.worker REQUEST``; knows nothing of verdicts.
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
    """What a worker hands back to the launcher, in addition to the report of each observed process."""

    facts: EngineFacts | None = None
    failure: Failure | None = None


def main() -> int:
    """Do the start that the request file describes, in a process of its own."""
    bytecode = BytecodeProbe()
    bytecode.install()
    request = StartRequest.model_validate_json(Path(sys.argv[1]).read_bytes())
    return run(request, load_worker(request.engine), bytecode)


def run(request: StartRequest, engine: Worker, bytecode: BytecodeProbe) -> int:
    """Do a start with `engine`, write its result and the report of this process; the exit status is 1 if it raised."""
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
    unfinished.touch(mode=0o600)  # it is written before secrets are removed from it
    unfinished.write_text(result.model_dump_json())
    unfinished.replace(request.result)
    progress.enter("exit")
    return 1 if result.failure else 0


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its `parent` dies, even by SIGKILL (Linux; elsewhere nothing)."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
        # It may have died before that was asked for.
        if os.getppid() != parent:
            raise SystemExit("the launcher is gone")


if __name__ == "__main__":
    sys.exit(main())
