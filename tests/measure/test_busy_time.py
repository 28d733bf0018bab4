from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldwarm.core.stage import Stage
from coldwarm.engines.vllm.trace_records import TRACE
from coldwarm.measure.busy_time import _STAGES, Busy, BusyTime, stages_in_order
from coldwarm.trace.kinds import GraphDump
from coldwarm.trace.reader import TraceFile, read_trace
from tests.support.traces import span_edge, span_event, trace_text

Edge = tuple[str, str, float]

STAGES = {**_STAGES, **TRACE.stages}
ORDER = stages_in_order(TRACE.stages.values())
[ENGINE] = TRACE.stages.values()

DYNAMO, BACKEND, AOT, CODE = "dynamo", "vllm_backend", "create_aot_dispatcher_function", "compile_fx_inner"
NATIVE, LOAD = "compile_file", "CompiledArtifact.load"
RANK_0, RANK_1 = (TraceFile(Path(f"rank_{rank}.log"), rank, TRACE, names_rank=True) for rank in (0, 1))
WITHOUT_RANK = TraceFile(Path("dedicated_log_torch_trace_x.log"), 0, TRACE)


def busy(*edges: Edge) -> list[Busy]:
    """Follow the edges of spans of one file, each a name, ``B`` or ``E``, and a time."""
    time = BusyTime()
    follow(time, RANK_0, edges)
    return time.stretches()


def follow(time: BusyTime, file: TraceFile, edges: Sequence[Edge], process: int = 1) -> None:
    time.begin(file)
    for edge in edges:
        time.take(span_edge(*edge, process))


def frames(*edges: tuple[str, str, float, int | None]) -> list[tuple[object, float]]:
    """Follow the edges of spans, each in a frame or in none; return the frame and the seconds of each period."""
    time = BusyTime()
    time.begin(RANK_0)
    for name, edge, when, frame in edges:
        record = span_edge(name, edge, when)
        compile_id = (None, None) if frame is None else (frame, 0)
        time.take(replace(record, location=replace(record.location, compile_id=compile_id)))
    return [(each.frame[0], each.end - each.begin) for each in time.stretches()]


def seconds_of(stretches: list[Busy], stage: str) -> float:
    return sum(stretch.end - stretch.begin for stretch in stretches if stretch.stage == stage)


def test_without_spans_there_is_no_busy_time() -> None:
    assert BusyTime().stretches() == []
    assert busy() == []


def test_a_span_is_busy_from_its_begin_to_its_end() -> None:
    assert busy((DYNAMO, "B", 1.0), (DYNAMO, "E", 3.5)) == [Busy(1.0, 3.5, Stage.DYNAMO)]


def test_a_span_with_an_unknown_name_is_ignored() -> None:
    assert busy(("pass.remove_noop", "B", 1.0), ("pass.remove_noop", "E", 2.0)) == []


def test_other_records_are_ignored() -> None:
    time = BusyTime()
    time.begin(RANK_0)
    time.take(GraphDump(span_edge("a", "B", 0).location, "dynamo", ""))
    assert time.stretches() == []


def test_the_inner_stage_has_the_time_and_the_outer_one_the_rest() -> None:
    stretches = busy(
        (DYNAMO, "B", 0.0),
        (BACKEND, "B", 1.0),
        (AOT, "B", 2.0),
        (CODE, "B", 3.0),
        (NATIVE, "B", 4.0),
        (NATIVE, "E", 6.0),
        (CODE, "E", 7.0),
        (AOT, "E", 8.0),
        (BACKEND, "E", 9.0),
        (DYNAMO, "E", 10.0),
    )
    assert stretches == [
        Busy(0.0, 1.0, Stage.DYNAMO),
        Busy(1.0, 2.0, ENGINE),
        Busy(2.0, 3.0, Stage.AOT),
        Busy(3.0, 4.0, Stage.CODE),
        Busy(4.0, 6.0, Stage.NATIVE),
        Busy(6.0, 7.0, Stage.CODE),
        Busy(7.0, 8.0, Stage.AOT),
        Busy(8.0, 9.0, ENGINE),
        Busy(9.0, 10.0, Stage.DYNAMO),
    ]


@pytest.mark.parametrize("first", Stage)
@pytest.mark.parametrize("second", Stage)
def test_of_two_open_stages_the_first_in_the_order_has_the_time(first: Stage, second: Stage) -> None:
    name = {stage: name for name, stage in _STAGES.items()}
    stretches = busy(
        (name[first], "B", 0.0), (name[second], "B", 1.0), (name[first], "E", 2.0), (name[second], "E", 3.0)
    )
    order = list(Stage)
    top = min(first, second, key=order.index)
    assert next(stretch.stage for stretch in stretches if stretch.begin <= 1.0 < stretch.end) is top
    assert sum(stretch.end - stretch.begin for stretch in stretches) == 3.0


def test_every_stage_has_spans() -> None:
    assert set(_STAGES.values()) == set(Stage)


