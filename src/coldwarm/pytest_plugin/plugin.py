"""The pytest plugin: the suite as tests (`pytest --coldwarm`), and fixtures for a vLLM developer's own tests.

Every pytest of an environment with coldwarm loads it, so it imports everything else only when needed.
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
    group.addoption("--coldwarm", action="store_true", help="Add a test for each representative model.")
    group.addoption(
        "--coldwarm-all", action="store_true", help="With --coldwarm, add a test for each model of the catalog."
    )
    group.addoption(
        "--coldwarm-device", metavar="DEVICE", help="cpu or cuda (default: the device that vLLM was built for)."
    )
    group.addoption(
        "--coldwarm-aot-artifact",
        metavar="HOW",
        action="append",
        default=[],
        choices=["bundled", "separate"],
        help="Store compiled subgraphs bundled in one artifact, or separately (VLLM_USE_MEGA_AOT_ARTIFACT=1 or 0). "
        "Repeat the option to test both.",
    )
    group.addoption(
        "--coldwarm-depth",
        metavar="DEPTH",
        default="full",
        choices=["trace", "count", "full"],
        help="Depth of the starts of --coldwarm, as in `coldwarm run --depth` (default: full).",
    )
    group.addoption(
        "--coldwarm-isolation",
        metavar="HOW",
        default="fork",
        choices=["fork", "spawn"],
        help="Start method of --coldwarm. fork: import the engine once, and fork all starts from that process. "
        "spawn: use a new interpreter for each start (default: fork).",
    )
    group.addoption(
        "--coldwarm-catalog",
        metavar="DIR",
        action="append",
        default=[],
        help="A folder with your own model TOML files.",
    )
    group.addoption(
        "--coldwarm-timeout",
        metavar="S",
        type=float,
        default=600.0,
        help="Time limit of one start, in seconds (default: 600).",
    )
    group.addoption(
        "--coldwarm-output",
        metavar="DIR",
        help="Folder for records, logs and traces, with a subfolder for each test. A repeated test replaces its "
        "subfolder; if pytest did not write that subfolder, it is not replaced and the test fails "
        "(default: a new folder in coldwarm-runs).",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks of the suite's tests."""
    config.addinivalue_line("markers", f"{_MARK}: a cold and a warm start of a model of coldwarm's catalog")
    for device in ("cpu", "cuda"):
        config.addinivalue_line("markers", f"{_MARK}_{device}: a coldwarm test on this device")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --coldwarm, add the suite's tests, early enough for -k and -m to select among them."""
    if not config.getoption("--coldwarm"):
        return
    from coldwarm.pytest_plugin.suite import SuiteCollector

    collector = SuiteCollector.from_parent(session, name=_MARK, nodeid=_MARK)
    tests: list[pytest.Item | pytest.Collector] = list(collector.collect())
    # pytest counts collected tests by these reports.
    config.hook.pytest_collectreport(report=pytest.CollectReport(_MARK, "passed", None, tests))
    items.extend(test for test in tests if isinstance(test, pytest.Item))


@pytest.fixture
def fresh_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Caches:
    """Empty compile caches for this test, and an environment in which every program uses them.

    Modules that the test process has already imported may have read the environment before. Start the model in a
    separate process, or use `cold_start` and `warm_start`, which do so.
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
    """`coldwarm.expect`: assert by how much a block increases the counters of this process."""
    from coldwarm.engines.counters import expect

    return expect


@pytest.fixture
def cold_start(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., StartRecord]]:
    """Start a model cold: ``record = cold_start("glm-4.5")``, in a separate process with its own caches.

    Takes a catalog id, or a path to a config.json or to a model's TOML file, and returns the `StartRecord`. The test
    fails if the start does not finish.
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
