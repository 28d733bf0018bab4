"""Judges stored runs again, by the catalog as it is now."""

from __future__ import annotations

from pathlib import Path

from coldwarm.catalog.catalog import Catalog
from coldwarm.suite.result import RunResult
from coldwarm.suite.store import StoredRun, read_runs


def judge_again(folder: Path, catalog: Catalog) -> list[RunResult]:
    """Judge the suite, or the one run, in `folder`.

    The entry of the `catalog` decides; where it has none, the one that was stored with the run.

    Raises:
        UsageError: `folder` holds no run that can be read.
    """
    return [judge_run(run, catalog) for run in read_runs(folder)]


def judge_run(run: StoredRun, catalog: Catalog) -> RunResult:
    """Judge one run by the entry of the `catalog`; where it has none, by the one that was stored with it."""
    # A model that was named by a path is not the catalog's model of that id.
    named_by_id = run.case.argument == run.case.model_id
    current = catalog.get(run.case.model_id) if named_by_id else None
    case = run.case.model_copy(update={"entry": current.entry}) if current else run.case
    return RunResult.of(case, run.cold, run.warm, run.explanation)
