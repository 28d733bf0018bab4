"""The search for the first bad candidate, with measurements that are made up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldwarm.bisection.measure import BROKEN, HOLDS, STARTS, UNIQUE, Measurement, Measurements
from coldwarm.bisection.search import Found, search
from coldwarm.core.depth import Depth
from coldwarm.core.errors import UsageError

ONLY_UNIQUE = "cold-only-unique"


NOT_COMPILED: Mapping[str, str] = {}


class Made:
    """Measurements that are known beforehand, by name and depth; None: cannot be judged."""

    def __init__(self, values: Mapping[str, Mapping[Depth, Mapping[str, str] | None]]) -> None:
        self._values = values
        self.asked: list[tuple[str, Depth]] = []

    def measure(self, name: str, depth: Depth) -> Measurement:
        if (name, depth) not in self.asked:
            self.asked.append((name, depth))
        values = self._values[name][depth]
        if values is None:
            return Measurement(name, depth, {STARTS: BROKEN}, (STARTS,), "crashed")
        if values is NOT_COMPILED:
            return Measurement(name, depth, {}, (), "use --depth full", needs_kernels=True)
        return Measurement(name, depth, {STARTS: HOLDS, **values}, (STARTS, *values), None)


def find(made: Made, names: list[str], check: str | None = None) -> Found:
    return search(names, cast(Measurements, made), check=check, depths=list(Depth), say=lambda _: None)


def at_all_depths(values: Mapping[str, str] | None) -> dict[Depth, Mapping[str, str] | None]:
    return dict.fromkeys(Depth, values)


@given(st.integers(1, 60), st.integers(1, 60), st.sets(st.integers(1, 118)))
def test_the_first_bad_one_is_found_in_a_logarithmic_number_of_measurements(
    good: int, bad: int, skipped: set[int]
) -> None:
    names = [f"r{number}" for number in range(good + bad)]
    unjudged = {number for number in skipped if number < len(names) - 1}
    made = Made(
        {
            name: at_all_depths(None if number in unjudged else {UNIQUE: "3" if number < good else "4"})
            for number, name in enumerate(names)
        }
    )
    found = find(made, names)
    judged = [number for number in range(len(names)) if number not in unjudged]
    last = max(number for number in judged if number < good)
    first = min(number for number in judged if number >= good)
    assert (found.check, found.depth) == (UNIQUE, Depth.TRACE)
    assert (found.last_good.name, found.first_bad.name) == (names[last], names[first])
    assert [each.name for each in found.between] == names[last + 1 : first]
    assert len(made.asked) <= 2 + len(names).bit_length() + len(unjudged)


def test_the_cheapest_depth_that_shows_a_difference_is_used() -> None:
    alike, unlike = {UNIQUE: "3"}, {UNIQUE: "3", "warm.loaded": "0"}
    healthy = {Depth.TRACE: alike, Depth.COUNT: {**alike, "warm.loaded": "3"}, Depth.FULL: None}
    broken = {Depth.TRACE: alike, Depth.COUNT: unlike, Depth.FULL: None}
    made = Made({"a": healthy, "b": broken, "c": broken})
    found = find(made, ["a", "b", "c"])
    assert (found.check, found.depth, found.first_bad.name) == ("warm.loaded", Depth.COUNT, "b")
    assert ("b", Depth.TRACE) not in made.asked
    assert not [name for name, depth in made.asked if depth is Depth.FULL]


def test_a_check_that_is_broken_counts_before_a_number_and_must_hold_with_the_good_one() -> None:
    made = Made(
        {
            "a": at_all_depths({ONLY_UNIQUE: HOLDS, UNIQUE: "3"}),
            "b": at_all_depths({ONLY_UNIQUE: HOLDS, UNIQUE: "4"}),
            "c": at_all_depths({ONLY_UNIQUE: BROKEN, UNIQUE: "5"}),
        }
    )
    assert find(made, ["a", "b", "c"]).first_bad.name == "c"
    assert find(made, ["a", "b", "c"], UNIQUE).first_bad.name == "b"
    with pytest.raises(UsageError, match=f"{ONLY_UNIQUE}, at depth trace, count, full: broken with c, holds with a"):
        find(made, ["c", "b", "a"], ONLY_UNIQUE)


def test_ends_that_do_not_differ_or_cannot_be_judged_are_an_error() -> None:
    same = at_all_depths({ONLY_UNIQUE: BROKEN, UNIQUE: "3"})
    fixed = at_all_depths({ONLY_UNIQUE: HOLDS, UNIQUE: "3"})
    made = Made({"a": same, "b": same, "fixed": fixed, "crashed": at_all_depths(None)})
    with pytest.raises(UsageError, match="a and b differ in no check at depth trace, count, full"):
        find(made, ["a", "b"])
    with pytest.raises(UsageError, match="cold-only-unique is broken with a: swap --good and --bad"):
        find(made, ["a", "fixed"])
    with pytest.raises(UsageError, match="crashed cannot be judged at depth trace: crashed"):
        find(made, ["crashed", "a"])
    with pytest.raises(UsageError, match="no check 'uniqe'; nearest: unique"):
        find(made, ["a", "b"], "uniqe")


def test_a_model_that_is_not_compiled_is_searched_at_the_depth_that_judges_it() -> None:
    compiled = at_all_depths({UNIQUE: "3", ONLY_UNIQUE: HOLDS})
    only_kernels = {**dict.fromkeys(Depth, NOT_COMPILED), Depth.FULL: {UNIQUE: "0", ONLY_UNIQUE: HOLDS}}
    found = find(Made({"a": compiled, "b": only_kernels, "c": only_kernels}), ["a", "b", "c"])
    assert (found.check, found.depth, found.first_bad.name) == (UNIQUE, Depth.FULL, "b")
    made = Made({"a": compiled, "b": only_kernels})
    with pytest.raises(UsageError, match="b cannot be judged at depth count: use --depth full"):
        search(["a", "b"], cast(Measurements, made), check=None, depths=[Depth.COUNT], say=lambda _: None)
