from __future__ import annotations

from typing import Any

from coldwarm.checks.expectations import check_expectations
from coldwarm.checks.invariants import Starts
from coldwarm.checks.verdict import context_of
from coldwarm.core.checks import Check
from coldwarm.core.record import StartRecord
from tests.support.records import LOADED, MISSES, SAVED, cold_record, expectation, model_entry, warm_record


def check(*expectations: dict[str, Any], cold: StartRecord | None = None) -> list[Check]:
    cold = cold or cold_record()
    entry = model_entry(expect=[expectation(**fields) for fields in expectations])
    return check_expectations(Starts(cold, warm_record(), entry), entry, context_of(cold))


def test_every_counter_of_an_expectation_is_checked() -> None:
    found = check({})
    assert [c.id for c in found] == [
        f"expected:{kind}:{n}" for kind in ("cold", "warm") for n in (SAVED, LOADED, MISSES)
    ]
    assert all(c.holds for c in found)


def test_a_different_counter_is_reported_with_its_start() -> None:
    cold, warm = check({"cold": {SAVED: 4}, "warm": {LOADED: 2}})
    assert not cold.holds and not warm.holds
    assert cold.words == f"cold: {SAVED} expected 4, got 3"
    assert warm.words == f"warm: {LOADED} expected 2, got 3"


def test_cold_and_warm_are_not_mixed_up() -> None:
    cold, warm = check({"cold": {LOADED: 0}, "warm": {LOADED: 3}})
    assert cold.holds and warm.holds


def test_an_expectation_for_another_platform_is_skipped() -> None:
    assert check({"when": {"device": "cuda"}}) == []
    assert check({"when": {"torch": ">=2.14"}}) == []
    assert len(check({"when": {"device": "cuda"}}, {"when": {}, "cold": {SAVED: 3}, "warm": {}})) == 1


def test_a_renamed_counter_fails_even_if_zero_is_expected() -> None:
    [found] = check({"cold": {"vllm.num_compiled_artifact_saved": 0}, "warm": {}})
    assert not found.holds
    assert found.words.startswith("no counter 'vllm.num_compiled_artifact_saved' in this version; nearest: ")
    assert SAVED in found.words


def test_a_counter_of_an_engine_without_counters_fails() -> None:
    [found] = check({"cold": {"other.saved": 0}, "warm": {}})
    assert not found.holds
    assert "nothing was counted by 'other'" in found.words
