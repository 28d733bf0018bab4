"""Stores real runs, and reads them back."""

from __future__ import annotations

import gc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from coldwarm.core.errors import UsageError
from coldwarm.store.history import queries
from coldwarm.store.history.history import History
from coldwarm.store.history.location import locate
from coldwarm.store.history.points import Filter
from coldwarm.store.suite_folder import read_runs, read_verdict
from coldwarm.suite.stored import judge_suite
from tests.store.history.conftest import RECORDS

CPU = RECORDS / "cpu-2026-11-29-vllm-0.32"
GPU = RECORDS / "h200-2026-11-29-vllm-0.33"


@pytest.fixture
def history(store: str) -> History:
    with History.open(store) as history:
        return history


def test_runs_of_a_suite_are_stored_once(history: History) -> None:
    added = history.add(CPU)
    names = {run.case.name for run in read_runs(CPU) if run.cold is not None}
    assert (set(added.stored), added.known, added.unfinished) == (names, (), ())
    assert added.unsupported == ("deepseek-v3.2",)
    again = history.add(CPU)
    assert (again.stored, set(again.known)) == ((), names)
    assert history.add(CPU / "glm-4.5").known == ("glm-4.5",)
    assert len(history.points()) == len(names)


def test_a_point_has_what_the_run_recorded(history: History) -> None:
    history.add(GPU)
    [point] = history.points("glm-4.5")
    [run] = read_runs(GPU / "glm-4.5")
    verdict = read_verdict(run.folder)
    assert run.cold is not None and run.warm is not None and run.cold.facts is not None and verdict is not None
    assert (point.when, point.model, point.device, point.depth) == (run.cold.began, "glm-4.5", "cuda", "full")
    assert point.versions == {**run.cold.facts.versions, "coldwarm": "0.1.0"}
    assert (point.machine, point.hardware) == ("NVIDIA H200, 16 cores", run.cold.facts.hardware)
    assert (point.verdict, list(point.reasons)) == (verdict.status, verdict.reasons)
    assert point.known_issues == ("grouped-topk-compiled-apart-once", "cute-dsl-kernels-are-not-cached")
    assert point.cold is not None and point.warm is not None
    assert [point.cold.seconds, point.warm.seconds] == [run.cold.seconds, run.warm.seconds]
    assert list(point.cold.phases.items()) == [(phase.name, phase.seconds) for phase in run.cold.phases]
    assert (point.cold.counts.saved, point.warm.counts.loaded) == (4, 4)
    assert point.warm.counts.kernels_compiled == 64
    assert max(finding.seconds or 0 for finding in point.findings) == pytest.approx(18.379, abs=1e-3)


def test_a_run_can_be_judged_from_the_store_alone(history: History, tmp_path: Path) -> None:
    history.add(GPU)
    [point] = history.points("glm-4.5")
    content = history.content(point.id[:8])
    [run] = read_runs(GPU / "glm-4.5")
    assert (content.case, content.cold, content.warm) == (run.case, run.cold, run.warm)
    assert content.explanation == run.explanation
    assert content.verdict == read_verdict(run.folder)
    history.export(point.id, tmp_path / "exported")
    assert judge_suite(tmp_path / "exported").runs == judge_suite(GPU / "glm-4.5").runs
    with pytest.raises(UsageError, match="not empty"):
        history.export(point.id, tmp_path / "exported")


def test_the_contents_of_several_runs_come_in_the_order_asked_for(history: History) -> None:
    history.add(GPU)
    ids = [point.id for point in reversed(history.points(limit=3))]
    assert history.contents(ids) == [history.content(run) for run in ids]
    assert len({content.case.model_id for content in history.contents(ids) if content.case is not None}) == 3
    with pytest.raises(UsageError, match=f"run {'0' * 64} of .* is damaged"):
        history.contents([*ids, "0" * 64])


def test_points_come_by_time_and_can_be_chosen(history: History) -> None:
    for suite in (GPU, CPU, RECORDS / "h100-2026-11-25"):
        history.add(suite)
    points = history.points("glm-4.5")
    assert [point.version("vllm") for point in points] == ["0.26.0", "0.33.0", "0.32.0"]
    assert points == sorted(points, key=lambda point: point.when)
    assert history.points("glm-4.5", limit=2) == points[1:]
    for which, found in (
        (Filter(device="cuda"), points[:2]),
        (Filter(version="0.33"), points[1:2]),
        (Filter(version="0.3"), []),
        (Filter(torch="2.11.0"), points[:1]),
        (Filter(machine="h200"), points[1:2]),
        (Filter(depth="count"), points[2:]),
        (Filter(verdict=points[0].verdict), [each for each in points if each.verdict == points[0].verdict]),
        (Filter(verdict="failed"), []),
        (Filter(since=datetime(2026, 11, 29, tzinfo=UTC)), points[1:]),
        (Filter(until=datetime(2026, 11, 29, tzinfo=UTC)), points[:1]),
        (Filter(settings=points[2].settings), points[2:]),
    ):
        assert history.points("glm-4.5", which=which) == found, which
        assert history.points(which=which.of("glm-4.5"), limit=5) == found, which


def test_a_reader_sees_one_state_while_another_process_writes(store: str) -> None:
    with History.open(store) as reader, History.open(store) as writer, reader._database.reading() as connection:
        assert queries.points(connection, Filter(), None) == []
        writer.add(CPU / "glm-4.5")
        assert queries.points(connection, Filter(), None) == []
        assert len(writer.points()) == 1


def test_models_have_their_runs_and_the_newest_verdict(history: History) -> None:
    for suite in (GPU, CPU):
        history.add(suite)
    [line] = [each for each in history.models() if each.model == "kimi-k2.5"]
    points = history.points("kimi-k2.5")
    assert (line.runs, line.first, line.last) == (2, points[0].when, points[1].when)
    assert line.last_verdict == points[1].verdict
    assert [each.model for each in history.models(Filter(device="cuda"))] == sorted(
        {point.model for point in history.points(which=Filter(device="cuda"))}
    )


@pytest.mark.parametrize("name", ["a?b.db", "a#b.db", "a%20b.db", "a?mode=ro&uri=true", "file:a.db"])
@pytest.mark.parametrize("before", ["", "sqlite:///"])
def test_a_file_can_have_any_name(tmp_path: Path, name: str, before: str) -> None:
    with History.open(f"{before}{tmp_path}/{name}") as history:
        history.add(CPU / "glm-4.5")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("run", ["", "abc", "0123456789"])
def test_an_id_must_name_one_run(history: History, run: str) -> None:
    with pytest.raises(UsageError, match="id"):
        history.content(run)


def test_the_runs_of_a_model_are_found_by_an_index(tmp_path: Path) -> None:
    location = locate(str(tmp_path / "history.db"))
    plans: list[str] = []

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        rows = connection.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        plans.append("; ".join(row[3] for row in rows))

    with History.open(str(location)) as history:
        sa.event.listen(history._database._engine, "before_cursor_execute", explain)
        history.points("glm-4.5", limit=20)
    plans = [plan for plan in plans if "coldwarm_run" in plan]
    assert len(plans) == 2
    for plan in plans:
        assert "coldwarm_run USING" in plan and "coldwarm_run_by_model (model=?)" in plan, plan
        assert "SCAN coldwarm_run" not in plan and "SCAN coldwarm_start" not in plan, plan


def test_reading_points_leaves_the_garbage_collector_as_it_was(history: History) -> None:
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        try:
            history.points()
            assert gc.isenabled() is enabled
        finally:
            gc.enable()
