"""Makes one start: prepares caches and environment, runs the process, and returns the record."""

from __future__ import annotations

import json
import os
import uuid
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from pydantic import ValidationError

from coldwarm.core.cache_files import Manifest, changes, content
from coldwarm.core.cache_keys import CacheKeys
from coldwarm.core.case import Case, Changes
from coldwarm.core.command import shown
from coldwarm.core.compiler_work import CompilerWork
from coldwarm.core.isolation import IsolationKind
from coldwarm.core.options import merged
from coldwarm.core.phases import Phase, Step
from coldwarm.core.record import EngineFacts, Failure, Outcome, ProcessReport, StartKind, StartRecord, in_order
from coldwarm.core.request import StartRequest
from coldwarm.core.run_folder import RunFolder, reports_name, request_name, result_name, start_name
from coldwarm.core.variables import TOKEN_VARIABLE
from coldwarm.engines.base import load_installation, load_vocabulary
from coldwarm.engines.worker import WorkerResult
from coldwarm.launch import cache_variables
from coldwarm.launch import environment as env
from coldwarm.launch.cache_options import folders_named, isolated_options
from coldwarm.launch.caches import Caches
from coldwarm.launch.driver import Driver, WorkerDriver
from coldwarm.launch.kernel_files import kernels_by_files
from coldwarm.launch.outside import Look
from coldwarm.launch.process_tree import Ended, launch, signal_name
from coldwarm.launch.sockets import socket_folder
from coldwarm.launch.spawn import WorkerOrder
from coldwarm.measure.busy_time import BusyTime
from coldwarm.measure.compile_work import CompilerWorkCounter
from coldwarm.measure.compiled_functions import CompiledFunctions
from coldwarm.measure.compiled_graphs import CompiledGraphs
from coldwarm.measure.phases import split
from coldwarm.trace.reader import read_trace

_LOG_TAIL_LINES = 40
_FILES_RECORDED = 5000


