"""Tests of the comparison of the compiler's own keys."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from coldwarm.diagnose.key_components import changed_components

COLD = [
    "[aaa] gm: <lambda>()\n\ndef f(self): pass",
    "[bbb] fx_kwargs[cpp_wrapper]: False",
    "[ccc] cache_key_tag: ",
]


def test_equal_keys_have_no_changed_components() -> None:
    assert changed_components(COLD, list(COLD)) == []


def test_a_changed_component_is_reported_by_name_with_both_values() -> None:
    warm = [COLD[0], "[bbc] fx_kwargs[cpp_wrapper]: True", COLD[2]]
    assert changed_components(COLD, warm) == ["fx_kwargs[cpp_wrapper]: False -> True"]


def test_components_are_compared_by_hash() -> None:
    warm = [COLD[0], "[bbb] fx_kwargs[cpp_wrapper]: <function at 0x7f>", COLD[2]]
    assert changed_components(COLD, warm) == []


def test_a_component_that_one_key_lacks_is_reported() -> None:
    assert changed_components(COLD, COLD[:2]) == ["cache_key_tag:  -> nothing"]
    assert changed_components(COLD[:2], COLD) == ["cache_key_tag: nothing -> "]


def test_a_graph_is_shown_on_one_line_and_cut_off() -> None:
    [change] = changed_components(COLD[:1], ["[aab] gm: <lambda>()\n" + "x" * 500])
    assert "\n" not in change and len(change) < 300


def test_of_two_graphs_the_first_lines_that_differ_are_shown() -> None:
    graph = "def forward(arg):\n    cos = aten.cos(arg)\n    add = aten.add(cos, {});  cos = None\n    return (add,)"
    [change] = changed_components([f"[a] gm: {graph.format(1.0)}"], [f"[b] gm: {graph.format(2.0)}"])
    assert change == "graph: add = aten.add(cos, 1.0); cos = None -> add = aten.add(cos, 2.0); cos = None"
    [change] = changed_components(["[a] gm: def f():\n  a = 1"], ["[b] gm: def f():\n  a = 1\n  b = 2"])
    assert change == "graph: nothing -> b = 2"


def test_a_value_that_differs_after_its_known_part_says_so() -> None:
    [change] = changed_components(["[a] gm: same"], ["[b] gm: same"])
    assert change == "graph: same (the difference is not in the part that is known)"


@settings(max_examples=25)
@given(st.lists(st.text()), st.lists(st.text()))
def test_malformed_components_are_skipped(cold: list[str], warm: list[str]) -> None:
    assert isinstance(changed_components(cold, warm), list)


def test_long_values_are_cut_to_the_part_in_which_they_differ() -> None:
    graph = "x" * 500
    [change] = changed_components([f"[a] gm: {graph}1 tail"], [f"[b] gm: {graph}2 tail"])
    assert change == f"graph: ...{'x' * 40}1 tail -> ...{'x' * 40}2 tail"
