"""Executes the runs of a suite, several in parallel."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Lock

from coldwarm.core.case import Case
from coldwarm.core.isolation import IsolationKind
from coldwarm.core.record import Outcome, StartKind, StartRecord
from coldwarm.core.run_folder import RunFolder, SuiteFolder
from coldwarm.diagnose.explanation import Explanation, explain
from coldwarm.launch.caches import temporary_root
from coldwarm.launch.command_start import CommandStarter
from coldwarm.launch.driver import WorkerDriver
from coldwarm.launch.fork.client import ForkServers
from coldwarm.launch.process_tree import StoppedError
from coldwarm.launch.spawn import Isolation, NewProcesses
from coldwarm.launch.start import Starter
from coldwarm.store.suite_folder import Store
from coldwarm.suite.capacity import cores, xdist_workers
from coldwarm.suite.concurrency import ConcurrencyCounter
from coldwarm.suite.longest_first import seconds_of
from coldwarm.suite.observer import ProgressObserver
from coldwarm.suite.result import RunResult

_Starts = tuple[StartRecord | None, StartRecord | None, Explanation | None]
"""The cold and the warm start of a repetition, and their explanation."""


class Runner:
    """Executes cases. Finished runs stay in `results`, even if others fail or the suite is aborted.

    Args:
        store: Where each record is stored as soon as it exists.
        observer: Receives progress events; calls are serialized.
        time_limit: Seconds that one start may take.
        jobs: The number of parallel runs.
        isolation: The start method, or a process factory shared by several suites, which is closed only if the suite is
            aborted.
    """

    def __init__(
        self,
        store: Store,
        observer: ProgressObserver,
        *,
        time_limit: float,
        jobs: int = 1,
        isolation: IsolationKind | Isolation = IsolationKind.SPAWN,
    ) -> None:
        self._store = store
        self._observer = observer
        self._time_limit = time_limit
        self._jobs = jobs
        self._isolation: Isolation = NewProcesses() if isinstance(isolation, IsolationKind) else isolation
        self._forks_itself = isolation is IsolationKind.FORK
        self._share: int | None = None
        """Cores for each start; None: all."""
        self._stop = Event()
        self._notifying = Lock()
        self._running = ConcurrencyCounter()
        self._finished: dict[int, RunResult] = {}

    @property
    def results(self) -> list[RunResult]:
        """The finished runs, in the order of their cases."""
        return [self._finished[number] for number in sorted(self._finished)]

    def run(self, cases: list[Case]) -> None:
        """Run all `cases`, the longest first by the times that the catalog knows.

        A start that crashes or hangs ends only its own run. Any other exception, including Ctrl-C, ends all running
        starts before it is raised.
        """
        parallel = min(self._jobs, sum(1 for case in cases if _runs(case)))
        # With other pytest-xdist workers, `cores` is already a share.
        has_all_cores = parallel <= 1 and xdist_workers() == 1
        self._share = None if has_all_cores else max(1, cores() // max(1, parallel))
        with (
            temporary_root() as root,
            self._logs_without_secrets(cases),
            self._isolated(root),
            ThreadPoolExecutor(self._jobs) as pool,
        ):
            numbered = sorted(enumerate(cases), key=lambda numbered: seconds_of(numbered[1]), reverse=True)
            runs = [pool.submit(self._execute, number, case, root / case.name) for number, case in numbered]
            try:
                for run in as_completed(runs):
                    # The exception that ended the suite is raised by the run in which it occurred.
                    with suppress(StoppedError):
                        run.result()
            except BaseException:
                self._stop.set()
                self._isolation.close()
                pool.shutdown(cancel_futures=True)
                raise

    @contextmanager
    def _isolated(self, root: Path) -> Iterator[None]:
        if not self._forks_itself:
            yield
            return
        self._isolation = ForkServers(root, self._store.folder, time_limit=self._time_limit)
        try:
            yield
        finally:
            self._isolation.close()

    @contextmanager
    def _logs_without_secrets(self, cases: list[Case]) -> Iterator[None]:
        """Remove secrets that fork servers printed while they imported the engine."""
        try:
            yield
        finally:
            for case in cases:
                case.secrets().remove_from_files(SuiteFolder(self._store.folder).fork_server_logs())

    def _execute(self, number: int, case: Case, scratch: Path) -> None:
        if self._stop.is_set():
            raise StoppedError
        try:
            result = self._run(number, case, scratch)
            self._notify(self._observer.run_ended, result)
        except BaseException:
            self._stop.set()
            raise

    def _run(self, number: int, case: Case, scratch: Path) -> RunResult:
        made: list[_Starts] = []
        for repetition in range(1, (case.repeat if _runs(case) else 1) + 1):
            records: dict[StartKind, StartRecord] = {}
            try:
                folder = scratch if repetition == 1 else scratch.with_name(f"{scratch.name}-repeat-{repetition}")
                explanation = self._start_both(case, repetition, folder, records)
            except StoppedError:
                raise
            except Exception:
                # Report the records, even if they could not be stored.
                if records:
                    made.append((records.get(StartKind.COLD), records.get(StartKind.WARM), None))
                    self._finished[number] = RunResult.of_repetitions(case, made)
                raise
            made.append((records.get(StartKind.COLD), records.get(StartKind.WARM), explanation))
            case = self._as_started(case, repetition, records.get(StartKind.COLD))
            # Finished repetitions remain if a later one is interrupted.
            self._finished[number] = result = RunResult.of_repetitions(case, made)
            self._store.write_verdict(case, result.verdict)
            if repetition > 1:
                self._store.write_verdict(case, result.repetitions[-1].verdict, repetition)
        return result

    def _as_started(self, case: Case, repetition: int, cold: StartRecord | None) -> Case:
        """Return the case; if a command was started, with the engine and the device that it turned out to use."""
        if case.command is None or cold is None:
            return case
        case = case.model_copy(update={"engine": cold.engine, "device": cold.device})
        self._store.write_case(case, repetition)
        return case

    def _start_both(
        self, case: Case, repetition: int, scratch: Path, records: dict[StartKind, StartRecord]
    ) -> Explanation | None:
        self._store.write_case(case, repetition)
        cold = warm = None
        if _runs(case):
            folder = self._store.folder_of(case, repetition)
            starter = self._starter(case, scratch, folder)
            cold = self._start(case, repetition, starter, StartKind.COLD, records)
            if cold.outcome is Outcome.FINISHED and case.depth.level.has_artifacts:
                warm = self._start(case, repetition, starter, StartKind.WARM, records)
            shutil.rmtree(scratch, ignore_errors=True)
        if cold is None:
            return None
        explanation = self._explain(case, repetition, cold, warm)
        self._store.write_explanation(case, explanation, repetition)
        return explanation

    def _starter(self, case: Case, scratch: Path, folder: Path) -> Starter:
        if case.command is not None:
            return CommandStarter(case, scratch, folder, time_limit=self._time_limit, stop=self._stop)
        return Starter(
            case,
            scratch,
            folder,
            time_limit=self._time_limit,
            driver=WorkerDriver(self._isolation),
            cores=self._share,
            stop=self._stop,
        )

    def _explain(self, case: Case, repetition: int, cold: StartRecord, warm: StartRecord | None) -> Explanation:
        try:
            return explain(self._store.folder_of(case, repetition), cold, warm)
        except Exception as error:
            # The records are valid even without an explanation; `coldwarm explain` shows the traceback.
            return Explanation(notes=[f"could not explain this run: {type(error).__name__}: {error}"], failed=True)

    def _start(
        self,
        case: Case,
        repetition: int,
        starter: Starter,
        kind: StartKind,
        records: dict[StartKind, StartRecord],
    ) -> StartRecord:
        self._notify(self._observer.start_began, case, kind)
        start = starter.cold if kind is StartKind.COLD else starter.warm
        secrets = case.secrets()
        running = self._running.begin()
        try:
            # A phase may contain the text of an exception.
            record = start(lambda phase: self._notify(self._observer.phase_began, case, kind, secrets.text(phase)))
        except BaseException:
            # The start was interrupted before it removed them itself.
            folder = RunFolder(self._store.folder_of(case, repetition))
            secrets.remove_from_files(folder.logs())
            secrets.remove_from_traces(folder.traces())
            raise
        finally:
            side_by_side = self._running.end(running)
        shown = {"options": secrets.options(record.options), "environment": secrets.environment(record.environment)}
        record = record.model_copy(update={"side_by_side": side_by_side, **shown})
        records[kind] = record
        self._store.write_start(case, record, repetition)
        self._notify(self._observer.start_ended, case, record)
        return record

    def _notify(self, step: Callable[..., None], *what: object) -> None:
        with self._notifying:
            step(*what)


def _runs(case: Case) -> bool:
    return case.entry.unsupported_on(case.device, case.compilation) is None
