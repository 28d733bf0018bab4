from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coldwarm.suite.concurrency import ConcurrencyCounter


def test_a_single_start_is_counted_as_one() -> None:
    running = ConcurrencyCounter()
    assert [running.end(running.begin()) for _ in range(3)] == [1, 1, 1]


def test_the_maximum_applies_to_all_starts_that_ran_at_that_time() -> None:
    running = ConcurrencyCounter()
    early, middle, late = running.begin(), running.begin(), running.begin()
    assert running.end(middle) == 3
    after = running.begin()
    assert running.end(early) == 3
    assert running.end(late) == 3
    assert running.end(after) == 3
    assert running.end(running.begin()) == 1


def test_starts_that_ended_earlier_are_included() -> None:
    running = ConcurrencyCounter()
    first, second, third = (running.begin() for _ in range(3))
    assert (running.end(first), running.end(second)) == (3, 3)
    fourth = running.begin()
    assert (running.end(third), running.end(fourth)) == (3, 2)


@given(st.lists(st.booleans(), max_size=20))
def test_it_agrees_with_a_naive_implementation(begins: list[bool]) -> None:
    running = ConcurrencyCounter()
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
