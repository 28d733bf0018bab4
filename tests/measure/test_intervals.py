from __future__ import annotations

import pytest

from coldwarm.measure.intervals import Interval, merged, seconds, without


def test_overlapping_intervals_count_once() -> None:
    assert merged([(2.0, 4.0), (0.0, 1.0), (3.0, 5.0), (3.5, 3.6)]) == [(0.0, 1.0), (2.0, 5.0)]
    assert seconds([(2.0, 4.0), (0.0, 1.0), (3.0, 5.0)]) == 4.0


def test_an_interval_that_ends_before_it_begins_is_ignored() -> None:
    assert merged([(2.0, 1.0), (1.0, 1.0)]) == []


@pytest.mark.parametrize(
    ("others", "left"),
    [
        ([], [(1.0, 4.0)]),
        ([(2.0, 3.0)], [(1.0, 2.0), (3.0, 4.0)]),
        ([(0.0, 2.0), (3.0, 9.0)], [(2.0, 3.0)]),
        ([(0.0, 9.0)], []),
        ([(5.0, 9.0)], [(1.0, 4.0)]),
        ([(0.0, 0.5)], [(1.0, 4.0)]),
    ],
)
def test_the_time_of_others_is_subtracted(others: list[Interval], left: list[Interval]) -> None:
    assert without([(1.0, 4.0)], others) == left
