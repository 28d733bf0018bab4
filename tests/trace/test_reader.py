from __future__ import annotations

from pathlib import Path

import pytest

from coldwarm.trace.kinds import GraphDump, SpanEdge, TypedRecord
from coldwarm.trace.reader import TraceFile, TraceStats, read_trace, trace_files
from coldwarm.trace.vocabulary import PYTORCH_ONLY
from tests.support.traces import digested, span_event, trace_text

FOREIGN = ({"str": ["a.py", 0]}, None)
GRAPH = digested({"graph_dump": {"name": "vllm_submod_0"}, "frame_id": 3, "frame_compile_id": 1}, "code")


class RecordingConsumer:
    """Records its calls."""

    def __init__(self) -> None:
        self.files: list[TraceFile] = []
        self.taken: list[tuple[int, TypedRecord]] = []

    def begin(self, file: TraceFile) -> None:
        self.files.append(file)

    def take(self, record: TypedRecord) -> None:
        self.taken.append((self.files[-1].rank, record))


def test_a_folder_without_traces_has_no_files(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text(trace_text(GRAPH))
    for folder in (tmp_path, tmp_path / "absent"):
        assert trace_files(folder) == []
        assert read_trace(folder, vocabulary=PYTORCH_ONLY) == TraceStats()


def test_files_are_ordered_by_rank_and_name(tmp_path: Path) -> None:
    names = {
        "dedicated_log_torch_trace_rank_10_a.log": 10,
        "dedicated_log_torch_trace_rank_2_z.log": 2,
        "dedicated_log_torch_trace_rank_0_b.log": 0,
        "dedicated_log_torch_trace_z9_k.log": 0,
        "rank_7.log": 0,
    }
    for name in names:
        (tmp_path / name).touch()
    files = trace_files(tmp_path)
    assert [(file.path.name, file.rank) for file in files] == sorted(names.items(), key=lambda each: (each[1], each[0]))
    assert {file.path.parent for file in files} == {tmp_path}


def test_a_typed_record_knows_its_location(tmp_path: Path) -> None:
    path = tmp_path / "trace.log"
    path.write_text("garbage\n" + trace_text(FOREIGN) + trace_text(GRAPH, prefix="V1123 00:01:02.5 77 a.py:1]"))
    [record] = TraceFile(path, 0).records(TraceStats())
    assert isinstance(record, GraphDump)
    location = record.location
    assert (location.file, location.line, location.clock, location.thread) == ("trace.log", 3, 62.5, 77)
    assert location.compile_id == (3, 1)


def test_skipped_records_are_counted_by_kind(tmp_path: Path) -> None:
    changed = digested({"chromium_event": {}}, '{"name": "dynamo"}')
    version = digested({"artifact": {"name": "torch_version"}}, "{}")
    text = trace_text(FOREIGN, GRAPH, FOREIGN, changed, version, span_event("dynamo", "B"), ({"rank": 0}, None))
    (tmp_path / "trace.log").write_text(text + "garbage\n\n")
    consumer = RecordingConsumer()
    trace_stats = read_trace(tmp_path, consumer, vocabulary=PYTORCH_ONLY)
    assert [type(record) for _, record in consumer.taken] == [GraphDump, SpanEdge]
    assert (trace_stats.files, trace_stats.records) == (1, 7)
    assert trace_stats.skipped == {"str": 2, "chromium_event": 1, "artifact:torch_version": 1, "nothing": 1}
    assert (trace_stats.malformed.count, trace_stats.malformed.first) == (2, ["garbage", ""])


def test_every_consumer_receives_every_record_file_by_file(tmp_path: Path) -> None:
    for rank in (1, 0):
        text = trace_text(span_event(f"of rank {rank}", "B"), GRAPH) + "garbage\n"
        (tmp_path / f"dedicated_log_torch_trace_rank_{rank}_x.log").write_text(text)
    one, other = RecordingConsumer(), RecordingConsumer()
    trace_stats = read_trace(tmp_path, one, other, vocabulary=PYTORCH_ONLY)
    assert [file.rank for file in one.files] == [0, 1]
    assert [(rank, type(record)) for rank, record in one.taken] == [
        (0, SpanEdge),
        (0, GraphDump),
        (1, SpanEdge),
        (1, GraphDump),
    ]
    assert [record.name for rank, record in one.taken if isinstance(record, SpanEdge)] == ["of rank 0", "of rank 1"]
    assert (other.files, other.taken) == (one.files, one.taken)
    assert (trace_stats.files, trace_stats.records, trace_stats.malformed.count) == (2, 4, 2)


def test_records_are_read_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "trace.log"
    path.write_text(trace_text(FOREIGN, GRAPH, GRAPH, FOREIGN))
    trace_stats = TraceStats()
    records = TraceFile(path, 0).records(trace_stats)
    assert trace_stats.records == 0
    next(records)
    assert trace_stats.records == 2


def test_a_trace_can_be_counted_without_a_consumer(tmp_path: Path) -> None:
    (tmp_path / "trace.log").write_text(trace_text(FOREIGN, GRAPH))
    trace_stats = read_trace(tmp_path, vocabulary=PYTORCH_ONLY)
    assert (trace_stats.files, trace_stats.records, dict(trace_stats.skipped)) == (1, 2, {"str": 1})


@pytest.mark.parametrize("content", [b"", b"\xff\x00\n" * 3])
def test_a_file_without_records_is_counted(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "trace.log").write_bytes(content)
    trace_stats = read_trace(tmp_path, RecordingConsumer(), vocabulary=PYTORCH_ONLY)
    assert (trace_stats.files, trace_stats.records, trace_stats.malformed.count) == (1, 0, content.count(b"\n"))
