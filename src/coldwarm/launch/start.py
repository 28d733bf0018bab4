"""One start from beginning to end: caches, environment, process, record."""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event

from pydantic import ValidationError

from coldwarm.core.cache_files import Manifest, changes, content
from coldwarm.core.case import Case, Changes
from coldwarm.core.isolation import IsolationKind
from coldwarm.core.options import merged
from coldwarm.core.record import Failure, Outcome, StartKind, StartRecord
from coldwarm.core.request import StartRequest
from coldwarm.core.run_folder import RunFolder, request_name, result_name, start_name
from coldwarm.core.variables import TOKEN_VARIABLE
from coldwarm.engines.base import load_installation, load_vocabulary
from coldwarm.engines.worker import WorkerResult
from coldwarm.launch import cache_variables
from coldwarm.launch import environment as env
from coldwarm.launch.cache_options import folders_named, isolated_options
from coldwarm.launch.caches import Caches
from coldwarm.launch.outside import Look
from coldwarm.launch.process_tree import Ended, launch
from coldwarm.launch.spawn import Isolation, NewProcesses, WorkerOrder
from coldwarm.measure.busy_time import BusyTime
from coldwarm.measure.compile_work import CompilerWorkCounter
from coldwarm.measure.compiled_graphs import CompiledGraphs
from coldwarm.measure.phases import split
from coldwarm.trace.reader import read_trace

_LOG_TAIL_LINES = 40
_FILES_TOLD = 5000


