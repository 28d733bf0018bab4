"""The rank test, the size of a difference, and the correction for many comparisons."""

from __future__ import annotations

import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldwarm.comparison.rank_test import ALPHA, adjusted, can_tell, difference, starts_needed
from coldwarm.core.errors import UsageError

OLD = [10.1, 10.3, 9.9, 10.2, 10.0]
NEW = [12.1, 12.5, 11.9, 12.2, 12.05]


def test_a_difference_has_the_values_of_r() -> None:
    # wilcox.test(log(NEW), log(OLD), conf.int = TRUE): p = 2 / choose(10, 5); the interval has the 3rd of the 25
    # pairwise differences at each end.
    found = difference(OLD, NEW)
    ratios = sorted(new / old for old in OLD for new in NEW)
    assert found.p == pytest.approx(2 / 252)
    assert (found.before, found.after) == (10.1, 12.1)
    assert (found.low, found.ratio, found.high) == pytest.approx((ratios[2], ratios[12], ratios[-3]))
    assert found.is_large


def test_the_interval_of_too_few_starts_has_no_ends() -> None:
    found = difference(OLD[:3], NEW[:3])
    assert (found.low, found.high) == (0, float("inf"))
    assert found.p == pytest.approx(0.1)


def test_equal_values_are_compared_exactly() -> None:
    # All 70 ways to choose 4 of 8, of which 2 are as extreme, as 1 and 2 occur only once each.
    assert difference([1.0, 1.0, 1.0, 1.0], [2.0, 2.0, 2.0, 2.0]).p == pytest.approx(2 / 70)
    assert difference([1.0] * 5, [1.0] * 5).p == 1


@pytest.mark.parametrize(
    ("before", "after", "large"),
    [
        ([10.0], [10.6], True),
        ([10.0], [10.4], False),  # 4 %
        ([10.6], [10.0], True),  # faster
        ([0.5], [0.58], False),  # 16 %, and 80 ms
        ([0.0], [0.2], True),  # a new phase
    ],
)
def test_a_difference_must_be_large_enough_to_matter(before: list[float], after: list[float], large: bool) -> None:
    assert difference(before, after).is_large is large


def test_holm_corrects_by_rank() -> None:
    # The example in Holm's paper, section 3, has the same arithmetic: 3 p, 2 p, p.
    assert adjusted([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert adjusted([0.9, 0.5]) == [1.0, 1.0]
    assert adjusted([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_a_corrected_p_value_is_not_smaller_and_keeps_the_order(values: list[float]) -> None:
    corrected = adjusted(values)
    assert all(after >= before for before, after in zip(values, corrected, strict=True))
    assert [each for _, each in sorted(zip(values, corrected, strict=True))] == sorted(corrected)


@given(st.integers(1, 300))
def test_fewer_starts_than_needed_cannot_tell(tests: int) -> None:
    need = starts_needed(tests)
    assert can_tell(need, need, tests)
    assert not can_tell(need - 1, need - 1, tests)


@pytest.mark.parametrize(("tests", "need"), [(1, 4), (2, 5), (4, 5), (32, 7)])
def test_the_starts_needed_grow_slowly_with_the_number_of_tests(tests: int, need: int) -> None:
    assert starts_needed(tests) == need


def test_groups_that_can_tell_are_found_to_differ_when_they_do_not_overlap() -> None:
    for tests in (1, 2, 4, 32):
        need = starts_needed(tests)
        before = [10 + 0.001 * number for number in range(need)]
        found = difference(before, [each + 2 for each in before])
        assert found.p * tests <= ALPHA


def test_groups_without_a_difference_are_rarely_found_to_differ() -> None:
    generator = random.Random(7)

    def start() -> float:
        return 10 * generator.lognormvariate(0, 0.05)

    alarms = sum(difference([start() for _ in range(6)], [start() for _ in range(6)]).p <= ALPHA for _ in range(200))
    assert alarms <= 200 * ALPHA * 1.5


def test_without_scipy_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(UsageError, match=r"pip install scipy"):
        difference(OLD, NEW)
