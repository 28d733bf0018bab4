from __future__ import annotations

import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from types import ModuleType

import pytest

from coldwarm.engines.counters import snapshot
from coldwarm.observe import torch_counters as torch_source

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="reads the source of an installed torch")


@pytest.fixture
def dynamo(monkeypatch: pytest.MonkeyPatch) -> dict[str, Counter[str]]:
    """Replace Dynamo's counters, each of which exists only after its first increment."""
    counters: dict[str, Counter[str]] = {}
    module = ModuleType("torch._dynamo.utils")
    module.__dict__["counters"] = counters
    monkeypatch.setitem(sys.modules, "torch._dynamo.utils", module)
    return counters


@needs_torch
def test_the_counters_of_the_installed_version_are_read_from_its_source() -> None:
    names = torch_source.names_installed()
    assert names is not None
    assert {
        "torch.aot_autograd.autograd_cache_miss",
        "torch.aot_autograd.autograd_cache_hit",
        "torch.aot_autograd.autograd_cache_saved",
        "torch.aot_autograd.total",
        "torch.inductor.fxgraph_cache_miss",
        "torch.inductor.fxgraph_cache_hit",
    } <= set(names)
    assert names == sorted(set(names))


@needs_torch
def test_other_counters_of_inductor_are_left_out() -> None:
    names = torch_source.names_installed()
    assert names is not None
    assert all(name.startswith(("torch.aot_autograd.", "torch.inductor.fxgraph_cache_")) for name in names)


def test_there_are_no_counters_before_dynamo_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch._dynamo.utils", raising=False)
    assert torch_source.read() == {}


@needs_torch
def test_a_counter_that_was_never_incremented_is_zero(dynamo: dict[str, Counter[str]]) -> None:
    assert torch_source.read()["torch.aot_autograd.autograd_cache_miss"] == 0


def test_incremented_counters_are_read(dynamo: dict[str, Counter[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    dynamo["aot_autograd"] = Counter(autograd_cache_miss=4, a_new_one=1)
    dynamo["inductor"] = Counter(fxgraph_cache_hit=2, pattern_matcher_count=9)
    dynamo["frames"] = Counter(total=3)
    monkeypatch.delitem(sys.modules, "vllm.compilation.counter", raising=False)
    found = {name: n for name, n in snapshot().items() if n}
    assert found == {
        "torch.aot_autograd.autograd_cache_miss": 4,
        "torch.aot_autograd.a_new_one": 1,
        "torch.inductor.fxgraph_cache_hit": 2,
    }


class CountedMeanwhile(int):
    """A count. While it is read, another thread begins to count something else."""

    counters: dict[str, Counter[str]]

    def __int__(self) -> int:
        self.counters["aot_autograd"][f"new {len(self.counters['aot_autograd'])}"] = 1
        self.counters[f"group {len(self.counters)}"] = Counter()
        return 4


def test_counters_can_be_read_while_a_thread_compiles(dynamo: dict[str, Counter[str]]) -> None:
    count = CountedMeanwhile()
    count.counters = dynamo
    dynamo["aot_autograd"] = Counter(autograd_cache_miss=count, autograd_cache_hit=2)
    dynamo["inductor"] = Counter(fxgraph_cache_hit=1)
    found = torch_source.read()
    assert (found["torch.aot_autograd.autograd_cache_miss"], found["torch.inductor.fxgraph_cache_hit"]) == (4, 1)


@needs_torch
def test_reading_the_names_does_not_import_torch() -> None:
    code = (
        "import sys; from coldwarm.engines.vllm import counters; from coldwarm.observe import torch_counters; "
        "torch_counters.names_installed(); counters.names_installed(); "
        "sys.exit(bool({'torch', 'vllm'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
