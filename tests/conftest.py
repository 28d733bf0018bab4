"""What tests of several packages share."""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import cache, partial
from pathlib import Path

import pytest
import typer.main
from hypothesis import settings

from coldwarm.core.phases import Step
from coldwarm.core.request import StartRequest
from coldwarm.core.run_folder import report_name
from coldwarm.engines import base as engine
from coldwarm.engines.worker import WorkerResult
from coldwarm.launch import start
from coldwarm.launch.fork.client import ForkServers
from coldwarm.launch.process_tree import Ended
from coldwarm.launch.spawn import WorkerProcess
from coldwarm.store.history import location
from coldwarm.suite.capacity import XDIST_WORKERS, cores
from tests.support.commands import ROOT, Commands
from tests.support.marks import may_select
from tests.support.records import cold_facts

pytest_plugins = ["pytester"]


def pytest_configure() -> None:
    """Save what the hundreds of processes and in-process commands of the tests would each spend again.

    Python keeps bytecode (``__pycache__``), also if the environment disables that: otherwise each process compiles
    coldwarm from source, and pytest rewrites all assertions at every call.
    """
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # What the tests run is not for the history of whoever runs them.
    os.environ.pop(location.VARIABLE, None)
    # coldwarm uses no plugin of pydantic's; looking for one reads the metadata of all installed packages.
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
    # A process builds its command line once; the tests call `main` some hundred times in one.
    typer.main.get_command = cache(typer.main.get_command)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Run in parallel unless real vLLM may be started: its starts are shared by the tests of one process.

    One worker more than there are cores, since one of them mostly waits for a process: 44 s instead of 52 on 2 cores.
    """
    return 0 if may_select(config.option.markexpr, "real") else cores() + 1


_SITE = ROOT / "tests" / "support" / "fake_engine" / "site"

# Wild inputs, but few of them in each run: the tests without vLLM are meant to be run after every change.
settings.register_profile("quick", max_examples=20, deadline=None)
settings.load_profile("quick")


@pytest.fixture(scope="session", autouse=True)
def heard_signals() -> None:
    """Signals that whoever started the tests has ignored (`nohup`, a job in the background) are heard by them."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(autouse=True)
def alone_on_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has coldwarm take the whole machine as its own, also in a test that runs in a worker of pytest-xdist."""
    monkeypatch.delenv(XDIST_WORKERS, raising=False)


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    """Runs `coldwarm` in processes of its own, which know the engine ``fake`` too."""
    return Commands(tmp_path, [_SITE, ROOT])


@pytest.fixture
def fake_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the engine ``fake`` known in this process and in the workers that it starts."""
    monkeypatch.setitem(engine._MODULES, "fake", "tests.support.fake_engine")
    for folder in (ROOT, _SITE):
        monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)


@pytest.fixture
def no_bytecode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has every new Python process find no bytecode, and keep none."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "no-bytecode"))


@pytest.fixture
def instant_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has every start end at once, healthy, without a process."""

    def launch(begin: partial[WorkerProcess], events: tuple[int, int], *_: object, log: Path, **__: object) -> Ended:
        for end in events:
            os.close(end)
        [order] = begin.args
        request = StartRequest.model_validate_json(order.request.read_bytes())
        log.touch()
        facts = cold_facts()
        request.result.write_text(WorkerResult(facts=facts).model_dump_json())
        [report] = facts.processes
        (request.reports / report_name(1)).write_text(report.model_dump_json())
        began = time.time()
        return Ended(0, False, 1.0, [Step(name="process start", begin=began, end=began + 1.0)])

    monkeypatch.setattr(start, "launch", launch)
    monkeypatch.setattr(ForkServers, "prepare", lambda *_: None)
    monkeypatch.setattr(ForkServers, "why_not_forked", lambda *_: None)
