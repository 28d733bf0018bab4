"""Stores suites of constructed results."""

from __future__ import annotations

from pathlib import Path

from coldwarm.store.suite_folder import Store
from coldwarm.suite.result import RunResult


def stored(folder: Path, *results: RunResult) -> Path:
    """Store `results` as a suite in `folder`, as a runner does."""
    store = Store.create(folder, [result.case.model_id for result in results])
    for result in results:
        store.write_case(result.case)
        for record in (result.cold, result.warm):
            if record is not None:
                store.write_start(result.case, record)
        if result.explanation is not None:
            store.write_explanation(result.case, result.explanation)
        store.write_verdict(result.case, result.verdict)
    return folder
