from __future__ import annotations

from coldwarm.diagnose.function_keys import FunctionKeys

NAME = "second (two.py:7)"
KEY = ["[a] gm: add = cos + 1.0", *(f"[b] option {n}: False" for n in range(5))]
CHANGED = [f"[c] option {n}: True" for n in range(5)]


def test_the_components_that_differ_are_named() -> None:
    keys = FunctionKeys({NAME: [KEY]}, {NAME: [["[x] gm: add = cos + 2.0", *KEY[1:]]]}, found_nothing=False)
    assert keys.why_missed(NAME) == "its key differs in graph: add = cos + 1.0 -> add = cos + 2.0"


def test_of_many_components_the_first_are_named() -> None:
    keys = FunctionKeys({NAME: [KEY]}, {NAME: [[KEY[0], *CHANGED]]}, found_nothing=False)
    assert keys.why_missed(NAME) == (
        "its key differs in option 0: False -> True; option 1: False -> True; option 2: False -> True; "
        "and 2 more components"
    )


def test_what_is_not_known_is_said() -> None:
    same = FunctionKeys({NAME: [KEY]}, {NAME: [KEY]}, found_nothing=False)
    assert same.why_missed(NAME) == "its key has the same components as before, as far as Inductor logs them"
    unknown = FunctionKeys({}, {NAME: [KEY]}, found_nothing=False)
    assert unknown.why_missed(NAME) == (
        "what differs is not known, because no start that 'coldwarm watch' observed with this cache compiled a "
        "function of this name, file and line"
    )


def test_a_cache_that_was_empty_needs_no_reason_for_each_function() -> None:
    assert FunctionKeys({}, {NAME: [KEY]}, found_nothing=True).why_missed(NAME) is None
    assert FunctionKeys({}, {}, found_nothing=False).why_missed(NAME) is None, "Inductor logged no key"


def test_the_nearest_of_several_keys_is_compared() -> None:
    other = ["[z] gm: other", *CHANGED]
    keys = FunctionKeys({NAME: [other, KEY]}, {NAME: [[KEY[0], *KEY[1:5], CHANGED[4]]]}, found_nothing=False)
    assert keys.why_missed(NAME) == "its key differs in option 4: False -> True"
