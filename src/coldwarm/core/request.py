"""What a worker is asked to start; the launcher writes it, the worker reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from coldwarm.core.depth import Depth


class StartRequest(BaseModel):
    """One start."""

    engine: str
    device: str
    compilation: str
    depth: Depth = Depth.FULL
    model_folder: Path
    """Holds the config.json to start."""
    overrides: dict[str, Any]
    """Values that the engine puts over the config, to shrink the model."""
    options: dict[str, Any]
    """The user's options of the engine, over those that coldwarm sets."""
    seed: int = 0
    own_folders: list[Path] = Field(default_factory=list)
    """Where the start may write."""
    users_caches: list[Path] = Field(default_factory=list)
    """Where the user's own starts keep caches: nothing that the start may read or write."""
    result: Path
    """Where the worker writes its `WorkerResult`."""
    reports: Path
    """The folder where each observed process writes its `ProcessReport`, as ``PID.json``."""
    launcher_pid: int
    """The process that the worker must not outlive."""
    events_fd: int
    """Where the worker writes its progress, a JSON object a line."""
