from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldwarm.catalog.catalog import Catalog, CatalogModel
from coldwarm.ci.time_limit import minutes_for, recorded_seconds
from coldwarm.core.depth import Depth
from coldwarm.core.errors import UsageError
from coldwarm.core.model_entry import Expectation
from tests.support.records import expectation, model_entry
from tests.support.runs import passed
from tests.support.stored import stored


def model(model_id: str, **entry: object) -> CatalogModel:
    return CatalogModel(model_entry(id=model_id, **entry), {}, Path(), Path())


def measured(cold: float, warm: float, **when: str) -> Expectation:
    return expectation(when={"device": "cpu", **when}, seconds={"cold": cold, "warm": warm})


def test_times_of_the_catalog_are_for_the_device_and_mode() -> None:
    models = [
        model("a", expect=[measured(10, 1, aot_artifact="bundled"), measured(20, 2, aot_artifact="separate")]),
        model("b", expect=[measured(5, 1)]),
    ]
    assert recorded_seconds(models, "cpu", []) == [22, 6]
    assert recorded_seconds(models, "cpu", ["bundled", "separate"]) == [11, 22, 6, 6]
    assert recorded_seconds(models, "cuda", []) == []


def test_a_mode_without_a_time_is_assumed_to_take_as_long_as_the_other() -> None:
    untimed = expectation(when={"device": "cpu", "aot_artifact": "bundled"})
    models = [
        model("a", expect=[untimed, measured(20, 2, aot_artifact="separate")]),
        model("b", expect=[measured(90, 9)]),
    ]
    assert recorded_seconds(models, "cpu", ["bundled", "separate"]) == [22, 22, 99, 99]
    assert models[0].entry.seconds_of_run("cuda", "bundled") is None


def test_a_model_without_a_time_is_assumed_to_take_as_long_as_the_slowest() -> None:
    assert recorded_seconds([model("a", expect=[measured(10, 1)]), model("b")], "cpu", []) == [11, 11]


def test_an_unsupported_model_takes_no_time() -> None:
    unsupported = model("b", unsupported=[{"reason": "r", "devices": ["cpu"]}])
    assert recorded_seconds([model("a", expect=[measured(10, 1)]), unsupported], "cpu", []) == [11]


def test_records_override_the_catalog(tmp_path: Path) -> None:
    result = passed("a")
    assert result.cold and result.warm
    folder = stored(tmp_path / "suite", result)
    models = [model("a", expect=[measured(1000, 1)])]
    assert recorded_seconds(models, "cpu", [], [folder]) == [result.cold.seconds + result.warm.seconds]


def test_records_of_another_depth_are_not_used(tmp_path: Path) -> None:
    counted = passed("a")
    assert counted.cold and counted.warm
    took = counted.cold.seconds + counted.warm.seconds
    counted = replace(counted, case=counted.case.model_copy(update={"depth": Depth.COUNT}))
    folder = stored(tmp_path / "suite", counted)
    models = [model("a", expect=[measured(1000, 1)])]
    assert recorded_seconds(models, "cpu", [], [folder], Depth.COUNT) == [took]
    with pytest.raises(UsageError, match="contains no run at --depth full"):
        recorded_seconds(models, "cpu", [], [folder])


def test_at_depth_trace_there_is_only_the_cold_start(tmp_path: Path) -> None:
    traced = passed("a")
    assert traced.cold
    took = traced.cold.seconds
    traced = replace(traced, case=traced.case.model_copy(update={"depth": Depth.TRACE}), warm=None)
    folder = stored(tmp_path / "suite", traced)
    models = [model("a", expect=[measured(1000, 1)])]
    assert recorded_seconds(models, "cpu", [], [folder], Depth.TRACE) == [took]


@pytest.mark.parametrize(
    ("seconds", "jobs", "minutes"),
    [([], 1, 60), ([30.0], 1, 11), ([60.0, 60.0], 1, 14), ([60.0, 60.0], 2, 12), ([90.0, 60.0, 30.0], 2, 13)],
)
def test_the_limit_is_twice_the_time_of_the_longest_job_plus_setup(
    seconds: list[float], jobs: int, minutes: int
) -> None:
    assert minutes_for(seconds, jobs) == minutes


@given(st.lists(st.floats(0.1, 1000), min_size=1, max_size=8), st.integers(1, 8))
def test_more_jobs_never_take_longer_and_every_run_fits(seconds: list[float], jobs: int) -> None:
    limit = minutes_for(seconds, jobs)
    assert limit * 60 >= 2 * max(seconds)
    assert limit <= minutes_for(seconds, 1)


def test_every_representative_model_has_times_on_a_cpu() -> None:
    models = Catalog.read().representative()
    assert all(m.entry.seconds_of_run("cpu", how) is not None for m in models for how in ("bundled", "separate"))


def test_only_expectations_of_bundled_artifacts_on_a_gpu_and_of_depth_count_have_no_times() -> None:
    rows = [
        row
        for model in Catalog.read().models()
        for row in model.entry.expect
        if row.seconds is None and "--depth count" not in row.measured
    ]
    assert {(row.when.device, row.when.aot_artifact) for row in rows} == {("cuda", "bundled")}
