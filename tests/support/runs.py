"""Cases and results of constructed runs."""

from __future__ import annotations

from typing import Any

from coldwarm.core.case import Case
from coldwarm.core.model_entry import ModelEntry
from coldwarm.core.record import StartRecord
from coldwarm.suite.result import RunResult
from tests.support.records import (
    SAVED,
    cold_record,
    expectation,
    known_issue,
    model_entry,
    sparse_attention_on_cpu,
    tiny_config,
    unfinished_record,
    warm_record,
)


def case_of(entry: ModelEntry | None = None, **fields: Any) -> Case:
    """Return a case of `entry` on a CPU; `fields` override its own."""
    entry = entry or model_entry()
    values: dict[str, Any] = {
        "entry": entry,
        "argument": entry.id,
        "engine": "vllm",
        "device": "cpu",
        "compilation": "piecewise",
        "config": tiny_config(),
        "overrides": {},
    }
    return Case(**{**values, **fields})


def result_of(entry: ModelEntry, cold: StartRecord | None, warm: StartRecord | None) -> RunResult:
    """Return the judged run of `entry`."""
    return RunResult.of(case_of(entry), cold, warm)


def passed(model_id: str = "passes") -> RunResult:
    """Return a healthy run that meets its expectation."""
    return result_of(model_entry(id=model_id, expect=[expectation()]), cold_record(), warm_record())


def failed(model_id: str = "fails") -> RunResult:
    """Return a run with 4 artifacts where 3 are expected and allowed."""
    entry = model_entry(id=model_id, expect=[expectation()])
    return result_of(entry, cold_record(counters={SAVED: 4}), warm_record())


def known(model_id: str = "known") -> RunResult:
    """Return a run with only its known issue."""
    entry = model_entry(id=model_id, known_issue=[known_issue()])
    return result_of(
        entry,
        cold_record(counters={SAVED: 4}),
        warm_record(counters={"vllm.num_compiled_artifacts_loaded": 4}),
    )


def fixed(model_id: str = "fixed") -> RunResult:
    """Return a healthy run of a model with a known issue."""
    return result_of(model_entry(id=model_id, known_issue=[known_issue()]), cold_record(), warm_record())


def unsupported(model_id: str = "unsupported") -> RunResult:
    """Return the result of a model that this device cannot run."""
    entry = model_entry(id=model_id, unsupported=[{"reason": "no such attention", "devices": ["cpu"]}])
    return result_of(entry, None, None)


def refused(model_id: str = "refused") -> RunResult:
    """Return a run that vLLM ended because this device cannot run the model."""
    return result_of(model_entry(id=model_id), unfinished_record(failure=sparse_attention_on_cpu()), None)


def crashed(model_id: str = "crashes", **fields: Any) -> RunResult:
    """Return a run whose cold start crashed; `fields` are those of its record."""
    return result_of(model_entry(id=model_id), unfinished_record(**fields), None)
