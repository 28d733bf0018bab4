from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from coldwarm.trace import records as module
from coldwarm.trace.records import MalformedLines, TraceRecord, read_records
from tests.support.traces import PREFIX, Record, digested, trace_text

RECORDS: list[Record] = [
    ({"str": ["a] {}.py", 0]}, None),
    ({"artifact": {"name": "vllm_piecewise_compile_start", "encoding": "json"}, "has_payload": "0f"}, '{\n"a": 1\n}'),
    ({"chromium_event": {}, "has_payload": "1f"}, '{"name": "GraphLowering.codegen", "ph": "B"}'),
    ({"dynamo_output_graph": {}, "frame_id": 0, "frame_compile_id": 0}, "class M:\n\n    größe = '] {'\n\ttab"),
    ({"compilation_metrics": {}, "frame_id": 1}, None),
]
WHOLE = trace_text(*RECORDS).encode()
wild = settings(max_examples=30, deadline=None)


def read(content: bytes) -> tuple[list[TraceRecord], MalformedLines]:
    malformed = MalformedLines()
    # In memory: a thousand files on a busy disk take seconds.
    with os.fdopen(os.memfd_create("trace.log"), "wb") as file:
        file.write(content)
        file.flush()
        return list(read_records(Path(f"/proc/self/fd/{file.fileno()}"), malformed)), malformed


def ends() -> list[int]:
    """Return the offset in bytes at which each record of the complete trace ends."""
    return [len(trace_text(*RECORDS[: n + 1]).encode()) for n in range(len(RECORDS))]


def lines_in(content: bytes) -> int:
    return content.count(b"\n") + (not content.endswith(b"\n") and content != b"")


def lines_of(record: TraceRecord) -> int:
    return 1 if not record.payload else 2 + record.payload.count(b"\n")


def in_blocks(patch: pytest.MonkeyPatch, block: int, record: int = 1 << 20) -> None:
    """Make the reader use blocks of this size and skip longer records."""
    patch.setattr(module, "_BLOCK_BYTES", block)
    patch.setattr(module, "_RECORD_BYTES", record)


def assert_kept_before(damage: int, found: list[TraceRecord]) -> None:
    """Assert that all records that end before the byte `damage` were read; more may follow."""
    whole, _ = read(WHOLE)
    intact = sum(end <= damage for end in ends())
    assert [record.metadata for record in found[:intact]] == [record.metadata for record in whole[:intact]]
    if intact:
        last = intact - 1
        assert [record.payload for record in found[:last]] == [record.payload for record in whole[:last]]
        assert found[last].payload.startswith(whole[last].payload)


def test_a_complete_trace_is_read() -> None:
    found, malformed = read(WHOLE)
    assert [(record.metadata, record.text()) for record in found] == [
        (metadata, payload or "") for metadata, payload in RECORDS
    ]
    assert malformed.count == 0


def test_an_empty_file_has_no_records() -> None:
    assert read(b"") == ([], MalformedLines())


def test_a_last_line_without_a_line_break_is_read() -> None:
    found, malformed = read(WHOLE[:-1])
    assert (len(found), malformed.count) == (len(RECORDS), 0)


