from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coldwarm.core.compiler_work import CompilerWork
from tests.support.traces import Record, compiler_work_of, trace_text

Read = Callable[..., CompilerWork]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Return a function that reads the compiler's work from a trace of the given records."""

    def read(*records: Record) -> CompilerWork:
        (tmp_path / "trace.log").write_text(trace_text(*records), encoding="utf-8")
        return compiler_work_of(tmp_path)

    return read


def artifact(name: str, frame: int | None, compilation: int | None = 0) -> Record:
    ids = {} if frame is None else {"frame_id": frame, "frame_compile_id": compilation}
    return {"artifact": {"name": name, "encoding": "json"}, **ids, "has_payload": "0f"}, "{}"


def subgraph(frame: int | None = 0, compilation: int | None = 0) -> Record:
    metadata, _ = artifact("vllm_piecewise_compile_start", frame, compilation)
    start = {
        "piecewise_index": 0,
        "submod_name": "submod_0",
        "total_piecewise_compiles": 9,
        "compile_range_start": 1,
        "compile_range_end": 64,
    }
    return metadata, json.dumps(start)


def miss(frame: int | None = 0, compilation: int | None = 0) -> Record:
    return artifact("aotautograd_cache_miss", frame, compilation)


def hit(frame: int = 0) -> Record:
    return artifact("aotautograd_cache_hit", frame)


def event(**event: Any) -> Record:
    return {"chromium_event": {}, "has_payload": "0f"}, json.dumps(event)


BEGIN = event(name="GraphLowering.codegen", ph="B", ts=1)
END = event(name="GraphLowering.codegen", ph="E", ts=2)


def test_without_a_trace_the_counts_are_empty(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        work = compiler_work_of(folder)
        assert (work.files, work.records) == (0, 0)


def test_a_subgraph_that_misses_is_unique(read: Read) -> None:
    work = read(subgraph(), miss(), subgraph(), miss())
    assert (work.subgraphs_compiled, work.subgraphs_unique) == (2, 2)


def test_a_subgraph_that_hits_is_not_unique(read: Read) -> None:
    work = read(subgraph(), miss(), subgraph(), hit(), subgraph(), subgraph(), miss())
    assert (work.subgraphs_compiled, work.subgraphs_unique) == (4, 2)


def test_a_subgraph_is_unique_once_however_often_it_misses(read: Read) -> None:
    work = read(subgraph(), miss(), miss(), miss())
    assert (work.subgraphs_compiled, work.subgraphs_unique) == (1, 1)


@pytest.mark.parametrize("nested", [miss(frame=7), miss(frame=0, compilation=1), miss(frame=None)])
def test_a_nested_compile_is_not_a_subgraph(read: Read, nested: Record) -> None:
    work = read(subgraph(), nested, hit(), subgraph(), nested, miss())
    assert (work.subgraphs_compiled, work.subgraphs_unique) == (2, 1)


def test_a_subgraph_that_hits_and_is_compiled_anyway_is_unique(read: Read) -> None:
    assert read(subgraph(), miss(), subgraph(), hit(), miss()).subgraphs_unique == 2


def test_a_subgraph_that_bypasses_the_cache_is_unique(read: Read) -> None:
    work = read(subgraph(), artifact("aotautograd_cache_bypass", 0), subgraph(), hit())
    assert (work.subgraphs_compiled, work.subgraphs_unique) == (2, 1)


def test_a_miss_of_a_different_cache_does_not_count(read: Read) -> None:
    assert read(subgraph(), artifact("fx_graph_cache_miss", 0), hit()).subgraphs_unique == 0


def test_a_miss_outside_of_every_subgraph_does_not_count(read: Read) -> None:
    work = read(miss(), miss(frame=None), subgraph(), hit())
    assert (work.subgraphs_compiled, work.subgraphs_unique) == (1, 0)


def test_code_generations_are_counted_by_the_begin_of_their_span(read: Read) -> None:
    assert read(BEGIN, END, BEGIN, END).code_generations == 2
    assert read(END).code_generations == 0


@pytest.mark.parametrize(
    "record",
    [
        event(name="other", ph="B", ts=1, args={"caller": "GraphLowering.codegen"}),
        event(name="GraphLowering.codegen.inner", ph="B", ts=1),
        event(name="GraphLowering.codegen", ph="i", ts=1),
        event(name="GraphLowering.codegen", ts=1),
        ({"chromium_event": {}}, '"GraphLowering.codegen"'),
        ({"chromium_event": {}}, '{"name": "GraphLowering.codegen", "ph": "B", "ts": 1'),
        ({"chromium_event": {}}, None),
        ({"artifact": {"name": "log"}}, '{"name": "GraphLowering.codegen", "ph": "B", "ts": 1}'),
        ({"inductor_output_code": {}}, '{"name": "GraphLowering.codegen", "ph": "B", "ts": 1}'),
    ],
)
def test_other_records_are_not_counted_as_code_generation(read: Read, record: Record) -> None:
    work = read(record)
    assert (work.records, work.code_generations) == (1, 0)


def test_an_event_nested_deeper_than_python_recurses_does_not_count(read: Read) -> None:
    depth = 100 * sys.getrecursionlimit()
    assert read(({"chromium_event": {}}, '["GraphLowering.codegen", ' + "[" * depth)).code_generations == 0


def test_skipped_records_are_counted_by_kind(read: Read) -> None:
    work = read(({"str": ["a", 0]}, None), subgraph(), ({"str": ["b", 1]}, None), artifact("torch_version", None))
    assert list(work.passed_over.items()) == [("artifact:torch_version", 1), ("str", 2)]


def test_all_files_are_read_and_ranks_are_not_added_up(tmp_path: Path) -> None:
    for rank in (0, 1):
        text = trace_text(subgraph(), miss(), BEGIN, END)
        (tmp_path / f"dedicated_log_torch_trace_rank_{rank}_x.log").write_text(text + "garbage\n")
    (tmp_path / "other.txt").write_text(trace_text(BEGIN))
    assert compiler_work_of(tmp_path) == CompilerWork(
        files=2,
        records=8,
        garbled_lines=2,
        code_generations=1,
        code_generations_by_rank={0: 1, 1: 1},
        traced_ranks=[0, 1],
        subgraphs_compiled=1,
        subgraphs_unique=1,
    )


def test_a_subgraph_does_not_continue_in_the_next_file(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(trace_text(subgraph()))
    (tmp_path / "b.log").write_text(trace_text(miss()))
    assert compiler_work_of(tmp_path).subgraphs_unique == 0


def test_compile_ranges_are_counted(read: Read) -> None:
    metadata, start = subgraph()
    assert start is not None
    one_token = metadata, json.dumps({**json.loads(start), "compile_range_end": 1})
    assert read(subgraph(), miss(), one_token, miss()).compile_ranges == 2
    assert read(subgraph(), miss(), subgraph()).compile_ranges == 1
