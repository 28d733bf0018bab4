from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coldwarm.suite.side_by_side import SideBySide


def test_a_start_alone_ran_alone() -> None:
    running = SideBySide()
    assert [running.end(running.begin()) for _ in range(3)] == [1, 1, 1]


def test_the_most_at_one_time_counts_for_all_that_ran_then() -> None:
    running = SideBySide()
    early, middle, late = running.begin(), running.begin(), running.begin()
    assert running.end(middle) == 3
    after = running.begin()
    assert running.end(early) == 3
    assert running.end(late) == 3
    assert running.end(after) == 3
    assert running.end(running.begin()) == 1


def test_those_that_ended_before_another_began_are_not_forgotten() -> None:
    running = SideBySide()
    first, second, third = (running.begin() for _ in range(3))
    assert (running.end(first), running.end(second)) == (3, 3)
    fourth = running.begin()
    assert (running.end(third), running.end(fourth)) == (3, 2)


@given(st.lists(st.booleans(), max_size=20))
def test_it_is_what_a_slow_count_tells(begins: list[bool]) -> None:
    running = SideBySide()
    open_: list[int] = []
    most: dict[int, int] = {}
    for begin in begins:
        if begin:
            number = running.begin()
            open_.append(number)
            most[number] = 0
            for each in open_:
                most[each] = max(most[each], len(open_))
        elif open_:
            number = open_.pop(0)
            assert running.end(number) == most[number]
