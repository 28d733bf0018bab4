from __future__ import annotations

import sys
from importlib.util import spec_from_loader
from types import ModuleType

import pytest

from coldwarm.core.record import ProcessReport
from coldwarm.engines.vllm import warmed_up
from coldwarm.engines.vllm.warmed_up import WarmedUpProbe


class Worker:
    """Warms up as vLLM's does, or fails to."""

    def compile_or_warm_up_model(self, *, fails: bool = False) -> str:
        """Warm up."""
        if fails:
            raise RuntimeError
        return "warm"


class CPUWorker(Worker):
    """Calls the method that it inherits."""

    def compile_or_warm_up_model(self, *, fails: bool = False) -> str:
        """Warm up."""
        return super().compile_or_warm_up_model(fails=fails)


def test_a_process_reports_that_it_has_warmed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for worker in (Worker, CPUWorker):
        module = ModuleType(f"fake_{worker.__name__}")
        module.__spec__ = spec_from_loader(module.__name__, None)
        setattr(module, worker.__name__, worker)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(worker, "compile_or_warm_up_model", worker.compile_or_warm_up_model)  # restored afterwards
    monkeypatch.setattr(warmed_up, "_WORKERS", {"fake_Worker": "Worker", "fake_CPUWorker": "CPUWorker"})
    probe, report = WarmedUpProbe(), ProcessReport()
    probe.install()
    probe.install()
    with pytest.raises(RuntimeError):
        CPUWorker().compile_or_warm_up_model(fails=True)
    probe.report(report)
    assert (report.is_warmed_up, probe.milestones()) == (False, 0)
    assert CPUWorker().compile_or_warm_up_model() == "warm"
    probe.report(report)
    assert report.is_warmed_up
    assert probe.milestones() > 0
