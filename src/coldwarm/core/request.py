"""The request for one start; the launcher writes it, and the worker reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from coldwarm.core.deferred_model import DeferredModel
from coldwarm.core.depth import Depth


class StartRequest(DeferredModel):
    """The request for one start."""

    engine: str
    device: str
    compilation: str
    depth: Depth = Depth.FULL
    model_folder: Path
    """The folder with the config.json to start."""
    overrides: dict[str, Any]
    """Values with which the engine overrides the config, to shrink the model."""
    drafter: dict[str, Any] | None = None
    """The config of a separate drafter, already shrunk; None: no separate drafter."""
    options: dict[str, Any]
    """The entry's and the user's options of the engine, which override those that coldwarm sets."""
    seed: int = 0
    own_folders: list[Path] = Field(default_factory=list)
    """Folders to which the start may write."""
    users_caches: list[Path] = Field(default_factory=list)
    """Folders of the user's own caches, which the start must neither read nor write."""
    result: Path
    """The file for the worker's `WorkerResult`."""
    reports: Path
    """The folder for the `ProcessReport` of each observed process, as ``PID.json``."""
    launcher_pid: int
    """The id of the launcher's process, which the worker must not outlive."""
    events_fd: int
    """The file descriptor for the worker's progress, one JSON object on each line."""


class ObservationRequest(DeferredModel):
    """How the processes of a user's command are observed; the launcher writes it, and each process reads it."""

    reports: Path
    """The folder in which each process writes its report."""
    events: Path | None = None
    """The named pipe to which processes announce steps; None: they announce none."""
    own_folders: list[Path] = Field(default_factory=list)
    """The start's own folders."""
    users_caches: list[Path] = Field(default_factory=list)
    """Folders of caches, whose files are reported if a process reads or writes them."""
