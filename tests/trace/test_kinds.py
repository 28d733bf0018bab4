from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldwarm.engines.vllm.trace_records import TRACE
from coldwarm.trace.kinds import (
    CacheEvent,
    FrameCompiled,
    GraphDump,
    KernelsLoaded,
    Location,
    ModelCompileStart,
    PiecewiseCompileStart,
    SpanEdge,
    TypedRecord,
    parser_of,
)
from coldwarm.trace.records import TraceRecord

LOCATION = Location("rank_0.log", 7, 43200.5, 4242, (3, 0))
PIECEWISE = {
    "piecewise_index": 2,
    "submod_name": "submod_4",
    "total_piecewise_compiles": 9,
    "compile_range_start": 1,
    "compile_range_end": 64,
}


def artifact(name: str) -> dict[str, Any]:
    return {"artifact": {"name": name, "encoding": "json"}}


def parse(metadata: dict[str, Any], payload: object = None) -> TypedRecord | None:
    """Parse a record; a payload that is not bytes is written as JSON."""
    content = payload if isinstance(payload, bytes) else b"" if payload is None else json.dumps(payload).encode()
    record = TraceRecord(metadata, content)
    parser = TRACE.parsers.get(record.kind()) or parser_of(record.kind())
    assert parser is not None
    return parser(record, LOCATION)


def test_a_location_is_shown_as_file_and_line() -> None:
    assert str(LOCATION) == "rank_0.log:7"


@pytest.mark.parametrize("kind", ["str", "describe_tensor", "artifact:torch_version", "artifact:None", "nothing", ""])
def test_unused_kinds_have_no_parser(kind: str) -> None:
    assert parser_of(kind) is None


@pytest.mark.parametrize(("edge", "begins"), [("B", True), ("E", False)])
def test_a_span_begins_and_ends(edge: str, begins: bool) -> None:
    event = {"name": "dynamo", "ph": edge, "ts": 1795435200123456.75, "args": {"compile_id": "0/0"}, "tid": 0}
    assert parse({"chromium_event": {}}, event) == SpanEdge(
        LOCATION, "dynamo", begins, 1795435200.12345675, {"compile_id": "0/0"}
    )


def test_a_model_is_named() -> None:
    config = {"model": "/models/tiny", "prefix": "eagle_head", "mode": "3"}
    assert parse(artifact("vllm_compilation_config"), config) == ModelCompileStart(LOCATION, "eagle_head")


@pytest.mark.parametrize("config", [{"model": "/models/tiny"}, {"prefix": None}, ["eagle_head"], b"{"])
def test_a_model_without_a_name_is_skipped(config: object) -> None:
    assert parse(artifact("vllm_compilation_config"), config) is None


@pytest.mark.parametrize("more", [{}, {"args": None}, {"args": ["a"]}])
def test_a_span_without_facts_has_no_facts(more: dict[str, Any]) -> None:
    assert parse({"chromium_event": {}}, {"name": "a", "ph": "B", "ts": 2_000_000, **more}) == SpanEdge(
        LOCATION, "a", True, 2.0, {}
    )


@pytest.mark.parametrize(
    "event",
    [
        {"name": "a", "ph": "i", "ts": 1},
        {"name": "a", "ph": "X", "ts": 1, "dur": 1},
        {"name": 1, "ph": "B", "ts": 1},
        {"name": "a", "ph": "B", "ts": "1"},
        {"name": "a", "ph": "B"},
        {"ph": "B", "ts": 1},
        ["a"],
        "a",
        b"",
        b'{"name": "a", "ph": "B", "ts": 1',
        b"\xff",
        b"[" * 5000,
    ],
)
def test_other_events_are_skipped(event: object) -> None:
    assert parse({"chromium_event": {}}, event) is None


def test_vllm_hands_a_subgraph_to_the_compiler() -> None:
    assert parse(artifact("vllm_piecewise_compile_start"), {**PIECEWISE, "more": 1}) == PiecewiseCompileStart(
        LOCATION, 2, "submod_4", 9, (1, 64)
    )


@pytest.mark.parametrize("key", PIECEWISE)
@pytest.mark.parametrize("value", [None, [], 1.5])
def test_a_subgraph_with_an_unknown_layout_is_skipped(key: str, value: object) -> None:
    assert parse(artifact("vllm_piecewise_compile_start"), {**PIECEWISE, key: value}) is None
    assert parse(artifact("vllm_piecewise_compile_start"), {k: v for k, v in PIECEWISE.items() if k != key}) is None


def test_a_dumped_graph_has_its_name_and_code() -> None:
    code = "class Größe:\n    pass"
    assert parse({"graph_dump": {"name": "vllm_submod_0"}, "rank": 0}, code.encode()) == GraphDump(
        LOCATION, "vllm_submod_0", code
    )


