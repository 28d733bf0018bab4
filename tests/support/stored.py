"""Stores suites of constructed results."""

from __future__ import annotations

from pathlib import Path

from coldwarm.store.suite_folder import Store
from coldwarm.suite.result import Repetition, RunResult


def stored(folder: Path, *results: RunResult) -> Path:
    """Store `results` as a suite in `folder`, as a runner does."""
    store = Store.create(folder, [result.case.model_id for result in results])
    for result in results:
        alone = Repetition(1, result.cold, result.warm, result.verdict, result.explanation)
        for each in result.repetitions or (alone,):
            store.write_case(result.case, each.number)
            for record in (each.cold, each.warm):
                if record is not None:
                    store.write_start(result.case, record, each.number)
            if each.explanation is not None:
                store.write_explanation(result.case, each.explanation, each.number)
            store.write_verdict(result.case, each.verdict, each.number)
        store.write_verdict(result.case, result.verdict)
    return folder
