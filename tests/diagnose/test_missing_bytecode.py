from __future__ import annotations

from typing import Any

import pytest

from coldwarm.core.finding import Finding, FindingKind
from coldwarm.core.isolation import IsolationKind
from coldwarm.core.record import StartKind
from coldwarm.core.seen_in_process import MissingBytecode
from coldwarm.diagnose.missing_bytecode import imported_from_source_findings
from tests.support.records import cold_record, warm_record


def missing(**fields: Any) -> MissingBytecode:
    values = {
        "modules": 5000,
        "seconds": 13.3,
        "modules_again": 4990,
        "seconds_again": 12.34,
        "roots": ["/usr/lib/python3", "/my venv/site-packages"],
        "switched_off": True,
        "python": "/my venv/bin/python3",
    }
    return MissingBytecode.model_validate({**values, **fields})


NOTHING = missing(modules=0, seconds=0.0, modules_again=0, seconds_again=0.0, roots=[])
CACHED = missing(modules_again=3, seconds_again=0.1, switched_off=False)


def found(
    cold: MissingBytecode | None, warm: MissingBytecode | None, isolation: IsolationKind = IsolationKind.SPAWN
) -> Finding | None:
    findings = imported_from_source_findings(
        cold_record(missing_bytecode=cold, isolation=isolation), warm_record(missing_bytecode=warm, isolation=isolation)
    )
    assert len(findings) <= 1
    return findings[0] if findings else None


@pytest.mark.parametrize("cold_seconds", [12.34, 12.5])
def test_modules_that_each_start_compiles_are_reported_for_the_warm_one_with_the_fix(cold_seconds: float) -> None:
    finding = found(missing(seconds_again=cold_seconds), missing())
    assert finding is not None
    assert (finding.kind, finding.start, finding.seconds) == (FindingKind.IMPORTED_FROM_SOURCE, StartKind.WARM, 12.34)
    assert finding.what == (
        "4990 modules have no cached bytecode (.pyc), so every new Python process recompiles them; "
        "PYTHONDONTWRITEBYTECODE or -B disables bytecode caching"
    )
    assert finding.next == (
        "unset that, or compile them once, in the image: "
        "'/my venv/bin/python3' -m compileall -q -j 0 /usr/lib/python3 '/my venv/site-packages' || true"
    )


def test_forked_starts_are_not_charged_for_what_they_inherit() -> None:
    finding = found(missing(), missing(), IsolationKind.FORK)
    assert finding is not None
    assert (finding.kind, finding.start, finding.seconds) == (FindingKind.IMPORTED_FROM_SOURCE, StartKind.WARM, None)
    assert finding.what == (
        "4990 modules have no cached bytecode (.pyc), so every new Python process recompiles them (12.3 s here, paid "
        "once for all forked starts); PYTHONDONTWRITEBYTECODE or -B disables bytecode caching"
    )


@pytest.mark.parametrize("start", StartKind)
def test_if_one_start_was_spawned_it_has_the_cost(start: StartKind) -> None:
    kinds = {kind: IsolationKind.SPAWN if kind is start else IsolationKind.FORK for kind in StartKind}
    [finding] = imported_from_source_findings(
        cold_record(missing_bytecode=missing(), isolation=kinds[StartKind.COLD]),
        warm_record(missing_bytecode=missing(), isolation=kinds[StartKind.WARM]),
    )
    assert (finding.start, finding.seconds) == (start, 12.34)


def test_folders_that_are_not_writable_are_distinguished_from_a_variable() -> None:
    finding = found(missing(switched_off=False), missing(switched_off=False))
    assert finding is not None
    assert finding.what.endswith("; their folders are not writable")
    assert finding.next is not None
    assert finding.next.startswith("compile them once")


@pytest.mark.parametrize(
    ("warm", "start"), [(NOTHING, StartKind.COLD), (CACHED, StartKind.WARM)], ids=["spawn", "fork"]
)
def test_bytecode_that_is_cached_now_is_reported_as_compiled_once(warm: MissingBytecode, start: StartKind) -> None:
    finding = found(CACHED, warm)
    assert finding is not None
    assert (finding.start, finding.seconds) == (start, None)
    assert finding.what == (
        "5000 modules had no cached bytecode (.pyc), so Python compiled them in 13.3 s; the bytecode is cached now, "
        "but every new container of the same image starts without it"
    )


def test_a_cold_start_without_a_warm_one_is_enough() -> None:
    [finding] = imported_from_source_findings(cold_record(missing_bytecode=missing()), None)
    assert finding.start is StartKind.COLD


@pytest.mark.parametrize("each", [missing(seconds=0.3, seconds_again=0.2), None], ids=["short", "not recorded"])
def test_nothing_is_reported_below_a_second(each: MissingBytecode | None) -> None:
    assert found(each, each) is None
    assert imported_from_source_findings(None, None) == []
