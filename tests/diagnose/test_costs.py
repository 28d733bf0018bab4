from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldwarm.catalog.catalog import Catalog
from coldwarm.core.cache_files import FileChange
from coldwarm.core.finding import Finding, FindingKind
from coldwarm.core.isolation import IsolationKind
from coldwarm.core.phases import Step
from coldwarm.core.record import StartKind, StartRecord
from coldwarm.core.seen_in_process import MissingBytecode
from coldwarm.diagnose.costs import seconds_compiling
from coldwarm.diagnose.explanation import explain
from coldwarm.engines.vllm.trace_records import TRACE
from coldwarm.measure.busy_time import BusyTime
from coldwarm.measure.phases import split
from coldwarm.store.suite_folder import read_runs
from coldwarm.suite.stored import explain_stored
from coldwarm.trace.reader import read_trace
from tests.support.explanations import (
    BEGAN,
    Written,
    asked,
    compiled,
    keys,
    load_failure,
    span,
    write_keys,
    write_trace,
)
from tests.support.records import LOADED, MISSES, SAVED, cached_kernel, cold_record, kernel_events, warm_record
from tests.test_kept_records import RECORDS, SUITES


def assert_no_second_is_charged_twice(findings: list[Finding], *records: StartRecord | None) -> None:
    for record in records:
        if record is not None:
            seconds = [each.seconds or 0.0 for each in findings if each.start is record.kind]
            assert sum(seconds) <= record.seconds + 1e-6, [each.what for each in findings]
            assert all(each >= 0.0 for each in seconds)


# Stored explanations


@pytest.mark.parametrize("suite", SUITES, ids=lambda path: path.relative_to(RECORDS).as_posix())
def test_stored_findings_cost_no_more_than_their_start_took(suite: Path) -> None:
    explained = [run for run in read_runs(suite) if run.explanation is not None]
    assert explained
    for run in explained:
        assert run.explanation is not None
        assert_no_second_is_charged_twice(run.explanation.findings, run.cold, run.warm)


def test_a_stored_run_is_explained_without_the_costs_of_schema_1() -> None:
    [(result, _)] = explain_stored(RECORDS / "h100-2026-11-25", Catalog.read(), "glm-4.5")
    assert result.explanation is not None and result.warm is not None
    outside = [each for each in result.explanation.findings if each.kind is FindingKind.COMPILED_OUTSIDE]
    assert [each.seconds for each in outside] == [None] * 3
    assert any("older version of coldwarm" in note for note in result.explanation.notes)


# Generated starts

EDGES = ("dynamo", "vllm_backend", "create_aot_dispatcher_function", "compile_fx_inner", "CompiledArtifact.load")


def traces(draw: Callable[..., Any]) -> list[Written]:
    """Draw spans of several frames, in any order and nesting, with the answer of AOTAutograd's cache to each frame."""
    records: list[Written] = []
    now = 0.0
    for _ in range(draw(st.integers(0, 12))):
        # Sometimes the clock is set back.
        now = max(0.0, now + draw(st.floats(-1.0, 3.0)))
        frame = draw(st.sampled_from([None, 1, 2, 3]))
        records.append(span(draw(st.sampled_from(EDGES)), draw(st.sampled_from("BE")), now, frame_id=frame))
    for frame in draw(st.sets(st.sampled_from([1, 2, 3]))):
        key = draw(st.sampled_from(["k1", "k2"]))
        records.append(asked(draw(st.sampled_from(["miss", "hit", "bypass"])), key, frame_id=frame))
        records.append(compiled(f"f{frame}", frame_id=frame))
    return records


def counters() -> st.SearchStrategy[dict[str, int]]:
    names = [
        SAVED,
        LOADED,
        MISSES,
        "vllm.num_aot_compiles",
        "vllm.num_aot_artifacts_loaded",
        "vllm.num_inductor_compiles",
    ]
    return st.fixed_dictionaries({}, optional={name: st.integers(0, 4) for name in names})


def starts(folder: Path, kind: StartKind, draw: Callable[..., Any]) -> StartRecord:
    write_trace(folder / f"{kind}.trace", *traces(draw))
    busy = BusyTime()
    read_trace(folder / f"{kind}.trace", busy, vocabulary=TRACE)
    ends = max((each.end for each in busy.stretches()), default=BEGAN)
    seconds = ends - BEGAN + draw(st.floats(0.5, 5.0))
    steps = [Step(name="compile", begin=BEGAN, end=BEGAN + seconds)]
    missing = draw(st.floats(0.0, seconds))
    make = cold_record if kind is StartKind.COLD else warm_record
    kernels = st.builds(
        cached_kernel,
        st.integers(0, 2),
        kernel=st.sampled_from("ab"),
        begin=st.floats(BEGAN, BEGAN + seconds),
        seconds=st.floats(0.0, seconds),
        phase=st.sampled_from(["weights", "generate"]),
    ).filter(lambda event: (event.begin or 0.0) + (event.seconds or 0.0) <= BEGAN + seconds)
    changes = [FileChange(path=f"vllm/{how}", how=how, bytes_due=2, bytes_found=1) for how in ("missing", "new")]
    return make(
        counters=draw(counters()),
        seconds=seconds,
        kernels=draw(st.none() | st.lists(kernels, max_size=4).map(lambda events: kernel_events(*events))),
        steps=steps,
        phases=split(steps, busy.stretches()),
        isolation=draw(st.sampled_from(IsolationKind)),
        missing_bytecode=MissingBytecode(modules=1, seconds=missing, modules_again=1, seconds_again=missing),
        caches_changed=draw(st.lists(st.sampled_from(changes), unique_by=lambda change: change.path)),
        messages=draw(st.lists(st.sampled_from([load_failure("a"), load_failure("b", "/c")]), unique_by=str)),
        files_written=draw(st.lists(st.sampled_from([f"{a}/aotautograd/{k}/x" for a in "pq" for k in ("k1", "k2")]))),
    )


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_findings_cost_no_more_than_their_start_took(data: st.DataObject) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        cold, warm = (starts(folder, kind, data.draw) for kind in StartKind)
        names = data.draw(st.sets(st.sampled_from("ABC")))
        write_keys(folder, keys(), keys(environment=dict.fromkeys(names, "1")))
        explained = explain(folder, cold, warm)
        assert_no_second_is_charged_twice(explained.findings, cold, warm)
        # No cost was left out because the sum was wrong.
        assert not [note for note in explained.notes if "unknown" in note]
        others = (
            FindingKind.IMPORTED_FROM_SOURCE,
            FindingKind.KERNEL_RECOMPILED,
            FindingKind.COMPILED_AFTER_READY,
        )
        by_compiling = [each for each in explained.findings if each.kind not in others]
        assert sum(each.seconds or 0.0 for each in by_compiling) <= (seconds_compiling(warm) or 0.0) + 1e-6
