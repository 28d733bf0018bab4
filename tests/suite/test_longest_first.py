from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldwarm.core.case import Case
from coldwarm.store.suite_folder import read_runs
from coldwarm.suite import longest_first
from coldwarm.suite.longest_first import chosen_jobs, total_seconds
from tests.support.records import expectation, model_entry
from tests.support.runs import case_of

RECORDS = Path(__file__).parents[2] / "records"


def cases(*seconds: float | None) -> list[Case]:
    return [
        case_of(
            model_entry(
                id=f"m{number}",
                expect=[expectation(seconds={"cold": cold / 2, "warm": cold / 2})] if cold is not None else [],
            )
        )
        for number, cold in enumerate(seconds)
    ]


@pytest.fixture
def eight_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(longest_first, "fitting_jobs", lambda cases: min(8, len(cases)))


@pytest.mark.parametrize(
    ("seconds", "jobs", "total"),
    [
        ([9.0, 3.0, 3.0, 3.0], 1, 18.0),
        ([3.0, 3.0, 9.0, 3.0], 2, 9.0),
        ([2.0, 3.0, 3.0, 4.0], 2, 6.0),
        ([5.0], 4, 5.0),
        ([], 2, 0.0),
    ],
)
def test_the_longest_run_begins_first_and_the_next_when_one_ends(seconds: list[float], jobs: int, total: float) -> None:
    assert total_seconds(seconds, jobs) == total


@given(st.lists(st.floats(0.1, 500), min_size=1, max_size=12), st.integers(1, 12))
def test_a_schedule_takes_at_least_its_longest_run_and_its_average_load(seconds: list[float], jobs: int) -> None:
    end = total_seconds(seconds, jobs)
    assert end >= max(seconds)
    assert end * jobs >= sum(seconds) * 0.999
    assert end <= sum(seconds) * 1.001


@pytest.mark.parametrize(
    ("seconds", "jobs"),
    [
        ((90.0, 30.0, 30.0, 30.0), 2),  # the others end when the longest does
        ((90.0, 30.0, 30.0, 31.0), 3),  # they would end after it
        ((30.0, 30.0, 30.0, 30.0), 4),
        ((30.0,), 1),
    ],
)
@pytest.mark.usefixtures("eight_fit")
def test_no_more_parallel_runs_than_shorten_the_suite(seconds: tuple[float, ...], jobs: int) -> None:
    assert chosen_jobs(cases(*seconds)) == jobs


@pytest.mark.usefixtures("eight_fit")
def test_with_an_unmeasured_model_as_many_run_as_fit() -> None:
    assert chosen_jobs(cases(90.0, 30.0, 30.0, None)) == 4


@pytest.mark.usefixtures("eight_fit")
def test_unsupported_models_take_no_time() -> None:
    unsupported = model_entry(id="z", unsupported=[{"reason": "r", "devices": ["cpu"]}])
    assert chosen_jobs([*cases(90.0, 30.0, 31.0), case_of(unsupported)]) == 2


def test_no_more_runs_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(longest_first, "fitting_jobs", lambda _: 2)
    assert chosen_jobs(cases(*[30.0] * 6)) == 2


@pytest.mark.usefixtures("eight_fit")
def test_on_an_h100_four_parallel_runs_end_with_the_longest_model() -> None:
    runs = read_runs(RECORDS / "h100-2026-11-25")
    seconds = [run.cold.seconds + run.warm.seconds for run in runs if run.cold and run.warm]
    assert len(seconds) == 8
    assert chosen_jobs(cases(*seconds)) == 4
