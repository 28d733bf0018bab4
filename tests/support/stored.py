"""Suites on disk of runs that were never made."""

from __future__ import annotations

from pathlib import Path

from coldwarm.store.suite_folder import Store
from coldwarm.suite.result import RunResult


def stored(folder: Path, *results: RunResult) -> Path:
    """Keep `results` as a suite in `folder`, as a runner does."""
    store = Store.create(folder, [result.case.model_id for result in results])
    for result in results:
        store.keep_case(result.case)
        for record in (result.cold, result.warm):
            if record is not None:
                store.keep_start(result.case, record)
        if result.explanation is not None:
            store.keep_explanation(result.case, result.explanation)
        store.keep_verdict(result.case, result.verdict)
    return folder