class Starter:
    """Starts one case cold, then warm, in caches of its own.

    Args:
        case: What to start.
        scratch: A folder of the case's own; its caches and the model's config.json go below it.
        output: The run's folder, where logs, traces and cache keys are stored.
        time_limit: Seconds that one start may take.
        isolation: Makes the processes; None: each a new interpreter.
        cores: How many cores a start may take; None: as many as it likes.
        stop: Once this is set, from another thread, the start that is being made is ended (`StoppedError`).
    """

    def __init__(
        self,
        case: Case,
        scratch: Path,
        output: Path,
        *,
        time_limit: float,
        isolation: Isolation | None = None,
        cores: int | None = None,
        stop: Event | None = None,
    ) -> None:
        self._case = case
        self._isolation = isolation or NewProcesses()
        self._cores = cores
        self._scratch = scratch
        self._output = RunFolder(output)
        self._time_limit = time_limit
        self._stop = stop
        self._caches = Caches.fresh(scratch / "caches")
        self._left_by_cold: Manifest = {}
        self._made: Counter[StartKind] = Counter()
        self._model = scratch / "model"
        self._model.mkdir()
        (self._model / "config.json").write_text(json.dumps(case.config, indent=2))
        output.mkdir(parents=True, exist_ok=True)

    def cold(self, on_phase: Callable[[str], None] = lambda phase: None) -> StartRecord:
        """Start with every cache empty."""
        return self._start(StartKind.COLD, Changes(), on_phase)

    def warm(
        self, on_phase: Callable[[str], None] = lambda phase: None, *, changes: Changes | None = None
    ) -> StartRecord:
        """Start with exactly the caches that the cold start left, and with the `changes` (those of the case)."""
        return self._start(StartKind.WARM, self._case.warm_changes if changes is None else changes, on_phase)

    @property
    def caches(self) -> Caches:
        """The case's caches."""
        return self._caches

    def _start(self, kind: StartKind, changed: Changes, on_phase: Callable[[str], None]) -> StartRecord:
        case = self._case
        installation = load_installation(case.engine)
        chosen = {} if case.aot_artifact is None else installation.aot_artifact_variables(case.aot_artifact)
        # The case's choice wins over the user's environment, and what the warm start alone is to have over both.
        chosen = {name: value for name, value in chosen.items() if name not in changed.environment}
        user = {name: value for name, value in {**os.environ, **changed.environment}.items() if name not in chosen}
        options = merged(case.options, changed.options)
        before = self._caches.manifest()
        changes_of_caches = changes(self._left_by_cold, before)
        self._made[kind] += 1
        name = start_name(kind, self._made[kind])
        options_of_start, options_replaced = isolated_options(options, self._caches.root.resolve())
        users_caches = [*cache_variables.places(user), *filter(cache_variables.is_own, folders_named(options))]
        log = self._output.log(name)
        trace = self._output.trace(name)
        trace.mkdir()
        result = self._scratch / result_name(name)
        read_end, write_end = os.pipe()
        with ExitStack() as unused_pipe:
            for end in (read_end, write_end):
                unused_pipe.callback(os.close, end)
            request = self._scratch / request_name(name)
            request.touch(mode=0o600)  # its options may hold secrets
            request.write_text(
                StartRequest(
                    engine=case.engine,
                    device=case.device,
                    compilation=case.compilation,
                    depth=case.depth,
                    model_folder=self._model,
                    overrides=case.overrides,
                    options=options_of_start,
                    result=result,
                    launcher_pid=os.getpid(),
                    events_fd=write_end,
                    own_folders=[self._scratch.absolute(), self._output.path.absolute()],
                    users_caches=users_caches,
                ).model_dump_json(indent=2)
            )
            engine_defaults = installation.environment(case.depth, self._cores, options_of_start)
            # What beside other starts is otherwise than alone.
            of_share = engine_defaults.keys() - installation.environment(case.depth, None, options_of_start).keys()
            share = {name: engine_defaults[name] for name in of_share}
            variables = env.environment_of_start(
                self._caches,
                trace.resolve(),
                request.absolute(),
                compilation=case.compilation,
                token=uuid.uuid4().hex,
                engine_defaults=engine_defaults,
                user={**user, **chosen},
            )
            order = WorkerOrder(
                engine=case.engine,
                depth=case.depth,
                request=request,
                environment=variables,
                events=write_end,
                folder=self._scratch,
            )
            self._isolation.prepare(order, on_phase)
            outside = Look(users_caches, apart=[self._scratch])
            unused_pipe.pop_all()  # `launch` closes both ends
        ended = launch(
            partial(self._isolation.begin, order),
            (read_end, write_end),
            variables[TOKEN_VARIABLE],
            log=log,
            time_limit=self._time_limit,
            on_phase=on_phase,
            stop=self._stop,
        )
        case.secrets(changed).remove_from_start(log=log, trace=trace, request=request, result=result)
        worker = _read_result(result)
        failure = _failure(worker, ended, self._time_limit, log)
        after = self._caches.manifest()
        outside_after = Look(users_caches, apart=[self._scratch])
        forked = ended.isolation is IsolationKind.FORK
        if kind is StartKind.COLD:
            self._left_by_cold = after
        self._output.keys(name).write_text(worker.cache_keys.model_dump_json(indent=1))
        work, graphs, busy = CompilerWorkCounter(), CompiledGraphs(), BusyTime()
        tally = read_trace(trace, work, graphs, busy, vocabulary=load_vocabulary(case.engine).trace)
        return StartRecord(
            kind=kind,
            outcome=_outcome(failure, ended),
            began=datetime.fromtimestamp(ended.steps[0].begin, UTC),
            seconds=ended.seconds,
            depth=case.depth,
            isolation=ended.isolation,
            phases=split(ended.steps, busy.stretches()),
            steps=ended.steps,
            engine=case.engine,
            device=case.device,
            compilation=case.compilation,
            environment=env.recorded({**share, **user}),
            overridden=[*env.overridden(user), *sorted(options_replaced)],
            unknown_cache_variables=cache_variables.unknown(user),
            options=options,
            caches_before=content(before),
            caches_after=content(after),
            caches_as_left=not changes_of_caches,
            caches_changed=changes_of_caches,
            files_written=[path for path, state in sorted(after.items()) if before.get(path) != state][:_FILES_TOLD],
            messages=worker.messages,
            facts=None if failure else worker.facts,
            compiler_work=None if failure else work.work(tally, graphs.graphs()),
            peak_memory_bytes=worker.peak_memory_bytes or None,
            missing_bytecode=worker.missing_bytecode,
            outside=worker.outside,
            changed_outside=outside.changed(outside_after),
            not_compared=outside_after.incomplete,
            shared_caches_changed=self._isolation.shared_caches_changed(order) if forked else [],
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
    phase = next((step.name for step in reversed(ended.steps) if step.name != "exit"), None)
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
