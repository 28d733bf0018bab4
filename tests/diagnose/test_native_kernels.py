from __future__ import annotations

from typing import Any

import pytest

from coldwarm.core.finding import FindingKind
from coldwarm.core.phases import Phase
from coldwarm.core.record import StartRecord
from coldwarm.diagnose.native_kernels import native_kernel_findings
from tests.support.records import LOADED, MISSES, SAVED, cold_record, compiler_work, warm_record

OLD = [f"inductor/a{n}/c{n}.main.so" for n in range(3)]
NEW = [f"inductor/b{n}/d{n}.main.so" for n in range(3)]


def pair(**warm: Any) -> tuple[StartRecord, StartRecord]:
    phases = [Phase(name="C++/Triton compilation", seconds=6.5)]
    return cold_record(files_written=OLD), warm_record(**{"files_written": NEW, "phases": phases, **warm})


def test_new_cpp_kernels_of_a_start_that_loaded_everything_are_reported_with_a_likely_cause() -> None:
    [finding] = native_kernel_findings(*pair())
    assert finding.kind is FindingKind.KERNEL_RECOMPILED
    assert finding.what.startswith("Inductor recompiled 3 C++ kernels under other keys")
    assert "VecAMX.__bool__" in finding.details[0]
    assert (finding.seconds, len(finding.evidence), finding.kernel) == (6.5, 3, None)


@pytest.mark.parametrize(
    "warm",
    [
        {"files_written": []},
        {"files_written": OLD},
        {"files_written": ["triton/x/launcher.so", "inductor/y.cpp"]},
        {"counters": {SAVED: 1}},
        {"counters": {LOADED: 2}},
        {"counters": {MISSES: 1}},
        {"compiler_work": compiler_work(code_generations=1)},
        {"compiler_work": None},
        {"facts": None},
    ],
    ids=["none", "rewritten", "no kernels", "saved", "not loaded", "missed", "generated", "no trace", "unfinished"],
)
def test_anything_else_is_not_reported(warm: dict[str, Any]) -> None:
    assert native_kernel_findings(*pair(**warm)) == []


def test_without_cpp_kernels_in_the_cold_start_nothing_was_recompiled() -> None:
    _, warm = pair()
    assert native_kernel_findings(cold_record(), warm) == []
