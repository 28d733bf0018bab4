"""Exports a run's two starts as a trace for Perfetto (https://ui.perfetto.dev): steps above, compiler spans below.

The format is Chrome's trace event format (JSON), which Perfetto and chrome://tracing read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from coldwarm.core.errors import unreadable_as_usage_error
from coldwarm.core.record import StartRecord
from coldwarm.core.run_folder import RunFolder
from coldwarm.engines.base import load_vocabulary
from coldwarm.report.files import remove_stale, write_report
from coldwarm.trace.kinds import SpanEdge, TypedRecord
from coldwarm.trace.reader import TraceFile, read_trace

_STEPS_TRACK = 0


def write_perfetto(path: Path, folder: Path, records: list[StartRecord]) -> None:
    """Write `records`, with their traces in `folder`, to `path`; every start begins at time 0.

    Raises:
        UsageError: The file cannot be written, or a trace cannot be read.
    """
    remove_stale(path)
    events: list[dict[str, Any]] = []
    for process, record in enumerate(records, start=1):
        events += _start_events(process, record)
        spans = _Spans(process, record)
        with unreadable_as_usage_error():
            read_trace(RunFolder(folder).trace(record.kind), spans, vocabulary=load_vocabulary(record.engine).trace)
        events += spans.events
    content = orjson.dumps({"traceEvents": events, "displayTimeUnit": "ms"})
    write_report(path, lambda file: file.write_bytes(content))


def _start_events(process: int, record: StartRecord) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = [
        {"ph": "M", "name": "process_name", "pid": process, "args": {"name": f"{record.kind} start"}},
        {"ph": "M", "name": "thread_name", "pid": process, "tid": _STEPS_TRACK, "args": {"name": "steps"}},
    ]
    events += [
        {
            "ph": "X",
            "name": step.name,
            "cat": "step",
            "pid": process,
            "tid": _STEPS_TRACK,
            "ts": max(0.0, _microseconds(step.begin - record.began.timestamp())),
            "dur": _microseconds(step.end - step.begin),
        }
        for step in record.steps
    ]
    return events


class _Spans:
    """A trace consumer that turns begins and ends of spans into events with a duration.

    An end closes the latest open span of its name in its thread. Spans without a begin or an end are left out.
    """

    def __init__(self, process: int, record: StartRecord) -> None:
        self.events: list[dict[str, Any]] = []
        self._process = process
        self._zero = record.began.timestamp()
        self._open: dict[tuple[int, str], list[SpanEdge]] = {}
        self._rank = 0

    def begin(self, file: TraceFile) -> None:
        self._rank = file.rank
        self._open.clear()

    def take(self, record: TypedRecord) -> None:
        if not isinstance(record, SpanEdge):
            return
        open_ = self._open.setdefault((record.location.thread, record.name), [])
        if record.begins:
            open_.append(record)
        elif open_:
            begin = open_.pop()
            # The clock may have been set back in between, and Perfetto does not show spans of negative duration.
            begins = max(0.0, begin.seconds - self._zero)
            ends = max(begins, record.seconds - self._zero)
            self.events.append(
                {
                    "ph": "X",
                    "name": record.name,
                    "cat": f"compiler, rank {self._rank}",
                    "pid": self._process,
                    "tid": record.location.thread,
                    "ts": _microseconds(begins),
                    "dur": _microseconds(ends - begins),
                    "args": begin.facts,
                }
            )


def _microseconds(seconds: float) -> float:
    return round(seconds * 1e6, 1)