class Starter:
    """Starts one case cold, then warm, in its own caches.

    Args:
        case: The case to start.
        scratch: A folder that only this case uses, for its caches and the model's config.json.
        output: The run's folder, for logs, traces and cache keys.
        time_limit: The time limit of one start in seconds.
        driver: Creates the processes; None: coldwarm's worker, in a new interpreter for each start.
        cores: The number of cores that a start may use; None: no limit.
        stop: Another thread sets this to abort the current start (`StoppedError`).
    """

    def __init__(
        self,
        case: Case,
        scratch: Path,
        output: Path,
        *,
        time_limit: float,
        driver: Driver | None = None,
        cores: int | None = None,
        stop: Event | None = None,
    ) -> None:
        self._case = case
        self._driver = driver or WorkerDriver()
        self._cores = cores
        self._scratch = scratch
        self._output = RunFolder(output)
        self._time_limit = time_limit
        self._stop = stop
        self._caches = Caches.fresh(scratch / "caches")
        self._left_by_cold: Manifest = {}
        self._started: Counter[StartKind] = Counter()
        self._model = scratch / "model"
        if case.command is None:
            self._model.mkdir()
            for name, text in {"config.json": json.dumps(case.config, indent=2), **case.files}.items():
                (self._model / name).write_text(text, encoding="utf-8")
        output.mkdir(parents=True, exist_ok=True)

    def cold(self, on_phase: Callable[[str], None] = lambda phase: None) -> StartRecord:
        """Make a start with empty caches."""
        return self._start(StartKind.COLD, Changes(), on_phase)

    def warm(
        self, on_phase: Callable[[str], None] = lambda phase: None, *, changes: Changes | None = None
    ) -> StartRecord:
        """Make a start with the caches as the cold start left them.

        Args:
            on_phase: Called with the name of each phase that the start enters.
            changes: Settings that differ from the cold start; None: those of the case.
        """
        return self._start(StartKind.WARM, self._case.warm_changes if changes is None else changes, on_phase)

    @property
    def caches(self) -> Caches:
        """The case's caches."""
        return self._caches

    def _start(self, kind: StartKind, changed: Changes, on_phase: Callable[[str], None]) -> StartRecord:
        """Prepare and run the process, read its reports and its trace, and return the record."""
        settings = self._settings(changed)
        before = self._caches.manifest()
        changes_of_caches = changes(self._left_by_cold, before)
        files = self._files(kind)
        ended, order, use_of_caches = self._run(settings, files, on_phase)
        self._case.secrets(changed).remove_from_start(
            log=files.log, trace=files.trace, request=files.request, result=files.result, reports=files.reports
        )
        seen = self._seen(files, ended)
        failure, processes = seen.failure, seen.processes
        after = self._caches.manifest()
        if kind is StartKind.COLD:
            self._left_by_cold = after
        for rank, keys in _keys_to_store(processes).items():
            self._output.keys(files.name, rank).write_text(keys.model_dump_json(indent=1))
        measured = Measured.of(files.trace, seen.engine)
        forked = ended.isolation is IsolationKind.FORK
        written = [path for path, state in sorted(after.items()) if before.get(path) != state]
        return StartRecord(
            kind=kind,
            outcome=_outcome(failure, ended),
            began=datetime.fromtimestamp(ended.steps[0].begin, UTC),
            seconds=ended.seconds,
            cpu_seconds=ended.cpu_seconds,
            depth=self._case.depth,
            isolation=ended.isolation,
            not_forked=None if forked else self._why_not_forked(order, changed),
            phases=measured.phases(ended.steps),
            steps=ended.steps,
            engine=seen.engine,
            device=seen.device,
            command=[] if self._case.command is None else shown(self._case.command.words),
            compilation=self._case.compilation,
            environment=env.recorded({**settings.share, **settings.user}),
            overridden=[*env.overridden(settings.user, settings.kept), *sorted(settings.options_replaced)],
            unknown_cache_variables=cache_variables.unknown(settings.user),
            options=settings.options,
            caches_before=content(before),
            caches_after=content(after),
            caches_as_left=not changes_of_caches,
            caches_changed=changes_of_caches,
            files_written=written[:_FILES_RECORDED],
            processes=[_stored(process) for process in processes],
            kernels_by_files=kernels_by_files(
                self._caches.root, before, after, [call for process in processes for call in process.long_calls]
            ),
            facts=None if failure else seen.facts,
            compiler_work=None if failure else measured.work,
            changed_outside=use_of_caches.changed,
            not_compared=use_of_caches.incomplete,
            shared_caches_changed=self._driver.shared_caches_changed(order) if forked else [],
            failure=failure,
        )

    def _why_not_forked(self, order: WorkerOrder, changed: Changes) -> str | None:
        why = self._driver.why_not_forked(order)
        return None if why is None else self._case.secrets(changed).text(why)

    def _seen(self, files: StartFiles, ended: Ended) -> Seen:
        """Read what the worker returned and what was observed in its processes."""
        worker, processes = _read_result(files.result), read_reports(files.reports)
        failure = _failure(worker, processes, ended, self._time_limit, files.log)
        return Seen(self._case.engine, self._case.device, processes, worker.facts, failure)

    def _settings(self, changed: Changes) -> Settings:
        """Combine the settings of the user's environment, the case, and the changes of this start."""
        case = self._case
        installation = load_installation(case.engine)
        chosen = {} if case.aot_artifact is None else installation.aot_artifact_variables(case.aot_artifact)
        # The case's choice takes precedence over the user's environment, and the changes of this start over both.
        chosen = {name: value for name, value in chosen.items() if name not in changed.environment}
        user = {name: value for name, value in {**os.environ, **changed.environment}.items() if name not in chosen}
        options = merged(case.options, changed.options)
        options_of_start, options_replaced = isolated_options(
            merged(case.entry.options, options), self._caches.root.resolve()
        )
        engine_defaults = installation.environment(case.depth, self._cores, options_of_start)
        # Variables that only a start in parallel with others gets.
        of_share = engine_defaults.keys() - installation.environment(case.depth, None, options_of_start).keys()
        return Settings(
            user=user,
            chosen=chosen,
            engine_defaults=engine_defaults,
            share={name: engine_defaults[name] for name in of_share},
            options=options,
            options_of_start=options_of_start,
            options_replaced=options_replaced,
            users_caches=[*cache_variables.places(user), *filter(cache_variables.is_own, folders_named(options))],
        )

    def _files(self, kind: StartKind) -> StartFiles:
        """Name the files of the next start of this `kind`, and create its folders."""
        self._started[kind] += 1
        name = start_name(kind, self._started[kind])
        files = StartFiles(
            name=name,
            log=self._output.log(name),
            trace=self._output.trace(name),
            request=self._scratch / request_name(name),
            result=self._scratch / result_name(name),
            reports=self._scratch / reports_name(name),
        )
        files.trace.mkdir()
        files.reports.mkdir()
        return files

    def _run(
        self, settings: Settings, files: StartFiles, on_phase: Callable[[str], None]
    ) -> tuple[Ended, WorkerOrder, _UseOfCaches]:
        """Run the process until the start is ready, and compare the user's caches before and after."""
        read_end, write_end = self._pipe(files)
        with ExitStack() as unused_pipe:
            for end in (read_end, write_end):
                unused_pipe.callback(os.close, end)
            order = self._order(settings, files, write_end)
            self._driver.prepare(order, on_phase)
            before = Look(settings.users_caches, apart=[self._scratch])
            unused_pipe.pop_all()  # `launch` closes both ends
        with socket_folder(order.environment) as variables:
            order = replace(order, environment={**order.environment, **variables})
            ended = self._launch(order, files, (read_end, write_end), on_phase)
        after = Look(settings.users_caches, apart=[self._scratch])
        return ended, order, _UseOfCaches(changed=before.changed(after), incomplete=after.incomplete)

    def _launch(
        self, order: WorkerOrder, files: StartFiles, events: tuple[int, int], on_phase: Callable[[str], None]
    ) -> Ended:
        return launch(
            partial(self._driver.begin, order),
            events,
            order.environment[TOKEN_VARIABLE],
            log=files.log,
            time_limit=self._time_limit,
            on_phase=on_phase,
            stop=self._stop,
            is_ready=self._driver.ready,
            end=self._driver.stop,
        )

    def _pipe(self, files: StartFiles) -> tuple[int, int]:
        """Return the read and the write end of the pipe for the progress of the start."""
        return os.pipe()

    def _order(self, settings: Settings, files: StartFiles, events: int) -> WorkerOrder:
        """Write the request of the start, and return the arguments for creating its process."""
        case = self._case
        files.request.touch(mode=0o600)  # its options may hold secrets
        files.request.write_text(
            StartRequest(
                engine=case.engine,
                device=case.device,
                compilation=case.compilation,
                depth=case.depth,
                model_folder=self._model,
                overrides=case.overrides,
                drafter=case.drafter,
                options=settings.options_of_start,
                result=files.result,
                reports=files.reports.absolute(),
                launcher_pid=os.getpid(),
                events_fd=events,
                own_folders=[self._scratch.absolute(), self._output.path.absolute()],
                users_caches=settings.users_caches,
            ).model_dump_json(indent=2)
        )
        variables = env.environment_of_start(
            self._caches,
            files.trace.resolve(),
            files.request.absolute(),
            compilation=case.compilation,
            token=uuid.uuid4().hex,
            engine_defaults=settings.engine_defaults,
            user={**settings.user, **settings.chosen},
        )
        return WorkerOrder(
            engine=case.engine,
            depth=case.depth,
            request=files.request,
            environment=variables,
            events=events,
            folder=self._scratch,
        )


