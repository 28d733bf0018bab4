"""Runs with several starts, whose seconds and phases are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from coldwarm.comparison.sides import Side
from coldwarm.core.phases import Phase
from coldwarm.core.record import StartRecord
from coldwarm.suite.result import RunResult
from tests.support.records import cold_record, model_entry, warm_record
from tests.support.runs import case_of


def timed(record: StartRecord, seconds: float, phases: Mapping[str, float] | None = None, **fields: Any) -> StartRecord:
    """Return `record` with these seconds and phases."""
    parts = [Phase(name=name, seconds=each) for name, each in (phases or {}).items()]
    return record.model_copy(update={"seconds": seconds, "phases": parts, **fields})


def repeated(cold: Sequence[float], warm: Sequence[float] = (), *, model: str = "tiny", **fields: Any) -> RunResult:
    """Return a healthy run with a repetition for each of these seconds; `fields` are those of its records."""
    warm = warm or [seconds / 5 for seconds in cold]
    return RunResult.of_repetitions(
        case_of(model_entry(id=model), repeat=len(cold)),
        [
            (timed(cold_record(), of_cold, **fields), timed(warm_record(), of_warm, **fields), None)
            for of_cold, of_warm in zip(cold, warm, strict=True)
        ],
    )


def side(cold: Sequence[float], warm: Sequence[float] = (), **fields: Any) -> Side:
    """Return a side with one run of `repeated`."""
    return Side([repeated(cold, warm, **fields)])
