"""The cause of a crashed start, if the engine's error states it."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel


class CrashKind(StrEnum):
    """What cannot run the model."""

    DEVICE = "device"
    """The device or the installation: it lacks a kernel or a package."""
    RELEASE = "release"
    """The installed release of the engine: it does not have the model."""
    CONFIG = "config"
    """The config.json: it lacks something, or is not valid."""


class CrashCause(BaseModel):
    """The cause of a crashed start."""

    kind: CrashKind
    reason: str
    """One line, with the engine's own words."""
    raised_in: str
    """The engine's file and line (``vllm/platforms/cpu.py:150``)."""

    def __str__(self) -> str:
        return f"{self.reason} ({self.raised_in})"
