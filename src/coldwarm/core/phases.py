"""The parts of a start's wall time, as plain data."""

from __future__ import annotations

from pydantic import BaseModel

COMPILE = "compile"
"""The step in which an engine compiles: what of it no span of the trace covers is not accounted for."""
WARM_UP = "warm-up"
"""The step in which an engine runs the compiled model for the first time, to measure its memory."""
UNACCOUNTED = "unaccounted"


class Phase(BaseModel):
    """A part of a start's wall time."""

    name: str
    seconds: float


class Step(BaseModel):
    """What the engine announced, from when to when."""

    name: str
    begin: float
    """Seconds since the epoch."""
    end: float
