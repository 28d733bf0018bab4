from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldwarm.core.phases import COMPILE, UNACCOUNTED, Phase, Step
from coldwarm.core.stage import Stage
from coldwarm.measure.busy_time import Busy
from coldwarm.measure.phases import split

BEGAN = 1795435200.0
STEPS = ["process start", "import", "engine setup", "weights", COMPILE, "warm-up", "generate", "exit"]


def steps(**seconds: float) -> list[Step]:
    """Return consecutive steps of these seconds."""
    ends = list(accumulate(seconds.values(), initial=BEGAN))
    return [
        Step(name=name.replace("_", " "), begin=begin, end=end)
        for name, (begin, end) in zip(seconds, pairwise(ends), strict=True)
    ]


def busy(begin: float, end: float, stage: str) -> Busy:
    return Busy(BEGAN + begin, BEGAN + end, stage)


def seconds_of(phases: list[Phase]) -> dict[str, float]:
    return {phase.name: round(phase.seconds, 6) for phase in phases}


def test_without_a_trace_the_steps_are_the_phases() -> None:
    assert seconds_of(split(steps(process_start=1, engine_setup=4), [])) == {"process start": 1, "engine setup": 4}
    assert split([], []) == []


def test_compile_time_outside_of_spans_is_unaccounted() -> None:
    phases = split(steps(weights=1, compile=10), [busy(2, 5, Stage.DYNAMO), busy(6, 9.5, Stage.NATIVE)])
    assert seconds_of(phases) == {"weights": 1, "Dynamo": 3, "C++/Triton compilation": 3.5, UNACCOUNTED: 3.5}


def test_compiling_without_a_trace_is_unaccounted() -> None:
    assert seconds_of(split(steps(compile=10), [])) == {UNACCOUNTED: 10}


def test_time_in_a_compiler_is_subtracted_from_its_step() -> None:
    assert seconds_of(split(steps(weights=3, generate=5), [busy(4, 6, Stage.CODE)])) == {
        "weights": 3,
        "Inductor code generation": 2,
        "generate": 3,
    }


def test_a_period_over_several_steps_is_subtracted_from_each() -> None:
    assert seconds_of(split(steps(weights=2, exit=2, generate=2), [busy(1, 5, Stage.AOT)])) == {
        "weights": 1,
        "AOTAutograd": 4,
        "generate": 1,
        "exit": 0,
    }


def test_periods_outside_of_the_steps_are_not_counted() -> None:
    assert seconds_of(split(steps(weights=2), [busy(-3, -1, Stage.AOT), busy(2, 9, Stage.AOT)])) == {"weights": 2}


def test_the_same_stage_in_several_periods_is_one_phase() -> None:
    phases = split(steps(compile=10), [busy(n, n + 0.5, Stage.LOAD) for n in range(10)])
    assert seconds_of(phases) == {"cache load": 5, UNACCOUNTED: 5}


def test_a_step_with_the_name_of_a_stage_counts_towards_it() -> None:
    loading = [Step(name=Stage.LOAD, begin=BEGAN, end=BEGAN + 4), Step(name=COMPILE, begin=BEGAN + 4, end=BEGAN + 6)]
    phases = split(loading, [busy(1, 2, Stage.LOAD), busy(2, 3, Stage.DYNAMO), busy(4, 5, Stage.LOAD)])
    assert seconds_of(phases) == {"Dynamo": 1, "cache load": 4, UNACCOUNTED: 1}


def test_a_repeated_step_is_one_phase() -> None:
    twice = [Step(name=COMPILE, begin=BEGAN, end=BEGAN + 1), Step(name="weights", begin=BEGAN + 1, end=BEGAN + 3)]
    twice.append(Step(name=COMPILE, begin=BEGAN + 3, end=BEGAN + 6))
    assert seconds_of(split(twice, [])) == {"weights": 2, UNACCOUNTED: 4}


def test_phases_are_in_the_order_of_a_start_with_the_engines_own_before_aotautograd() -> None:
    backwards = steps(exit=1, of_another_engine=1, generate=1, compile=9, weights=1, process_start=1)
    stretches = [busy(3 + n, 4 + n, stage) for n, stage in enumerate([*Stage, "vLLM's backend"])]
    assert [phase.name for phase in split(backwards, stretches)] == [
        "process start",
        "weights",
        "Dynamo",
        "of another engine",
        "vLLM's backend",
        "AOTAutograd",
        "Inductor code generation",
        "C++/Triton compilation",
        "cache load",
        "generate",
        "exit",
        UNACCOUNTED,
    ]


def test_names_of_phases_are_plain_text() -> None:
    [phase, *_] = split(steps(compile=2), [busy(0, 1, Stage.DYNAMO)])
    assert type(phase.name) is str


times = st.lists(st.floats(0, 100), max_size=20, unique=True).map(sorted)


@given(
    st.lists(st.tuples(st.sampled_from([*STEPS, *Stage, "other"]), st.floats(0, 50)), min_size=1, max_size=10),
    times,
    st.lists(st.sampled_from(Stage), min_size=20, max_size=20),
)
def test_phases_add_up_to_the_wall_time(
    announced: list[tuple[str, float]], times: list[float], stages: list[Stage]
) -> None:
    ends = list(accumulate((seconds for _, seconds in announced), initial=BEGAN))
    made = [
        Step(name=name, begin=begin, end=end) for (name, _), (begin, end) in zip(announced, pairwise(ends), strict=True)
    ]
    stretches = [busy(begin, end, stage) for (begin, end), stage in zip(pairwise(times), stages, strict=False)][::2]
    phases = split(made, stretches)
    assert sum(phase.seconds for phase in phases) == pytest.approx(made[-1].end - BEGAN, abs=1e-5)
    assert all(phase.seconds >= -1e-5 for phase in phases)
    assert len({phase.name for phase in phases}) == len(phases)
