"""The protocol of an engine: one half for the launcher, without torch, and one for the worker."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from coldwarm.core.engine import DEFAULT_ENGINE
from coldwarm.core.errors import UsageError, nearest

if TYPE_CHECKING:
    from coldwarm.core.depth import Depth
    from coldwarm.core.record import EngineFacts
    from coldwarm.core.request import StartRequest
    from coldwarm.engines.vocabulary import Vocabulary
    from coldwarm.observe.probes import Observer
    from coldwarm.observe.progress import Progress

_MODULES = {"vllm": "coldwarm.engines.vllm"}


class Installation(Protocol):
    """What can be known of an installed engine without importing it."""

    name: str
    version: str

    def default_device(self) -> str:
        """The device that this build of the engine runs on here."""

    def check_device(self, device: str) -> None:
        """Raise `UsageError` where this build or this machine cannot run on `device`."""

    def check_config(self, config: Mapping[str, Any], path: Path) -> None:
        """Raise `CatalogError` where the engine does not know the architecture of the `config` read from `path`."""

    def check_counters(self, names: list[str]) -> str | None:
        """Say which of `names` is no counter of this version, and which are like it; None where all are."""

    def environment(self, depth: Depth, cores: int | None, options: Mapping[str, Any]) -> dict[str, str]:
        """Variables that a start needs; the user's own values win over these.

        Args:
            depth: How far the start goes.
            cores: Its share of the machine if others run in parallel; None: all.
            options: The options of the engine.
        """

    def aot_artifact_variables(self, aot_artifact: str) -> dict[str, str]:
        """Variables that have the engine keep compiled subgraphs ``bundled`` or ``separate``; they win over others."""

    def check_options(self, options: Mapping[str, Any], depth: Depth) -> None:
        """Raise `UsageError` if coldwarm cannot observe a start with these `options` at this `depth`."""

    def versions(self) -> dict[str, str]:
        """Versions by distribution name, at least of the engine and of torch."""


class Worker(Protocol):
    """The half that runs in the worker and imports the engine."""

    compiler_loggers: tuple[str, ...]
    """The loggers whose warnings may tell why something was compiled, or not loaded."""

    def preload(self, depth: Depth) -> None:
        """Import what every start imports, without touching a device or leaving a thread: starts are forked after it.

        Raises what the engine raises, and where nothing can be forked after it.
        """

    shared_folders: tuple[str, ...]
    """Names of folders below the caches that forked starts share: what is the machine's, and no model's."""

    def after_fork(self) -> None:
        """Redo after a fork, in the start's own environment, what was done in that of the parent."""

    def start(self, request: StartRequest, progress: Progress, observer: Observer) -> EngineFacts:
        """Start the model, generate with it, and return what the engine knows; raises what the engine raises.

        Args:
            request: The start.
            progress: Takes the phases that the start enters.
            observer: Observes this process already; the engine adds its own probes, at the latest before it loads a
                model, and has every other process that runs a rank write a report before this returns.
        """


def names() -> list[str]:
    """The engines that coldwarm knows."""
    return sorted(_MODULES)


def load_installation(engine: str) -> Installation:
    """Return the installed `engine`.

    Raises:
        UsageError: coldwarm does not know the engine, or it is not installed.
    """
    return cast(Installation, _load(engine, "installation").find())


def load_worker(engine: str) -> Worker:
    """Return the half of `engine` that runs in a worker."""
    return cast(Worker, _load(engine, "worker").create())


def load_vocabulary(engine: str) -> Vocabulary:
    """Return what the records of `engine` mean; for an engine that coldwarm does not know, those of the default one."""
    module = _MODULES.get(engine, _MODULES[DEFAULT_ENGINE])
    return cast("Vocabulary", importlib.import_module(f"{module}.vocabulary").VOCABULARY)


def vocabularies() -> list[Vocabulary]:
    """Return those of all engines that coldwarm has a package for."""
    return [load_vocabulary(engine) for engine in names()]


def read_counters() -> dict[str, int]:
    """Return the counters of all engines that this process has imported, by flat name."""
    counters: dict[str, int] = {}
    for module in _MODULES.values():
        counters.update(importlib.import_module(f"{module}.counters").read())
    return counters


def _load(engine: str, half: str) -> Any:
    if engine not in _MODULES:
        raise UsageError(f"no engine {engine!r}{nearest(engine, _MODULES)} (engines: {', '.join(names())})")
    return importlib.import_module(f"{_MODULES[engine]}.{half}")
