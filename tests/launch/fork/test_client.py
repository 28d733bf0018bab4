from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from coldwarm.checks.isolation import isolation_notes
from coldwarm.core.case import Changes
from coldwarm.core.depth import Depth
from coldwarm.core.isolation import IsolationKind
from coldwarm.core.record import Outcome, StartRecord
from coldwarm.engines.base import load_installation
from coldwarm.launch.caches import Caches
from coldwarm.launch.driver import WorkerDriver
from coldwarm.launch.environment import environment_of_start
from coldwarm.launch.fork import client as fork_servers
from coldwarm.launch.fork.client import ForkedProcess, ForkServers
from coldwarm.launch.process_tree import StoppedError
from coldwarm.launch.spawn import WorkerOrder, WorkerProcess
from coldwarm.launch.start import Starter
from tests.support.commands import ROOT
from tests.support.processes import is_gone
from tests.support.records import tiny_config
from tests.support.runs import case_of

pytestmark = pytest.mark.usefixtures("fake_engine")


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[ForkServers]:
    servers = ForkServers(tmp_path / "servers", tmp_path, time_limit=30)
    yield servers
    servers.close()


@pytest.fixture
def starter(tmp_path: Path, servers: ForkServers) -> Callable[..., Starter]:
    def starter(name: str = "a", behaves: str = "healthy", changes: Changes | None = None) -> Starter:
        case = case_of(engine="fake", config=tiny_config(behaves=behaves), warm_changes=changes or Changes())
        return Starter(case, tmp_path / "scratch" / name, tmp_path / name, time_limit=20, driver=WorkerDriver(servers))

    (tmp_path / "scratch").mkdir()
    return starter


def server_pids() -> list[int]:
    return [each.pid for each in psutil.Process().children() if "coldwarm.launch.fork.server" in each.cmdline()]


def made_by(record: StartRecord) -> tuple[Outcome, IsolationKind]:
    return record.outcome, record.isolation


def test_starts_with_separate_caches_share_one_import(starter: Callable[..., Starter], tmp_path: Path) -> None:
    phases: list[str] = []
    first, second = starter("a"), starter("b")
    records = [first.cold(phases.append), first.warm(), second.cold()]
    assert [made_by(record) for record in records] == [(Outcome.FINISHED, IsolationKind.FORK)] * 3
    assert {record.not_forked for record in records} == {None}
    assert phases[0] == "import (once for all starts)"
    assert len(server_pids()) == 1
    assert [record.caches_as_left for record in records] == [True] * 3
    for name, log in (("a", "cold"), ("a", "warm"), ("b", "cold")):
        [line] = [line for line in (tmp_path / name / f"{log}.log").read_text().splitlines() if "preloaded" in line]
        [_, parents, own, captured] = line.split()
        assert parents.startswith(f"from:{tmp_path / 'servers'}")
        assert own == str(tmp_path / "scratch" / name / "caches" / "vllm")
        assert captured == str(tmp_path / "scratch" / name / "caches" / "tmp")


def test_a_warm_start_with_another_environment_is_forked_from_another_server(
    starter: Callable[..., Starter],
) -> None:
    starts = starter(changes=Changes(environment={"VLLM_FAKE_X": "1"}))
    assert made_by(starts.cold()) == made_by(starts.warm()) == (Outcome.FINISHED, IsolationKind.FORK)
    assert len(server_pids()) == 2


def test_a_failed_start_does_not_affect_others(starter: Callable[..., Starter]) -> None:
    raised, killed, healthy = (starter(name, name).cold() for name in ("raises", "is killed", "healthy"))
    assert raised.failure is not None and raised.failure.what == "ValueError: no such weights"
    assert killed.failure is not None and killed.failure.signal == "SIGKILL"
    assert made_by(healthy) == (Outcome.FINISHED, IsolationKind.FORK)
    assert len(server_pids()) == 1


