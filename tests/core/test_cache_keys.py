from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldwarm.core.cache_keys import CacheKeys, ChangedFactor, changed_factors


def keys(factors: dict[str, dict[str, str]], **hints: dict[str, str]) -> CacheKeys:
    return CacheKeys(factors=factors, hints=hints)


def test_the_first_value_of_a_factor_stays() -> None:
    kept = CacheKeys()
    kept.add("environment", "VLLM_X", "1")
    kept.add("environment", "VLLM_X", "2")
    kept.add("environment", "VLLM_Y", "3")
    kept.add("source", "VLLM_X", "4")
    assert kept.factors == {"environment": {"VLLM_X": "1", "VLLM_Y": "3"}, "source": {"VLLM_X": "4"}}


def test_two_keys_share_nothing() -> None:
    CacheKeys().add("a", "b", "c")
    assert CacheKeys().factors == {}


def test_the_same_keys_have_not_changed() -> None:
    same = keys({"a": {"b": "c"}, "d": {}}, a={"hint": "1"})
    assert changed_factors(same, same.model_copy(deep=True)) == []
    assert changed_factors(CacheKeys(), CacheKeys()) == []


def test_every_factor_that_differs_is_told_with_both_values_in_order() -> None:
    cold = keys({"source": {"m.py": "1", "same.py": "s"}, "environment": {"VLLM_B": "0", "VLLM_A": "0", "GONE": "x"}})
    warm = keys({"environment": {"VLLM_A": "1", "VLLM_B": "1", "NEW": ""}, "source": {"m.py": "2", "same.py": "s"}})
    assert [(factor.group, factor.name, factor.cold, factor.warm) for factor in changed_factors(cold, warm)] == [
        ("environment", "GONE", "x", None),
        ("environment", "NEW", None, ""),
        ("environment", "VLLM_A", "0", "1"),
        ("environment", "VLLM_B", "0", "1"),
        ("source", "m.py", "1", "2"),
    ]


@pytest.mark.parametrize("computed", [{"a": {"b": "1"}}, {"a": {}}])
def test_a_group_that_one_start_never_computed_is_not_compared(computed: dict[str, dict[str, str]]) -> None:
    assert changed_factors(keys(computed), keys({})) == []
    assert changed_factors(keys({}), keys(computed)) == []


def test_a_group_without_factors_is_compared() -> None:
    [factor] = changed_factors(keys({"a": {}}), keys({"a": {"b": "1"}}))
    assert (factor.cold, factor.warm) == (None, "1")


def test_settings_that_differ_are_hints_at_a_factor_of_their_group() -> None:
    cold = keys({"config.model": {"factors": "x"}, "other": {"n": "1"}}, **{"config.model": {"seed": "0", "same": "s"}})
    warm = keys(
        {"config.model": {"factors": "y"}, "other": {"n": "2"}},
        **{"config.model": {"seed": "1", "same": "s", "dtype": "bf16"}},
    )
    assert changed_factors(cold, warm) == [
        ChangedFactor(
            group="config.model",
            name="factors",
            cold="x",
            warm="y",
            hints=["dtype: nothing -> bf16", "seed: 0 -> 1"],
        ),
        ChangedFactor(group="other", name="n", cold="1", warm="2"),
    ]


def test_a_hint_alone_is_no_changed_factor() -> None:
    assert changed_factors(keys({"a": {"b": "1"}}, a={"seed": "0"}), keys({"a": {"b": "1"}}, a={"seed": "1"})) == []


def test_keys_are_the_same_after_json() -> None:
    kept = keys({"source": {"größe.py": "sha256 0"}, "config.additional_config": {}}, a={"b": "c"})
    assert CacheKeys.model_validate_json(kept.model_dump_json()) == kept


factors = st.dictionaries(
    st.sampled_from("abc"), st.dictionaries(st.sampled_from("xyz"), st.sampled_from("12"), max_size=3), max_size=3
)


@given(factors, factors)
def test_what_changed_makes_one_of_the_other(cold: dict[str, dict[str, str]], warm: dict[str, dict[str, str]]) -> None:
    patched = {group: dict(cold[group]) for group in cold.keys() & warm.keys()}
    for factor in changed_factors(keys(cold), keys(warm)):
        assert factor.cold == patched[factor.group].pop(factor.name, None)
        if factor.warm is not None:
            patched[factor.group][factor.name] = factor.warm
    assert patched == {group: warm[group] for group in patched}
    back = changed_factors(keys(warm), keys(cold))
    assert [(f.warm, f.cold) for f in back] == [(f.cold, f.warm) for f in changed_factors(keys(cold), keys(warm))]
