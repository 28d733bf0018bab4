from __future__ import annotations

from typing import Any

import pytest

from coldwarm.core.cache_files import FileChange
from coldwarm.core.finding import Finding, FindingKind
from coldwarm.core.phases import Phase
from coldwarm.core.record import Message, Outcome, StartKind, StartRecord
from coldwarm.diagnose.misses import KnownOfRun, miss_findings
from tests.support.explanations import (
    ARTIFACT,
    SOURCE_CHANGED,
    STAGES,
    cache_event,
    compiled_again,
    evidences,
    frame,
    keys,
    load_failure,
)
from tests.support.records import LOADED, MISSES, SAVED, cold_record, compiler_work, unfinished_record, warm_record

ENVIRONMENT = keys(environment={"VLLM_USE_V1": "False"})
NOTHING = {SAVED: 0, LOADED: 0, MISSES: 1}
AOT_SAVED, AOT_LOADED = "vllm.num_aot_artifacts_saved", "vllm.num_aot_artifacts_loaded"
AOT_COMPILES = "vllm.num_aot_compiles"
HITS, FX_HITS = "torch.aot_autograd.autograd_cache_hit", "torch.inductor.fxgraph_cache_hit"


def found(
    warm: StartRecord | None = None, known: KnownOfRun | None = None, cold: StartRecord | None = None
) -> list[Finding]:
    return miss_findings(cold or cold_record(), warm or compiled_again(), known or evidences())


def kinds(*arguments: Any, **fields: Any) -> list[FindingKind]:
    return [finding.kind for finding in found(*arguments, **fields)]


def damaged(how: Any = "truncated", path: str = ARTIFACT) -> FileChange:
    return FileChange(path=path, how=how, bytes_due=100, bytes_found=12)


def sources(digest: str, **groups: dict[str, str]) -> Any:
    return keys(source={"/v/llama.py": digest}, **groups)


# Warm starts that compiled nothing


@pytest.mark.parametrize(
    "known",
    [
        evidences(),
        evidences(keys(), ENVIRONMENT),
        evidences(sources("a"), sources("b")),
        evidences(warm_frames=[frame(cache_event())]),
        evidences(cold_keys=None),
    ],
    ids=["same", "environment", "source", "frames", "no keys"],
)
def test_a_start_that_compiled_nothing_has_no_finding(known: KnownOfRun) -> None:
    assert found(warm_record(phases=STAGES), known) == []
    assert found(warm_record(compiler_work=None), known) == []


def test_a_healthy_start_with_a_hit_has_no_finding() -> None:
    assert found(warm_record(counters={HITS: 1, FX_HITS: 1})) == []


@pytest.mark.parametrize(
    "warm",
    [
        warm_record(compiler_work=compiler_work(code_generations=1)),
        warm_record(counters={SAVED: 1}),
        warm_record(counters={MISSES: 1}),
        warm_record(counters={MISSES: 1}, compiler_work=None),
        warm_record(messages=[load_failure("no")]),
    ],
    ids=["code generation", "saved", "miss", "no trace", "load failure"],
)
def test_every_sign_of_a_compiler_is_explained(warm: StartRecord) -> None:
    assert found(warm)


# Components of keys


def test_a_changed_variable_is_the_only_finding() -> None:
    [finding] = found(known=evidences(keys(), ENVIRONMENT))
    assert finding.kind is FindingKind.KEY_CHANGED
    assert "VLLM_USE_V1" in finding.what
    assert finding.seconds == 13.5


def test_an_option_that_the_cold_start_did_not_have_is_shown_as_nothing() -> None:
    [finding] = found(known=evidences(keys(), keys(config__additional_config={"x": "1"})))
    assert "additional_config.x" in finding.what
    assert finding.what.endswith("nothing cold, 1 warm")


def test_a_group_that_one_start_never_computed_is_not_compared() -> None:
    assert kinds(known=evidences(keys(), keys(torch={"key": "x"}))) == [FindingKind.UNEXPLAINED]


