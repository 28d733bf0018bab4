"""Every process that runs a rank is observed with the same probes."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from coldwarm.core.depth import Depth
from coldwarm.core.record import ModelLayers, ProcessReport
from coldwarm.core.request import StartRequest
from coldwarm.engines.vllm import rank
from coldwarm.engines.vllm.loaded_models import LoadedModel
from coldwarm.engines.vllm.rank import ModelProbe, engine_probes, set_up
from coldwarm.observe.probes import Observer, Probe, process_probes
from coldwarm.observe.progress import Progress


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands for what is noted of the loaded models, and for the modules that need vLLM and torch."""
    loader = SimpleNamespace(depth=Depth.FULL, loaded=[])
    layers = [ModelLayers(name=name, layer_configurations={"l": 0}) for name in ("backbone", "eagle_head")]
    distributed = SimpleNamespace(group=SimpleNamespace(WORLD="group"), get_rank=lambda: 3)
    for name, content in (
        ("coldwarm.engines.vllm.seeded_weights", {"SeededWeightsLoader": loader}),
        (
            "coldwarm.engines.vllm.layers",
            {"layers_of_models": lambda: (layers[0], layers[1:]), "why_not_compiled": lambda: "mode NONE"},
        ),
        ("torch", {"distributed": distributed}),
    ):
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(rank, "_of_this_process", None)
    monkeypatch.setattr(rank, "LOADED", loader.loaded)
    return loader


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the probes that are installed, none of which observes anything."""
    names: list[str] = []

    def install(self: Observer, *probes: Probe) -> None:
        names.extend(probe.name for probe in probes)

    monkeypatch.setattr(Observer, "install", install)
    return names


def request(folder: Path) -> StartRequest:
    return StartRequest(
        engine="vllm",
        device="cpu",
        compilation="piecewise",
        model_folder=folder,
        overrides={},
        options={},
        result=folder / "result",
        reports=folder,
        launcher_pid=1,
        events_fd=1,
    )


@pytest.mark.usefixtures("loader")
def test_a_process_that_vllm_started_has_the_probes_of_coldwarms_own(tmp_path: Path, installed: list[str]) -> None:
    set_up(request(tmp_path))
    of_rank = list(installed)
    installed.clear()
    rank._of_this_process = None
    # As in coldwarm.engines.worker.run.
    observer = Observer(tmp_path)
    observer.install(*process_probes(request(tmp_path), rank.COMPILER_LOGGERS))
    set_up(request(tmp_path), observer)
    assert of_rank == installed
    assert len(set(of_rank)) == len(of_rank) == len(process_probes(request(tmp_path), ())) + len(engine_probes())
    assert rank._of_this_process is observer


@pytest.mark.usefixtures("loader")
def test_a_process_is_set_up_once(tmp_path: Path, installed: list[str]) -> None:
    set_up(request(tmp_path))
    names = list(installed)
    set_up(request(tmp_path))
    assert installed == names


def test_a_process_that_loaded_a_model_reports_its_rank_and_layers(
    loader: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: list[str] | None = ["a model"]
    loader.loaded.append(LoadedModel(lambda: model, "backbone", None))
    probe = ModelProbe()
    probe.report(ProcessReport())
    # The program releases it. What it was stays known.
    model = None
    monkeypatch.setattr(sys.modules["coldwarm.engines.vllm.layers"], "layers_of_models", lambda: (None, []))
    report = ProcessReport()
    probe.report(report)
    assert (report.role, report.rank, report.main_model) == ("worker", 3, "backbone")
    assert report.layer_configurations == {"l": 0}
    assert report.torch_compile == "mode NONE"
    assert [model.name for model in report.further_models] == ["eagle_head"]


@pytest.mark.usefixtures("loader")
def test_a_process_that_loaded_none_has_others_run_the_model() -> None:
    report = ProcessReport()
    ModelProbe().report(report)
    assert (report.role, report.rank) == ("engine core", None)


@pytest.mark.usefixtures("loader")
def test_a_rank_is_reported_before_it_has_loaded_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    probe, report = ModelProbe(), ProcessReport()
    before = probe.milestones()
    state = ModuleType("vllm.distributed.parallel_state")
    vars(state)["_WORLD"] = None
    monkeypatch.setitem(sys.modules, state.__name__, state)
    assert probe.milestones() == before, "the process group is one of the user's program"
    vars(state)["_WORLD"] = "group"
    assert probe.milestones() == before + 1
    vars(state)["_WORLD"] = None  # vLLM destroys it at the end
    probe.report(report)
    assert (report.role, report.rank, report.layer_kinds) == ("worker", 3, [])


@pytest.mark.usefixtures("loader", "installed")
def test_a_process_that_vllm_started_announces_steps_to_the_pipe_that_the_first_process_shares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    announced: list[tuple[str | None, bool]] = []
    monkeypatch.setattr(
        rank,
        "announce_steps",
        lambda progress, *, first_process: announced.append((progress.phase, first_process)),
    )
    monkeypatch.delenv("COLDWARM_PROGRESS", raising=False)
    set_up(request(tmp_path))
    assert announced == []
    rank._of_this_process = None
    monkeypatch.setattr(Progress, "shared", lambda phase: Progress(-1, phase))
    set_up(request(tmp_path))
    assert announced == [("engine setup", False)]
    rank._of_this_process = None
    set_up(request(tmp_path), Observer(tmp_path))
    assert len(announced) == 1, "the first process announces its steps itself"


def test_a_process_reports_when_it_has_loaded_a_model(loader: SimpleNamespace) -> None:
    probe = ModelProbe()
    installed = probe.milestones()
    assert installed > 0, "what was reported before vLLM was imported is reported again"
    loader.loaded.append("a model")
    assert probe.milestones() > installed
