"""One start from beginning to end: caches, environment, process, record."""

from __future__ import annotations

import json
import os
import signal
import sys
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from coldwarm.engines.engine import load_installation
from coldwarm.starts import environment as env
from coldwarm.starts.caches import Caches
from coldwarm.starts.case import Case
from coldwarm.starts.launcher import Ended, launch
from coldwarm.starts.record import Failure, Outcome, StartKind, StartRecord
from coldwarm.starts.request import StartRequest
from coldwarm.starts.worker import WorkerResult
from coldwarm.trace.compiler_work import read_compiler_work

_LOG_TAIL_LINES = 40


class Starter:
    """Starts one case cold, then warm, in caches of its own.

    Args:
        case: What to start.
        scratch: A folder of the case's own; its caches and the model's config.json go below it.
        output: Where logs and traces are kept, ``cold.log``, ``cold.trace/`` and so on.
        time_limit: Seconds that one start may take.
    """

    def __init__(self, case: Case, scratch: Path, output: Path, *, time_limit: float) -> None:
        self._case = case
        self._scratch = scratch
        self._output = output
        self._time_limit = time_limit
        self._caches = Caches.fresh(scratch / "caches")
        self._left_by_cold: dict[str, tuple[int, int]] = {}
        self._made: Counter[StartKind] = Counter()
        self._model = scratch / "model"
        self._model.mkdir()
        (self._model / "config.json").write_text(json.dumps(case.config, indent=2))
        output.mkdir(parents=True, exist_ok=True)

    def cold(self, on_phase: Callable[[str], None] = lambda phase: None) -> StartRecord:
        """Start with every cache empty."""
        record = self._start(StartKind.COLD, on_phase)
        self._left_by_cold = self._caches.manifest()
        return record

    def warm(self, on_phase: Callable[[str], None] = lambda phase: None) -> StartRecord:
        """Start with exactly the caches that the cold start left."""
        return self._start(StartKind.WARM, on_phase)

    @property
    def caches(self) -> Caches:
        """The case's caches."""
        return self._caches

    def _start(self, kind: StartKind, on_phase: Callable[[str], None]) -> StartRecord:
        case = self._case
        began = datetime.now(UTC)
        due = self._left_by_cold
        before, content_before = self._caches.manifest(), self._caches.content()
        self._made[kind] += 1
        name = str(kind) if self._made[kind] == 1 else f"{kind}-{self._made[kind]}"
        log = self._output / f"{name}.log"
        trace = self._output / f"{name}.trace"
        trace.mkdir()
        result = self._scratch / f"{name}.result.json"
        read_end, write_end = os.pipe()
        request = self._scratch / f"{name}.request.json"
        request.write_text(
            StartRequest(
                engine=case.engine,
                device=case.device,
                compilation=case.compilation,
                model_folder=self._model,
                overrides=case.overrides,
                result=result,
                launcher_pid=os.getpid(),
                events_fd=write_end,
            ).model_dump_json(indent=2)
        )
        variables = env.environment_of_start(
            self._caches,
            trace.resolve(),
            compilation=case.compilation,
            token=uuid.uuid4().hex,
            engine_defaults=load_installation(case.engine).environment(),
        )
        command = [sys.executable, "-m", "coldwarm.starts.worker", str(request)]
        ended = launch(
            command,
            (read_end, write_end),
            variables,
            log=log,
            working_folder=self._scratch,
            time_limit=self._time_limit,
            on_phase=on_phase,
        )
        worker = _read_result(result)
        failure = _failure(worker, ended, self._time_limit, log)
        return StartRecord(
            kind=kind,
            outcome=_outcome(failure, ended),
            began=began,
            seconds=ended.seconds,
            phases=ended.phases,
            engine=case.engine,
            device=case.device,
            compilation=case.compilation,
            environment=env.recorded(),
            overridden=env.overridden(),
            caches_before=content_before,
            caches_after=self._caches.content(),
            caches_as_left=before == due,
            messages=worker.messages,
            facts=None if failure else worker.facts,
            compiler_work=None if failure else read_compiler_work(trace),
            peak_memory_bytes=worker.peak_memory_bytes or None,
            failure=failure,
        )


def _read_result(path: Path) -> WorkerResult:
    with suppress(OSError, ValidationError):
        return WorkerResult.model_validate_json(path.read_bytes())
    return WorkerResult()


def _outcome(failure: Failure | None, ended: Ended) -> Outcome:
    if failure is None:
        return Outcome.FINISHED
    return Outcome.TIMED_OUT if ended.timed_out else Outcome.CRASHED


def _failure(worker: WorkerResult, ended: Ended, time_limit: float, log: Path) -> Failure | None:
    phase = next((p.name for p in reversed(ended.phases) if p.name != "exit"), None)
    if ended.timed_out:
        failure = Failure(what=f"still running after {time_limit:g} s, killed", phase=phase)
    elif worker.failure is not None:
        failure = worker.failure
    elif ended.exit_status < 0:
        name = _signal_name(-ended.exit_status)
        failure = Failure(what=f"the process was killed by {name}", phase=phase, signal=name)
    elif ended.exit_status > 0 or worker.facts is None:
        failure = Failure(what=f"the process exited with status {ended.exit_status} and no result", phase=phase)
    else:
        return None
    return failure.model_copy(update={"log_tail": _tail(log)})


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _tail(log: Path) -> list[str]:
    text = log.read_text(encoding="utf-8", errors="replace")
    return [line.rstrip() for line in text.splitlines()[-_LOG_TAIL_LINES:]]
