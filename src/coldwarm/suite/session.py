"""Plans and runs a suite; shared by `coldwarm run` and `coldwarm.run`."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar, get_args

from coldwarm.catalog.catalog import Catalog
from coldwarm.core.case import Case, Changes
from coldwarm.core.conditions import AOT_ARTIFACTS, Compilation
from coldwarm.core.depth import Depth
from coldwarm.core.engine import DEFAULT_ENGINE
from coldwarm.core.errors import UsageError, nearest
from coldwarm.core.isolation import IsolationKind
from coldwarm.engines.base import load_installation
from coldwarm.store.suite_folder import Store
from coldwarm.suite.checkout import checkout_under_test
from coldwarm.suite.interrupt import orderly_interrupt
from coldwarm.suite.longest_first import chosen_jobs
from coldwarm.suite.observer import ProgressObserver
from coldwarm.suite.plan import plan
from coldwarm.suite.result import RunResult
from coldwarm.suite.runner import Runner

DEFAULT_TIMEOUT = 600.0
"""Seconds that a start may take."""

_Choice = TypeVar("_Choice", bound=StrEnum)


class Session:
    """A planned suite, which can be run once.

    First `plan`, which finds all errors of its arguments and writes nothing; then `create_folder`; then `run`. Finished
    runs stay in `results`, even if others fail.

    Args:
        cases: What to run.
        jobs: The number of parallel runs.
        timeout: Seconds that a start may take.
        isolation: How the processes of starts are created.
    """

    def __init__(self, cases: list[Case], *, jobs: int, timeout: float, isolation: IsolationKind) -> None:
        self.cases = cases
        self._jobs = jobs
        self._timeout = timeout
        self._isolation = isolation
        self._store: Store | None = None
        self._runner: Runner | None = None

    @classmethod
    def plan(
        cls,
        models: Sequence[str],
        *,
        catalog: Sequence[Path] = (),
        engine: str = DEFAULT_ENGINE,
        device: str | None = None,
        compilation: str = "piecewise",
        aot_artifacts: Sequence[str] = (),
        depth: str = Depth.FULL,
        isolation: str = IsolationKind.FORK,
        repeat: int = 1,
        options: Mapping[str, Any] | None = None,
        warm_options: Mapping[str, Any] | None = None,
        warm_environment: Mapping[str, str] | None = None,
        jobs: int | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        whole_catalog: bool = False,
    ) -> Session:
        """Plan the runs of `models`, or of the representative models of the catalog if there are none.

        Args:
            models: Ids of the catalog, or paths of a config.json or of a model's TOML file.
            catalog: Folders of the user's own model TOML files.
            engine: The engine's name.
            device: ``cpu`` or ``cuda``; None: the one that the engine was built for.
            compilation: ``piecewise``, or ``shipped`` for the engine's default.
            aot_artifacts: ``bundled``, ``separate``: a run for each; empty: one run with the engine's default.
            depth: ``trace``, ``count`` or ``full``.
            isolation: ``fork`` or ``spawn``.
            repeat: How many times each model is started cold, then warm, each time with caches of its own.
            options: Options of the engine for both starts, as nested mappings.
            warm_options: Options of the engine for the warm start only.
            warm_environment: Environment variables for the warm start only.
            jobs: The number of parallel runs; None: chosen by cores and memory.
            timeout: Seconds that a start may take.
            whole_catalog: Run every model of the catalog, instead of naming some.

        Raises:
            UsageError: An argument is invalid, or the engine, the device or a model is not available.
            CatalogError: A catalog entry or a config cannot be used.
        """
        _check(compilation, get_args(Compilation), "compilation")
        for each in aot_artifacts:
            _check(each, AOT_ARTIFACTS, "AOT artifact")
        if repeat < 1:
            raise UsageError(f"{repeat} repetitions; at least 1 is needed")
        if jobs is not None and jobs < 1:
            raise UsageError(f"{jobs} jobs; at least 1 is needed")
        if not timeout >= 1:  # false for NaN too
            raise UsageError(f"a timeout of {timeout} s; at least 1 s is needed")
        cases = plan(
            Catalog.read(catalog),
            models,
            engine=engine,
            device=device,
            compilation=compilation,
            aot_artifacts=aot_artifacts,
            depth=_member(Depth, depth, "depth"),
            repeat=repeat,
            options=dict(options or {}),
            warm_changes=Changes(environment=dict(warm_environment or {}), options=dict(warm_options or {})),
            whole_catalog=whole_catalog,
        )
        kind = _member(IsolationKind, isolation, "isolation")
        return cls(cases, jobs=jobs or chosen_jobs(cases), timeout=timeout, isolation=kind)

    @classmethod
    def of_command(cls, case: Case, *, timeout: float = DEFAULT_TIMEOUT) -> Session:
        """Return the session of a user's command, whose `case` is that of `command_case`.

        Raises:
            UsageError: The timeout is invalid.
        """
        if not timeout >= 1:
            raise UsageError(f"a timeout of {timeout} s; at least 1 s is needed")
        return cls([case], jobs=1, timeout=timeout, isolation=IsolationKind.SPAWN)

    def create_folder(self, output: Path | None) -> None:
        """Create the folder of the suite; ``coldwarm-runs/`` and the time unless given.

        Raises:
            UsageError: The folder already contains a suite, or cannot be written.
        """
        # What a command uses is not known before it has started.
        names = {case.engine for case in self.cases if case.command is None}
        engine = load_installation(names.pop()) if names else None
        self._store = Store.create(
            output,
            [case.name for case in self.cases],
            versions=engine.versions() if engine is not None else {},
            checkout=checkout_under_test(engine, Path.cwd()),
        )

    @property
    def folder(self) -> Path:
        """The folder of the suite."""
        return self._created().folder

    @property
    def results(self) -> list[RunResult]:
        """The finished runs, in the order of their cases."""
        return self._runner.results if self._runner else []

    def run(self, observer: ProgressObserver) -> None:
        """Execute all runs.

        Any exception ends all running starts before it is raised. In the main thread, SIGINT (Ctrl-C), SIGTERM and
        SIGHUP do so as a KeyboardInterrupt.

        Args:
            observer: Receives progress events.
        """
        self._runner = Runner(
            self._created(), observer, time_limit=self._timeout, jobs=self._jobs, isolation=self._isolation
        )
        # Other threads cannot handle signals.
        in_main_thread = threading.current_thread() is threading.main_thread()
        with orderly_interrupt() if in_main_thread else nullcontext():
            self._runner.run(self.cases)

    def _created(self) -> Store:
        if self._store is None:
            raise RuntimeError("create_folder() comes first")
        return self._store


def _check(value: str, choices: Sequence[str], what: str) -> None:
    if value not in choices:
        raise UsageError(f"no {what} {value!r}{nearest(value, choices)} (one of: {', '.join(choices)})")


def _member(kind: type[_Choice], value: str, what: str) -> _Choice:
    _check(value, [str(choice) for choice in kind], what)
    return kind(value)
