from __future__ import annotations

from typing import Any

import pytest

from coldwarm.explain.finding import Finding, FindingKind
from coldwarm.explain.imported_from_source import imported_from_source_findings
from coldwarm.starts.bytecode import MissingBytecode
from coldwarm.starts.record import StartKind
from tests.support.records import cold_record, warm_record


def missing(**fields: Any) -> MissingBytecode:
    values = {
        "modules": 5000,
        "seconds": 12.34,
        "modules_again": 5000,
        "roots": ["/usr/lib/python3", "/my venv/site-packages"],
        "switched_off": True,
    }
    return MissingBytecode.model_validate({**values, **fields})


def found(cold: MissingBytecode | None, warm: MissingBytecode | None) -> Finding | None:
    findings = imported_from_source_findings(cold_record(missing_bytecode=cold), warm_record(missing_bytecode=warm))
    assert len(findings) <= 1
    return findings[0] if findings else None


def test_what_each_start_compiles_is_told_with_the_way_out() -> None:
    finding = found(missing(), missing())
    assert finding is not None
    assert (finding.kind, finding.start, finding.seconds) == (FindingKind.IMPORTED_FROM_SOURCE, StartKind.WARM, 12.34)
    assert "compiled 5000 modules from source" in finding.what
    assert "PYTHONDONTWRITEBYTECODE" in finding.what
    assert finding.next == (
        "unset that, or compile them once, in the image: "
        "python -m compileall -q -j 0 /usr/lib/python3 '/my venv/site-packages'"
    )


def test_folders_that_cannot_be_written_are_told_from_a_variable() -> None:
    finding = found(missing(switched_off=False), missing(switched_off=False))
    assert finding is not None
    assert "could not write it" in finding.what
    assert finding.next is not None
    assert finding.next.startswith("compile them once")


def test_what_is_kept_from_now_on_is_told_of_the_start_that_compiled_it() -> None:
    finding = found(missing(modules_again=0, switched_off=False), missing(modules=0, modules_again=0, seconds=0.0))
    assert finding is not None
    assert finding.start is StartKind.COLD
    assert finding.what.endswith("has now kept it; a new container of the same image begins without")


def test_a_cold_start_alone_is_enough() -> None:
    [finding] = imported_from_source_findings(cold_record(missing_bytecode=missing()), None)
    assert finding.start is StartKind.COLD


@pytest.mark.parametrize("each", [missing(modules=30, seconds=0.2), None], ids=["hardly any", "not recorded"])
def test_there_is_nothing_to_tell_where_it_is_short(each: MissingBytecode | None) -> None:
    assert found(each, each) is None
    assert imported_from_source_findings(None, None) == []
