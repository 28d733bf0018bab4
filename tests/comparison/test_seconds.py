"""Comparing the seconds of two sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from coldwarm.comparison.seconds import Answer, SecondsChange, compare_seconds, needed
from coldwarm.comparison.sides import Side
from coldwarm.core.depth import Depth
from coldwarm.core.isolation import IsolationKind
from tests.support.repeated import repeated, side

NOISE = [0.0, 0.3, -0.2, 0.1, -0.1, 0.2, -0.3, 0.05]


def noisy(seconds: float, starts: int = 6) -> list[float]:
    return [seconds * (1 + each / 10) for each in NOISE[:starts]]


def answers(before: Side, after: Side) -> dict[str, Answer]:
    [changes] = compare_seconds({"tiny": (before, after)}).values()
    return {each.quantity: each.answer for each in changes}


def with_phase(seconds: Sequence[float], **fields: Any) -> Side:
    return side([each + 20 for each in seconds], [4.0 + each / 100 for each in seconds], **fields)


def test_a_slower_and_a_faster_start_are_found() -> None:
    assert answers(side(noisy(20)), side(noisy(25))) == {"cold": Answer.SLOWER, "warm": Answer.SLOWER}
    assert answers(side(noisy(25)), side(noisy(20))) == {"cold": Answer.FASTER, "warm": Answer.FASTER}
    assert answers(side(noisy(20)), side(noisy(20.2))) == {"cold": Answer.NO_DIFFERENCE, "warm": Answer.NO_DIFFERENCE}


def test_too_few_starts_cannot_tell_and_name_how_many_are_needed() -> None:
    pairs = {"tiny": (side(noisy(20, 3)), side(noisy(40, 3)))}
    changes = compare_seconds(pairs)
    assert {each.answer for each in changes["tiny"]} == {Answer.TOO_FEW}
    assert needed(changes) == 5
    more = {f"model{number}": pairs["tiny"] for number in range(8)}
    assert needed(compare_seconds(more)) == 6


def test_many_starts_on_one_side_make_up_for_few_on_the_other() -> None:
    many = side([20 + number / 100 for number in range(20)])
    assert answers(many, side(noisy(30, 3)))["cold"] is Answer.SLOWER


def test_cpu_time_is_compared_if_all_starts_have_it() -> None:
    before, after = side(noisy(20), cpu_seconds=None), side(noisy(20), cpu_seconds=None)
    assert "cold CPU" not in answers(before, after)
    partly = Side([repeated(noisy(20), cpu_seconds=19.5), repeated(noisy(20), cpu_seconds=None)])
    assert "cold CPU" not in answers(partly, partly)
    before, after = side(noisy(20), cpu_seconds=19.5), side(noisy(20), cpu_seconds=25.5)
    found = answers(before, after)
    assert (found["cold"], found["cold CPU"]) == (Answer.NO_DIFFERENCE, Answer.SLOWER)


def test_a_phase_that_got_slower_is_named() -> None:
    found = answers(
        side(noisy(20), phases={"Dynamo": 5.0, "AOTAutograd": 3.0, "exit": 0.1}),
        side(noisy(20), phases={"Dynamo": 6.5, "AOTAutograd": 3.0, "exit": 0.2}),
    )
    assert found["cold: Dynamo"] is Answer.SLOWER
    assert found["cold: AOTAutograd"] is Answer.NO_DIFFERENCE
    assert "cold: exit" not in found, "a phase too short to matter is not tested"


def test_a_phase_that_only_one_side_has_counts_as_zero_on_the_other() -> None:
    found = answers(side(noisy(20), phases={"Dynamo": 5.0}), side(noisy(20), phases={"Dynamo": 5.0, "save": 2.0}))
    assert found["cold: save"] is Answer.SLOWER


@pytest.mark.parametrize(("field", "other"), [("depth", Depth.COUNT), ("isolation", IsolationKind.SPAWN)])
def test_seconds_of_other_conditions_are_not_compared(field: str, other: Depth | IsolationKind) -> None:
    elsewhere: dict[str, Any] = {field: other}
    found = answers(side(noisy(20)), side(noisy(30), **elsewhere))
    assert set(found.values()) == {Answer.OTHER_CONDITIONS}


def test_all_runs_are_one_family_of_tests() -> None:
    def changes(models: int) -> list[SecondsChange]:
        # One start is out of place, so the p-value is only just small enough for one model.
        before, after = side([10.0, 10.1, 10.2, 10.3, 10.4, 12.25]), side([12.0, 12.1, 12.2, 12.3, 12.4, 12.5])
        return compare_seconds({f"model{number}": (before, after) for number in range(models)})["model0"]

    [alone, *_], [many, *_] = changes(1), changes(8)
    assert alone.answer is Answer.SLOWER and many.answer is Answer.NO_DIFFERENCE
    assert alone.p is not None and many.p is not None and many.p > alone.p