@pytest.mark.parametrize("messages", [[], [load_failure(SOURCE_CHANGED)]], ids=["silent", "refused"])
def test_a_changed_source_is_reported_once_without_the_line_of_forward(messages: list[Message]) -> None:
    cold, warm = sources("a", model={"forward": "f at line 1"}), sources("b", model={"forward": "f at line 2"})
    [finding] = found(compiled_again(messages=messages), evidences(cold, warm))
    assert finding.where == "/v/llama.py"
    assert any(each.file == "warm.log" for each in finding.evidence) is bool(messages)


def test_a_different_failure_to_load_is_reported_next_to_a_changed_source() -> None:
    warm = compiled_again(messages=[load_failure(SOURCE_CHANGED), load_failure("KeyError: 'x'", tag="[eagle] ")])
    findings = found(warm, evidences(sources("a"), sources("b")))
    assert [finding.kind for finding in findings] == [FindingKind.LOAD_FAILED, FindingKind.KEY_CHANGED]
    assert "KeyError" in findings[0].what


def test_a_changed_variable_is_not_the_reason_if_the_function_was_found_under_its_key() -> None:
    warm = compiled_again(messages=[load_failure(SOURCE_CHANGED)])
    assert kinds(warm, evidences(keys(), ENVIRONMENT)) == [FindingKind.LOAD_FAILED]


def test_the_engines_message_comes_before_the_key_of_a_different_function() -> None:
    warm = compiled_again(messages=[load_failure(SOURCE_CHANGED)], counters={AOT_COMPILES: 2})
    assert kinds(warm, evidences(keys(), ENVIRONMENT)) == [FindingKind.LOAD_FAILED, FindingKind.KEY_CHANGED]


def test_a_refusal_by_source_is_not_called_a_defect_if_keys_were_not_recorded() -> None:
    warm = compiled_again(messages=[load_failure(SOURCE_CHANGED)])
    [finding] = found(warm, KnownOfRun(None, None, [], []))
    assert finding.next is not None and "defect" not in finding.next


def moved_cache(*, before: str = "vllm/aot/111", after: str = "vllm/aot/222") -> list[StartRecord]:
    """Return a cold and a warm start that saved the result for the key k1 in Inductor caches in these folders."""
    cold, warm = ([f"{folder}/inductor_cache/aotautograd/k1/entry"] for folder in (before, after))
    return [cold_record(files_written=cold), compiled_again(files_written=warm)]


def test_a_changed_key_that_moves_the_compilers_cache_explains_a_nested_compile() -> None:
    known = evidences(keys(), ENVIRONMENT, warm_frames=[frame(cache_event("miss", "k1"), seconds=1.5)])
    cold, warm = moved_cache()
    [finding] = found(warm, known, cold)
    assert (finding.kind, finding.seconds) == (FindingKind.KEY_CHANGED, 13.5)
    assert finding.details == [
        "torch.compile of sample (sampler.py:10) was recompiled for the same reason: its cache was "
        "vllm/aot/111/inductor_cache/aotautograd, and is vllm/aot/222/inductor_cache/aotautograd"
    ]


@pytest.mark.parametrize("after", ["vllm/aot/111", "vllm/aot/222"], ids=["same cache", "never saved cold"])
def test_a_nested_compile_that_missed_for_another_reason_has_its_own_cost(after: str) -> None:
    known = evidences(keys(), ENVIRONMENT, warm_frames=[frame(cache_event("miss", "k1"), seconds=1.5)])
    cold, warm = moved_cache(after=after)
    if after == "vllm/aot/222":
        cold.files_written.clear()
    key, outside = found(warm, known, cold)
    assert (key.kind, key.seconds, key.details) == (FindingKind.KEY_CHANGED, 12.0, [])
    assert (outside.kind, outside.seconds) == (FindingKind.COMPILED_OUTSIDE, 1.5)


def test_a_nested_compile_that_hit_is_not_in_the_cost_of_a_changed_key() -> None:
    known = evidences(keys(), ENVIRONMENT, warm_frames=[frame(cache_event("hit"), seconds=0.5)])
    [finding] = found(known=known)
    assert finding.seconds == 13.0


# Causes of one recompilation