@dataclass(frozen=True)
class Seen:
    """What is known of a start from within its processes."""

    engine: str
    device: str
    processes: list[ProcessReport]
    facts: EngineFacts | None
    failure: Failure | None


@dataclass(frozen=True)
class Settings:
    """The settings of one start, by origin."""

    user: Mapping[str, str]
    """The user's environment with the changes of this start, without the variables in `chosen`."""
    chosen: Mapping[str, str]
    """Variables that the case sets, which take precedence over the user's."""
    engine_defaults: Mapping[str, str]
    """Variables that the engine needs; the user's values take precedence."""
    share: Mapping[str, str]
    """Those of `engine_defaults` that only a start in parallel with others gets."""
    options: dict[str, Any]
    """The user's engine options: those of the case and of the changes."""
    options_of_start: dict[str, Any]
    """The entry's options and these, with the user's cache folders replaced by those of the start."""
    options_replaced: Iterable[str]
    """The dotted names of the options whose folders were replaced."""
    users_caches: list[Path]
    """Folders in which the user's own starts store caches."""
    kept: Container[str] = ()
    """Variables with the user's own value, although they usually name a cache."""


@dataclass(frozen=True)
class StartFiles:
    """The files of one start."""

    name: str
    """The name of the start, with which those of its files begin that are stored."""
    log: Path
    trace: Path
    request: Path
    result: Path
    reports: Path


