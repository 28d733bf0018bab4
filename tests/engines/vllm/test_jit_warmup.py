"""With vLLM's real registry."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.version import Version

from coldwarm.core.kernels import Compiler, KernelOutcome, KernelSource
from coldwarm.core.record import ProcessReport
from tests.observe.kernels.scripts import kernels, reports
from tests.support.release import INSTALLED

pytestmark = pytest.mark.real  # imports vLLM

_KERNELS = """
from dataclasses import dataclass
from vllm.model_executor.warmup.jit_warmup import VllmJitKernel
from vllm.model_executor.warmup.jit_warmup_triton_helper import VllmTritonJitKernel
from coldwarm.observe.kernels.recorder import OWNER

owners = []

class Gemm(VllmJitKernel["Gemm.CompileKey"]):
    @dataclass(frozen=True)
    class CompileKey:
        blocks: int
        dtype: str

    def dispatch(self, *, n):
        return self.CompileKey(blocks=n, dtype="bf16")

    def get_warmup_keys(self, *, ns):
        return [self.dispatch(n=n) for n in ns]

    def compile(self, key):
        owners.append(OWNER.get())
        self._compiled_cache[key] = str

    def __call__(self, n):
        return self._get_or_compile(self.dispatch(n=n))

class Normalization(VllmTritonJitKernel["Normalization.CompileKey"]):
    @dataclass(frozen=True)
    class CompileKey:
        hidden: int

    def dispatch(self, *, n):
        return self.CompileKey(hidden=n)

    def get_warmup_keys(self, vllm_config):
        return [self.dispatch(n=vllm_config)]

    def warmup_inputs(self, key):
        return {}

    def __call__(self):
        owners.append(OWNER.get())

gemm, normalization = Gemm(), Normalization()

def units():
    from vllm.model_executor.warmup.cutedsl_warmup import CuTeDSLCompileUnit
    return [CuTeDSLCompileUnit("attention", (128, "bf16"), lambda: owners.append(OWNER.get()))]
"""

_SCRIPT = """
import json
from coldwarm.core.depth import Depth
from coldwarm.engines.vllm.jit_warmup import JitWarmupProbe

def start(depth, name):
    observer.install(JitWarmupProbe(depth))
    import kernels
    from vllm.model_executor.warmup.jit_warmup import JitWarmupRegistry
    import vllm.distributed

    vllm.distributed.is_global_first_rank = lambda: False
    registry, gemm, normalization = JitWarmupRegistry(7168), kernels.gemm, kernels.normalization
    with registry.activate():
        for _ in range(3):
            gemm.register_warmup(ns=(128, 256))
            normalization.register_warmup()
    registry.warmup()
    kernels.owners.append("ready")
    gemm(512)
    from vllm.model_executor.warmup import cutedsl_warmup
    for unit in cutedsl_warmup._collect_unique_compile_units(kernels.units() * 2):
        unit.compile()
    Path(sys.argv[1], f"{name}.owners").write_text(json.dumps(kernels.owners))

import torch, vllm.triton_utils, vllm.envs
in_fork("full", start, Depth.FULL, "full")
in_fork("count", start, Depth.COUNT, "count")
# As in a process that was forked from one that has imported vLLM.
import kernels
in_fork("preloaded", start, Depth.FULL, "preloaded")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("warmup")
    (folder / "kernels.py").write_text(_KERNELS)
    return folder


@pytest.fixture(scope="module")
def seen(folder: Path) -> dict[str, ProcessReport]:
    return reports(_SCRIPT, folder)


with_registry = pytest.mark.skipif(
    Version("0.30") > INSTALLED,
    reason="VllmTritonJitKernel is of vLLM 0.30; without a registry, as in 0.28, the last test checks the kernels",
)


@with_registry
@pytest.mark.usefixtures("seen")
@pytest.mark.parametrize("name", ["full", "preloaded"])
def test_each_kernel_has_an_owner_with_its_key_during_and_after_the_warm_up(folder: Path, name: str) -> None:
    assert (folder / f"{name}.owners").read_text() == (
        "[\"Gemm CompileKey(blocks=128, dtype='bf16')\", \"Gemm CompileKey(blocks=256, dtype='bf16')\", "
        '"Normalization CompileKey(hidden=7168)", "ready", "Gemm CompileKey(blocks=512, dtype=\'bf16\')", '
        "\"attention (128, 'bf16')\"]"
    )


@with_registry
def test_at_depth_count_the_keys_are_listed_and_nothing_is_compiled(
    folder: Path, seen: dict[str, ProcessReport]
) -> None:
    assert (folder / "count.owners").read_text() == '["ready", "Gemm CompileKey(blocks=512, dtype=\'bf16\')"]'
    events = kernels(seen["count"]).events
    assert {event.outcome for event in events} == {KernelOutcome.LISTED}
    assert {event.source for event in events} == {KernelSource.REGISTRY}
    assert [(event.kernel, event.compiler, event.components) for event in events] == [
        ("Gemm", Compiler.CUTE_DSL, {"blocks": "128", "dtype": "bf16"}),
        ("Gemm", Compiler.CUTE_DSL, {"blocks": "256", "dtype": "bf16"}),
        ("Normalization", Compiler.TRITON, {"hidden": "7168"}),
        ("attention", Compiler.CUTE_DSL, {}),
    ]
    assert len({event.key for event in events}) == 4
    assert [event.owner for event in events][-2:] == [
        "Normalization CompileKey(hidden=7168)",
        "attention (128, 'bf16')",
    ]
    assert kernels(seen["full"]).events == []


_ALONE = """
from dataclasses import dataclass
from vllm.model_executor.warmup.jit_warmup import VllmJitKernel
from coldwarm.observe.kernels.recorder import OWNER

owners = []

class Gemm(VllmJitKernel["Gemm.CompileKey"]):
    @dataclass(frozen=True)
    class CompileKey:
        blocks: int

    def dispatch(self, *, n):
        return self.CompileKey(blocks=n)

    def get_warmup_keys(self, *, ns):
        return [self.CompileKey(blocks=n) for n in ns]

    def compile(self, key):
        owners.append(OWNER.get())
"""

_WITHOUT_REGISTRY = """
import json
from coldwarm.core.depth import Depth
from coldwarm.engines.vllm.jit_warmup import JitWarmupProbe

def start(depth, name):
    observer.install(JitWarmupProbe(depth))
    import alone
    alone.Gemm().warmup(ns=(128, 256, 128))
    Path(sys.argv[1], f"{name}.owners").write_text(json.dumps(alone.owners))

# As in vLLM 0.28.
from vllm.model_executor.warmup import jit_warmup
vars(jit_warmup).pop("JitWarmupRegistry", None)
in_fork("full alone", start, Depth.FULL, "full alone")
in_fork("count alone", start, Depth.COUNT, "count alone")
"""


def test_without_a_registry_each_kernel_lists_its_own_keys(tmp_path: Path) -> None:
    (tmp_path / "alone.py").write_text(_ALONE)
    seen = reports(_WITHOUT_REGISTRY, tmp_path)
    assert "Gemm CompileKey(blocks=128)" in (tmp_path / "full alone.owners").read_text()
    assert (tmp_path / "count alone.owners").read_text() == "[]"
    events = kernels(seen["count alone"]).events
    assert [(event.kernel, event.components) for event in events] == [
        ("Gemm", {"blocks": "128"}),
        ("Gemm", {"blocks": "256"}),
    ]
    assert kernels(seen["full alone"]).events == []