def test_two_changed_variables_have_one_cost() -> None:
    both = keys(environment={"VLLM_USE_V1": "False", "VLLM_P2P_SIDE_CHANNEL_HOST": "10.0.0.2"})
    findings = found(known=evidences(keys(), both))
    assert [(each.kind, each.seconds, each.shares_cost) for each in findings] == [
        (FindingKind.KEY_CHANGED, 13.5, False),
        (FindingKind.KEY_CHANGED, None, True),
    ]


def test_two_damaged_files_and_a_changed_key_have_one_cost() -> None:
    changes = [damaged(), damaged("altered", "vllm/b")]
    findings = found(compiled_again(caches_changed=changes), evidences(keys(), ENVIRONMENT))
    assert [each.seconds for each in findings] == [13.5, None, None]
    assert [each.shares_cost for each in findings] == [False, True, True]


def test_two_nested_compiles_have_the_cost_of_their_own_frames() -> None:
    frames = [frame(cache_event(), seconds=2.0), frame(cache_event(), function="other", seconds=0.5)]
    findings = found(warm_record(counters={MISSES: 2}, phases=STAGES), evidences(warm_frames=frames))
    assert [(each.kind, each.seconds) for each in findings] == [
        (FindingKind.COMPILED_OUTSIDE, 2.0),
        (FindingKind.COMPILED_OUTSIDE, 0.5),
    ]


def test_a_cost_that_is_unknown_is_not_shared() -> None:
    changes = [damaged(), damaged("altered", "vllm/b")]
    assert not any(each.shares_cost for each in found(compiled_again(caches_changed=changes, phases=[])))


def test_an_unexplained_recompilation_is_reported_next_to_a_nested_compile() -> None:
    findings = found(known=evidences(warm_frames=[frame(cache_event(), seconds=1.5)]))
    assert [(each.kind, each.seconds) for each in findings] == [
        (FindingKind.UNEXPLAINED, 12.0),
        (FindingKind.COMPILED_OUTSIDE, 1.5),
    ]


# Files


@pytest.mark.parametrize("how", ["missing", "truncated", "altered", "grown"])
def test_a_damaged_file_is_reported_even_if_nothing_was_compiled(how: str) -> None:
    [finding] = found(warm_record(caches_as_left=False, caches_changed=[damaged(how)], phases=STAGES))
    assert finding.kind is FindingKind.CACHE_DAMAGED
    assert finding.what.endswith("; the engine did not notice, and recompiled nothing")
    assert finding.seconds is None


def test_a_new_file_is_reported_as_new() -> None:
    new = FileChange(path="vllm/x", how="new", bytes_due=0, bytes_found=1)
    for warm in (warm_record(caches_as_left=False, caches_changed=[new]), compiled_again(caches_changed=[new])):
        [finding] = found(warm)
        assert finding.kind is FindingKind.CACHE_DAMAGED
        assert finding.what.startswith("a cached file is new (1 bytes): vllm/x")


@pytest.mark.parametrize("how", ["truncated", "altered", "grown"])
def test_a_damaged_file_that_could_not_be_loaded_is_reported_once(how: str) -> None:
    warm = compiled_again(caches_changed=[damaged(how)], messages=[load_failure("pickle data was truncated")])
    [finding] = found(warm)
    assert finding.kind is FindingKind.CACHE_DAMAGED
    assert "pickle data was truncated" in finding.what


def test_a_missing_file_explains_a_recompilation() -> None:
    [finding] = found(compiled_again(caches_changed=[damaged("missing")]))
    assert finding.kind is FindingKind.CACHE_DAMAGED
    assert finding.what.endswith(ARTIFACT)
    assert finding.seconds == 13.5


def test_every_damaged_file_is_reported() -> None:
    changes = [damaged("missing", "vllm/a"), damaged("altered", "vllm/b")]
    assert [finding.what.split(": ")[-1] for finding in found(compiled_again(caches_changed=changes))] == [
        "vllm/a",
        "vllm/b",
    ]


def test_damage_and_a_changed_key_are_both_reported() -> None:
    warm = compiled_again(caches_changed=[damaged()])
    assert kinds(warm, evidences(keys(), ENVIRONMENT)) == [FindingKind.CACHE_DAMAGED, FindingKind.KEY_CHANGED]


