"""Why vLLM does not hand a model to torch.compile, with vLLM's own classes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]  # of importing torch and vLLM


def reason(monkeypatch: pytest.MonkeyPatch, *parts: dict[str, Any]) -> str | None:
    """Return the reason for a loaded model with such compiled parts: their mode, and whether they are compiled."""
    from torch import nn
    from vllm.compilation.wrapper import TorchCompileWithNoGuardsWrapper
    from vllm.config import CompilationMode

    from coldwarm.engines.vllm import layers
    from coldwarm.engines.vllm.layers import why_not_compiled
    from coldwarm.engines.vllm.loaded_models import LoadedModel

    class Decorated(TorchCompileWithNoGuardsWrapper, nn.Module):  # type: ignore[misc]
        def __init__(self, *, mode: str, is_compiled: bool = False, enforce_eager: bool = False) -> None:
            nn.Module.__init__(self)
            self.do_not_compile = not is_compiled
            self.vllm_config = SimpleNamespace(
                compilation_config=SimpleNamespace(mode=CompilationMode[mode]),
                model_config=SimpleNamespace(enforce_eager=enforce_eager),
            )

    model = nn.Sequential(*(Decorated(**part) for part in parts))
    monkeypatch.setattr(layers, "LOADED", [LoadedModel(lambda: model, "backbone", None)])
    return why_not_compiled()


VLLM = {"mode": "VLLM_COMPILE"}
NONE = {"mode": "NONE"}


def test_a_model_with_a_compiled_part_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reason(monkeypatch, {**VLLM, "is_compiled": True}, VLLM) is None


def test_the_model_runner_compiles_a_whole_model(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reason(monkeypatch, {"mode": "STOCK_TORCH_COMPILE"}) is None


def test_a_class_without_the_decorator_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reason(monkeypatch) == "no class of Sequential is decorated with support_torch_compile"


def test_a_class_for_which_the_decorator_is_disabled_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reason(monkeypatch, VLLM, VLLM) == "support_torch_compile is disabled for Decorated"


def test_mode_none_has_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reason(monkeypatch, NONE) == "compilation mode NONE"
    assert reason(monkeypatch, {**NONE, "enforce_eager": True}) == "compilation mode NONE, because of enforce_eager"
    monkeypatch.setenv("VLLM_USE_BREAKABLE_CUDAGRAPH", "1")
    assert reason(monkeypatch, NONE) == "compilation mode NONE, because of breakable CUDA graphs"
    monkeypatch.setenv("TORCH_COMPILE_DISABLE", "1")
    assert reason(monkeypatch, NONE) == "compilation mode NONE, because of TORCH_COMPILE_DISABLE=1"


@pytest.mark.parametrize(
    ("parts", "ranks", "ends"),
    [([], 1, True), ([{**VLLM, "is_compiled": True}], 1, False), ([], 2, False)],
    ids=["not compiled", "compiled", "not compiled, two ranks"],
)
def test_below_full_depth_a_start_ends_when_a_model_is_loaded_that_is_not_compiled(
    monkeypatch: pytest.MonkeyPatch, parts: list[dict[str, Any]], ranks: int, ends: bool
) -> None:
    from vllm.v1.worker.cpu_worker import CPUWorker
    from vllm.v1.worker.gpu_worker import Worker

    from coldwarm.engines.vllm.early_end import EverythingKnownError, end_without_torch_compile

    reason(monkeypatch, *parts)
    monkeypatch.setattr(Worker, "load_model", lambda self: "loaded")
    end_without_torch_compile()
    worker = CPUWorker.__new__(CPUWorker)
    worker.vllm_config = SimpleNamespace(parallel_config=SimpleNamespace(world_size=ranks))
    if ends:
        with pytest.raises(EverythingKnownError):
            worker.load_model()
    else:
        assert worker.load_model() == "loaded"
