"""Explains stored runs from their records and traces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from coldwarm.catalog.catalog import Catalog
from coldwarm.core.errors import UsageError, nearest, unreadable_as_usage_error
from coldwarm.core.record import StartKind
from coldwarm.core.run_folder import RunFolder
from coldwarm.diagnose.explanation import explain
from coldwarm.store.suite_folder import StoredRun, read_runs
from coldwarm.suite.judging import judge_run
from coldwarm.suite.result import RunResult


def explain_stored(folder: Path, catalog: Catalog, model: str | None) -> list[tuple[RunResult, Path]]:
    """Explain the started runs in `folder`, or only that of `model`; return each with its folder.

    Raises:
        UsageError: `folder` contains no readable or no started run, or none of `model`; or a trace cannot be read.
    """
    runs = [run for run in read_runs(folder) if run.cold is not None]
    if model is not None:
        ids = [run.case.name for run in runs]
        if model not in ids:
            raise UsageError(f"no run of {model!r} in {folder}{nearest(model, ids)} (runs: {', '.join(ids) or 'none'})")
        runs = [run for run in runs if run.case.name == model]
    if not runs:
        raise UsageError(f"{folder} contains no run that was started")
    return [(_explain(run, judge_run(run, catalog)), run.folder) for run in runs]


def _explain(run: StoredRun, result: RunResult) -> RunResult:
    # Traces are large, so records are often stored without them.
    if run.explanation is not None and not RunFolder(run.folder).has_trace(StartKind.COLD):
        return result
    with unreadable_as_usage_error():
        return replace(result, explanation=explain(run.folder, run.cold, run.warm))