def test_a_failure_to_load_a_different_file_is_reported_with_every_damaged_one() -> None:
    changes = [damaged(path="vllm/modelinfos/a.json"), damaged("altered", "vllm/b")]
    findings = found(compiled_again(caches_changed=changes, messages=[load_failure("no")]))
    assert [finding.kind for finding in findings] == 2 * [FindingKind.CACHE_DAMAGED]
    assert all(finding.what.endswith("; the engine could not load it: no") for finding in findings)


def test_damage_next_to_the_file_that_failed_to_load_is_not_called_a_defect() -> None:
    # The saved function and what it loads are in one folder, torch_aot_compile/<hash>.
    kernel = ARTIFACT.replace("rank_0_0/model", "inductor_cache/x.so")
    warm = compiled_again(
        caches_changed=[damaged("missing", kernel)], messages=[load_failure("[Errno 2] No such file: 'x.so'")]
    )
    assert not any("defect" in (finding.next or "") for finding in found(warm))


@pytest.mark.parametrize("outcome", [Outcome.CRASHED, Outcome.TIMED_OUT])
def test_a_start_that_did_not_finish_has_the_damage_and_the_keys_it_found(outcome: Outcome) -> None:
    change, failure = damaged(), load_failure("pickle data was truncated")
    warm = unfinished_record(StartKind.WARM, outcome, caches_changed=[change], phases=STAGES)
    damage, key = found(warm, evidences(keys(), ENVIRONMENT))
    assert (damage.kind, key.kind) == (FindingKind.CACHE_DAMAGED, FindingKind.KEY_CHANGED)
    # The consequence is not known, nor the cost.
    assert damage.what.endswith(ARTIFACT)
    assert (damage.seconds, key.seconds) == (None, None)
    warm = unfinished_record(StartKind.WARM, outcome, caches_changed=[change], messages=[failure])
    [finding] = found(warm)
    assert "pickle data was truncated" in finding.what


@pytest.mark.parametrize("outcome", [Outcome.CRASHED, Outcome.TIMED_OUT])
def test_a_start_that_did_not_finish_and_logged_nothing_has_no_finding(outcome: Outcome) -> None:
    assert found(unfinished_record(StartKind.WARM, outcome)) == []
    work = compiler_work(code_generations=1)
    assert found(unfinished_record(StartKind.WARM, outcome, compiler_work=work)) == []


def test_a_start_that_could_not_load_and_crashed_is_explained() -> None:
    warm = unfinished_record(StartKind.WARM, messages=[load_failure("KeyError")])
    assert kinds(warm) == [FindingKind.LOAD_FAILED]


# Failures to load


def test_a_failure_to_load_is_reported_with_its_exception_even_if_no_counter_shows_it() -> None:
    reason = "'function' object has no attribute 'finalize_loading'"
    [finding] = found(warm_record(messages=[load_failure(reason)]))
    assert finding.kind is FindingKind.LOAD_FAILED
    assert reason in finding.what


def test_every_failure_to_load_is_reported() -> None:
    warm = compiled_again(messages=[load_failure("a"), load_failure("b", "/c/other/model")])
    assert kinds(warm) == [FindingKind.LOAD_FAILED, FindingKind.LOAD_FAILED]


# Cold starts that saved nothing


def test_if_nothing_was_saved_the_cold_starts_warnings_are_shown() -> None:
    message = Message(logger="torch._inductor", level="WARNING", text="bypassing [bold]\nmore")
    cold = cold_record(counters={SAVED: 0}, messages=[message])
    [finding] = found(warm_record(counters={MISSES: 4}, phases=STAGES), cold=cold)
    assert finding.kind is FindingKind.NEVER_SAVED
    assert finding.what == "the cold start saved nothing for a warm start to load"
    assert finding.details == ["torch._inductor: bypassing [bold]"]
    [evidence] = finding.evidence
    assert (evidence.file, evidence.record) == (
        "cold.json",
        "facts.counters: vllm.num_compiled_artifacts_saved = 0, vllm.num_aot_artifacts_saved = 0",
    )
    assert finding.seconds == 13.5
    assert finding.next is not None and "cold.log" in finding.next