def test_if_the_engine_cannot_be_imported_starts_are_spawned(
    starter: Callable[..., Starter], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FAKE_PRELOAD_FAILS", "no such library")
    phases: list[str] = []
    record = starter().cold(phases.append)
    assert made_by(record) == (Outcome.FINISHED, IsolationKind.SPAWN)
    assert record.not_forked == "ImportError: no such library"
    assert isolation_notes(record, record) == [
        "starts could not be forked, so each imports the engine again: ImportError: no such library"
    ]
    assert phases[1] == "cannot fork (ImportError: no such library); falling back to spawn"
    assert "Traceback" in (tmp_path / "fork-server-0.log").read_text()


@pytest.mark.usefixtures("no_bytecode")
@pytest.mark.parametrize(("worth", "compiles_again"), [(0.0, False), (1000.0, True)])
def test_spawned_starts_share_bytecode_if_the_machine_keeps_none_and_that_takes_long(
    starter: Callable[..., Starter], monkeypatch: pytest.MonkeyPatch, worth: float, compiles_again: bool
) -> None:
    monkeypatch.setattr(fork_servers, "_COMPILE_SECONDS", worth)
    monkeypatch.setenv("FAKE_PRELOAD_FAILS", "no such library")
    starts = starter()
    cold, warm = starts.cold(), starts.warm()
    assert made_by(cold) == made_by(warm) == (Outcome.FINISHED, IsolationKind.SPAWN)
    assert cold.missing_bytecode is not None and cold.missing_bytecode.modules > 0
    assert (warm.missing_bytecode is not None and warm.missing_bytecode.modules > 0) == compiles_again
    assert (cold.outside.written, warm.outside.written) == ([], [])


def test_an_engine_that_cannot_be_forked_is_not_imported_for_another_environment(
    starter: Callable[..., Starter], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FAKE_PRELOAD_FAILS", "no such library")
    starts = starter(changes=Changes(environment={"VLLM_FAKE_X": "1"}))
    phases: list[str] = []
    for record in (starts.cold(), starts.warm(phases.append)):
        assert made_by(record) == (Outcome.FINISHED, IsolationKind.SPAWN)
        assert record.not_forked == "ImportError: no such library"
    assert "import (once for all starts)" not in phases
    assert [log.name for log in tmp_path.glob("fork-server-*.log")] == ["fork-server-0.log"]


def test_a_server_that_was_killed_is_no_reason_not_to_start_another(
    starter: Callable[..., Starter], monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = starter(changes=Changes(environment={"VLLM_FAKE_X": "1"}))
    with monkeypatch.context() as context:
        context.setenv("FAKE_SERVER_EXITS", "1")
        assert made_by(starter("other").cold()) == (Outcome.FINISHED, IsolationKind.SPAWN)
    assert made_by(starts.warm()) == (Outcome.FINISHED, IsolationKind.FORK)


def test_a_secret_in_the_reason_is_not_recorded(
    starter: Callable[..., Starter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_reason5a1f")
    monkeypatch.setenv("FAKE_PRELOAD_FAILS", "cannot log in with hf_reason5a1f")
    reason = starter().cold().not_forked or ""
    assert reason.startswith("ImportError: cannot log in with ") and "hf_reason5a1f" not in reason


def test_a_remaining_native_thread_is_named_and_prevents_forks(
    starter: Callable[..., Starter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_NATIVE_THREAD", "grpc_poller")
    phases: list[str] = []
    record = starter().cold(phases.append)
    assert made_by(record) == (Outcome.FINISHED, IsolationKind.SPAWN)
    assert "importing the engine left native threads running: grpc_poller (thread " in phases[1]


@pytest.mark.parametrize("name", ["jemalloc_bg_thd", "cuda00001800007"])
def test_native_threads_of_an_allocator_and_the_cuda_driver_are_harmless(
    starter: Callable[..., Starter], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("FAKE_NATIVE_THREAD", name)
    assert made_by(starter().cold()) == (Outcome.FINISHED, IsolationKind.FORK)


def test_a_native_thread_that_ends_before_a_fork_is_harmless(
    starter: Callable[..., Starter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_NATIVE_THREAD", "pool")
    assert made_by(starter().cold()) == (Outcome.FINISHED, IsolationKind.FORK)


@pytest.mark.usefixtures("no_bytecode")
def test_missing_bytecode_of_the_server_is_recorded_for_each_start(starter: Callable[..., Starter]) -> None:
    starts = starter()
    for record in (starts.cold(), starts.warm()):
        assert made_by(record) == (Outcome.FINISHED, IsolationKind.FORK)
        assert record.missing_bytecode is not None
        # At least the engine, which only the server imports.
        assert str(ROOT) in record.missing_bytecode.roots
        assert record.missing_bytecode.modules_again == record.missing_bytecode.modules


def test_files_written_to_the_servers_caches_are_recorded_for_this_and_later_starts(
    starter: Callable[..., Starter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FILE", "triton/kernel")
    before, writes, after = starter("a").cold(), starter("b", "keeps to its parents caches").cold(), starter("c").cold()
    assert [made_by(each) for each in (before, writes, after)] == [(Outcome.FINISHED, IsolationKind.FORK)] * 3
    assert [each.shared_caches_changed for each in (before, writes, after)] == [
        [],
        ["triton/kernel"],
        ["triton/kernel"],
    ]


def test_files_in_shared_folders_of_the_engine_are_not_recorded(
    starter: Callable[..., Starter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FILE", "shared/header")
    record = starter(behaves="keeps to its parents caches").cold()
    assert made_by(record) == (Outcome.FINISHED, IsolationKind.FORK)
    assert record.shared_caches_changed == []
    assert record.outside.written == []


def test_a_spawned_start_does_not_share_caches_of_forked_ones(
    starter: Callable[..., Starter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FILE", "triton/kernel")
    starts = starter(behaves="keeps to its parents caches")
    assert starts.cold().shared_caches_changed == ["triton/kernel"]
    [pid] = server_pids()
    psutil.Process(pid).kill()
    os.waitpid(pid, 0)
    warm = starts.warm()
    assert (warm.isolation, warm.shared_caches_changed) == (IsolationKind.SPAWN, [])


def test_a_cache_variable_of_the_user_is_replaced_in_a_forked_start(
    starter: Callable[..., Starter], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HELION_CACHE_DIR", "/mine")
    starts = starter(behaves="prints its variables", changes=Changes(environment={"QUACK_CACHE_DIR": "/mine"}))
    cold, warm = starts.cold(), starts.warm()
    assert made_by(cold) == made_by(warm) == (Outcome.FINISHED, IsolationKind.FORK)
    caches = tmp_path / "scratch" / "a" / "caches"
    logs = {kind: (tmp_path / "a" / f"{kind}.log").read_text() for kind in ("cold", "warm")}
    assert f"HELION_CACHE_DIR={caches}/helion" in logs["cold"]
    assert f"QUACK_CACHE_DIR={caches}/quack" in logs["warm"]
    assert "QUACK_CACHE_DIR" not in logs["cold"]
    # A module may check during its import whether the variable exists.
    assert len(server_pids()) == 2


def test_without_a_living_server_a_start_is_spawned(starter: Callable[..., Starter]) -> None:
    starts = starter()
    starts.cold()
    [pid] = server_pids()
    psutil.Process(pid).kill()
    os.waitpid(pid, 0)
    assert made_by(starts.warm()) == (Outcome.FINISHED, IsolationKind.SPAWN)


def test_a_start_ends_with_its_process_and_its_children_with_the_server(
    starter: Callable[..., Starter], servers: ForkServers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FAKE_SLEEPER", str(tmp_path / "sleeper"))
    record = starter(behaves="leaves a fork behind").cold()
    assert made_by(record) == (Outcome.FINISHED, IsolationKind.FORK)
    assert record.seconds < 10
    left = int((tmp_path / "sleeper").read_text())
    servers.close()
    assert is_gone(left)


def test_after_closing_no_process_is_left_and_no_start_begins(
    starter: Callable[..., Starter], servers: ForkServers
) -> None:
    starts = starter()
    starts.cold()
    servers.close()
    assert server_pids() == []
    with pytest.raises(StoppedError):
        starts.warm()


def order_of(folder: Path, request: Path) -> WorkerOrder:
    """Return an order for a worker of the engine ``fake`` without a reader of its progress."""
    caches = Caches.fresh(folder / "caches")
    (folder / "trace").mkdir()
    installation = load_installation("fake")
    environment = environment_of_start(
        caches,
        folder / "trace",
        request,
        compilation="piecewise",
        token="a token",
        engine_defaults=installation.environment(Depth.FULL, None, {}),
        user=os.environ,
    )
    return WorkerOrder("fake", Depth.FULL, request, environment, events=os.open(os.devnull, os.O_WRONLY), folder=folder)


@pytest.fixture
def forked(servers: ForkServers, tmp_path: Path) -> Iterator[WorkerProcess]:
    """A forked process that exits with status 1, because its request is invalid."""
    (tmp_path / "request.json").write_text("no request")
    order = order_of(tmp_path / "order", tmp_path / "request.json")
    servers.prepare(order, lambda _: None)
    with (tmp_path / "log").open("wb") as output:
        worker, how = servers.begin(order, output.fileno())
    os.close(order.events)
    assert how is IsolationKind.FORK
    yield worker
    worker.wait()


def test_the_pid_of_a_forked_process_is_not_reused_before_it_is_waited_for(forked: WorkerProcess) -> None:
    process = psutil.Process(forked.pid)
    while forked.poll() is None:
        os.sched_yield()
    # The server still runs after it has sent the status; the process remains a zombie.
    for _ in range(100):
        assert process.status() == psutil.STATUS_ZOMBIE
        assert forked.poll() == 1
    assert forked.wait() == 1
    process.wait(timeout=10)
    assert not psutil.pid_exists(forked.pid)


def test_only_the_last_used_idle_servers_are_not_stopped(
    starter: Callable[..., Starter], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fork_servers, "_MOST_IDLE", 1)
    first, second = (starter(name, changes=Changes(environment={"VLLM_FAKE_X": name})) for name in "ab")
    records = [first.cold()]
    [of_cold_starts] = server_pids()
    records += [first.warm(), second.cold()]
    before = server_pids()
    assert len(before) == 2
    # Starts a third server; that of the first warm start was unused for longest.
    records.append(second.warm())
    after = server_pids()
    assert len(after) == 2 and set(before) & set(after) == {of_cold_starts}
    records += [second.cold(), first.warm()]
    assert [made_by(record) for record in records] == [(Outcome.FINISHED, IsolationKind.FORK)] * 6
    assert set(server_pids()) & set(before) == {of_cold_starts}
    assert (tmp_path / "fork-server-3.log").exists() and not (tmp_path / "fork-server-4.log").exists()


def test_a_server_is_not_stopped_before_its_start_has_ended(
    servers: ForkServers, starter: Callable[..., Starter], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fork_servers, "_MOST_IDLE", 0)
    (tmp_path / "request.json").write_text("no request")
    order = order_of(tmp_path / "order", tmp_path / "request.json")
    servers.prepare(order, lambda _: None)
    [prepared] = server_pids()
    monkeypatch.setenv("VLLM_FAKE_X", "another environment")
    starter("a").cold()
    assert prepared in server_pids()
    with (tmp_path / "log").open("wb") as output:
        worker, how = servers.begin(order, output.fileno())
    os.close(order.events)
    assert how is IsolationKind.FORK
    monkeypatch.setenv("VLLM_FAKE_X", "a third")
    starter("b").cold()
    assert prepared in server_pids()
    assert (worker.wait(), worker.wait()) == (1, 1)
    monkeypatch.setenv("VLLM_FAKE_X", "a fourth")
    starter("c").cold()
    assert prepared not in server_pids()


def test_a_child_that_cannot_read_its_order_logs_the_error(
    servers: ForkServers, forked: WorkerProcess, tmp_path: Path
) -> None:
    [server] = servers._servers.values()
    status, theirs = socket.socketpair()
    with status, theirs, (tmp_path / "broken.log").open("wb") as output:
        socket.send_fds(server._control, [b"not JSON"], [output.fileno(), output.fileno(), theirs.fileno()])
        theirs.close()
        broken = ForkedProcess(status.detach())
    assert broken.wait() == 1
    assert "JSONDecodeError" in (tmp_path / "broken.log").read_text()


def test_a_server_that_cannot_be_started_leaves_no_descriptor_open(
    servers: ForkServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_process(*_: object, **__: object) -> None:
        raise BlockingIOError("no process can be started")

    order = order_of(tmp_path / "order", tmp_path / "request.json")
    monkeypatch.setattr(subprocess, "Popen", no_process)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(BlockingIOError):
        servers.prepare(order, lambda _: None)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    os.close(order.events)


def test_stopping_servers_does_not_kill_processes_with_a_reused_pid(
    servers: ForkServers, forked: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert forked.wait() == 1
    [server] = servers._servers.values()
    [pid] = server_pids()
    psutil.Process(pid).kill()
    os.waitpid(pid, 0)
    # In its own process group, with a child.
    with subprocess.Popen(["sh", "-c", "sleep 60 & wait"], start_new_session=True) as innocent:
        while not psutil.Process(innocent.pid).children():
            os.sched_yield()
        [child] = psutil.Process(innocent.pid).children()
        # As if it had the reused pid of the server.
        assert server._process is not None
        server._process.returncode = -9
        monkeypatch.setattr(server._process, "pid", innocent.pid)
        monkeypatch.setattr(server._identity, "_pid", innocent.pid)
        servers.close()
        assert innocent.poll() is None
        assert not is_gone(child.pid)
        os.killpg(innocent.pid, 9)


@pytest.mark.parametrize(("written", "pid", "ended"), [(b"", 0, -9), (b"12\n", 12, -9), (b"12\n3\n", 12, 3)])
def test_the_status_of_a_process_is_read_from_a_server_that_has_ended(written: bytes, pid: int, ended: int) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, written)
    os.close(write_end)
    process = ForkedProcess(read_end)
    assert (process.pid, process.poll(), process.wait()) == (pid, ended, ended)


def test_a_process_is_running_until_its_end_is_reported() -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"12\n")
    process = ForkedProcess(read_end)
    assert process.poll() is None
    os.write(write_end, b"-15\n")
    os.close(write_end)
    assert process.wait() == process.poll() == -15
