from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from coldwarm.catalog.catalog import Catalog
from coldwarm.core.case import Case, Changes
from coldwarm.core.depth import Depth
from coldwarm.suite import capacity
from coldwarm.suite.capacity import fitting_jobs
from tests.support.records import expectation, model_entry
from tests.support.runs import case_of


def case(name: str = "a", memory: dict[str, float] | None = None, **fields: Any) -> Case:
    rows = [expectation(memory=memory)] if memory else []
    return case_of(model_entry(id=name, expect=rows), **fields)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    def machine(*, cores: int = 8, host: float = 100.0, device: float | None = None) -> None:
        monkeypatch.setattr(capacity, "cores", lambda: cores)
        monkeypatch.setattr(capacity, "_free_host_gib", lambda: host)
        monkeypatch.setattr(capacity, "_free_device_gib", lambda: device)

    return machine


def test_at_most_one_run_per_core(machine: Any) -> None:
    machine(cores=2)
    assert fitting_jobs([case()] * 5) == 2
    assert fitting_jobs([case()]) == 1


def test_the_runs_that_need_most_memory_must_fit_together(machine: Any) -> None:
    large, small = case(memory={"host": 10.0}), case(memory={"host": 1.0})
    machine(host=13.0)  # of which 11.7 may be used
    assert fitting_jobs([small, small, large]) == 2
    machine(host=5.0)
    assert fitting_jobs([small, small, large]) == 1


def test_a_model_without_measurements_is_assumed_to_need_much_memory(machine: Any) -> None:
    machine(host=9.0)
    assert fitting_jobs([case()] * 4) == 2


@pytest.mark.parametrize("fields", [{"options": {"x": 1}}, {"warm_changes": Changes(options={"x": 1})}])
def test_with_options_of_the_user_only_one_run_fits(machine: Any, fields: dict[str, Any]) -> None:
    machine()
    assert fitting_jobs([case(), case()]) == 2
    assert fitting_jobs([case(), case(**fields)]) == 1


def test_a_mode_without_measurements_is_assumed_to_need_as_much_as_the_other(machine: Any) -> None:
    rows = [expectation(when={"device": "cpu", "aot_artifact": "separate"}, memory={"host": 1.0})]
    bundled = case_of(model_entry(id="a", expect=rows)).model_copy(update={"aot_artifact": "bundled"})
    machine(host=4.5)
    assert fitting_jobs([bundled] * 4) == 4


def test_memory_of_a_fork_server_for_each_environment_is_included(machine: Any) -> None:
    one = case(memory={"host": 1.0})
    machine(host=3.3 / 0.9)  # of which 3.3 may be used
    # Three starts share more with one server than the 0.62 GiB that it needs.
    assert fitting_jobs([one] * 4) == 3
    both = [one.model_copy(update={"aot_artifact": how}) for how in ("bundled", "separate")]
    assert fitting_jobs(both * 2) == 2
    changed = [each.model_copy(update={"warm_changes": Changes(environment={"VLLM_X": "1"})}) for each in both]
    assert fitting_jobs(changed * 2) == 1
    # Without a warm start, there is no server for its environment.
    traced = [each.model_copy(update={"depth": Depth.TRACE}) for each in changed]
    assert fitting_jobs(traced * 2) == 2


def test_an_xdist_worker_uses_only_its_share_of_the_machine(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(host=20.0)
    one = case(memory={"host": 2.0})
    assert fitting_jobs([one] * 8) == 8
    monkeypatch.setenv(capacity.XDIST_WORKERS, "4")  # 5 GiB, of which 4.5 may be used
    assert fitting_jobs([one] * 8) == 2
    monkeypatch.setenv(capacity.XDIST_WORKERS, "2")
    assert fitting_jobs([one] * 8) == 4
    machine(host=1000.0, device=52.0)
    assert fitting_jobs([case(device="cuda")] * 8) == 2
    monkeypatch.delenv(capacity.XDIST_WORKERS)
    assert fitting_jobs([case(device="cuda")] * 8) == 4


@pytest.mark.parametrize(("workers", "mine"), [("", 8), ("1", 8), ("3", 2), ("16", 1), ("many", 8)])
def test_cores_are_divided_between_xdist_workers(monkeypatch: pytest.MonkeyPatch, workers: str, mine: int) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(capacity, "_cgroup", lambda _: "")
    monkeypatch.setenv(capacity.XDIST_WORKERS, workers)
    assert capacity.cores() == mine


def test_gpu_memory_limits_the_number_of_runs(machine: Any) -> None:
    machine(host=1000.0, device=26.0)  # of which 23.4 may be used
    assert fitting_jobs([case(device="cuda")] * 8) == 2
    machine(host=1000.0, device=None)
    assert fitting_jobs([case(device="cuda")] * 8) == 1


def test_by_their_measurements_one_model_for_each_core_fits_on_an_h100(machine: Any) -> None:
    machine(cores=16, host=120.0, device=79.0)
    measured = [model.entry for model in Catalog.read().models() if model.entry.memory_of_run("cuda", None)]
    assert fitting_jobs([case_of(entry, device="cuda") for entry in measured]) == min(16, len(measured)) == 16


def test_limits_of_a_container_are_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"cpu.max": "150000 100000", "memory.max": str(3 * 2**30), "memory.current": str(2**30), "memory.stat": ""}
    monkeypatch.setattr(capacity, "_cgroup", lambda name: limits[name])
    assert capacity.cores() == 1
    assert capacity._free_host_gib() == 2.0
    limits.update({"cpu.max": "max 100000", "memory.max": "max"})
    assert capacity._free_host_gib() > 0
    assert capacity.cores() >= 1


def test_cached_files_of_a_container_count_as_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"memory.max": str(3 * 2**30), "memory.current": str(3 * 2**30)}
    limits["memory.stat"] = f"anon 5\ninactive_file {2**30}\nactive_file 7"
    monkeypatch.setattr(capacity, "_cgroup", lambda name: limits[name])
    assert capacity._free_host_gib() == 1.0


def test_without_a_gpu_its_free_memory_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert capacity._free_device_gib() is None
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 2048\n")
    program.chmod(0o755)
    assert capacity._free_device_gib() == 2.0

    def too_long(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("nvidia-smi", 30)

    monkeypatch.setattr(subprocess, "run", too_long)
    assert capacity._free_device_gib() is None
