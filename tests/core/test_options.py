from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldwarm.core.errors import UsageError
from coldwarm.core.options import flatten, merged, parse_options, parse_variables


def parse(*words: str) -> dict[str, Any]:
    return parse_options(words, flag="--set")


def parse_again(options: dict[str, Any]) -> dict[str, Any]:
    return parse(*(f"{name}={value}" for name, value in flatten(options).items()))


@pytest.mark.parametrize(
    ("word", "options"),
    [
        ("seed=1", {"seed": 1}),
        ("a=-1.5e3", {"a": -1500.0}),
        ("a=true", {"a": True}),
        ("a=True", {"a": "True"}),
        ("a=null", {"a": None}),
        ("a=", {"a": ""}),
        ("a=bfloat16", {"a": "bfloat16"}),
        ('a="1"', {"a": "1"}),
        ("a=[1, 2]", {"a": [1, 2]}),
        ("a=[1, 2", {"a": "[1, 2"}),
        ('a={"b": {"c": 1}}', {"a": {"b": {"c": 1}}}),
        ("a={}", {"a": {}}),
        ("a=b=c", {"a": "b=c"}),
        ("a=/x y/z", {"a": "/x y/z"}),
        ("a.b.c=1", {"a": {"b": {"c": 1}}}),
        ("a=" + "1" * 5000, {"a": "1" * 5000}),
    ],
)
def test_an_option_is_a_dotted_name_with_a_json_value_or_text(word: str, options: dict[str, Any]) -> None:
    parsed = parse(word)
    assert parsed == options
    assert json.dumps(parsed) == json.dumps(options)


def test_options_are_combined() -> None:
    assert parse("a.b=1", "c=2", 'a={"d": {"e": 3}}', "a.d.f=4") == {"a": {"b": 1, "d": {"e": 3, "f": 4}}, "c": 2}
    assert parse() == {}


def test_the_later_of_two_values_is_used() -> None:
    assert parse("a=1", "a=2") == {"a": 2}
    assert parse("a.b=1", 'a={"b": 2}') == {"a": {"b": 2}}
    assert parse('a={"b": 1}', "a.b=2") == {"a": {"b": 2}}


@pytest.mark.parametrize("word", ["seed", "", "=1", ".=1", "a.=1", ".a=1", "a..b=1"])
def test_an_option_without_a_name_or_a_value_is_an_error(word: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_options(["a=1", word], flag="--warm-set")
    assert str(refused.value).startswith(f"--warm-set {word}: expected NAME=VALUE")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["a=1", "a.b=2"], "a"),
        (["a.b=1", "a.b.c=2"], "b"),
        (["a=null", "a.b=2"], "a"),
        (["a.b=1", "a=2"], "a"),
        (['a={"b": {"c": 1}}', "a.b=2"], "b"),
        (["a=1", 'a={"b": 2}'], "a"),
        (["a.b.c=1", 'a={"b": 2}'], "b"),
        (["a.b=1", 'a={"b": {"c": 2}}'], "b"),
    ],
)
def test_a_name_cannot_be_both_a_value_and_a_prefix(words: list[str], name: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(*words)
    assert str(refused.value) == f"--set {words[-1]}: {name!r} cannot be both a value and a prefix of other options"


def test_a_value_nested_too_deep_is_text() -> None:
    assert parse("a=" + "[" * 100_000) == {"a": "[" * 100_000}


def test_variables_are_text() -> None:
    assert parse_variables(["VLLM_X=1", "A=", "B=c=d", "C.d=e"], flag="--warm-env") == {
        "VLLM_X": "1",
        "A": "",
        "B": "c=d",
        "C.d": "e",
    }


@pytest.mark.parametrize("word", ["VLLM_X", "", "=1"])
def test_a_variable_without_a_name_or_a_value_is_an_error(word: str) -> None:
    with pytest.raises(UsageError, match=r"^--warm-env .*: expected NAME=VALUE$"):
        parse_variables([word], flag="--warm-env")


def test_mappings_are_merged_recursively() -> None:
    below = {"a": {"b": 1, "c": {"d": 2}}, "e": [1], "f": {"g": 1}, "h": 1}
    above = {"a": {"c": {"x": 3}}, "e": [2], "f": 5, "h": {"i": 1}}
    assert merged(below, above) == {"a": {"b": 1, "c": {"d": 2, "x": 3}}, "e": [2], "f": 5, "h": {"i": 1}}


def test_merging_does_not_change_its_arguments() -> None:
    below, above = {"a": {"b": {"c": 1}}}, {"a": {"b": {"d": 2}}, "e": {"f": 1}}
    copies = json.loads(json.dumps([below, above]))
    merged(below, above)
    assert [below, above] == copies


def test_flattened_options_are_dotted_names_with_json_values() -> None:
    options: dict[str, Any] = {"a": {"b": {"c": 1, "d": "x"}, "e": []}, "f": {}, "g": None, "i": [{"j": "ß"}]}
    assert flatten(options) == {
        "a.b.c": "1",
        "a.b.d": '"x"',
        "a.e": "[]",
        "f": "{}",
        "g": "null",
        "i": r'[{"j": "\u00df"}]',
    }


@pytest.mark.parametrize("key", ["triton.cudagraphs", "b=c", ""])
def test_a_key_that_is_not_a_name_is_kept_in_json(key: str) -> None:
    # As in Inductor's options: compilation_config.inductor_compile_config={"triton.cudagraphs": true}
    options: dict[str, Any] = {"a": {key: True, "plain": {"b": 1}}}
    assert parse_again(options) == options


names = st.text(st.characters(exclude_characters=".="), min_size=1, max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(names, values, max_size=4))
def test_flattened_options_are_parsed_to_the_same_options(options: dict[str, Any]) -> None:
    again = parse_again(options)
    assert again == options
    assert json.dumps(again, sort_keys=True) == json.dumps(options, sort_keys=True)


@given(st.lists(st.text(max_size=12), max_size=5))
def test_any_arguments_are_parsed_or_an_error(words: list[str]) -> None:
    try:
        options = parse(*words)
    except UsageError:
        return
    assert options.keys() == {word.partition("=")[0].split(".")[0] for word in words}


@given(values, values)
def test_merging_with_itself_or_nothing_changes_nothing(one: Any, other: Any) -> None:
    options: dict[str, Any] = {"a": one, "b": {"c": one}}
    more = {"a": other}
    assert merged(options, options) == merged(options, {}) == merged({}, options) == options
    assert merged(merged(options, more), more) == merged(options, more)
