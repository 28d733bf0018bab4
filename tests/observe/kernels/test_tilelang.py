"""With real TileLang, which compiles for a GPU that it need not have; not part of the pinned requirements."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from coldwarm.core.kernels import Compiler, KernelOutcome
from coldwarm.core.record import ProcessReport
from tests.observe.kernels.scripts import kernels, only_event, reports

pytestmark = [
    pytest.mark.real,  # takes seconds
    pytest.mark.skipif(find_spec("tilelang") is None, reason="tilelang is not installed"),
]

_KERNELS = """
import tilelang, tilelang.language as T

@tilelang.jit(out_idx=[1], target={"kind": "cuda", "arch": "sm_90a"})
def double(N, block):
    @T.prim_func
    def add(A: T.Tensor((N,), "float32"), B: T.Tensor((N,), "float32")):
        with T.Kernel(T.ceildiv(N, block), threads=block) as bx:
            for i in T.Parallel(block):
                B[bx * block + i] = A[bx * block + i] * 2.0
    return add
"""

_SCRIPT = """
from tilelang import env
from kernels import double

def without_cache():
    env.disable_cache()
    double(1024, 128)

def twice():
    double(1024, 128)
    double(1024, 128)

in_fork("cold", double, 1024, 128)
in_fork("warm", twice)
in_fork("other", double, 2048, 128)
in_fork("without cache", without_cache)
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ProcessReport]:
    folder = tmp_path_factory.mktemp("tilelang")
    (folder / "kernels.py").write_text(_KERNELS)
    return reports(_SCRIPT, folder, TILELANG_CACHE_DIR=str(folder / "cache"))


def test_a_kernel_is_compiled_cold_and_loaded_warm(seen: dict[str, ProcessReport]) -> None:
    cold, warm = only_event(seen["cold"]), only_event(seen["warm"])
    assert (cold.outcome, warm.outcome) == (KernelOutcome.COMPILED, KernelOutcome.LOADED)
    assert (cold.compiler, cold.kernel, cold.key) == (Compiler.TILELANG, "add", warm.key)
    assert (cold.components, cold.cache_folder) == (warm.components, warm.cache_folder)
    assert Path(cold.cache_folder or "").is_dir()


def test_a_kernel_of_another_size_has_another_key(seen: dict[str, ProcessReport]) -> None:
    cold, other = only_event(seen["cold"]), only_event(seen["other"])
    assert other.key != cold.key
    assert [name for name in cold.components if cold.components[name] != other.components[name]] == ["source"]


def test_the_reason_is_reported_if_the_cache_is_disabled(seen: dict[str, ProcessReport]) -> None:
    event = only_event(seen["without cache"])
    assert (event.outcome, event.cache_folder) == (KernelOutcome.COMPILED, None)
    assert event.why_not_cached == "TILELANG_DISABLE_CACHE is set"


def test_this_version_has_all_hooks(seen: dict[str, ProcessReport]) -> None:
    [state] = [each for each in kernels(seen["cold"]).compilers if each.compiler is Compiler.TILELANG]
    assert (state.version is not None, state.missing) == (True, [])
