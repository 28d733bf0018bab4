from __future__ import annotations

from typing import Any

import pytest

from coldwarm.core.cache_keys import ChangedFactor, changed_factors
from coldwarm.core.finding import Finding, FindingKind
from coldwarm.core.record import StartKind
from coldwarm.diagnose.key_changes import key_findings
from coldwarm.diagnose.load_failures import LoadFailure
from tests.support.explanations import SOURCE_CHANGED, keys

REFUSED = LoadFailure("/c/model", SOURCE_CHANGED)


def factor(group: str, name: str = "x", **fields: Any) -> ChangedFactor:
    return ChangedFactor(group=group, name=name, **{"cold": "1", "warm": "2", **fields})


def only(changed: ChangedFactor, *failures: LoadFailure) -> Finding:
    [finding] = key_findings([changed], list(failures))
    return finding


@pytest.mark.parametrize(
    ("group", "words", "advice"),
    [
        (
            "environment",
            "the environment variable x is part of vLLM's cache key and changed: 1 cold, 2 warm",
            "set x to the same value",
        ),
        ("source", "a source file that the model is compiled from changed, x: 1 cold, 2 warm", "fill the cache anew"),
        (
            "config.additional_config",
            "the engine's option additional_config.x is part of vLLM's cache key and changed: 1 cold, 2 warm",
            "keep out of additional_config",
        ),
        ("config.model", "config.model.x is part of vLLM's cache key and changed: 1 cold, 2 warm", "same setting"),
        ("vllm", "the cache belongs to another vllm (x): 1 cold, 2 warm", "the very versions"),
        ("torch", "the cache belongs to another torch (x): 1 cold, 2 warm", "the very versions"),
        ("system", "the cache belongs to another system (x): 1 cold, 2 warm", "the hardware"),
        (
            "inductor config",
            "x of the inductor config is part of the cache key and changed: 1 cold, 2 warm",
            "same setting",
        ),
        ("model", "x of the model is part of the cache key and changed: 1 cold, 2 warm", "same setting"),
    ],
)
def test_a_factor_is_told_by_its_group_with_both_values(group: str, words: str, advice: str) -> None:
    found = only(factor(group))
    assert (found.kind, found.start) == (FindingKind.KEY_CHANGED, StartKind.WARM)
    assert found.what == words
    assert found.next is not None and advice in found.next
    assert [(each.file, each.record) for each in found.evidence] == [
        ("cold.keys.json", f"{group}: x = 1"),
        ("warm.keys.json", f"{group}: x = 2"),
    ]


@pytest.mark.parametrize(("value", "told"), [(None, "nothing"), ("", "(empty)"), ("0", "0"), ("[/x]", "[/x]")])
def test_a_value_that_is_not_there_or_empty_is_told_as_such(value: str | None, told: str) -> None:
    found = only(factor("environment", cold=value, warm="2"))
    assert found.what.endswith(f": {told} cold, 2 warm")
    assert found.evidence[0].record.endswith(f"= {told}")
    assert only(factor("environment", cold="2", warm=value)).what.endswith(f": 2 cold, {told} warm")


def test_a_factor_without_a_name_comes_with_the_settings_that_may_be_behind_it() -> None:
    cold, warm = (keys(config__scheduler={"factors": value}) for value in ("8192,128", "4096,128"))
    cold.hints = {"config.scheduler": {"max_num_batched_tokens": "8192", "max_num_seqs": "128", "gone": "1"}}
    warm.hints = {"config.scheduler": {"max_num_batched_tokens": "4096", "max_num_seqs": "128", "new": "1"}}
    [changed] = changed_factors(cold, warm)
    found = only(changed)
    assert "config.scheduler.factors" in found.what
    assert found.details == ["gone: 1 -> nothing", "max_num_batched_tokens: 8192 -> 4096", "new: nothing -> 1"]


def test_where_a_source_changed_its_file_is_named_and_vllms_refusal_is_evidence() -> None:
    found = only(factor("source", "/v/llama.py"), LoadFailure("/c/model", "KeyError"), REFUSED)
    assert found.where == "/v/llama.py"
    assert [each.file for each in found.evidence] == ["cold.keys.json", "warm.keys.json", "warm.log"]
    assert SOURCE_CHANGED in found.evidence[2].record


@pytest.mark.parametrize("failures", [[], [LoadFailure("/c/model", "KeyError")]])
def test_without_vllms_refusal_the_keys_alone_are_evidence(failures: list[LoadFailure]) -> None:
    assert len(only(factor("source"), *failures).evidence) == 2


def test_the_refusal_is_no_evidence_for_anything_but_a_source() -> None:
    found = only(factor("environment"), REFUSED)
    assert len(found.evidence) == 2
    assert found.where is None


@pytest.mark.parametrize("failures", [[], [REFUSED]])
def test_where_forward_stands_is_not_told_beside_a_source_that_changed(failures: list[LoadFailure]) -> None:
    changed = [factor("environment"), factor("model", "forward"), factor("source", "/v/llama.py")]
    told = [found.what for found in key_findings(changed, failures)]
    assert [("variable x" in what, "/v/llama.py" in what) for what in told] == [(True, False), (False, True)]


def test_where_forward_stands_is_told_alone() -> None:
    assert "forward of the model" in only(factor("model", "forward")).what


def test_twelve_factors_are_told_and_the_rest_counted() -> None:
    changed = [factor("environment", f"X{number}") for number in range(12)]
    assert [found.details for found in key_findings(changed, [])] == [[]] * 12
    changed += [factor("environment", "X12", hints=["h"]), factor("environment", "X13")]
    found = key_findings(changed, [])
    assert len(found) == 12
    assert found[-1].details == ["and 2 more factors of the key differ"]


def test_counting_the_rest_leaves_the_factors_as_they_are() -> None:
    changed = [factor("environment", f"X{number}", hints=["h"]) for number in range(13)]
    assert key_findings(changed, [])[-1].details == ["h", "and 1 more factors of the key differ"]
    assert all(each.hints == ["h"] for each in changed)


@pytest.mark.parametrize("group", ["vllm", "torch", "system"])
def test_another_version_is_told_however_many_factors_it_changes(group: str) -> None:
    cold, warm = (
        keys(**{group: {"version": value}, "inductor config": {f"option_{n}": value for n in range(20)}})
        for value in ("1", "2")
    )
    told = [found.what for found in key_findings(changed_factors(cold, warm), [])]
    assert any(f"another {group}" in what for what in told)


@pytest.mark.parametrize(("cold", "warm"), [(None, "sha256 a"), ("sha256 a", None)])
def test_a_source_that_one_start_did_not_trace_is_not_said_to_have_changed(cold: str | None, warm: str | None) -> None:
    # A setting that has the model take another path has Dynamo trace another file.
    told = [found.what for found in key_findings([factor("source", "/v/a.py", cold=cold, warm=warm)], [])]
    assert not any("changed" in what for what in told)


def test_nothing_changed_is_nothing_found() -> None:
    assert key_findings([], [REFUSED]) == []
