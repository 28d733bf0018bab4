from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldwarm.trace.records import GarbledLines, TraceRecord, read_records
from tests.support.traces import trace_text

RECORDS: list[tuple[dict[str, Any], str | None]] = [
    ({"str": ["a] {}.py", 0]}, None),
    ({"artifact": {"name": "vllm_piecewise_compile_start", "encoding": "json"}, "has_payload": "0f"}, '{\n"a": 1\n}'),
    ({"chromium_event": {}, "has_payload": "1f"}, '{"name": "GraphLowering.codegen", "ph": "B"}'),
    ({"dynamo_output_graph": {}, "frame_id": 0, "frame_compile_id": 0}, "class M:\n\n    größe = '] {'\n\ttab"),
    ({"compilation_metrics": {}, "frame_id": 1}, None),
]
WHOLE = trace_text(*RECORDS).encode()
wild = settings(max_examples=80, deadline=None)


def read(content: bytes) -> tuple[list[TraceRecord], GarbledLines]:
    garbled = GarbledLines()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "trace.log")
        file.write_bytes(content)
        return list(read_records(file, garbled)), garbled


def ends() -> list[int]:
    """Where each record of the whole trace ends, in bytes."""
    return [len(trace_text(*RECORDS[: n + 1]).encode()) for n in range(len(RECORDS))]


def assert_kept_before(damage: int, found: list[TraceRecord]) -> None:
    """Assert that the records that end before the byte `damage` are all there; more may follow the last of them."""
    whole, _ = read(WHOLE)
    intact = sum(end <= damage for end in ends())
    assert [record.metadata for record in found[:intact]] == [record.metadata for record in whole[:intact]]
    if intact:
        last = intact - 1
        assert [record.payload for record in found[:last]] == [record.payload for record in whole[:last]]
        assert found[last].payload.startswith(whole[last].payload)


def test_a_whole_trace_is_read() -> None:
    found, garbled = read(WHOLE)
    assert [(record.metadata, record.payload.removesuffix("\n")) for record in found] == [
        (metadata, payload or "") for metadata, payload in RECORDS
    ]
    assert garbled.count == 0


def test_an_empty_file_has_no_records() -> None:
    assert read(b"") == ([], GarbledLines())


def test_a_last_line_without_its_end_is_read() -> None:
    found, garbled = read(WHOLE[:-1])
    assert (len(found), garbled.count) == (len(RECORDS), 0)


@pytest.mark.parametrize("end", ["\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_a_payload_may_hold_any_character_that_ends_lines_elsewhere(end: str) -> None:
    text = trace_text(({"a": 1}, f"one{end}two\nthree"), ({"b": 2}, None))
    found, garbled = read(text.encode())
    assert garbled.count == 0
    assert [record.metadata for record in found] == [{"a": 1}, {"b": 2}]
    assert found[0].payload.removesuffix("\n") == f"one{end}two\nthree"


def test_what_is_no_record_is_counted_and_its_beginning_kept() -> None:
    lines = ["\tlost payload", "no prefix", "V1123 a.py:1] [1]", "V1123 a.py:1] {", "W1123 a.py:1] {}", "x" * 1000]
    found, garbled = read("\n".join([*lines, ""]).encode())
    assert found == []
    assert garbled.count == len(lines)
    assert garbled.first == lines[:3]


def test_a_long_line_that_is_no_record_is_cut() -> None:
    _, garbled = read(b"x" * 1000)
    assert garbled.first == ["x" * 200]


def test_a_record_follows_what_is_no_record() -> None:
    found, garbled = read(b"garbage\n\tlost\n" + WHOLE)
    assert (len(found), garbled.count) == (len(RECORDS), 2)


def test_a_record_knows_its_artifact_and_its_compilation() -> None:
    record = TraceRecord({"artifact": {"name": "aotautograd_cache_miss"}, "frame_id": 3, "frame_compile_id": 1})
    assert record.artifact_name() == "aotautograd_cache_miss"
    assert record.compile_id() == (3, 1)


@pytest.mark.parametrize("metadata", [{}, {"artifact": None}, {"artifact": "a"}, {"artifact": {}}])
def test_a_record_that_is_no_artifact(metadata: dict[str, Any]) -> None:
    assert TraceRecord(metadata).artifact_name() is None
    assert TraceRecord(metadata).compile_id() == (None, None)


def test_a_number_longer_than_python_reads_is_garbled() -> None:
    digits = "1" * (sys.get_int_max_str_digits() + 1)
    found, garbled = read(WHOLE + f'V1123 a.py:1] {{"a": {digits}}}\n'.encode())
    assert (len(found), garbled.count) == (len(RECORDS), 1)


def test_lists_nested_deeper_than_python_recurses_are_garbled() -> None:
    found, garbled = read(WHOLE + b"V1123 a.py:1] " + b"[" * 100 * sys.getrecursionlimit() + b"\n")
    assert (len(found), garbled.count) == (len(RECORDS), 1)


def test_a_trace_cut_anywhere_keeps_the_records_before() -> None:
    for length in range(len(WHOLE)):
        found, garbled = read(WHOLE[:length])
        assert_kept_before(length, found)
        assert garbled.count <= 1


@wild
@given(at=st.integers(0, len(WHOLE)), length=st.integers(0, 40), instead=st.binary(max_size=40))
def test_a_trace_damaged_anywhere_keeps_the_records_before(at: int, length: int, instead: bytes) -> None:
    found, _ = read(WHOLE[:at] + instead + WHOLE[at + length :])
    assert_kept_before(at, found)


pieces = st.sampled_from(["V1123 a.py:1] ", "] ", "V", "\t", "\n", "\r", "{", "}", '{"a": 1}', "[", "null", "1", '"'])


@wild
@given(st.lists(pieces | st.text(max_size=4), max_size=30).map("".join))
def test_any_text_is_read(text: str) -> None:
    found, garbled = read(text.encode("utf-8", "surrogatepass"))
    assert len(found) + garbled.count <= text.count("\n") + text.count("\r") + 1
    json.dumps([record.metadata for record in found])


@wild
@given(st.binary(max_size=300))
def test_any_bytes_are_read(content: bytes) -> None:
    read(content)
