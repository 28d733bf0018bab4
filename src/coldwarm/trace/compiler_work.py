"""What a trace says the compiler did in a start: unique subgraphs, and how often code was generated."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel

from coldwarm.trace.records import GarbledLines, TraceRecord, read_records

# The span that Inductor opens around lowering a graph to code (torch/_inductor/graph.py, `codegen`); the spans of
# loading a saved artifact have other names.
_CODE_GENERATION = "GraphLowering.codegen"


class CompilerWork(BaseModel):
    """What the trace of one start shows."""

    files: int
    """Trace files, one a process and rank; 0: PyTorch wrote no trace, and nothing is known."""
    records: int
    garbled_lines: int
    code_generations: int
    """How often Inductor lowered a graph to code."""
    subgraphs_compiled: int
    """Subgraphs that vLLM handed to the compiler."""
    subgraphs_unique: int
    """Those of them that the compiler did not find to be one that it had compiled before."""


def read_compiler_work(folder: Path) -> CompilerWork:
    """Read all trace files in `folder`."""
    work = CompilerWork(
        files=0, records=0, garbled_lines=0, code_generations=0, subgraphs_compiled=0, subgraphs_unique=0
    )
    for path in sorted(folder.glob("*.log")):
        garbled = GarbledLines()
        reader = _Reader()
        for record in read_records(path, garbled):
            work.records += 1
            reader.take(record)
        work.files += 1
        work.garbled_lines += garbled.count
        work.code_generations += reader.code_generations
        work.subgraphs_compiled += reader.compiled
        work.subgraphs_unique += reader.unique
    return work


class _Reader:
    """Follows one file's records in their order."""

    def __init__(self) -> None:
        self.code_generations = 0
        self.compiled = 0
        self.unique = 0
        self._subgraph: tuple[object, object] | None = None

    def take(self, record: TraceRecord) -> None:
        if "chromium_event" in record.metadata:
            self.code_generations += _begins_code_generation(record.payload)
            return
        match record.artifact_name():
            case "vllm_piecewise_compile_start":
                self.compiled += 1
                self._subgraph = record.compile_id()
            case "aotautograd_cache_miss" if self._subgraph is not None:
                # A torch.compile nested elsewhere (a sampler, an expert kernel) misses under an id of its own.
                if record.compile_id() == self._subgraph:
                    self.unique += 1
                    self._subgraph = None


def _begins_code_generation(payload: str) -> bool:
    if _CODE_GENERATION not in payload:
        return False
    try:
        event = json.loads(payload)
    except (ValueError, RecursionError):  # no JSON; a number too long; nested too deep
        return False
    return isinstance(event, dict) and event.get("name") == _CODE_GENERATION and event.get("ph") == "B"
