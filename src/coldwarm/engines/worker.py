"""The process of one start: starts the model with the engine and writes down what it saw.

Run by the launcher as ``python -m coldwarm.engines.worker REQUEST``; knows nothing of verdicts.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, Field

from coldwarm.core.cache_keys import CacheKeys
from coldwarm.core.record import EngineFacts, Failure, Message
from coldwarm.core.request import StartRequest
from coldwarm.core.seen_in_process import MissingBytecode, OutsideUse
from coldwarm.engines.base import Worker, load_worker
from coldwarm.observe.bytecode import BytecodeWatch
from coldwarm.observe.log_watch import WarningKeeper, watch_logs
from coldwarm.observe.outside import OutsideWatch, combined
from coldwarm.observe.progress import Progress


class WorkerResult(BaseModel):
    """What a worker hands back to the launcher."""

    facts: EngineFacts | None = None
    failure: Failure | None = None
    messages: list[Message] = Field(default_factory=list)
    cache_keys: CacheKeys = Field(default_factory=CacheKeys)
    peak_memory_bytes: int = 0
    missing_bytecode: MissingBytecode | None = None
    outside: OutsideUse = Field(default_factory=OutsideUse)


def main() -> int:
    """Do the start that the request file describes, in a process of its own."""
    bytecode = BytecodeWatch()
    request = StartRequest.model_validate_json(Path(sys.argv[1]).read_bytes())
    return run(request, load_worker(request.engine), bytecode)


def run(request: StartRequest, engine: Worker, bytecode: BytecodeWatch) -> int:
    """Do a start with `engine` and write its result; the exit status is 1 where it raised."""
    die_with(request.launcher_pid)
    os.set_inheritable(request.events_fd, False)
    progress = Progress(request.events_fd)
    result = WorkerResult()
    warnings = WarningKeeper(engine.compiler_loggers)
    watch_logs(warnings)
    outside = OutsideWatch(request.own_folders, request.users_caches)
    try:
        result.facts = engine.start(request, progress)
    except Exception as error:
        traceback.print_exc()
        result.failure = Failure(
            what=f"{type(error).__name__}: {error}".strip().splitlines()[0],
            phase=progress.phase,
            exception=type(error).__name__,
            traceback=traceback.format_exc(),
        )
    use = outside.use()
    # Linux counts ru_maxrss in KiB.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    others = []
    for process in result.facts.processes if result.facts else []:
        if process.pid == os.getpid():
            process.messages, process.outside, process.peak_memory_bytes = warnings.messages, use, peak
        else:
            others.append(process)
    result.messages = list(warnings.messages)
    for process in others:
        result.messages += [message for message in process.messages if message not in result.messages]
    result.cache_keys = engine.cache_keys()
    with suppress(Exception):  # a start must never fail because it is watched
        result.missing_bytecode = bytecode.missing()
    result.outside = combined([use, *(process.outside for process in others)])
    result.peak_memory_bytes = peak + sum(process.peak_memory_bytes or 0 for process in others)
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
