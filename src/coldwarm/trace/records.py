"""Splits a TORCH_TRACE file into records, one at a time and with bounded memory.

The format (torch/_logging/_internal.py, `TorchLogsFormatter` and `trace_structured`): a record is a line with a
glog-like prefix up to ``]`` and a JSON object. If the object has ``has_payload``, the payload follows in lines that
begin with a tab.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson

_BLOCK_BYTES = 4 << 20
# Longer data is not a record; reading it would need unbounded memory.
_RECORD_BYTES = 64 << 20
_BETWEEN_RECORDS = re.compile(rb"\n(?!\t)")
_PREFIX = re.compile(rb"V\d{4} (\d\d):(\d\d):(\d\d\.\d{1,9}) (\d{1,18}) [^\]]*\] ")

# Keys that every record may have; any other key is its kind.
_COMMON_KEYS = frozenset(
    ("has_payload", "frame_id", "frame_compile_id", "attempt", "stack", "rank", "compiled_autograd_id", "process")
)


@dataclass(frozen=True, slots=True)
class TraceRecord:
    """One record of a trace."""

    metadata: dict[str, Any]
    payload: bytes = b""
    """The payload without leading tabs; empty if the record has none."""
    line: int = 0
    """The number of its first line in the file, from 1."""
    clock: float = 0.0
    """When it was written, in seconds since midnight in the writer's local time."""
    thread: int = 0
    """The number that PyTorch writes as its thread; torch 2.13 writes the process id."""

    def artifact_name(self) -> str | None:
        """Return the name of the artifact; None if this record is not an artifact."""
        artifact = self.metadata.get("artifact")
        return artifact.get("name") if isinstance(artifact, dict) else None

    def kind(self) -> str:
        """Return the kind of the record, for example ``chromium_event`` or ``artifact:torch_version``."""
        if "artifact" in self.metadata:
            return f"artifact:{self.artifact_name()}"
        return next((key for key in self.metadata if key not in _COMMON_KEYS), "nothing")

    def compile_id(self) -> tuple[object, object]:
        """Return the frame and its compilation; (None, None) outside of Dynamo's tracing."""
        return self.metadata.get("frame_id"), self.metadata.get("frame_compile_id")

    def text(self) -> str:
        """Return the payload as text."""
        return self.payload.decode("utf-8", "replace")


@dataclass
class MalformedLines:
    """Counts lines that do not belong to a record."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, line: bytes, count: int = 1) -> None:
        """Count `count` lines that begin with `line`, which is recorded if it is one of the first three."""
        self.count += count
        if len(self.first) < 3:
            self.first.append(line.split(b"\n", 1)[0][:200].decode("utf-8", "replace"))


def read_records(path: Path, malformed: MalformedLines) -> Iterator[TraceRecord]:
    """Yield the records of the trace file at `path`; malformed lines are added to `malformed`.

    These include records with a damaged payload: truncated, or mixed with lines of another writer.
    """
    line = 1
    with path.open("rb") as file:
        for piece, lines in _pieces(file):
            record = _parse(piece, line) if lines is None else None
            lines = 1 + piece.count(b"\n") if lines is None else lines
            if record is None:
                malformed.add(piece, lines)
            else:
                yield record
            line += lines


def _pieces(file: BinaryIO) -> Iterator[tuple[bytes, int | None]]:
    """Yield the lines of each record; if it is too long, only its beginning and the number of its lines."""
    rest = b""
    while block := file.read(_BLOCK_BYTES):
        *pieces, rest = _BETWEEN_RECORDS.split(rest + block)
        if not rest and pieces:
            # The block ends with a line; the next block may continue its record.
            rest = pieces.pop() + b"\n"
        yield from ((piece, None) for piece in pieces)
        if len(rest) > _RECORD_BYTES:
            beginning, (lines, rest) = rest, _skip_record(file, rest)
            yield beginning, lines
    if rest:
        yield from ((piece, None) for piece in _BETWEEN_RECORDS.split(rest.removesuffix(b"\n")))


def _skip_record(file: BinaryIO, beginning: bytes) -> tuple[int, bytes]:
    """Read up to the next record; return the number of lines before it, and the part of it that was read."""
    lines = beginning.count(b"\n")
    # A line break at the end of a block ends the record only if the next block does not begin with a tab.
    before = b"\n" if beginning.endswith(b"\n") else b""
    while block := file.read(_BLOCK_BYTES):
        end = _BETWEEN_RECORDS.search(before + block)
        if end is not None and end.end() < len(before + block):
            within = (before + block)[: end.end()]
            return lines + within.count(b"\n") - len(before), block[end.end() - len(before) :]
        lines += block.count(b"\n")
        before = b"\n" if block.endswith(b"\n") else b""
    return lines + (not before), b""


def _parse(piece: bytes, line: int) -> TraceRecord | None:
    first, _, payload = piece.partition(b"\n")
    prefix = _PREFIX.match(first)
    if prefix is None:
        return None
    try:
        metadata = read_json(first[prefix.end() :])
    except ValueError:
        return None
    if not isinstance(metadata, dict):
        return None
    hour, minute, second, thread = prefix.groups()
    clock = int(hour) * 3600 + int(minute) * 60 + float(second)
    record = TraceRecord(metadata, payload[1:].replace(b"\n\t", b"\n"), line, clock, int(thread))
    return record if _is_intact(record) else None


def read_json(text: bytes) -> Any:
    """Read JSON that PyTorch wrote with Python's `json`, and that may contain NaN and lone surrogates.

    Raises:
        ValueError: `text` is not valid JSON.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            return json.loads(text)
        except RecursionError as error:
            raise ValueError("nested too deep") from error


def _is_intact(record: TraceRecord) -> bool:
    # `has_payload` is the MD5 of the payload that was logged.
    digest = record.metadata.get("has_payload")
    if not isinstance(digest, str) or len(digest) != 32:
        return True
    return digest == hashlib.md5(record.payload, usedforsecurity=False).hexdigest()
