"""Names of an engine's own records in PyTorch's structured trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from coldwarm.trace.kinds import Parser


@dataclass(frozen=True)
class TraceVocabulary:
    """The records that an engine adds to those of PyTorch; by default, none."""

    parsers: Mapping[str, Parser] = field(default_factory=dict)
    """Parsers of the engine's own records, by kind (`TraceRecord.kind`)."""
    backend_span: str | None = None
    """The span in which the engine compiles one model."""
    stages: Mapping[str, str] = field(default_factory=dict)
    """The engine's own spans, by name, and the phase that each counts towards. These phases are between AOTAutograd
    and Dynamo: Dynamo calls the engine's backend, which calls AOTAutograd."""
    dump_prefix: str = ""
    """The prefix of a submodule's name in the name of its graph dump."""


PYTORCH_ONLY = TraceVocabulary()
"""The trace of a program without an engine."""