@dataclass(frozen=True)
class _UseOfCaches:
    """Changes in the user's caches while a start ran."""

    changed: list[str]
    """The files that changed."""
    incomplete: list[str]
    """Folders with too many files to compare all of them."""


@dataclass(frozen=True)
class Measured:
    """Measurements from a trace."""

    work: CompilerWork
    busy: BusyTime
    function_keys: Mapping[str, Sequence[Sequence[str]]]
    """`CompiledFunctions.key_components`."""

    @classmethod
    def of(cls, trace: Path, engine: str) -> Measured:
        """Read the trace of a start with `engine` once, for all measurements."""
        work, graphs, functions, busy = CompilerWorkCounter(), CompiledGraphs(), CompiledFunctions(), BusyTime()
        trace_stats = read_trace(trace, work, graphs, functions, busy, vocabulary=load_vocabulary(engine).trace)
        return cls(work.work(trace_stats, graphs.graphs(), functions.functions()), busy, functions.key_components())

    def phases(self, steps: Sequence[Step]) -> list[Phase]:
        """Return the phases of a start with these steps."""
        return split(steps, self.busy.stretches())


def _read_result(path: Path) -> WorkerResult:
    with suppress(OSError, ValidationError):
        return WorkerResult.model_validate_json(path.read_bytes())
    return WorkerResult()


def read_reports(folder: Path) -> list[ProcessReport]:
    """Return the report of each observed process. A process that was killed early has none."""
    found = []
    for path in sorted(folder.glob("*.json")):
        with suppress(OSError, ValidationError):
            found.append(ProcessReport.model_validate_json(path.read_bytes()))
    return in_order(found)


def _keys_to_store(processes: list[ProcessReport]) -> dict[int | None, CacheKeys]:
    """Return the components of the first rank's cache keys, without a rank, and those of each rank that has others.

    If there are no ranks, the first process counts as one.
    """
    first, *others = sorted(processes, key=lambda each: (each.rank is None, each.rank or 0)) or [ProcessReport()]
    keys: dict[int | None, CacheKeys] = {None: first.cache_keys or CacheKeys()}
    for process in others:
        differs = process.cache_keys is not None and process.cache_keys.factors != keys[None].factors
        if process.cache_keys is not None and process.rank not in (None, first.rank) and differs:
            keys.setdefault(process.rank, process.cache_keys)
    return keys


def _stored(process: ProcessReport) -> ProcessReport:
    """Return the report for the record, with a digest in place of its cache keys."""
    digest = process.cache_keys.digest() if process.cache_keys else None
    return process.model_copy(update={"cache_keys": None, "keys_digest": digest})


def _outcome(failure: Failure | None, ended: Ended) -> Outcome:
    if failure is None:
        return Outcome.FINISHED
    return Outcome.TIMED_OUT if ended.timed_out else Outcome.CRASHED


def _failure(
    worker: WorkerResult, processes: list[ProcessReport], ended: Ended, time_limit: float, log: Path
) -> Failure | None:
    phase = next((step.name for step in reversed(ended.steps) if step.name != "exit"), None)
    if ended.timed_out:
        failure = Failure(what=f"still running after {time_limit:g} s, killed", phase=phase)
    elif worker.failure is not None:
        failure = worker.failure
    elif ended.stopped:
        return None
    elif ended.exit_status < 0:
        name = signal_name(-ended.exit_status)
        failure = Failure(what=f"the process was killed by {name}", phase=phase, signal=name)
    elif ended.exit_status > 0 or not ended.ready or worker.facts is None:
        failure = Failure(what=f"the process exited with status {ended.exit_status} and no result", phase=phase)
    elif problem := _unreported(worker.facts, processes):
        failure = Failure(what=problem, phase=phase)
    else:
        return None
    return failure.model_copy(update={"log_tail": log_tail(log)})


def _unreported(facts: EngineFacts, processes: list[ProcessReport]) -> str | None:
    """Return a message if ranks have no report; None if all have one. Without the reports, no run may pass."""
    reported = len({process.rank for process in processes} - {None})
    expected = facts.ranks or 1
    if reported >= expected:
        return None
    return f"only {reported} of {expected} processes that run the model reported what was observed in them"


def log_tail(log: Path) -> list[str]:
    """Return the last lines of a log, as recorded with a failure."""
    text = log.read_text(encoding="utf-8", errors="replace")
    return [line.rstrip() for line in text.splitlines()[-_LOG_TAIL_LINES:]]
