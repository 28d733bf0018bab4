from __future__ import annotations

from typing import Any

import pytest

from coldwarm.core.cache_keys import ChangedFactor, changed_factors
from coldwarm.core.finding import Finding, FindingKind
from coldwarm.core.load_failure import LoadFailure
from coldwarm.core.record import StartKind
from coldwarm.diagnose.key_changes import key_findings
from coldwarm.engines.vllm.vocabulary import VOCABULARY
from tests.support.explanations import SOURCE_CHANGED, keys

REFUSED = LoadFailure("/c/model", SOURCE_CHANGED, "failed", by_source=True)


def factor(group: str, name: str = "x", **fields: Any) -> ChangedFactor:
    return ChangedFactor(group=group, name=name, **{"cold": "1", "warm": "2", **fields})


def only(changed: ChangedFactor, *failures: LoadFailure) -> Finding:
    [finding] = key_findings([changed], list(failures), VOCABULARY)
    return finding


@pytest.mark.parametrize(
    ("group", "description", "advice"),
    [
        (
            "environment",
            "the environment variable x is part of vLLM's cache key and changed: 1 cold, 2 warm",
            "set x to the same value",
        ),
        ("source", "a source file that the model is compiled from changed, x: 1 cold, 2 warm", "refill the cache"),
        (
            "config.additional_config",
            "the engine's option additional_config.x is part of vLLM's cache key and changed: 1 cold, 2 warm",
            "remove from additional_config",
        ),
        ("config.model", "config.model.x is part of vLLM's cache key and changed: 1 cold, 2 warm", "same setting"),
        ("vllm", "the cache was filled with a different vllm (x): 1 cold, 2 warm", "the same versions"),
        ("torch", "the cache was filled with a different torch (x): 1 cold, 2 warm", "the same versions"),
        ("system", "the cache was filled with a different system (x): 1 cold, 2 warm", "the same hardware"),
        (
            "inductor config",
            "x of the inductor config is part of the cache key and changed: 1 cold, 2 warm",
            "same setting",
        ),
        ("model", "x of the model is part of the cache key and changed: 1 cold, 2 warm", "same setting"),
    ],
)
def test_a_component_is_described_by_its_group_with_both_values(group: str, description: str, advice: str) -> None:
    found = only(factor(group))
    assert (found.kind, found.start) == (FindingKind.KEY_CHANGED, StartKind.WARM)
    assert found.what == description
    assert found.next is not None and advice in found.next
    assert [(each.file, each.record) for each in found.evidence] == [
        ("cold.keys.json", f"{group}: x = 1"),
        ("warm.keys.json", f"{group}: x = 2"),
    ]


@pytest.mark.parametrize("name", ["VLLM_P2P_SIDE_CHANNEL_HOST", "VLLM_EC_SIDE_CHANNEL_PORT", "VLLM_DP_RANK"])
def test_a_variable_that_each_node_may_need_for_itself_should_not_be_in_the_key(name: str) -> None:
    advice = only(ChangedFactor(group="environment", name=name, cold="1", warm="2")).next
    assert advice is not None and "if each node needs its own, no setting helps: ask vLLM to leave it out" in advice
    other = only(ChangedFactor(group="environment", name="VLLM_USE_V2", cold="1", warm="2")).next
    assert other is not None and "each node" not in other


@pytest.mark.parametrize(("value", "shown"), [(None, "nothing"), ("", "(empty)"), ("0", "0"), ("[/x]", "[/x]")])
def test_a_value_that_is_missing_or_empty_is_shown_as_such(value: str | None, shown: str) -> None:
    found = only(factor("environment", cold=value, warm="2"))
    assert found.what.endswith(f": {shown} cold, 2 warm")
    assert found.evidence[0].record.endswith(f"= {shown}")
    assert only(factor("environment", cold="2", warm=value)).what.endswith(f": 2 cold, {shown} warm")