def test_if_the_cache_was_switched_off_the_variable_is_named() -> None:
    cold = cold_record(counters={SAVED: 0}, environment={"VLLM_DISABLE_COMPILE_CACHE": "1", "VLLM_OTHER": "1"})
    [finding] = found(warm_record(counters=NOTHING), cold=cold)
    assert finding.what.endswith(": VLLM_DISABLE_COMPILE_CACHE=1 switches the cache off")
    assert finding.next == "unset it"


def test_a_variable_that_switches_nothing_off_is_not_blamed() -> None:
    cold = cold_record(counters={SAVED: 0}, environment={"VLLM_DISABLE_COMPILE_CACHE": "0"})
    [finding] = found(warm_record(counters=NOTHING), cold=cold)
    assert "VLLM_DISABLE_COMPILE_CACHE" not in finding.what


def test_a_warning_without_a_text_is_accepted() -> None:
    cold = cold_record(counters={SAVED: 0}, messages=[Message(logger="torch", level="WARNING", text="")])
    assert kinds(warm_record(counters=NOTHING), cold=cold) == [FindingKind.NEVER_SAVED]


def test_a_saved_whole_function_counts_as_saved() -> None:
    cold = cold_record(counters={SAVED: 0, "vllm.num_aot_artifacts_saved": 1})
    assert kinds(warm_record(counters=NOTHING), cold=cold) == [FindingKind.UNEXPLAINED]


def test_if_nothing_was_saved_a_changed_key_is_not_the_reason() -> None:
    cold = cold_record(counters={SAVED: 0})
    assert kinds(warm_record(counters=NOTHING), evidences(keys(), ENVIRONMENT), cold=cold) == [FindingKind.NEVER_SAVED]


def test_a_disabled_cache_is_reported_even_if_the_compilers_own_cache_hit() -> None:
    # Measured with VLLM_DISABLE_COMPILE_CACHE=1 (vLLM 0.32): Dynamo ran again, and AOTAutograd's cache had the rest.
    off = {"environment": {"VLLM_DISABLE_COMPILE_CACHE": "1"}, "phases": STAGES}
    compiles = {SAVED: 0, LOADED: 0, "vllm.num_inductor_compiles": 9, "vllm.num_aot_compiles": 0}
    warm = warm_record(counters={**compiles, HITS: 3, MISSES: 0}, **off)
    [finding] = found(warm, cold=cold_record(counters=compiles, **off))
    assert (finding.kind, finding.seconds) == (FindingKind.NEVER_SAVED, 13.5)
    assert finding.what.endswith(": VLLM_DISABLE_COMPILE_CACHE=1 switches the cache off")


def test_an_engine_that_compiles_nothing_has_nothing_to_save() -> None:
    none = {SAVED: 0, LOADED: 0, "vllm.num_graphs_seen": 0, "vllm.num_inductor_compiles": 0}
    known = evidences(warm_frames=[frame(cache_event(), seconds=0.5)])
    [finding] = found(warm_record(counters={**none, MISSES: 1}), known, cold_record(counters=none))
    assert (finding.kind, finding.seconds) == (FindingKind.COMPILED_OUTSIDE, 0.5)


def test_entries_of_the_engines_index_count_as_saved() -> None:
    # vLLM's adaptor for an older Inductor counts no saved artifacts (compiler_interface.py, `InductorAdaptor`).
    entries = {SAVED: 0, LOADED: 0, "vllm.num_cache_entries_updated": 3, "vllm.num_inductor_compiles": 9}
    warm = warm_record(counters={**entries, MISSES: 1})
    assert kinds(warm, evidences(keys(), ENVIRONMENT), cold=cold_record(counters=entries)) == [FindingKind.KEY_CHANGED]


# Nested and standalone compiles


def test_a_standalone_compile_is_reported_if_nothing_else_is() -> None:
    known = evidences(cold_frames=[frame(cache_event())], warm_frames=[frame(cache_event())])
    [finding] = found(warm_record(counters={MISSES: 1}), known)
    assert finding.kind is FindingKind.COMPILED_OUTSIDE


def test_a_standalone_compile_that_hit_explains_nothing() -> None:
    known = evidences(warm_frames=[frame(cache_event("hit"))])
    assert kinds(known=known) == [FindingKind.UNEXPLAINED]