@pytest.mark.parametrize("end", ["\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_a_payload_may_contain_other_line_separators(end: str) -> None:
    text = trace_text(({"a": 1}, f"one{end}two\nthree"), ({"b": 2}, None))
    found, malformed = read(text.encode())
    assert malformed.count == 0
    assert [record.metadata for record in found] == [{"a": 1}, {"b": 2}]
    assert found[0].text() == f"one{end}two\nthree"


def test_malformed_lines_are_counted_and_their_beginning_is_recorded() -> None:
    lines = [
        "\tlost payload",
        "no prefix",
        f"{PREFIX} [1]",
        f"{PREFIX} {{",
        f"W{PREFIX[1:]} {{}}",
        PREFIX,
        f"{PREFIX}{{}}",
        "V1123 a.py:1] {}",
        "x" * 1000,
    ]
    found, malformed = read("\n".join([*lines, ""]).encode())
    assert found == []
    assert malformed.count == len(lines)
    assert malformed.first == lines[:3]


def test_a_long_malformed_line_is_truncated() -> None:
    _, malformed = read(b"x" * 1000)
    assert malformed.first == ["x" * 200]


def test_a_record_after_malformed_lines_is_read() -> None:
    found, malformed = read(b"garbage\n\tlost\n" + WHOLE)
    assert (len(found), malformed.count) == (len(RECORDS), 2)


def test_a_record_knows_its_artifact_and_its_compilation() -> None:
    record = TraceRecord({"artifact": {"name": "aotautograd_cache_miss"}, "frame_id": 3, "frame_compile_id": 1})
    assert record.artifact_name() == "aotautograd_cache_miss"
    assert record.compile_id() == (3, 1)


@pytest.mark.parametrize("metadata", [{}, {"artifact": None}, {"artifact": "a"}, {"artifact": {}}])
def test_a_record_that_is_not_an_artifact(metadata: dict[str, Any]) -> None:
    assert TraceRecord(metadata).artifact_name() is None
    assert TraceRecord(metadata).compile_id() == (None, None)


def test_a_number_that_is_too_long_for_python_is_malformed() -> None:
    digits = "1" * (sys.get_int_max_str_digits() + 1)
    found, malformed = read(WHOLE + f'{PREFIX} {{"a": {digits}}}\n'.encode())
    assert (len(found), malformed.count) == (len(RECORDS), 1)


def test_lists_that_are_nested_too_deep_for_python_are_malformed() -> None:
    found, malformed = read(WHOLE + f"{PREFIX} ".encode() + b"[" * 100 * sys.getrecursionlimit() + b"\n")
    assert (len(found), malformed.count) == (len(RECORDS), 1)


def test_the_records_before_a_cut_are_read() -> None:
    for length in range(len(WHOLE)):
        found, malformed = read(WHOLE[:length])
        assert_kept_before(length, found)
        assert malformed.count <= 1


@wild
@given(at=st.integers(0, len(WHOLE)), length=st.integers(0, 40), instead=st.binary(max_size=40))
def test_the_records_before_any_damage_are_read(at: int, length: int, instead: bytes) -> None:
    found, _ = read(WHOLE[:at] + instead + WHOLE[at + length :])
    assert_kept_before(at, found)


pieces = st.sampled_from([f"{PREFIX} ", "] ", "V", "\t", "\n", "\r", "{", "}", '{"a": 1}', "[", "null", "1", '"'])


@wild
@given(st.lists(pieces | st.text(max_size=4), max_size=30).map("".join))
def test_any_text_is_read(text: str) -> None:
    content = text.encode("utf-8", "surrogatepass")
    found, malformed = read(content)
    assert malformed.count + len(found) <= lines_in(content)
    json.dumps([record.metadata for record in found])


@wild
@given(st.binary(max_size=300))
def test_any_bytes_are_read(content: bytes) -> None:
    read(content)


def test_a_record_has_its_line_its_clock_and_its_writer() -> None:
    text = trace_text(
        ({"a": 1}, None), ({"b": 2}, "one\ntwo"), prefix="V0203 23:59:58.750000 77 torch/a.py:1]"
    ) + trace_text(({"c": 3}, None), prefix="V0204 00:00:01.5 8 /b c/d.py:22]")
    found, _ = read(b"garbage\n" + text.encode())
    assert [(record.line, record.clock, record.thread) for record in found] == [
        (2, 86398.75, 77),
        (3, 86398.75, 77),
        (6, 1.5, 8),
    ]


def test_malformed_lines_are_included_in_line_numbers() -> None:
    found, _ = read(b"\n\n\tlost\n" + WHOLE + b"\nx\n" + WHOLE)
    assert [record.line for record in found] == [4, 5, 9, 11, 16, 19, 20, 24, 26, 31]


@pytest.mark.parametrize("payload", ["", "\n", "a\n", "\ta", "a\n\tb\n", "größe\n\n", "a\r\nb"])
def test_a_payload_is_read_unchanged(payload: str) -> None:
    found, malformed = read(trace_text(digested({"a": 1}, payload), ({"b": 2}, None)).encode())
    assert [record.payload for record in found] == [payload.encode(), b""]
    assert malformed.count == 0


@pytest.mark.parametrize("mixed_in", [b"\tof another writer\n", b"\t\n"])
def test_a_record_with_a_changed_payload_is_malformed(mixed_in: bytes) -> None:
    whole = trace_text(digested({"a": 1}, "one\ntwo")).encode()
    found, malformed = read(whole + mixed_in + WHOLE)
    assert (len(found), malformed.count) == (len(RECORDS), 4)
    assert malformed.first[0].startswith(PREFIX)


def test_a_record_with_a_missing_payload_is_malformed() -> None:
    first, *_ = trace_text(digested({"a": 1}, "one\ntwo")).encode().split(b"\n")
    found, malformed = read(first + b"\n" + WHOLE)
    assert (len(found), malformed.count) == (len(RECORDS), 1)


def test_a_truncated_last_record_is_malformed() -> None:
    last = trace_text(digested({"a": 1}, "one\ntwo")).encode()
    for length in range(1, len(last) - 1):
        found, malformed = read(WHOLE + last[:length])
        assert len(found) == len(RECORDS)
        assert malformed.count == lines_in(last[:length])


def test_a_payload_that_is_not_utf8_can_be_shown() -> None:
    assert TraceRecord({}, b"a\xffb").text() == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize(
    ("metadata", "kind"),
    [
        ({"chromium_event": {}, "rank": 0, "has_payload": "0f"}, "chromium_event"),
        ({"rank": 0, "frame_id": 1, "stack": [], "attempt": 0, "str": ["a", 0]}, "str"),
        ({"artifact": {"name": "torch_version"}}, "artifact:torch_version"),
        ({"rank": 0, "artifact": {"name": "a"}, "graph_dump": {}}, "artifact:a"),
        ({"artifact": {}}, "artifact:None"),
        ({"has_payload": "0f", "frame_compile_id": 0, "compiled_autograd_id": 1}, "nothing"),
        ({}, "nothing"),
    ],
)
def test_a_record_has_a_kind(metadata: dict[str, Any], kind: str) -> None:
    assert TraceRecord(metadata).kind() == kind


def test_a_writer_with_a_number_that_is_too_long_is_malformed() -> None:
    digits = "1" * (sys.get_int_max_str_digits() + 1)
    found, malformed = read(f"V1123 12:00:00.1 {digits} a.py:1] {{}}\n".encode() + WHOLE)
    assert (len(found), malformed.count) == (len(RECORDS), 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "/home/\udcff/model.py"])
def test_any_metadata_that_pytorch_writes_is_read(value: object) -> None:
    # PyTorch writes metadata with `json.dumps`, which writes these.
    found, malformed = read(trace_text(({"a": value}, None), ({"b": 1}, None)).encode())
    assert (len(found), malformed.count) == (2, 0)


TORN = [
    WHOLE,
    trace_text(digested({"b": 2}, "one\n\ntwo\n")).encode(),
    PREFIX.encode(),
    b" {}",
    b"\n",
    b"\n\t",
    b"\t",
    b"V",
    b"garbage\n",
]
torn = st.lists(st.sampled_from(TORN) | st.binary(max_size=12), max_size=12).map(b"".join)


def assert_all_accounted_for(content: bytes, found: list[TraceRecord], malformed: MalformedLines) -> None:
    """Assert that each line is of exactly one record, as its beginning or its payload, or malformed."""
    lines = content.split(b"\n")
    of_records = 0
    for record in found:
        following = lines[record.line :]
        assert lines[record.line - 1].startswith(b"V")
        of_records += 1 + next((n for n, line in enumerate(following) if not line.startswith(b"\t")), len(following))
    assert of_records + malformed.count == lines_in(content)
    assert len(malformed.first) <= min(3, malformed.count)


@wild
@given(torn)
def test_every_line_belongs_to_a_record_or_is_malformed(content: bytes) -> None:
    assert_all_accounted_for(content, *read(content))


@wild
@given(torn, st.integers(1, 200))
def test_block_boundaries_do_not_matter(content: bytes, block: int) -> None:
    whole = read(content)
    with pytest.MonkeyPatch.context() as patch:
        in_blocks(patch, block)
        assert read(content) == whole


@wild
@given(torn, st.integers(1, 200), st.integers(1, 200))
@example(WHOLE + b"\n {}", 180, 1)
def test_every_line_is_accounted_for_if_long_records_are_skipped(content: bytes, block: int, record: int) -> None:
    whole, _ = read(content)
    with pytest.MonkeyPatch.context() as patch:
        in_blocks(patch, block, record)
        found, malformed = read(content)
    assert_all_accounted_for(content, found, malformed)
    assert all(each in whole for each in found)
    short = [each for each in whole if len(each.payload) + len(PREFIX) + 300 < record]
    assert all(each in found for each in short)


def test_a_block_may_end_at_any_byte_of_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(WHOLE)
    for block in range(1, 200):
        in_blocks(monkeypatch, block)
        assert read(WHOLE) == whole


def test_an_endless_record_is_skipped_and_the_next_ones_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    in_blocks(monkeypatch, 100, 1000)
    endless = trace_text(digested({"a": 1}, "0123456789\n" * 500)).encode()
    found, malformed = read(WHOLE + endless + WHOLE)
    assert [record.metadata for record in found] == 2 * [metadata for metadata, _ in RECORDS]
    assert malformed.count == lines_in(endless)
    assert malformed.first[0].startswith(PREFIX)
    assert [record.line for record in found[len(RECORDS) :]] == [
        line + lines_in(WHOLE) + lines_in(endless) for line in (1, 2, 6, 8, 13)
    ]


def test_records_after_a_skipped_one_are_separated_in_the_last_block(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = trace_text(digested({"a": 1}, "0123456789\n" * 500)).encode()
    in_blocks(monkeypatch, len(endless) - 10, 1000)
    found, malformed = read(endless + WHOLE)
    assert [record.metadata for record in found] == [metadata for metadata, _ in RECORDS]
    assert malformed.count == lines_in(endless)


def test_the_end_of_a_skipped_record_is_found_at_any_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = trace_text(digested({"a": 1}, "one\n\n\ttwo" * 30)).encode()
    for block in range(1, 120, 2):
        in_blocks(monkeypatch, block, 200)
        for end in (b"", trace_text(({"b": 2}, None)).encode(), b"\tlost"):
            found, malformed = read(endless + end)
            assert_all_accounted_for(endless + end, found, malformed)
            assert [record.metadata for record in found] == ([{"b": 2}] if end.startswith(b"V") else [])
            assert len(malformed.first) == 1


def test_a_record_of_the_maximum_length_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    record = trace_text(digested({"a": 1}, "0123456789\n" * 50)).encode()
    in_blocks(monkeypatch, 100, len(record))
    found, malformed = read(record + WHOLE)
    assert (len(found), malformed.count) == (1 + len(RECORDS), 0)


@pytest.mark.parametrize("endless", [b"x" * 5000 + b"\n", trace_text(digested({"a": 1}, "x" * 5000)).encode()])
def test_an_endless_line_is_one_line(endless: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    in_blocks(monkeypatch, 100, 1000)
    found, malformed = read(endless + WHOLE)
    assert [record.metadata for record in found] == [metadata for metadata, _ in RECORDS]
    assert_all_accounted_for(endless + WHOLE, found, malformed)


def test_a_skipped_payload_does_not_become_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    in_blocks(monkeypatch, 100, 1000)
    # After the cut, the payload's only line continues like the beginning of a record.
    begin = f"{PREFIX} {{}}".ljust(98).encode() + b"\n\t"
    found, _ = read(begin + f"{PREFIX} {{}}".ljust(100).encode() * 11 + b"\n" + WHOLE)
    assert [record.metadata for record in found[-len(RECORDS) :]] == [metadata for metadata, _ in RECORDS]
    assert len(found) <= 1 + len(RECORDS)


# Prints by how many MiB at most the memory of a process grows while it reads the file. Unlike `ru_maxrss`, which keeps
# the peak of the process that forked it, the kernel's "high water mark" begins with the program.
PEAK = """
import re, sys
from pathlib import Path
from coldwarm.trace.records import MalformedLines, read_records

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024

before = peak()
malformed = MalformedLines()
records = sum(1 for _ in read_records(Path(sys.argv[1]), malformed))
print(records, malformed.count, peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_a_large_trace_is_read_in_little_memory(tmp_path: Path) -> None:
    code = "".join(f"    add_{n}: 'f32[s72, 4096][4096, 1]cpu' = torch.add(mul_{n}, view_{n})\n" for n in range(4000))
    part = trace_text(
        *[({"str": ["a.py", n]}, None) for n in range(1000)], digested({"inductor_output_code": {}}, code)
    )
    parts = 40_000_000 // len(part)
    path = tmp_path / "trace.log"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(part for _ in range(parts))
    done = subprocess.run([sys.executable, "-c", PEAK, path], capture_output=True, text=True, check=True)
    path.unlink()
    records, malformed, mebibytes = done.stdout.split()
    assert (int(records), int(malformed)) == (1001 * parts, 0)
    assert float(mebibytes) < 32
