from __future__ import annotations

from pathlib import Path

from coldwarm.engines.vllm.trace_records import TRACE
from coldwarm.measure.frame_caches import Frame, FrameCaches
from coldwarm.trace.reader import read_trace
from tests.support.explanations import (
    BEGAN,
    Written,
    asked,
    cache_event,
    compiled,
    frame,
    piecewise_start,
    span,
    write_trace,
)


def frames(folder: Path, *records: Written) -> list[Frame]:
    write_trace(folder, *records)
    return read(folder)


def read(folder: Path) -> list[Frame]:
    caches = FrameCaches()
    read_trace(folder, caches, vocabulary=TRACE)
    return caches.frames()


def test_answers_of_the_caches_belong_to_the_frame_that_asked(tmp_path: Path) -> None:
    one, other = frames(
        tmp_path,
        asked("hit", "x", layer="fx_graph", frame_id=2),
        asked("miss", "a", frame_id=1),
        compiled("sample", frame_id=1),
        asked("miss", "b", frame_id=2),
        compiled("experts", "moe.py", 7, frame_id=2),
    )
    assert [(one.function, one.source), (other.function, other.source)] == [
        ("experts", "moe.py:7"),
        ("sample", "sampler.py:10"),
    ]
    assert [(event.layer, event.key) for event in one.events] == [("FX graph", "x"), ("AOTAutograd", "b")]
    assert [event.key for event in other.events] == ["a"]


def test_compilations_outside_of_all_frames_are_ignored(tmp_path: Path) -> None:
    assert frames(tmp_path, piecewise_start(), asked("miss", frame_id=None), compiled("f", frame_id=None)) == []


def test_the_frame_in_which_vllm_compiles_its_subgraphs_is_ignored(tmp_path: Path) -> None:
    found = frames(
        tmp_path,
        piecewise_start(0, frame_id=0),
        asked("miss", "a", frame_id=0),
        piecewise_start(1, frame_id=0),
        asked("miss", "b", frame_id=0),
        compiled("forward", "llama.py", 400, frame_id=0),
        asked("miss", "c", frame_id=1),
        compiled("sample", frame_id=1),
    )
    assert [each.function for each in found] == ["sample"]


def test_a_frame_that_asked_no_cache_is_ignored(tmp_path: Path) -> None:
    assert frames(tmp_path, compiled("f"), span("dynamo", "B", 1.0)) == []


def test_a_frame_whose_metrics_are_missing_has_no_name(tmp_path: Path) -> None:
    [found] = frames(tmp_path, asked("miss"))
    assert found.named() == "a function without a name (its source is not in the trace)"


def test_a_frame_has_the_time_of_its_own_spans_without_loading(tmp_path: Path) -> None:
    [outer, inner] = frames(
        tmp_path,
        span("vllm_backend", "B", 0.0),
        span("dynamo", "B", 1.0, frame_id=1),
        asked("miss", "a", frame_id=1),
        span("CompiledArtifact.load", "B", 2.0, frame_id=1),
        span("CompiledArtifact.load", "E", 2.5, frame_id=1),
        span("create_aot_dispatcher_function", "B", 3.0, frame_id=2),
        asked("miss", "b", frame_id=2),
        span("create_aot_dispatcher_function", "E", 7.0, frame_id=2),
        span("dynamo", "E", 8.0, frame_id=1),
        span("vllm_backend", "E", 16.0),
    )
    assert (outer.seconds, inner.seconds) == (2.5, 4.0)


def test_a_frame_has_its_time_also_in_the_second_file_of_its_process(tmp_path: Path) -> None:
    write_trace(tmp_path, span("compile_file", "B", 1.0), span("compile_file", "E", 2.0), name="t_a.log")
    write_trace(
        tmp_path,
        span("dynamo", "B", 3.0, frame_id=1),
        asked("miss", "a", frame_id=1),
        span("dynamo", "E", 7.0, frame_id=1),
        name="t_rank_0_a.log",
    )
    [found] = read(tmp_path)
    assert (found.seconds, found.began) == (4.0, BEGAN + 3.0)


def test_a_frame_without_spans_has_no_time(tmp_path: Path) -> None:
    [found] = frames(tmp_path, asked("miss"))
    assert found.seconds is None


def test_only_the_first_rank_is_followed(tmp_path: Path) -> None:
    write_trace(tmp_path, asked("miss", "r1"), name="t_rank_1_a.log")
    write_trace(tmp_path, asked("miss", "r0"), name="t_rank_0_a.log")
    [found] = read(tmp_path)
    assert [event.key for event in found.events] == ["r0"]


def test_the_same_frame_of_two_processes_is_two(tmp_path: Path) -> None:
    write_trace(tmp_path, asked("miss", "a"), name="t_rank_0_a.log")
    write_trace(tmp_path, asked("miss", "b"), name="t_rank_0_b.log")
    assert [[event.key for event in each.events] for each in read(tmp_path)] == [["a"], ["b"]]


def test_the_first_answer_of_a_layer_is_its_outcome() -> None:
    asked_three_times = frame(cache_event("hit", layer="FX graph"), cache_event("bypass"), cache_event("hit"))
    outcome = asked_three_times.outcome("AOTAutograd")
    assert outcome is not None and outcome.outcome == "bypass"
    assert asked_three_times.outcome("Triton") is None
