from __future__ import annotations

from coldwarm.checks.late_functions import compiled_after_ready
from coldwarm.core.compiler_work import CompiledFunction
from coldwarm.core.phases import GENERATE, Step
from coldwarm.core.record import StartRecord
from tests.support.records import cold_record, compiler_work

STEPS = [Step(name="import", begin=1.0, end=5.0), Step(name=GENERATE, begin=5.0, end=9.0)]


def record(command: list[str], *, last: float | None, steps: list[Step] = STEPS) -> StartRecord:
    function = CompiledFunction(rank=0, name="sample (s.py:3)", seconds=1.24, compiled_last=last)
    return cold_record(command=command, steps=steps, compiler_work=compiler_work(functions=[function]))


def test_a_function_that_was_compiled_after_the_command_was_ready_is_noted() -> None:
    assert compiled_after_ready(record(["serve"], last=6.0), None) == [
        "after the cold start was ready, torch.compile compiled sample (s.py:3) (1.2 s): a request waits for it"
    ]


def test_others_are_not() -> None:
    assert compiled_after_ready(record(["serve"], last=4.0)) == []
    assert compiled_after_ready(record(["serve"], last=None)) == []
    assert compiled_after_ready(record(["script"], last=6.0, steps=STEPS[:1])) == []
    assert compiled_after_ready(record([], last=6.0)) == [], "a model of the catalog"
