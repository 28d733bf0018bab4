"""The suite as pytest tests: one test for each model; a known issue is a strict expected failure."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coldwarm.catalog.catalog import Catalog
from coldwarm.checks.verdict import Status
from coldwarm.core.case import Case
from coldwarm.core.depth import Depth
from coldwarm.core.errors import ColdwarmError
from coldwarm.core.isolation import IsolationKind
from coldwarm.core.run_folder import FORK_SERVER_LOGS
from coldwarm.launch.fork.client import ForkServers
from coldwarm.pytest_plugin.fork_servers import fork_servers_of
from coldwarm.report.summary import RunSummary
from coldwarm.store.suite_folder import Store
from coldwarm.suite.observer import SilentObserver
from coldwarm.suite.plan import plan
from coldwarm.suite.result import RunResult
from coldwarm.suite.runner import Runner


class SuiteCollector(pytest.Collector):
    """Collects a test for each representative model of the catalog, or for each of its models."""

    def collect(self) -> Iterator[pytest.Item]:
        """Yield the tests, in the order of the models' ids."""
        config = self.config
        try:
            folders = [Path(folder) for folder in config.getoption("--coldwarm-catalog")]
            cases = plan(
                Catalog.read(folders),
                [],
                device=config.getoption("--coldwarm-device"),
                aot_artifacts=config.getoption("--coldwarm-aot-artifact"),
                depth=Depth(config.getoption("--coldwarm-depth")),
                whole_catalog=config.getoption("--coldwarm-all"),
            )
        except ColdwarmError as error:
            raise pytest.UsageError(f"coldwarm: {error}") from error
        for case in cases:
            item = ModelTest.from_parent(self, name=case.name)
            item.case = case
            item.add_marker("coldwarm")
            item.add_marker(f"coldwarm_{case.device}")
            yield item


class ModelTest(pytest.Item):
    """Tests the cold and the warm start of one model."""

    case: Case

    def runtest(self) -> None:
        """Execute the run; pass, skip, xfail or fail by its verdict."""
        unsupported = self.case.entry.unsupported_on(self.case.device, self.case.compilation)
        if unsupported is not None:
            pytest.skip(f"unsupported on {self.case.device}: {unsupported.reason}")
        [result] = self._run()
        match result.verdict.status:
            case Status.PASSED:
                return
            case Status.UNSUPPORTED:
                pytest.skip(f"unsupported on {self.case.device}: {'; '.join(result.verdict.reasons)}")
            case Status.KNOWN_ISSUE:
                pytest.xfail("; ".join(result.verdict.reasons))
            case _:
                raise UnhealthyError(result)

    def _run(self) -> list[RunResult]:
        store = self._new_store()
        time_limit = self.config.getoption("--coldwarm-timeout")
        requested = IsolationKind(self.config.getoption("--coldwarm-isolation"))
        shared = fork_servers_of(self.config, store.folder, time_limit) if requested is IsolationKind.FORK else None
        runner = Runner(store, SilentObserver(), time_limit=time_limit, isolation=shared or requested)
        runner.run([self.case])
        self._warn_about_new_processes(runner.results, requested, shared)
        return runner.results

    def _warn_about_new_processes(
        self, results: list[RunResult], requested: IsolationKind, shared: ForkServers | None
    ) -> None:
        for start in (start for result in results for start in (result.cold, result.warm) if start is not None):
            if start.isolation is not requested:
                log = f"; see {shared.logs}/{FORK_SERVER_LOGS}" if shared is not None else ""
                message = f"{self.name}: the {start.kind} start could not be forked and ran in a new process{log}"
                warnings.warn(pytest.PytestWarning(message), stacklevel=1)

    def _new_store(self) -> Store:
        output = self.config.getoption("--coldwarm-output")
        if not output:
            return Store.create(None, [self.case.name])
        # Absolute, because fork servers continue to log there even if a later test changes the working directory.
        return Store.replace(Path(output).absolute() / self.case.name, [self.case.name])

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show the verdict without a traceback."""
        if isinstance(excinfo.value, UnhealthyError | ColdwarmError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Return the location of the test: the catalog."""
        return self.path, None, f"coldwarm: {self.name}"


class UnhealthyError(Exception):
    """A run whose verdict is a failure."""

    def __init__(self, result: RunResult) -> None:
        run = RunSummary.of(result)
        lines = [f"{run.name}: {run.status}", *(f"- {reason}" for reason in run.reasons)]
        lines += [f"  {line}" for line in (*run.evidence(), *run.why, *run.log_tail())]
        lines.append(f"reproduce: {run.reproduce}")
        super().__init__("\n".join(lines))
