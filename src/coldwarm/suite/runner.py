"""Makes the runs of a suite one after another."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from coldwarm.explain.explanation import Explanation, explain
from coldwarm.starts.caches import temporary_root
from coldwarm.starts.case import Case
from coldwarm.starts.record import Outcome, StartKind, StartRecord
from coldwarm.starts.start import Starter
from coldwarm.suite.result import RunResult
from coldwarm.suite.store import Store
from coldwarm.suite.watcher import Watcher


class Runner:
    """Runs cases; what is finished stays in `results`, whatever happens to the rest.

    Args:
        store: Where everything is kept as it is finished.
        watcher: Is told of every step.
        time_limit: Seconds that one start may take.
    """

    def __init__(self, store: Store, watcher: Watcher, *, time_limit: float) -> None:
        self._store = store
        self._watcher = watcher
        self._time_limit = time_limit
        self.results: list[RunResult] = []

    def run(self, cases: list[Case]) -> None:
        """Run all `cases` in their order; a start that crashes or hangs ends its own run only."""
        with temporary_root() as root:
            for case in cases:
                result = self._run(case, root / case.model_id)
                self.results.append(result)
                self._watcher.run_ended(result)

    def _run(self, case: Case, scratch: Path) -> RunResult:
        self._store.keep_case(case)
        cold = warm = None
        if case.entry.unsupported_on(case.device, case.compilation) is None:
            starter = Starter(case, scratch, self._store.folder_of(case), time_limit=self._time_limit)
            cold = self._start(case, starter, StartKind.COLD)
            if cold.outcome is Outcome.FINISHED:
                warm = self._start(case, starter, StartKind.WARM)
            shutil.rmtree(scratch, ignore_errors=True)
        explanation = None
        if cold is not None:
            explanation = self._explain(case, cold, warm)
            self._store.keep_explanation(case, explanation)
        result = RunResult.of(case, cold, warm, explanation)
        self._store.keep_verdict(case, result.verdict)
        return result

    def _explain(self, case: Case, cold: StartRecord, warm: StartRecord | None) -> Explanation:
        try:
            return explain(self._store.folder_of(case), cold, warm)
        except Exception as error:
            # What was measured stands, explained or not; `coldwarm explain` shows the traceback.
            return Explanation(notes=[f"could not be explained: {type(error).__name__}: {error}"])

    def _start(self, case: Case, starter: Starter, kind: StartKind) -> StartRecord:
        self._watcher.start_began(case, kind)
        start = starter.cold if kind is StartKind.COLD else starter.warm
        record = start(partial(self._watcher.phase_began, case, kind))
        self._store.keep_start(case, record)
        self._watcher.start_ended(case, record)
        return record
