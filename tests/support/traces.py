"""Traces as PyTorch writes them (torch/_logging/_internal.py, `TorchLogsFormatter`), for tests.

Each process of the fake engine imports this module; imports inside the functions save a part of the time it takes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coldwarm.core.compiler_work import CompilerWork
    from coldwarm.trace.kinds import SpanEdge

Record = tuple[dict[str, Any], str | None]

PREFIX = "V1123 12:00:00.123456 4242 torch/_logging/structured.py:42]"


def trace_text(*records: Record, prefix: str = PREFIX) -> str:
    """Return the trace of these records, each with its metadata and an optional payload."""
    return "".join(_text(prefix, metadata, payload) for metadata, payload in records)


def digested(metadata: dict[str, Any], payload: str) -> Record:
    """Return a record whose ``has_payload`` is the digest of its payload, as in a real trace."""
    digest = hashlib.md5(payload.encode(), usedforsecurity=False).hexdigest()
    return {**metadata, "has_payload": digest}, payload


def span_event(name: str, edge: str, seconds: float = 1.0, **fields: Any) -> Record:
    """Return the edge of a span as a record."""
    return digested({"chromium_event": {}}, json.dumps({"name": name, "ph": edge, "ts": seconds * 1e6, **fields}))


def span_edge(name: str, edge: str, seconds: float, process: int = 1) -> SpanEdge:
    """Return the edge of a span as a typed record."""
    from coldwarm.trace.kinds import Location, SpanEdge

    return SpanEdge(Location("trace.log", 1, 0.0, process, (None, None)), name, edge == "B", seconds, {})


def compiler_work_of(folder: Path) -> CompilerWork:
    """Return the compiler work in the trace in `folder`."""
    from coldwarm.engines.vllm.trace_records import TRACE
    from coldwarm.measure.compile_work import CompilerWorkCounter
    from coldwarm.trace.reader import read_trace

    counter = CompilerWorkCounter()
    return counter.work(read_trace(folder, counter, vocabulary=TRACE))


def _text(prefix: str, metadata: dict[str, Any], payload: str | None) -> str:
    text = f"{prefix} {json.dumps(metadata)}"
    if payload is not None:
        text += "".join(f"\n\t{line}" for line in payload.split("\n"))
    return text + "\n"