def test_a_component_without_a_name_comes_with_the_settings_that_may_explain_it() -> None:
    cold, warm = (keys(config__scheduler={"factors": value}) for value in ("8192,128", "4096,128"))
    cold.hints = {"config.scheduler": {"max_num_batched_tokens": "8192", "max_num_seqs": "128", "gone": "1"}}
    warm.hints = {"config.scheduler": {"max_num_batched_tokens": "4096", "max_num_seqs": "128", "new": "1"}}
    [changed] = changed_factors(cold, warm)
    found = only(changed)
    assert "config.scheduler.factors" in found.what
    assert found.details == ["gone: 1 -> nothing", "max_num_batched_tokens: 8192 -> 4096", "new: nothing -> 1"]


def test_a_changed_source_is_named_and_vllms_refusal_is_evidence() -> None:
    found = only(factor("source", "/v/llama.py"), LoadFailure("/c/model", "KeyError", "failed"), REFUSED)
    assert found.where == "/v/llama.py"
    assert [each.file for each in found.evidence] == ["cold.keys.json", "warm.keys.json", "warm.log"]
    assert SOURCE_CHANGED in found.evidence[2].record


@pytest.mark.parametrize("failures", [[], [LoadFailure("/c/model", "KeyError", "failed")]])
def test_without_vllms_refusal_only_the_keys_are_evidence(failures: list[LoadFailure]) -> None:
    assert len(only(factor("source"), *failures).evidence) == 2


def test_the_refusal_is_evidence_only_for_a_source() -> None:
    found = only(factor("environment"), REFUSED)
    assert len(found.evidence) == 2
    assert found.where is None


@pytest.mark.parametrize("failures", [[], [REFUSED]])
def test_the_line_of_forward_is_not_shown_if_a_source_changed(failures: list[LoadFailure]) -> None:
    changed = [factor("environment"), factor("model", "forward"), factor("source", "/v/llama.py")]
    shown = [found.what for found in key_findings(changed, failures, VOCABULARY)]
    assert [("variable x" in what, "/v/llama.py" in what) for what in shown] == [(True, False), (False, True)]


def test_the_line_of_forward_is_shown_if_nothing_else_changed() -> None:
    assert "forward of the model" in only(factor("model", "forward")).what


def test_twelve_components_are_shown_and_the_rest_counted() -> None:
    changed = [factor("environment", f"X{number}") for number in range(12)]
    assert [found.details for found in key_findings(changed, [], VOCABULARY)] == [[]] * 12
    changed += [factor("environment", "X12", hints=["h"]), factor("environment", "X13")]
    found = key_findings(changed, [], VOCABULARY)
    assert len(found) == 12
    assert found[-1].details == ["and 2 more components of the key differ"]


def test_counting_the_rest_changes_no_component() -> None:
    changed = [factor("environment", f"X{number}", hints=["h"]) for number in range(13)]
    assert key_findings(changed, [], VOCABULARY)[-1].details == ["h", "and 1 more components of the key differ"]
    assert all(each.hints == ["h"] for each in changed)


@pytest.mark.parametrize("group", ["vllm", "torch", "system"])
def test_a_different_version_is_shown_however_many_components_it_changes(group: str) -> None:
    cold, warm = (
        keys(**{group: {"version": value}, "inductor config": {f"option_{n}": value for n in range(20)}})
        for value in ("1", "2")
    )
    shown = [found.what for found in key_findings(changed_factors(cold, warm), [], VOCABULARY)]
    assert any(f"a different {group}" in what for what in shown)


@pytest.mark.parametrize(("cold", "warm"), [(None, "sha256 a"), ("sha256 a", None)])
def test_a_source_that_one_start_did_not_trace_is_not_said_to_have_changed(cold: str | None, warm: str | None) -> None:
    # If a setting makes the model take a different path, Dynamo traces a different file.
    shown = [found.what for found in key_findings([factor("source", "/v/a.py", cold=cold, warm=warm)], [], VOCABULARY)]
    assert not any("changed" in what for what in shown)


def test_nothing_changed_is_nothing_found() -> None:
    assert key_findings([], [REFUSED], VOCABULARY) == []
