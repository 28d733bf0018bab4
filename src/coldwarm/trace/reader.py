"""Reads a start's trace: all its files, as typed records, with a tally of what was passed over."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from coldwarm.trace.kinds import Place, TypedRecord, parser_of
from coldwarm.trace.records import GarbledLines, read_records
from coldwarm.trace.vocabulary import PYTORCH_ONLY, TraceVocabulary

_RANK = re.compile(r"_rank_(\d+)_")


@dataclass
class Tally:
    """What was read, and what was passed over."""

    files: int = 0
    records: int = 0
    passed_over: Counter[str] = field(default_factory=Counter)
    """Records of kinds that coldwarm has no parser for, or that are laid out in another way; by kind."""
    garbled: GarbledLines = field(default_factory=GarbledLines)


@dataclass(frozen=True)
class TraceFile:
    """The trace of one process."""

    path: Path
    rank: int
    """Of a distributed start; 0 if the file's name has none."""
    vocabulary: TraceVocabulary = PYTORCH_ONLY
    """What the engine's own records in it are called."""

    def records(self, tally: Tally) -> Iterator[TypedRecord]:
        """Yield the records that coldwarm understands, in their order."""
        for record in read_records(self.path, tally.garbled):
            tally.records += 1
            kind = record.kind()
            parse = self.vocabulary.parsers.get(kind) or parser_of(kind)
            place = Place(self.path.name, record.line, record.clock, record.thread, record.compile_id())
            typed = None if parse is None else parse(record, place)
            if typed is None:
                tally.passed_over[kind] += 1
            else:
                yield typed


def trace_files(folder: Path, vocabulary: TraceVocabulary = PYTORCH_ONLY) -> list[TraceFile]:
    """Return the trace files in `folder`, by rank; empty if PyTorch wrote none."""
    files = []
    for path in folder.glob("*.log"):
        rank = _RANK.search(path.name)
        files.append(TraceFile(path, int(rank[1]) if rank else 0, vocabulary))
    return sorted(files, key=lambda file: (file.rank, file.path.name))


class Consumer(Protocol):
    """Makes something of a trace, one record at a time, so that a trace of any size needs no more memory."""

    def begin(self, file: TraceFile) -> None:
        """The records that follow are those of `file`."""

    def take(self, record: TypedRecord) -> None:
        """The next record."""


def read_trace(folder: Path, *consumers: Consumer, vocabulary: TraceVocabulary) -> Tally:
    """Read all trace files in `folder` once, and pass each record to every one of `consumers`.

    Args:
        folder: A start's trace.
        consumers: What follows it.
        vocabulary: That of the engine which wrote it; `PYTORCH_ONLY` if none did.
    """
    tally = Tally()
    for file in trace_files(folder, vocabulary):
        tally.files += 1
        for consumer in consumers:
            consumer.begin(file)
        for record in file.records(tally):
            for consumer in consumers:
                consumer.take(record)
    return tally
