"""Trends in histories whose noise is that of real repeated starts (`tests/data/repeated-starts.json`)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from coldwarm.comparison.steps import SHORTEST_SERIES
from coldwarm.comparison.trend import Trend, trend_of
from coldwarm.report.trend_view import print_trend, trend_as_json
from coldwarm.store.history.history import History
from coldwarm.store.history.points import Point
from coldwarm.suite.result import RunResult
from tests.report.consoles import Paper
from tests.support.commands import Commands
from tests.support.histories import Noise, history, share
from tests.support.records import SAVED, cold_record, model_entry, warm_record
from tests.support.runs import case_of
from tests.support.stored import stored

DYNAMO = ("cold", "Dynamo")


def finds(trend: Trend, phase: tuple[str, str] = DYNAMO) -> bool:
    return any(each.quantity == ": ".join(phase) and each.step.is_slower for each in trend.times)


@pytest.mark.parametrize(
    ("starts", "scale"),
    # The measured noise is that of a machine with a load of 20. Repetitions make up for it.
    [(5, 1.0), (1, 0.5)],
    ids=["repeated on a busy machine", "once on a machine with half the noise"],
)
def test_a_slowdown_of_20_percent_in_one_phase_is_found_within_ten_runs(starts: int, scale: float) -> None:
    def found(seed: int) -> bool:
        runs = history(30, Noise(seed, scale=scale), slower=DYNAMO, since=20, starts=starts)
        return any(finds(trend_of(runs[:newest])) for newest in range(23, 31))

    assert share(range(20), found) >= 0.9


def test_the_slowdown_has_its_size_its_run_and_the_version() -> None:
    runs = history(30, Noise(3), slower=DYNAMO, since=20, starts=5)
    trend = trend_of(runs)
    [step] = [each for each in trend.times if each.quantity == "cold: Dynamo"]
    # The speed of the machine is divided out, so that the first slower run may be one off.
    assert abs(runs.index(step.first) - 20) <= 1
    assert step.step.ratio == pytest.approx(1.2, abs=0.08)
    paper = Paper(width=120)
    print_trend(paper.console, "qwen3-32b", trend)
    assert paper.lines[0] == "qwen3-32b: 30 runs from 2026-01-01 00:00 to 2026-01-30 00:00"
    content = json.loads(trend_as_json("qwen3-32b", trend))
    assert {each["quantity"] for each in content["seconds"]} >= {"cold: Dynamo"}


@pytest.mark.parametrize("model", range(8))
def test_twenty_suites_without_a_slowdown_raise_no_alarm(model: int) -> None:
    runs = history(20, Noise(100 + model))
    assert [trend_of(runs[:newest]).times for newest in range(SHORTEST_SERIES, 21)] == [[]] * (21 - SHORTEST_SERIES)


def test_a_slower_machine_is_no_slower_phase() -> None:
    runs = history(20, Noise(5, scale=0.3))

    def slower(point: Point) -> Point:
        starts = [
            replace(
                start,
                seconds=start.seconds * 1.5,
                cpu_seconds=start.cpu_seconds and start.cpu_seconds * 1.5,
                phases={name: seconds * 1.5 for name, seconds in start.phases.items()},
            )
            for start in point.starts
        ]
        return replace(point, starts=tuple(starts))

    found = {each.quantity for each in trend_of([*runs[:10], *map(slower, runs[10:])]).times}
    assert found == {"cold", "cold CPU", "warm", "warm CPU"}


def test_only_runs_like_the_newest_one_are_compared() -> None:
    runs = history(20, Noise(6))
    others = [
        *(replace(run, machine="another") for run in runs[:5]),
        *(replace(run, settings="other") for run in runs[5:8]),
        replace(runs[8], verdict="error"),
    ]
    trend = trend_of([*others, *runs[9:]])
    assert (len(trend.runs), trend.others, trend.can_tell) == (11, 9, True)
    few = trend_of([*others, *runs[15:]])
    assert (len(few.runs), few.can_tell, few.times) == (5, False, [])
    paper = Paper(width=120)
    print_trend(paper.console, "qwen3-32b", few)
    assert paper.lines[-1] == "seconds: not enough runs to tell (5; at least 8 are needed)"


def test_a_count_that_changed_has_its_run(commands: Commands, tmp_path: Path) -> None:
    path = str(tmp_path / "history.db")
    with History.open(path) as store:
        for number, saved in enumerate((3, 3, 4)):
            cold, warm = cold_record(counters={SAVED: saved}), warm_record()
            result = RunResult.of(case_of(model_entry(id="tiny")), cold, warm)
            began = cold.began.replace(day=number + 1)
            moved = [record.model_copy(update={"began": began}) for record in (cold, warm)]
            store.add(stored(tmp_path / str(number), replace(result, cold=moved[0], warm=moved[1])))
    done = commands.run_in_process("history", "tiny", "--trend", "--store", path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[1] == "cold saved: 3 -> 4"
    assert lines[2].startswith("  since 2026-11-03 ") and lines[2].endswith(": same versions")
    assert lines[-1] == "seconds: not enough runs to tell (3; at least 8 are needed)"
    content = json.loads(commands.run_in_process("history", "tiny", "--trend", "--json", "--store", path).stdout)
    assert [(each["quantity"], each["before"], each["after"]) for each in content["counts"]] == [("cold saved", 3, 4)]
    refused = commands.run_in_process("history", "--trend", "--store", path)
    assert refused.returncode == 2 and "--trend is about one model" in refused.stderr
