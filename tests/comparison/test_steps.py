"""Finding steps in a series."""

from __future__ import annotations

import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldwarm.comparison.steps import SHORTEST_SERIES, WINDOW, find_steps
from coldwarm.core.errors import UsageError


def noisy(seconds: float, runs: int, *, seed: int = 1, noise: float = 0.03) -> list[float]:
    generator = random.Random(f"{seconds} {runs} {seed}")
    return [seconds * (1 + generator.gauss(0, noise)) for _ in range(runs)]


def test_a_step_has_its_place_and_both_levels() -> None:
    [step] = find_steps({"cold": noisy(10, 15) + noisy(12, 10)})["cold"]
    assert step.index == 15 and step.is_slower
    assert step.before == pytest.approx(10, rel=0.03)
    assert step.after == pytest.approx(12, rel=0.03)
    assert step.ratio == pytest.approx(1.2, rel=0.05)


def test_a_faster_start_is_a_step_too() -> None:
    [step] = find_steps({"cold": noisy(12, 15) + noisy(10, 10)})["cold"]
    assert step.index == 15 and not step.is_slower


def test_steps_up_and_down_are_both_found() -> None:
    steps = find_steps({"cold": noisy(10, 15) + noisy(13, 15) + noisy(10, 15, seed=2)})["cold"]
    assert [(step.index, step.is_slower) for step in steps] == [(15, True), (30, False)]


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_no_step(seed: int) -> None:
    assert find_steps({"cold": noisy(10, 40, seed=seed), "warm": noisy(2, 40, seed=seed)}) == {}


def test_outliers_are_no_step() -> None:
    values = noisy(10, 30)
    values[12], values[29] = 40.0, 35.0
    assert find_steps({"cold": values}) == {}


def test_a_step_that_does_not_matter_is_left_out() -> None:
    assert find_steps({"cold": noisy(10, 15, noise=0.001) + noisy(10.3, 15, noise=0.001)}) == {}, "3 %"
    assert find_steps({"exit": noisy(0.2, 15) + noisy(0.28, 15)}) == {}, "80 ms"


@given(st.lists(st.floats(0, 1000), max_size=SHORTEST_SERIES - 1))
def test_a_short_series_has_no_step(values: list[float]) -> None:
    assert find_steps({"cold": values}) == {}


@given(st.floats(0, 1000), st.integers(SHORTEST_SERIES, 80))
def test_a_constant_series_has_no_step(value: float, runs: int) -> None:
    assert find_steps({"cold": [value] * runs}) == {}


def test_only_the_latest_runs_are_examined() -> None:
    old, new = noisy(10, 30), noisy(20, WINDOW)
    assert find_steps({"cold": old + new}) == {}
    [step] = find_steps({"cold": old + new[: WINDOW - 10]})["cold"]
    assert step.index == 30


def test_more_series_need_more_runs() -> None:
    values = noisy(10, 12) + noisy(12, 8)
    assert "cold" in find_steps({"cold": values}, alpha=0.001)
    others = {f"phase {number}": noisy(5, 20, seed=number) for number in range(60)}
    assert "cold" not in find_steps({"cold": values, **others}, alpha=0.001)


def test_without_numpy_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(UsageError, match=r"pip install numpy"):
        find_steps({"cold": [1.0] * 10})
