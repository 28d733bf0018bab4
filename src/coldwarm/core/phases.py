"""Phases and steps of a start, as plain data."""

from __future__ import annotations

from pydantic import BaseModel

COMPILE = "compile"
"""The step in which an engine compiles; time without a span in the trace is unaccounted."""
WARM_UP = "warm-up"
"""The step in which an engine first runs the compiled model, to measure its memory."""
UNACCOUNTED = "unaccounted"
GENERATE = "generate"
"""The step in which the engine, ready for requests, generates the first tokens."""


class Phase(BaseModel):
    """A part of a start's wall time."""

    name: str
    seconds: float


class Step(BaseModel):
    """A step that the engine announced, with its begin and end."""

    name: str
    begin: float
    """Seconds since the epoch."""
    end: float
