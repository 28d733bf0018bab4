from __future__ import annotations

from typing import Any

import pytest

from coldwarm.core.cache_keys import CacheKeys
from coldwarm.core.finding import Finding, FindingKind
from coldwarm.core.load_failure import LoadFailure
from coldwarm.diagnose.misses import miss_findings
from coldwarm.engines.vllm.load_messages import load_failures
from coldwarm.engines.vllm.lookups import EngineLookups
from tests.support.explanations import SOURCE_CHANGED, STAGES, cache_event, evidences, frame, keys, load_failure
from tests.support.records import LOADED, MISSES, SAVED, cold_facts, cold_record, warm_facts, warm_record

AOT_SAVED, AOT_LOADED = "vllm.num_aot_artifacts_saved", "vllm.num_aot_artifacts_loaded"
AOT_COMPILES, ENTRIES = "vllm.num_aot_compiles", "vllm.num_cache_entries_updated"
INDUCTOR = "vllm.num_inductor_compiles"

COLD = {SAVED: 3, LOADED: 0, AOT_SAVED: 1, AOT_COMPILES: 1, INDUCTOR: 9}
ALL_LOADED = {SAVED: 0, LOADED: 3, AOT_LOADED: 1, AOT_COMPILES: 0, INDUCTOR: 0}
FUNCTION_MISSED = {SAVED: 3, LOADED: 0, AOT_LOADED: 0, AOT_COMPILES: 1, INDUCTOR: 9}
ARTIFACTS_MISSED = {SAVED: 3, LOADED: 0, AOT_LOADED: 1, AOT_COMPILES: 0, INDUCTOR: 9}

[KEY_ERROR, BY_SOURCE] = load_failures([load_failure("KeyError"), load_failure(SOURCE_CHANGED)])

OF_THE_KEY = {"vllm", "environment", "config.model", "config.additional_config", "model"}
OF_THE_COMPILER = {"torch", "system", "inductor config", "functorch config"}
GROUPS = {*OF_THE_KEY, *OF_THE_COMPILER, "source"}


def lookups(warm: dict[str, int], aot_artifact: str | None, *failures: LoadFailure) -> EngineLookups:
    facts = warm_facts(counters=warm, aot_artifact=aot_artifact)
    return EngineLookups.of(cold_facts(counters=COLD, aot_artifact=aot_artifact), facts, failures)


@pytest.mark.parametrize(
    ("warm", "aot_artifact", "failures", "groups"),
    [
        (ALL_LOADED, "bundled", [], set()),
        (ALL_LOADED, "separate", [], set()),
        (FUNCTION_MISSED, "bundled", [], GROUPS),
        (FUNCTION_MISSED, "separate", [], GROUPS),
        (FUNCTION_MISSED, "bundled", [KEY_ERROR], set()),
        (FUNCTION_MISSED, "separate", [KEY_ERROR], {*OF_THE_COMPILER, "source"}),
        (FUNCTION_MISSED, "bundled", [BY_SOURCE], {"source"}),
        (ARTIFACTS_MISSED, "separate", [], {*OF_THE_COMPILER, "source"}),
        ({**FUNCTION_MISSED, AOT_COMPILES: 2}, "bundled", [KEY_ERROR], GROUPS),
        ({**FUNCTION_MISSED, SAVED: 0, LOADED: 3}, "separate", [], {*OF_THE_KEY, "source"}),
        ({**ALL_LOADED, AOT_LOADED: 0, AOT_COMPILES: 1}, "bundled", [], GROUPS),
    ],
    ids=[
        "all loaded, bundled",
        "all loaded, separate",
        "missed, bundled",
        "missed, separate",
        "refused, bundled",
        "refused, separate",
        "refused by source",
        "artifacts missed",
        "one refused, one missed",
        "function missed, artifacts loaded",
        "compiled and not saved",
    ],
)
def test_a_component_can_explain_a_miss_only_of_a_lookup_that_has_it_in_its_key(
    warm: dict[str, int], aot_artifact: str, failures: list[LoadFailure], groups: set[str]
) -> None:
    found = lookups(warm, aot_artifact, *failures)
    assert {group for group in GROUPS if found.can_explain(group)} == groups
    assert found.missed is (bool(groups) or bool(failures))


def test_a_version_without_aot_compilation_looks_up_only_artifacts() -> None:
    cold = cold_facts(counters={SAVED: 3})
    found = EngineLookups.of(cold, warm_facts(counters={SAVED: 3, LOADED: 0}), [])
    assert {group for group in GROUPS if found.can_explain(group)} == GROUPS - {"model"}


@pytest.mark.parametrize(
    ("counters", "is_missed"),
    [
        ({SAVED: 0, LOADED: 3, INDUCTOR: 6}, False),
        ({SAVED: 0, LOADED: 2, INDUCTOR: 6}, True),
        ({SAVED: 0, LOADED: 3, ENTRIES: 1}, True),
    ],
    ids=[
        "subgraphs that share an artifact are passed to the compiler",
        "one was not loaded",
        "one is new in the index",
    ],
)
def test_artifacts_that_are_not_loaded_were_missed(counters: dict[str, int], is_missed: bool) -> None:
    warm = warm_facts(counters={AOT_LOADED: 1, **counters}, aot_artifact="separate")
    assert EngineLookups.of(cold_facts(counters=COLD), warm, []).missed is is_missed


# Recorded on a GPU


def found(
    cold: dict[str, int], warm: dict[str, int], aot_artifact: str, *known: CacheKeys, **fields: Any
) -> list[Finding]:
    records = [
        make(facts=facts(counters=counters, aot_artifact=aot_artifact), phases=STAGES)
        for make, facts, counters in ((cold_record, cold_facts, cold), (warm_record, warm_facts, warm))
    ]
    return miss_findings(records[0], records[1], evidences(*known, **fields))


SOURCE = keys(source={"transformers/configuration_utils.py": "sha256 a"}, environment={"VLLM_A": "1"})
NO_SOURCE = keys(source={}, environment={"VLLM_A": "2"})


def test_nothing_in_the_engines_key_is_blamed_if_all_its_artifacts_were_loaded() -> None:
    # Kimi-K2.5 with vLLM 0.33, which bundles artifacts.
    cold = {SAVED: 4, AOT_SAVED: 1, AOT_COMPILES: 1, MISSES: 5}
    warm = {SAVED: 0, LOADED: 4, AOT_LOADED: 1, AOT_COMPILES: 0, MISSES: 1}
    router = frame(cache_event(), function="grouped_topk", source="grouped_topk_router.py:75", seconds=0.75)
    [finding] = found(cold, warm, "bundled", SOURCE, NO_SOURCE, warm_frames=[router])
    assert (finding.kind, finding.where, finding.seconds) == (
        FindingKind.COMPILED_OUTSIDE,
        "grouped_topk_router.py:75",
        0.75,
    )


def test_a_source_is_blamed_if_it_is_in_the_key_of_artifacts_and_a_variable_is_not() -> None:
    # Kimi-K2.5 with vLLM 0.26 and separate artifacts: the function was loaded, and four artifacts were re-saved.
    cold = {SAVED: 4, AOT_SAVED: 1, AOT_COMPILES: 1, MISSES: 25}
    warm = {SAVED: 4, LOADED: 0, AOT_LOADED: 1, AOT_COMPILES: 0, MISSES: 18}
    [finding] = found(cold, warm, "separate", SOURCE, NO_SOURCE)
    assert (finding.kind, finding.where) == (FindingKind.KEY_CHANGED, "transformers/configuration_utils.py")
    assert finding.seconds == 13.5
