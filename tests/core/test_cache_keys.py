from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldwarm.core.cache_keys import CacheKeys, ChangedFactor, changed_factors


def keys(factors: dict[str, dict[str, str]], **hints: dict[str, str]) -> CacheKeys:
    return CacheKeys(factors=factors, hints=hints)


def test_the_first_value_of_a_component_is_used() -> None:
    stored = CacheKeys()
    stored.add("environment", "VLLM_X", "1")
    stored.add("environment", "VLLM_X", "2")
    stored.add("environment", "VLLM_Y", "3")
    stored.add("source", "VLLM_X", "4")
    assert stored.factors == {"environment": {"VLLM_X": "1", "VLLM_Y": "3"}, "source": {"VLLM_X": "4"}}


def test_cache_keys_do_not_share_data() -> None:
    CacheKeys().add("a", "b", "c")
    assert CacheKeys().factors == {}


class AddedMeanwhile(str):
    """A value of a component. While it is copied, another thread adds a component."""

    keys: CacheKeys

    def __deepcopy__(self, memo: object) -> str:
        self.keys.add("environment", f"VLLM_{len(self.keys.factors['environment'])}", "")
        self.keys.add(f"group {len(self.keys.factors)}", "", "")
        return str(self)


def test_a_snapshot_can_be_taken_while_components_are_added() -> None:
    value = AddedMeanwhile("1")
    value.keys = CacheKeys.model_construct(
        factors={"environment": {"VLLM_X": value}, "source": {"a.py": "1"}}, hints={}, problems=["p"]
    )
    taken = value.keys.snapshot()
    assert taken.factors == {"environment": {"VLLM_X": "1"}, "source": {"a.py": "1"}}
    assert taken.problems == ["p"]
    value.keys.add("environment", "VLLM_LATER", "2")
    assert "VLLM_LATER" not in taken.factors["environment"]


def test_equal_keys_have_no_changed_components() -> None:
    same = keys({"a": {"b": "c"}, "d": {}}, a={"hint": "1"})
    assert changed_factors(same, same.model_copy(deep=True)) == []
    assert changed_factors(CacheKeys(), CacheKeys()) == []


def test_every_changed_component_is_returned_with_both_values_in_order() -> None:
    cold = keys({"source": {"m.py": "1", "same.py": "s"}, "environment": {"VLLM_B": "0", "VLLM_A": "0", "GONE": "x"}})
    warm = keys({"environment": {"VLLM_A": "1", "VLLM_B": "1", "NEW": ""}, "source": {"m.py": "2", "same.py": "s"}})
    assert [
        (component.group, component.name, component.cold, component.warm) for component in changed_factors(cold, warm)
    ] == [
        ("environment", "GONE", "x", None),
        ("environment", "NEW", None, ""),
        ("environment", "VLLM_A", "0", "1"),
        ("environment", "VLLM_B", "0", "1"),
        ("source", "m.py", "1", "2"),
    ]


@pytest.mark.parametrize("computed", [{"a": {"b": "1"}}, {"a": {}}])
def test_a_group_that_only_one_start_computed_is_not_compared(computed: dict[str, dict[str, str]]) -> None:
    assert changed_factors(keys(computed), keys({})) == []
    assert changed_factors(keys({}), keys(computed)) == []


def test_an_empty_group_is_compared() -> None:
    [component] = changed_factors(keys({"a": {}}), keys({"a": {"b": "1"}}))
    assert (component.cold, component.warm) == (None, "1")


def test_changed_settings_are_hints_for_a_component_of_their_group() -> None:
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


def test_a_changed_hint_is_not_a_changed_component() -> None:
    assert changed_factors(keys({"a": {"b": "1"}}, a={"seed": "0"}), keys({"a": {"b": "1"}}, a={"seed": "1"})) == []


def test_keys_are_the_same_after_json() -> None:
    stored = keys({"source": {"größe.py": "sha256 0"}, "config.additional_config": {}}, a={"b": "c"})
    assert CacheKeys.model_validate_json(stored.model_dump_json()) == stored


factors = st.dictionaries(
    st.sampled_from("abc"), st.dictionaries(st.sampled_from("xyz"), st.sampled_from("12"), max_size=3), max_size=3
)


@given(factors, factors)
def test_the_changes_turn_the_cold_keys_into_the_warm_keys(
    cold: dict[str, dict[str, str]], warm: dict[str, dict[str, str]]
) -> None:
    patched = {group: dict(cold[group]) for group in cold.keys() & warm.keys()}
    for component in changed_factors(keys(cold), keys(warm)):
        assert component.cold == patched[component.group].pop(component.name, None)
        if component.warm is not None:
            patched[component.group][component.name] = component.warm
    assert patched == {group: warm[group] for group in patched}
    back = changed_factors(keys(warm), keys(cold))
    assert [(f.warm, f.cold) for f in back] == [(f.cold, f.warm) for f in changed_factors(keys(cold), keys(warm))]
