from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from coldwarm.engines.vllm.cache_load import announce_cache_load
from coldwarm.observe.progress import Progress


class Told(Progress):
    """Keeps the steps that were entered."""

    def __init__(self) -> None:
        super().__init__(-1)
        self.steps: list[str] = []

    def enter(self, phase: str) -> None:
        self.steps.append(phase)


@pytest.fixture
def decorators(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stands in for vllm/compilation/decorators.py."""
    compilation, decorators = ModuleType("vllm.compilation"), ModuleType("vllm.compilation.decorators")
    compilation.decorators = decorators  # type: ignore[attr-defined]
    for module in (ModuleType("vllm"), compilation, decorators):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return decorators


def test_what_was_loaded_is_run_for_the_first_time_next(decorators: Any) -> None:
    told = Told()

    def load(model: str, *, path: str) -> str:
        told.steps.append("loads")
        return f"{model} from {path}"

    decorators._try_load_aot_compiled_fn = load
    announce_cache_load(told)
    assert decorators._try_load_aot_compiled_fn("model", path="here") == "model from here"
    assert told.steps == ["cache load", "loads", "warm-up"]


def test_without_anything_to_load_vllm_compiles(decorators: Any) -> None:
    told = Told()
    decorators._try_load_aot_compiled_fn = lambda: None
    announce_cache_load(told)
    decorators._try_load_aot_compiled_fn()
    assert told.steps == ["cache load", "compile"]


def test_loading_that_raises_is_over(decorators: Any) -> None:
    told = Told()

    def load() -> None:
        raise ValueError("damaged")

    decorators._try_load_aot_compiled_fn = load
    announce_cache_load(told)
    with pytest.raises(ValueError, match="damaged"):
        decorators._try_load_aot_compiled_fn()
    assert told.steps == ["cache load", "compile"]


def test_a_version_that_loads_nothing_is_left_alone(decorators: Any) -> None:
    told = Told()
    announce_cache_load(told)
    assert not hasattr(decorators, "_try_load_aot_compiled_fn")
    assert told.steps == []
