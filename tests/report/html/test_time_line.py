from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from coldwarm.catalog.catalog import Catalog
from coldwarm.core.phases import COMPILE, Phase, Step
from coldwarm.core.record import ProcessReport, StartRecord
from coldwarm.report.html.time_line import Group, Lane, StartTimes, TimeLine, group_of, in_groups, stacked
from coldwarm.suite.stored import judge_stored
from tests.report.html.suites import BEGAN, H200
from tests.support.records import cached_kernel, cold_record, kernel_event, kernel_events, warm_record
from tests.test_kept_records import SUITES

PHASES = [
    Phase(name="import", seconds=2.5),
    Phase(name="Dynamo", seconds=5.0),
    Phase(name="AOTAutograd", seconds=2.5),
    Phase(name="exit", seconds=2.5),
]


def lanes(record: StartRecord) -> list[Lane]:
    return only(record).lanes


def only(record: StartRecord) -> StartTimes:
    [start] = TimeLine.of([("cold", record)]).starts
    return start


def test_phases_are_stacked_over_the_whole_start() -> None:
    phases, *_ = lanes(cold_record(phases=PHASES))
    assert [(bar.name, bar.left, bar.width) for bar in phases.bars] == [
        ("import", 0, 20),
        ("Dynamo", 20, 40),
        ("AOTAutograd", 60, 20),
        ("exit", 80, 20),
    ]


def test_starts_are_on_one_scale() -> None:
    line = TimeLine.of([("cold", cold_record(phases=PHASES)), ("warm", warm_record(phases=PHASES[:1], seconds=2.5))])
    assert [start.width for start in line.starts] == [100, 20]
    assert [bar.width for start in line.starts for bar in start.lanes[0].bars if bar.name == "import"] == [20, 20]
    assert line.groups == [(Group.PROCESS, [5.0, 2.5]), (Group.COMPILE, [7.5, 0])]
    assert line.phases[1] == ("Dynamo", Group.COMPILE, [5.0, None])


def test_adjacent_phases_of_a_group_are_one_bar() -> None:
    bars = in_groups(cold_record(phases=PHASES), 12.5)
    assert [(bar.group, bar.seconds, bar.left, bar.width) for bar in bars] == [
        (Group.PROCESS, 2.5, 0, 20),
        (Group.COMPILE, 7.5, 20, 60),
        (Group.PROCESS, 2.5, 80, 20),
    ]


@pytest.mark.parametrize("suite", SUITES, ids=lambda path: path.name)
def test_each_phase_of_a_real_start_has_a_group(suite: Path) -> None:
    for result in judge_stored(suite, Catalog.read()):
        for record in (result.cold, result.warm):
            for phase in record.phases if record else []:
                is_unknown = group_of(phase.name, result.case.engine) is Group.UNKNOWN
                assert is_unknown == (phase.name == "unaccounted"), phase.name


def test_bars_of_real_starts_lie_on_their_track() -> None:
    for result in judge_stored(H200, Catalog.read()):
        records = [(record.kind, record) for record in (result.cold, result.warm) if record]
        for start in TimeLine.of(records).starts:
            assert [lane.kind for lane in start.lanes][:2] == ["phases", "steps"]
            for bar in (bar for lane in start.lanes for bar in lane.bars):
                assert bar.left >= 0
                assert bar.left + bar.width <= 100.01
            assert sum(bar.width for bar in start.lanes[0].bars) == pytest.approx(start.width, abs=1)


def test_steps_are_where_they_were() -> None:
    steps = [
        Step(name="import", begin=BEGAN + 1.25, end=BEGAN + 2.5),
        Step(name=COMPILE, begin=BEGAN + 2.5, end=BEGAN + 12.5),
    ]
    _, lane = lanes(cold_record(steps=steps))
    assert lane.label == "worker, rank 0"
    assert [(bar.name, bar.group, bar.left, bar.width) for bar in lane.bars] == [
        ("import", Group.PROCESS, 10, 10),
        ("compile", Group.COMPILE, 20, 80),
    ]


def test_a_clock_that_was_set_back_leaves_no_bar_outside() -> None:
    steps = [
        Step(name="import", begin=BEGAN - 100, end=BEGAN - 90),
        Step(name="exit", begin=BEGAN + 90, end=BEGAN + 99),
    ]
    _, lane = lanes(cold_record(steps=steps))
    assert all(bar.left >= 0 and bar.left + bar.width <= 100 for bar in lane.bars)


def test_each_process_and_rank_has_a_lane() -> None:
    processes = [
        ProcessReport(pid=1, role="engine core"),
        ProcessReport(pid=2, rank=0, kernels=kernel_events(kernel_event(begin=BEGAN + 1))),
        ProcessReport(pid=3, rank=1, kernels=kernel_events(kernel_event(begin=BEGAN + 2), cached_kernel(begin=None))),
    ]
    record = cold_record(processes=processes, steps=[Step(name="import", begin=BEGAN, end=BEGAN + 1)])
    assert [(lane.label, lane.kind, len(lane.bars)) for lane in lanes(record)] == [
        ("phases", "phases", 0),
        ("engine core", "steps", 0),
        ("worker, rank 0", "steps", 1),
        ("worker, rank 0: kernels", "kernels", 1),
        ("worker, rank 1: kernels", "kernels", 1),
    ]


def test_kernels_without_a_visible_gap_are_one_bar_with_their_names() -> None:
    names = ["a", "b", "c", "d", "e"]
    events = [kernel_event(n, begin=BEGAN + n / 100, seconds=0.01, kernel=name) for n, name in enumerate(names)]
    late = kernel_event(begin=BEGAN + 10, kernel="late")
    *_, lane = lanes(cold_record(kernels=kernel_events(*events, late)))
    assert [bar.name for bar in lane.bars] == ["a, b, c and 2 more", "late"]
    assert lane.note == "6 kernels compiled"


def test_what_was_loaded_is_not_shown_as_compiled() -> None:
    loaded = kernel_event(begin=BEGAN + 1, outcome="loaded")
    *_, lane = lanes(cold_record(kernels=kernel_events(loaded)))
    assert (lane.bars, lane.note) == ([], "no steps and no compiled kernels recorded")


@pytest.mark.parametrize(
    ("seconds", "last"), [(0.05, "0.05"), (3.2, "3"), (12.5, "10"), (59.3, "50"), (120.0, "120"), (7200.0, "6000")]
)
def test_the_axis_has_round_numbers(seconds: float, last: str) -> None:
    line = TimeLine.of([("cold", cold_record(seconds=seconds))])
    assert line.ticks[0].label == "0 s"
    assert line.ticks[-1].label == last
    assert 2 <= len(line.ticks) <= 7
    assert all(tick.left <= 100 for tick in line.ticks)


def test_a_start_is_also_described_in_words() -> None:
    assert only(cold_record(phases=PHASES)).words == (
        "cold, 12.5 s: import 2.5 s, Dynamo 5.0 s, AOTAutograd 2.5 s, exit 2.5 s"
    )
    assert only(cold_record()).words == "cold, 12.5 s: no phases recorded"


def test_nothing_and_no_time_can_be_drawn() -> None:
    assert TimeLine.of([]).starts == []
    record = cold_record(seconds=0.0, phases=[Phase(name="import", seconds=0.0)], began=datetime.now().astimezone())
    assert only(record).lanes[0].bars == []
    assert only(cold_record()).lanes[0].note == "no phases recorded"
    assert stacked(record.model_copy(update={"began": record.began + timedelta(days=1)}), 1.0) == []
