"""The protocol of an engine: one half for the launcher, without torch, and one for the worker."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from coldwarm.core.engine import DEFAULT_ENGINE, TORCH
from coldwarm.core.errors import UsageError, nearest

if TYPE_CHECKING:
    from coldwarm.core.depth import Depth
    from coldwarm.core.record import EngineFacts
    from coldwarm.core.request import StartRequest
    from coldwarm.engines.vocabulary import CommandHints, Vocabulary
    from coldwarm.observe.probes import Observer
    from coldwarm.observe.progress import Progress

_MODULES = {"vllm": "coldwarm.engines.vllm"}
_TORCH = "coldwarm.engines.torch"


class Installation(Protocol):
    """An installed engine, inspected without importing it."""

    name: str
    version: str
    distribution: str
    """The distribution that contains it, as pip calls it."""
    package: Path
    """The folder of its Python package."""

    def default_device(self) -> str:
        """Return the device that this build of the engine uses on this machine."""

    def check_device(self, device: str) -> None:
        """Raise `UsageError` if this build or this machine cannot run on `device`."""

    def check_config(self, config: Mapping[str, Any], path: Path) -> None:
        """Raise `CatalogError` if the engine does not support the architecture of the `config` read from `path`."""

    def check_counters(self, names: list[str]) -> str | None:
        """Return a message about those of `names` that are not counters of this version; None if all are."""

    def environment(self, depth: Depth, cores: int | None, options: Mapping[str, Any]) -> dict[str, str]:
        """Return the variables that a start needs; the user's values take precedence.

        Args:
            depth: The depth of the start.
            cores: The number of cores assigned to the start, if others run in parallel; None: all.
            options: The options of the engine.
        """

    def aot_artifact_variables(self, aot_artifact: str) -> dict[str, str]:
        """Return the variables that select ``bundled`` or ``separate`` subgraphs; they override the user's values."""

    def check_options(self, options: Mapping[str, Any], depth: Depth) -> None:
        """Raise `UsageError` if coldwarm cannot observe a start with these `options` at this `depth`."""

    def versions(self) -> dict[str, str]:
        """Return versions by distribution name, at least of the engine and of torch."""


class Worker(Protocol):
    """The half that runs in the worker and imports the engine."""

    compiler_loggers: tuple[str, ...]
    """The loggers whose warnings may explain why something was compiled or not loaded."""

    def preload(self, depth: Depth) -> None:
        """Import the modules that every start imports, without using a device or leaving a thread running.

        Starts are forked afterwards. Raises the engine's errors, and an error if forking is no longer possible.
        """

    shared_folders: tuple[str, ...]
    """Names of folders below the caches that forked starts share, because their content does not depend on a model."""

    def after_fork(self) -> None:
        """Repeat, after a fork, the setup that depends on the environment, which now is that of the start."""

    def start(self, request: StartRequest, progress: Progress, observer: Observer) -> EngineFacts:
        """Start the model, generate with it, and return the engine's facts. Raises the engine's errors.

        The engine adds its own probes before it loads a model, and makes every other process that runs a rank write a
        report before this returns.

        Args:
            request: The start.
            progress: Gets the phases that the start enters.
            observer: The observer of this process, whose general probes are installed.
        """


class ServedModel(Protocol):
    """Makes the command line of the engine's server for a model of the catalog."""

    def serving(self, folder: str, device: str, options: Mapping[str, Any]) -> list[str]:
        """Return the program and the arguments that serve the model in `folder`, with random weights and little memory.

        Args:
            folder: The folder of the model.
            device: The device.
            options: The options with which its entry is always started.
        """

    def drafter_config(
        self, options: Mapping[str, Any], separate: dict[str, Any] | None, main: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Return the config of the drafter that the server needs in a folder; None: it needs none.

        Args:
            options: The options with which its entry is always started.
            separate: The config of a separate drafter; None: the entry names none.
            main: The config of the main model.
        """

    def with_drafter_in(self, options: Mapping[str, Any], folder: str) -> dict[str, Any]:
        """Return `options` with the drafter that is in `folder`."""


class ObservedEngine(Protocol):
    """The half that runs in the processes of a user's command, which may or may not use the engine."""

    loggers: tuple[str, ...]
    """As `Worker.compiler_loggers`."""

    def observe(self, observer: Observer, progress: Progress) -> None:
        """Install probes that begin to observe when the program imports the engine.

        Args:
            observer: The observer of this process, whose general probes are installed.
            progress: Gets the phases that the start enters.
        """


def names() -> list[str]:
    """Return the names of the supported engines, sorted."""
    return sorted(_MODULES)


def observed_engines() -> list[ObservedEngine]:
    """Return the halves for processes of a user's command; PyTorch's is first, and every other refines its report."""
    modules = [_TORCH, *(_MODULES[name] for name in names())]
    return [cast(ObservedEngine, importlib.import_module(f"{module}.observed")) for module in modules]


def load_installation(engine: str) -> Installation:
    """Return the installation of `engine`.

    Raises:
        UsageError: The engine is unknown or not installed.
    """
    return cast(Installation, _load(engine, "installation").find())


def load_worker(engine: str) -> Worker:
    """Return the half of `engine` that runs in a worker.

    Raises:
        UsageError: The engine is unknown.
    """
    return cast(Worker, _load(engine, "worker").create())


def load_vocabulary(engine: str) -> Vocabulary:
    """Return the vocabulary of `engine`; for an unknown engine, that of the default one."""
    module = _TORCH if engine == TORCH else _MODULES.get(engine, _MODULES[DEFAULT_ENGINE])
    return cast("Vocabulary", importlib.import_module(f"{module}.vocabulary").VOCABULARY)


def vocabularies() -> list[Vocabulary]:
    """Return the vocabularies of all supported engines."""
    return [load_vocabulary(engine) for engine in names()]


def command_hints(words: Sequence[str]) -> CommandHints | None:
    """Return what the `words` of a command say about the engine's server that it starts; None if it starts none."""
    modules = (importlib.import_module(f"{module}.command_line") for module in _MODULES.values())
    return next((hints for module in modules if (hints := module.hints(words))), None)


def served_model(engine: str) -> ServedModel:
    """Return what makes the command line of the engine's server for a model of the catalog."""
    return cast("ServedModel", _load(engine, "serving"))


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