def test_spans_of_one_stage_that_overlap_are_busy_once() -> None:
    stretches = busy(
        (NATIVE, "B", 0.0), ("async_compile.wait", "B", 1.0), (NATIVE, "E", 2.0), ("async_compile.wait", "E", 3.0)
    )
    assert stretches == [Busy(0.0, 3.0, Stage.NATIVE)]


def test_a_stage_nested_in_itself_is_one_period() -> None:
    assert busy((AOT, "B", 0.0), (AOT, "B", 1.0), (AOT, "E", 2.0), (AOT, "E", 4.0)) == [Busy(0.0, 4.0, Stage.AOT)]


def test_a_gap_is_not_busy() -> None:
    assert busy((LOAD, "B", 0.0), (LOAD, "E", 1.0), (LOAD, "B", 5.0), (LOAD, "E", 6.0)) == [
        Busy(0.0, 1.0, Stage.LOAD),
        Busy(5.0, 6.0, Stage.LOAD),
    ]


def test_an_end_without_a_begin_is_skipped() -> None:
    assert busy((AOT, "E", 0.5), (DYNAMO, "B", 1.0), (AOT, "E", 2.0), (DYNAMO, "E", 3.0)) == [
        Busy(1.0, 3.0, Stage.DYNAMO)
    ]


def test_a_span_that_never_ends_is_not_busy() -> None:
    assert busy((DYNAMO, "B", 1.0)) == []
    assert busy((NATIVE, "B", 0.0), (NATIVE, "E", 1.0), (DYNAMO, "B", 2.0)) == [Busy(0.0, 1.0, Stage.NATIVE)]


def test_other_ranks_are_not_followed() -> None:
    time = BusyTime()
    follow(time, RANK_0, [(DYNAMO, "B", 0.0), (DYNAMO, "E", 1.0)])
    follow(time, RANK_1, [(DYNAMO, "B", 0.5), (DYNAMO, "E", 9.0)], process=2)
    assert time.stretches() == [Busy(0.0, 1.0, Stage.DYNAMO)]


def test_on_a_further_node_the_first_of_its_ranks_is_followed() -> None:
    time = BusyTime()
    follow(time, WITHOUT_RANK, [(NATIVE, "B", 1.0), (NATIVE, "E", 3.0)], process=9)
    for rank in (8, 9):
        file = TraceFile(Path(f"rank_{rank}.log"), rank, TRACE, names_rank=True)
        follow(time, file, [(DYNAMO, "B", 5.0), (DYNAMO, "E", 60.0 - rank)], process=rank)
    assert time.stretches() == [Busy(5.0, 52.0, Stage.DYNAMO)]


def test_a_span_does_not_continue_in_the_next_file() -> None:
    time = BusyTime()
    follow(time, RANK_0, [(AOT, "B", 0.0)])
    follow(time, WITHOUT_RANK, [(AOT, "E", 1.0), (DYNAMO, "B", 2.0), (DYNAMO, "E", 3.0)])
    assert time.stretches() == [Busy(2.0, 3.0, Stage.DYNAMO)]


def test_two_processes_that_work_at_the_same_time_do_not_overlap() -> None:
    time = BusyTime()
    follow(time, RANK_0, [(DYNAMO, "B", 0.0), (DYNAMO, "E", 4.0)])
    follow(time, WITHOUT_RANK, [(NATIVE, "B", 1.0), (NATIVE, "E", 3.0)], process=2)
    assert time.stretches() == [Busy(0.0, 4.0, Stage.DYNAMO)]


def test_the_process_that_was_busy_for_the_longest_time_is_followed() -> None:
    time = BusyTime()
    follow(time, WITHOUT_RANK, [(NATIVE, "B", 1.0), (NATIVE, "E", 3.0)], process=2)
    follow(time, RANK_0, [(DYNAMO, "B", 0.0), (DYNAMO, "E", 4.0)])
    assert time.stretches() == [Busy(0.0, 4.0, Stage.DYNAMO)]


def test_a_process_that_begins_a_second_file_is_followed_there() -> None:
    # A process of vLLM's runs the C++ compiler before it knows its rank.
    time = BusyTime()
    follow(time, WITHOUT_RANK, [(NATIVE, "B", 1.0), (NATIVE, "E", 3.0)])
    follow(time, RANK_0, [(DYNAMO, "B", 5.0), (DYNAMO, "E", 6.0)])
    assert time.stretches() == [Busy(1.0, 3.0, Stage.NATIVE), Busy(5.0, 6.0, Stage.DYNAMO)]
    assert time.stretches_by_file() == {
        WITHOUT_RANK.path.name: [Busy(1.0, 3.0, Stage.NATIVE)],
        RANK_0.path.name: [Busy(5.0, 6.0, Stage.DYNAMO)],
    }


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), max_size=6))
def test_files_of_one_process_do_not_overlap(spans: list[tuple[int, int]]) -> None:
    time = BusyTime()
    for number, (begin, seconds) in enumerate(spans):
        file = TraceFile(Path(f"{number}.log"), 0, TRACE)
        follow(time, file, [(DYNAMO, "B", float(begin)), (DYNAMO, "E", float(begin + seconds))])
    stretches = time.stretches()
    assert_disjoint(stretches)
    covered = {moment for begin, seconds in spans for moment in range(begin, begin + seconds)}
    assert seconds_of(stretches, Stage.DYNAMO) == len(covered)


