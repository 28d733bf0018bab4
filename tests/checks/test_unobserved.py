from __future__ import annotations

from coldwarm.checks.verdict import Status, judge
from coldwarm.core.record import ProcessReport
from tests.support.records import cold_facts, cold_record, model_entry, warm_record


def test_what_could_not_be_observed_is_noted() -> None:
    [rank] = cold_facts().processes
    processes = [
        ProcessReport(pid=1, role="engine core", failed_probes={"warnings": "KeyError: 'x'"}),
        rank.model_copy(update={"failed_probes": {"cache keys": "ImportError: no vllm"}}),
    ]
    verdict = judge(model_entry(), cold_record(processes=processes), warm_record())
    assert verdict.status is Status.PASSED
    assert verdict.notes[-2:] == [
        "warnings of engine core could not be observed in the cold start: KeyError: 'x'",
        "cache keys of worker rank 0 could not be observed in the cold start: ImportError: no vllm",
    ]
