from __future__ import annotations

from typing import Any

from coldwarm.checks.verdict import Status, judge
from coldwarm.core.compiler_work import CompiledFunction
from coldwarm.core.finding import FindingKind
from coldwarm.core.invariant_ids import InvariantId
from coldwarm.core.kernels import KernelEvents
from coldwarm.core.phases import GENERATE, Step
from coldwarm.core.record import StartKind, StartRecord
from coldwarm.diagnose.late_functions import late_function_findings
from tests.support.records import (
    cold_facts,
    cold_record,
    compiler_work,
    model_entry,
    warm_facts,
    warm_record,
)

STEPS = [Step(name="import", begin=1.0, end=5.0), Step(name=GENERATE, begin=5.0, end=9.0)]
SAMPLE = "sample (vllm/v1/sample/sampler.py:3)"
LOGPROBS = "batched_count_greater_than (vllm/v1/sample/ops/logprobs.py:10)"


def record(kind: StartKind, name: str, *, last: float | None, **fields: Any) -> StartRecord:
    """Return a healthy start in which a function was compiled last at this time; None: it was loaded."""
    function = CompiledFunction(rank=0, name=name, missed=["k"], seconds=1.24, compiled_last=last)
    make, facts = (cold_record, cold_facts()) if kind is StartKind.COLD else (warm_record, warm_facts())
    for process in facts.processes:
        process.kernels = KernelEvents()
    return make(facts=facts, compiler_work=compiler_work(functions=[function]), **{"steps": STEPS, **fields})


def checked(cold: StartRecord, warm: StartRecord) -> tuple[Status, str, list[str]]:
    """Return the status, the message of invariant 7, and the notes on functions."""
    verdict = judge(model_entry(), cold, warm, late_function_findings(cold, warm))
    [check] = [check for check in verdict.checks if check.id == InvariantId.READY_NO_COMPILER]
    return verdict.status, check.words, [note for note in verdict.notes if "torch.compile" in note]


def test_a_function_that_a_request_waits_for_breaks_the_invariant() -> None:
    cold = record(StartKind.COLD, SAMPLE, last=6.0)
    status, words, notes = checked(cold, record(StartKind.WARM, SAMPLE, last=None))
    assert status is Status.FAILED
    assert words == (
        "after the engine was ready, functions were compiled (expected none): torch.compile sample (1 key, 1.2 s, "
        "cold start)"
    )
    assert notes == []
    [finding] = late_function_findings(cold)
    assert (finding.kind, finding.where) == (FindingKind.COMPILED_AFTER_READY, "vllm/v1/sample/sampler.py:3")
    assert "torch.compile compiled `sample` with 1 key after the engine was ready, in the cold start" in finding.what
    assert (finding.kernel, finding.keys, finding.seconds) == ("torch.compile sample", 1, 1.24)


def test_a_function_that_was_compiled_before_or_loaded_does_not() -> None:
    for last, steps in ((4.0, STEPS), (None, STEPS), (6.0, STEPS[:1])):
        cold = record(StartKind.COLD, SAMPLE, last=last, steps=steps)
        status, words, notes = checked(cold, record(StartKind.WARM, SAMPLE, last=None))
        assert (status, words, notes) == (Status.PASSED, "after the engine was ready, nothing was compiled", [])
        assert late_function_findings(cold) == []


def test_what_only_a_request_for_log_probabilities_needs_is_noted() -> None:
    cold = record(StartKind.COLD, LOGPROBS, last=6.0)
    status, _, notes = checked(cold, record(StartKind.WARM, LOGPROBS, last=None))
    assert status is Status.PASSED
    assert notes == [
        "after a cold start, the first request for log-probabilities waits for torch.compile of "
        "batched_count_greater_than (vllm/v1/sample/ops/logprobs.py:10): vLLM's warm-up makes no such request"
    ]
    assert late_function_findings(cold) == []


def test_a_warm_start_that_compiles_it_again_fails() -> None:
    cold, warm = (record(kind, LOGPROBS, last=6.0) for kind in StartKind)
    status, words, _ = checked(cold, warm)
    assert status is Status.FAILED
    assert words.endswith("torch.compile batched_count_greater_than (1 key, 1.2 s, warm start)")
    [finding] = late_function_findings(cold, warm)
    assert (finding.start, finding.seconds, finding.shares_cost) == (StartKind.WARM, None, True)
