"""Reads all files of a start's trace as typed records, and counts the records and lines that it skips."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from coldwarm.trace.kinds import Location, TypedRecord, parser_of
from coldwarm.trace.records import MalformedLines, read_records
from coldwarm.trace.vocabulary import PYTORCH_ONLY, TraceVocabulary

_RANK = re.compile(r"_rank_(\d+)_")


@dataclass
class TraceStats:
    """How many files and records were read, and how many were skipped."""

    files: int = 0
    records: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    """Skipped records by kind: those without a parser, or with an unknown layout."""
    malformed: MalformedLines = field(default_factory=MalformedLines)


@dataclass(frozen=True)
class TraceFile:
    """The trace of one process."""

    path: Path
    rank: int
    """Of a distributed start; 0 if the file's name has none."""
    vocabulary: TraceVocabulary = PYTORCH_ONLY
    """What the engine's own records in it are called."""
    names_rank: bool = False
    """Whether the file's name has the rank. A process may begin a file before it knows its rank."""

    def records(self, trace_stats: TraceStats) -> Iterator[TypedRecord]:
        """Yield the records that coldwarm understands, in their order."""
        for record in read_records(self.path, trace_stats.malformed):
            trace_stats.records += 1
            kind = record.kind()
            parse = self.vocabulary.parsers.get(kind) or parser_of(kind)
            location = Location(self.path.name, record.line, record.clock, record.thread, record.compile_id())
            typed = None if parse is None else parse(record, location)
            if typed is None:
                trace_stats.skipped[kind] += 1
            else:
                yield typed


def trace_files(folder: Path, vocabulary: TraceVocabulary = PYTORCH_ONLY) -> list[TraceFile]:
    """Return the trace files in `folder`, by rank; empty if PyTorch wrote none."""
    files = []
    for path in folder.glob("*.log"):
        rank = _RANK.search(path.name)
        files.append(TraceFile(path, int(rank[1]) if rank else 0, vocabulary, rank is not None))
    return sorted(files, key=lambda file: (file.rank, file.path.name))


class Consumer(Protocol):
    """Processes a trace one record at a time, so that memory does not grow with the size of the trace."""

    def begin(self, file: TraceFile) -> None:
        """Called before the records of `file`."""

    def take(self, record: TypedRecord) -> None:
        """Called with each record."""


def read_trace(folder: Path, *consumers: Consumer, vocabulary: TraceVocabulary) -> TraceStats:
    """Read all trace files in `folder` once, and pass each record to every one of `consumers`.

    Args:
        folder: The folder of a start's trace.
        consumers: The consumers of the records.
        vocabulary: The vocabulary of the engine that wrote the trace; `PYTORCH_ONLY` without an engine.
    """
    trace_stats = TraceStats()
    for file in trace_files(folder, vocabulary):
        trace_stats.files += 1
        for consumer in consumers:
            consumer.begin(file)
        for record in file.records(trace_stats):
            for consumer in consumers:
                consumer.take(record)
    return trace_stats
