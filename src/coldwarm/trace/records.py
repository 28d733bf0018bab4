"""Splits a TORCH_TRACE file into its records, one at a time, at bounded memory.

The format (torch/_logging/_internal.py, `TorchLogsFormatter` and `trace_structured`): a record is a line of a
glog-like prefix up to ``]`` and a JSON object; where that object has ``has_payload``, the payload follows in
lines that begin with a tab.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TraceRecord:
    """One record of a trace."""

    metadata: dict[str, Any]
    payload: str = ""
    """Without the leading tabs; empty where the record has none."""

    def artifact_name(self) -> str | None:
        """The name of the artifact that this record is; None where it is none."""
        artifact = self.metadata.get("artifact")
        return artifact.get("name") if isinstance(artifact, dict) else None

    def compile_id(self) -> tuple[object, object]:
        """The frame and its compilation that the record belongs to; (None, None) outside Dynamo's tracing."""
        return self.metadata.get("frame_id"), self.metadata.get("frame_compile_id")


@dataclass
class GarbledLines:
    """Counts the lines that were no part of a record."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        """Count `line`, and keep it if it is one of the first three."""
        self.count += 1
        if len(self.first) < 3:
            self.first.append(line[:200].rstrip("\n"))


def read_records(path: Path, garbled: GarbledLines) -> Iterator[TraceRecord]:
    """Yield the records of the trace file at `path`; lines that make no sense are added to `garbled`."""
    metadata: dict[str, Any] | None = None
    payload: list[str] = []
    with path.open(encoding="utf-8", errors="replace", newline="\n") as lines:
        for line in lines:
            if line.startswith("\t"):
                if metadata is None:
                    garbled.add(line)
                else:
                    payload.append(line[1:])
                continue
            if metadata is not None:
                yield TraceRecord(metadata, "".join(payload))
            metadata, payload = _parse_prefix_line(line), []
            if metadata is None:
                garbled.add(line)
    if metadata is not None:
        yield TraceRecord(metadata, "".join(payload))


def _parse_prefix_line(line: str) -> dict[str, Any] | None:
    _, bracket, rest = line.partition("] ")
    if not bracket or not line.startswith("V"):
        return None
    try:
        metadata = json.loads(rest)
    except (ValueError, RecursionError):  # no JSON; a number too long; nested too deep
        return None
    return metadata if isinstance(metadata, dict) else None