def test_a_span_that_is_logged_afterwards_overlaps_nothing() -> None:
    # `dynamo_timed` is not the only writer: warm starts have spans that begin before the record above them.
    stretches = busy(
        (DYNAMO, "B", 0.0), (AOT, "B", 1.0), (AOT, "E", 3.0), (LOAD, "B", 2.0), (LOAD, "E", 4.0), (DYNAMO, "E", 5.0)
    )
    assert_disjoint(stretches)
    assert sum(stretch.end - stretch.begin for stretch in stretches) == 5.0


def test_the_spans_of_a_trace_are_followed(tmp_path: Path) -> None:
    for rank, begin in ((0, 1795435200.0), (1, 1795435300.0)):
        text = trace_text(
            span_event("dynamo", "B", begin),
            span_event("unknown", "B", begin + 1),
            ({"str": ["a", 0]}, None),
            span_event("dynamo", "E", begin + 2.25),
        )
        (tmp_path / f"dedicated_log_torch_trace_rank_{rank}_x.log").write_text(text)
    time = BusyTime()
    read_trace(tmp_path, time, vocabulary=TRACE)
    assert time.stretches() == [Busy(1795435200.0, 1795435202.25, Stage.DYNAMO)]


def assert_disjoint(stretches: list[Busy]) -> None:
    """Assert that periods are in the order of time and do not overlap."""
    assert all(stretch.begin <= stretch.end for stretch in stretches)
    assert all(before.end <= after.begin for before, after in pairwise(stretches))


names = st.sampled_from([*STAGES, "pass.remove_noop"])
spans = st.lists(st.tuples(names, st.integers(0, 30), st.integers(0, 30)), max_size=12)


@given(spans)
def test_each_moment_counts_towards_the_first_open_stage(spans: list[tuple[str, int, int]]) -> None:
    whole = [(name, min(one, other), max(one, other)) for name, one, other in spans]
    # At the same moment, begins come before ends, so that each has a match.
    edges = [(begin, 0, name, "B") for name, begin, _ in whole] + [(end, 1, name, "E") for name, _, end in whole]
    stretches = busy(*((name, edge, float(at)) for at, _, name, edge in sorted(edges)))
    assert_disjoint(stretches)
    for moment in (n + 0.5 for n in range(30)):
        open_ = [STAGES[name] for name, begin, end in whole if begin < moment < end and name in STAGES]
        top = [stretch.stage for stretch in stretches if stretch.begin < moment < stretch.end]
        assert top == [stage for stage in ORDER if stage in open_][:1]


@given(st.lists(st.tuples(names, st.sampled_from("BE"), st.integers(0, 30)), max_size=30))
def test_any_edges_in_any_order_of_time_make_disjoint_periods(edges: list[tuple[str, str, int]]) -> None:
    stretches = busy(*((name, edge, float(at)) for name, edge, at in edges))
    assert_disjoint(stretches)
    times = [at for _, _, at in edges] or [0]
    assert sum(seconds_of(stretches, stage) for stage in ORDER) <= max(times) - min(times)


# Frames


def test_a_period_belongs_to_the_frame_whose_spans_are_open() -> None:
    assert frames((DYNAMO, "B", 0, 1), (AOT, "B", 1, 1), (AOT, "E", 3, 1), (DYNAMO, "E", 4, 1)) == [
        (1, 1),
        (1, 2),
        (1, 1),
    ]


def test_a_nested_frame_has_its_own_time_and_the_outer_one_the_rest() -> None:
    assert frames((BACKEND, "B", 0, None), (DYNAMO, "B", 1, 7), (DYNAMO, "E", 3, 7), (BACKEND, "E", 6, None)) == [
        (None, 1),
        (7, 2),
        (None, 3),
    ]


def test_the_innermost_of_two_frames_has_the_time() -> None:
    assert frames((DYNAMO, "B", 0, 1), (DYNAMO, "B", 1, 2), (DYNAMO, "E", 3, 2), (DYNAMO, "E", 6, 1)) == [
        (1, 1),
        (2, 2),
        (1, 3),
    ]


def test_a_span_without_a_frame_belongs_to_the_frame_around_it() -> None:
    assert frames((CODE, "B", 0, 1), (NATIVE, "B", 1, None), (NATIVE, "E", 3, None), (CODE, "E", 4, 1)) == [
        (1, 1),
        (1, 2),
        (1, 1),
    ]


def test_a_frame_does_not_continue_in_the_next_file() -> None:
    time = BusyTime()
    time.begin(RANK_0)
    edge = span_edge(DYNAMO, "B", 0.0)
    time.take(replace(edge, location=replace(edge.location, compile_id=(1, 0))))
    time.begin(RANK_1)
    assert time.stretches() == []