@pytest.mark.parametrize("content", [None, {}, {"name": 1}, "vllm_submod_0"])
def test_a_dumped_graph_without_a_name_is_skipped(content: object) -> None:
    assert parse({"graph_dump": content}, b"code") is None


def test_a_graph_lowered_by_aotautograd_is_named_by_its_kind() -> None:
    assert parse({"aot_inference_graph": {}, "frame_id": 0}, b"code") == GraphDump(
        LOCATION, "aot_inference_graph", "code"
    )


@pytest.mark.parametrize(
    ("prefix", "layer"),
    [("aotautograd", "AOTAutograd"), ("fx_graph", "FX graph"), ("fx_graph_bundled", "FX graph")],
)
@pytest.mark.parametrize("outcome", ["hit", "miss", "bypass"])
def test_a_cache_lookup_is_read(prefix: str, layer: str, outcome: str) -> None:
    content = {"key": "aykj", "components": ["[abc] gm: code", "[def] config: {}"], "cache_state": outcome}
    assert parse(artifact(f"{prefix}_cache_{outcome}"), content) == CacheEvent(
        LOCATION, layer, outcome, "aykj", ["[abc] gm: code", "[def] config: {}"], None
    )


@pytest.mark.parametrize(
    ("content", "key", "components", "reason"),
    [
        ({}, None, [], None),
        ({"key": None, "components": None, "cache_bypass_reason": None}, None, [], None),
        ({"key": 7, "components": {"a": 1}, "cache_bypass_reason": "HigherOrderOp"}, None, [], "HigherOrderOp"),
        ({"key": "k", "components": [1, "two"], "cache_bypass_reason": ["r"]}, "k", ["1", "two"], "['r']"),
    ],
)
def test_parts_of_a_cache_lookup_may_be_missing(
    content: object, key: str | None, components: list[str], reason: str | None
) -> None:
    assert parse(artifact("aotautograd_cache_bypass"), content) == CacheEvent(
        LOCATION, "AOTAutograd", "bypass", key, components, reason
    )


@pytest.mark.parametrize("content", [b"", b"{", ["key"], "key"])
def test_a_cache_lookup_without_content_is_skipped(content: object) -> None:
    assert parse(artifact("aotautograd_cache_miss"), content) is None


def test_kernels_are_counted_by_language() -> None:
    code = """
async_compile = AsyncCompile()
one = async_compile.cpp_pybinding(['float*'], '''...''')
two = async_compile.cpp('''...''')
three = async_compile.triton('triton_poi', '''...''', device_str='cuda')
async_compile.wait(globals())
"""
    assert parse({"inductor_output_code": {"filename": "c.py"}}, code.encode()) == KernelsLoaded(LOCATION, 2, 1)
    assert parse({"inductor_output_code": {}}) == KernelsLoaded(LOCATION, 0, 0)


@pytest.mark.parametrize(
    ("metrics", "compiled"),
    [
        (
            {"co_name": "forward", "co_filename": "m.py", "co_firstlineno": 7, "fail_reason": None},
            FrameCompiled(LOCATION, "forward", "m.py:7", None),
        ),
        (
            {"co_name": "f", "co_filename": "m.py", "co_firstlineno": 1, "fail_reason": "no such op"},
            FrameCompiled(LOCATION, "f", "m.py:1", "no such op"),
        ),
        ({"co_name": None, "co_filename": None, "co_firstlineno": None}, FrameCompiled(LOCATION, None, None, None)),
        ({}, FrameCompiled(LOCATION, None, None, None)),
    ],
)
def test_a_compiled_frame_is_read(metrics: object, compiled: FrameCompiled) -> None:
    assert parse({"compilation_metrics": metrics}) == compiled


@pytest.mark.parametrize("metrics", [None, [], "forward"])
def test_metrics_with_an_unknown_layout_are_skipped(metrics: object) -> None:
    assert parse({"compilation_metrics": metrics}) is None


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KINDS = ["chromium_event", "graph_dump", "aot_inference_graph", "inductor_output_code", "compilation_metrics"]
ARTIFACTS = ["vllm_piecewise_compile_start", "aotautograd_cache_miss", "fx_graph_bundled_cache_bypass"]
KEYS = ["name", "ph", "ts", "args", "key", "components", "cache_bypass_reason", "co_name", "co_filename", *PIECEWISE]
content = anything | st.dictionaries(st.sampled_from(KEYS), anything | st.sampled_from(["B", "E"]), max_size=8)
metadata = st.builds(lambda kind, value: {kind: value}, st.sampled_from(KINDS), content) | st.builds(
    artifact, st.sampled_from(ARTIFACTS)
)


@settings(max_examples=40, deadline=None)
@given(metadata, content.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=20))
def test_any_record_is_parsed_or_skipped(metadata: dict[str, Any], payload: bytes) -> None:
    typed = parse(metadata, payload)
    assert typed is None or typed.location is LOCATION
