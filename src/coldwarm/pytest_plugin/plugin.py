"""The pytest plugin: the suite as tests (`pytest --coldwarm`), and fixtures for a vLLM developer's own tests.

Loaded by every pytest beside which coldwarm is installed, so it imports what it needs only when it is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from coldwarm.core.record import StartRecord
    from coldwarm.launch.caches import Caches
    from coldwarm.launch.start import Starter

_MARK = "coldwarm"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add coldwarm's options."""
    group = parser.getgroup("coldwarm", "cold and warm starts of real models")
    group.addoption("--coldwarm", action="store_true", help="Add a test for each model of coldwarm's catalog.")
    group.addoption("--coldwarm-device", metavar="DEVICE", help="cpu or cuda (default: what vLLM was built for).")
    group.addoption(
        "--coldwarm-aot-artifact",
        metavar="HOW",
        action="append",
        default=[],
        choices=["bundled", "separate"],
        help="How vLLM keeps compiled subgraphs (VLLM_USE_MEGA_AOT_ARTIFACT 1 or 0); both, given twice.",
    )
    group.addoption(
        "--coldwarm-depth",
        metavar="DEPTH",
        default="full",
        choices=["trace", "count", "full"],
        help="How far the starts of --coldwarm go, as in `coldwarm run --depth` (default: full).",
    )
    group.addoption(
        "--coldwarm-isolation",
        metavar="HOW",
        default="fork",
        choices=["fork", "spawn"],
        help="fork: the engine is imported once, and the starts of --coldwarm are forked from there. "
        "spawn: each is a new interpreter (default: fork).",
    )
    group.addoption(
        "--coldwarm-catalog", metavar="DIR", action="append", default=[], help="A folder of your own model TOML files."
    )
    group.addoption(
        "--coldwarm-timeout", metavar="S", type=float, default=600.0, help="Seconds that one start may take."
    )
    group.addoption(
        "--coldwarm-output",
        metavar="DIR",
        help="Where records, logs and traces are kept, a folder for each test. A test that runs again replaces its "
        "folder; one that pytest did not write is never replaced, and fails the test "
        "(default: a new folder below coldwarm-runs each time).",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks of the suite's tests."""
    config.addinivalue_line("markers", f"{_MARK}: a cold and a warm start of a model of coldwarm's catalog")
    for device in ("cpu", "cuda"):
        config.addinivalue_line("markers", f"{_MARK}_{device}: such a test, on this device")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --coldwarm, add the suite's tests; early, so that -k and -m select among them."""
    if not config.getoption("--coldwarm"):
        return
    from coldwarm.pytest_plugin.suite import SuiteCollector

    collector = SuiteCollector.from_parent(session, name=_MARK, nodeid=_MARK)
    tests: list[pytest.Item | pytest.Collector] = list(collector.collect())
    # pytest counts what it collected from such reports.
    config.hook.pytest_collectreport(report=pytest.CollectReport(_MARK, "passed", None, tests))
    items.extend(test for test in tests if isinstance(test, pytest.Item))


@pytest.fixture
def fresh_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Caches:
    """Empty compile caches of this test's own, and an environment that sends every program to them.

    What the test's own process has imported already may have read the environment before: start the model in a
    process of its own, or use `cold_start` and `warm_start`, which do.
    """
    from coldwarm.launch.cache_variables import REMOTE
    from coldwarm.launch.caches import Caches

    caches = Caches.fresh(tmp_path / "caches")
    for name, value in caches.environment(os.environ).items():
        monkeypatch.setenv(name, value)
    for name in REMOTE:
        monkeypatch.delenv(name, raising=False)
    return caches


@pytest.fixture
def expect() -> Callable[..., Any]:
    """`coldwarm.expect`: assert by how much a block raises the counters of this process."""
    from coldwarm.engines.counters import expect

    return expect


@pytest.fixture
def cold_start(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., StartRecord]]:
    """Start a model cold: ``record = cold_start("glm-4.5")``, in a process and with caches of its own.

    Takes a catalog id, or a path to a config.json or to a model's TOML file; returns the `StartRecord`. The test
    fails where the start does not finish.
    """
    starters: dict[str, Starter] = {}
    numbers = count()

    def start(model: str) -> StartRecord:
        from coldwarm.launch.start import Starter
        from coldwarm.suite.capacity import cores, xdist_workers

        number = next(numbers)
        starter = Starter(
            _case(request.config, model),
            tmp_path / f"coldwarm-{number}",
            tmp_path / f"coldwarm-{number}-output",
            time_limit=request.config.getoption("--coldwarm-timeout"),
            cores=cores() if xdist_workers() > 1 else None,
        )
        starters[model] = starter
        return _finished(starter.cold())

    start.starters = starters  # type: ignore[attr-defined]
    yield start
    starters.clear()


@pytest.fixture
def warm_start(cold_start: Any) -> Callable[..., StartRecord]:
    """Start a model warm that `cold_start` started in this test: ``record = warm_start("glm-4.5")``."""

    def start(model: str) -> StartRecord:
        if model not in cold_start.starters:
            pytest.fail(f"warm_start({model!r}) needs cold_start({model!r}) first", pytrace=False)
        return _finished(cold_start.starters[model].warm())

    return start


def _case(config: pytest.Config, model: str) -> Any:
    from coldwarm.catalog.catalog import Catalog
    from coldwarm.core.errors import ColdwarmError
    from coldwarm.suite.plan import plan

    folders = [Path(folder) for folder in config.getoption("--coldwarm-catalog")]
    try:
        [case] = plan(Catalog.read(folders), [model], device=config.getoption("--coldwarm-device"))
    except ColdwarmError as error:
        pytest.fail(str(error), pytrace=False)
    return case


def _finished(record: StartRecord) -> StartRecord:
    if record.failure is not None:
        tail = "\n".join(record.failure.log_tail)
        pytest.fail(f"the {record.kind} start {record.outcome}: {record.failure.what}\n{tail}", pytrace=False)
    return record