# Hits in caches that the engine does not count


def test_artifacts_re_saved_without_a_compiler_came_from_its_caches() -> None:
    warm = compiled_again(compiler_work=compiler_work(), counters={HITS: 3, FX_HITS: 2, MISSES: 0})
    findings = found(warm, evidences(keys(), ENVIRONMENT))
    assert [finding.kind for finding in findings] == [FindingKind.KEY_CHANGED, FindingKind.LOADED_UNSEEN]
    assert findings[1].what.startswith("3 artifacts were re-saved with 0 code generations: ")
    assert "AOTAutograd 3 hits, FX graph 2" in findings[1].what
    assert findings[1].seconds is None
    assert [(each.file, each.record) for each in findings[1].evidence] == [
        ("warm.json", "facts.counters, compiler_work")
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"counters": {HITS: 0}},
        {"counters": {HITS: 3}, "compiler_work": compiler_work(code_generations=3)},
        {"counters": {HITS: 3}, "compiler_work": compiler_work(records=0, files=0)},
        {"counters": {HITS: 3}, "compiler_work": None},
        {"counters": {HITS: 3, SAVED: 0}, "compiler_work": compiler_work(code_generations=1)},
    ],
    ids=["no hits", "all generated", "no trace", "no work", "nothing saved"],
)
def test_without_hits_or_a_trace_no_untracked_hits_are_reported(fields: dict[str, Any]) -> None:
    assert FindingKind.LOADED_UNSEEN not in kinds(compiled_again(**fields))


@pytest.mark.parametrize("name", [HITS, FX_HITS])
def test_some_of_the_artifacts_may_be_untracked_hits(name: str) -> None:
    warm = compiled_again(compiler_work=compiler_work(code_generations=2), counters={name: 1})
    assert kinds(warm) == [FindingKind.UNEXPLAINED, FindingKind.LOADED_UNSEEN]


# Unexplained recompilations


def test_an_unexplained_recompilation_says_that_the_key_components_are_the_same() -> None:
    [finding] = found()
    assert finding.kind is FindingKind.UNEXPLAINED
    assert finding.details == [
        "all 2 recorded components of the cache keys are the same as in the cold start",
    ]
    assert finding.what == "the warm start compiled something, and nothing that was recorded explains why"
    assert [each.file for each in finding.evidence] == ["cold.json", "warm.json"]
    assert finding.next is not None and "VLLM_LOGGING_LEVEL=DEBUG" in finding.next


@pytest.mark.parametrize("known", [(None, None), (keys(), None), (None, ENVIRONMENT)])
def test_an_unexplained_recompilation_says_that_keys_were_not_recorded(known: tuple[Any, Any]) -> None:
    [finding] = found(known=KnownOfRun(*known, [], []))
    assert finding.kind is FindingKind.UNEXPLAINED
    assert finding.details == ["the components of the cache keys were not recorded"]


# Costs


@pytest.mark.parametrize(
    ("phases", "seconds"),
    [
        (STAGES, 13.5),
        ([], None),
        ([Phase(name="compile", seconds=20.0)], None),
        ([Phase(name="cache load", seconds=2.0), Phase(name="import", seconds=3.0)], None),
        ([Phase(name="vLLM's backend", seconds=2.0), Phase(name="unaccounted", seconds=3.0)], 2.0),
    ],
    ids=["stages", "none", "old record", "only load", "backend"],
)
def test_the_cost_is_the_time_of_the_stages_that_compile(phases: list[Phase], seconds: float | None) -> None:
    [finding] = found(compiled_again(phases=phases))
    assert finding.seconds == seconds


def test_a_new_file_does_not_hide_what_could_not_be_loaded() -> None:
    change = FileChange(path="vllm/x", how="new", bytes_due=0, bytes_found=1)
    findings = found(compiled_again(caches_changed=[change], messages=[load_failure("KeyError: x")]))
    assert [finding.kind for finding in findings] == [FindingKind.LOAD_FAILED, FindingKind.CACHE_DAMAGED]
    assert "KeyError" not in findings[1].what
    assert [(finding.seconds, finding.shares_cost) for finding in findings] == [(13.5, False), (None, False)]
