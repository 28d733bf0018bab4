from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from coldwarm.engines.vllm.cache_load import announce_cache_load
from coldwarm.observe.progress import Progress


class Steps(Progress):
    """Records the steps that were entered."""

    def __init__(self) -> None:
        super().__init__(-1)
        self.steps: list[str] = []

    def enter(self, phase: str) -> None:
        self.steps.append(phase)


@pytest.fixture
def decorators(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a replacement of vllm/compilation/decorators.py."""
    compilation, decorators = ModuleType("vllm.compilation"), ModuleType("vllm.compilation.decorators")
    compilation.decorators = decorators  # type: ignore[attr-defined]
    for module in (ModuleType("vllm"), compilation, decorators):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return decorators


def test_a_loaded_function_is_warmed_up_next(decorators: Any) -> None:
    progress = Steps()

    def load(model: str, *, path: str) -> str:
        progress.steps.append("loads")
        return f"{model} from {path}"

    decorators._try_load_aot_compiled_fn = load
    announce_cache_load(progress)
    assert decorators._try_load_aot_compiled_fn("model", path="here") == "model from here"
    assert progress.steps == ["cache load", "loads", "warm-up"]


def test_without_anything_to_load_vllm_compiles(decorators: Any) -> None:
    progress = Steps()
    decorators._try_load_aot_compiled_fn = lambda: None
    announce_cache_load(progress)
    decorators._try_load_aot_compiled_fn()
    assert progress.steps == ["cache load", "compile"]


def test_an_exception_ends_the_step(decorators: Any) -> None:
    progress = Steps()

    def load() -> None:
        raise ValueError("damaged")

    decorators._try_load_aot_compiled_fn = load
    announce_cache_load(progress)
    with pytest.raises(ValueError, match="damaged"):
        decorators._try_load_aot_compiled_fn()
    assert progress.steps == ["cache load", "compile"]


def test_a_version_that_loads_nothing_is_not_changed(decorators: Any) -> None:
    progress = Steps()
    announce_cache_load(progress)
    assert not hasattr(decorators, "_try_load_aot_compiled_fn")
    assert progress.steps == []
