from __future__ import annotations

import dataclasses
import sys
from importlib.util import find_spec
from types import ModuleType

import pytest

from coldwarm.engines.vllm import counters as vllm_source


@dataclasses.dataclass
class SomeCounter:
    num_graphs_seen: int = 4
    num_compiled_artifacts_saved: int = 3


needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="reads the source of an installed vLLM")


@needs_vllm
def test_the_counters_of_the_installed_version_are_read_from_its_source() -> None:
    names = vllm_source.names_installed()
    assert names is not None
    assert {
        "vllm.num_piecewise_capturable_graphs_seen",
        "vllm.num_compiled_artifacts_saved",
        "vllm.num_compiled_artifacts_loaded",
    } <= set(names)
    assert all(name.startswith("vllm.") for name in names)


def test_nothing_is_counted_before_vllm_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "vllm.compilation.counter", raising=False)
    assert vllm_source.read() == {}


def test_nothing_is_counted_while_vllm_is_being_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm.compilation.counter", ModuleType("vllm.compilation.counter"))
    assert vllm_source.read() == {}


def test_every_field_of_vllms_counter_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("vllm.compilation.counter")
    module.__dict__["compilation_counter"] = SomeCounter(num_compiled_artifacts_saved=7)
    monkeypatch.setitem(sys.modules, "vllm.compilation.counter", module)
    assert vllm_source.read() == {"vllm.num_graphs_seen": 4, "vllm.num_compiled_artifacts_saved": 7}
