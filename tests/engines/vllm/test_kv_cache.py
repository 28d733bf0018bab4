from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import spec_from_loader
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from coldwarm.core.record import ProcessReport
from coldwarm.engines.vllm import kv_cache
from coldwarm.engines.vllm.kv_cache import KvCacheProbe
from coldwarm.observe.probes import Observer


class Worker:
    """Allocates a KV cache as vLLM's does."""

    def initialize_from_config(self, kv_cache_config: Any) -> str:
        """Allocate it."""
        return f"allocated {kv_cache_config.num_blocks}"


class CPUWorker(Worker):
    """Inherits the method, as vLLM's does."""


Reported = Callable[[], int | None]


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> KvCacheProbe:
    """Return a probe that is installed twice."""
    module = ModuleType("fake_gpu_worker")
    module.__spec__ = spec_from_loader("fake_gpu_worker", None)
    module.Worker = Worker  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_gpu_worker", module)
    monkeypatch.setattr(kv_cache, "_WORKER", "fake_gpu_worker")
    monkeypatch.setattr(Worker, "initialize_from_config", Worker.initialize_from_config)  # restored afterwards
    probe = KvCacheProbe()
    probe.install()
    probe.install()
    return probe


@pytest.fixture
def reported(probe: KvCacheProbe) -> Reported:
    """Return what the probe reports."""

    def blocks() -> int | None:
        report = ProcessReport()
        probe.report(report)
        return report.kv_cache_blocks

    return blocks


def test_the_blocks_are_those_of_the_last_cache_that_was_allocated(reported: Reported) -> None:
    assert reported() is None
    assert CPUWorker().initialize_from_config(SimpleNamespace(num_blocks=64)) == "allocated 64"
    assert reported() == 64
    assert Worker().initialize_from_config(kv_cache_config=SimpleNamespace(num_blocks=7)) == "allocated 7"
    assert reported() == 7


def test_allocating_is_seen_so_that_it_is_reported_at_once(probe: KvCacheProbe, tmp_path: Path) -> None:
    observer = Observer(tmp_path)
    observer.install(probe)
    before = observer.seen()
    Worker().initialize_from_config(SimpleNamespace(num_blocks=64))
    assert observer.seen() > before


def test_a_config_of_another_version_is_passed_on(reported: Reported) -> None:
    Worker().initialize_from_config(SimpleNamespace(num_blocks="many"))
    assert reported() is None
