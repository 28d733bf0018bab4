"""With the real CuTe DSL, which compiles for a GPU that it need not have; not part of the pinned requirements."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from coldwarm.core.kernels import Compiler, KernelOutcome
from coldwarm.core.record import ProcessReport
from tests.observe.kernels.scripts import kernels, reports

pytestmark = [
    pytest.mark.real,  # takes seconds
    pytest.mark.skipif(find_spec("cutlass") is None, reason="nvidia-cutlass-dsl is not installed"),
]

_KERNELS = """
import cutlass, cutlass.cute as cute

@cute.kernel
def add_kernel(x: cute.Tensor, y: cute.Tensor, n: cutlass.Constexpr):
    t, _, _ = cute.arch.thread_idx()
    b, _, _ = cute.arch.block_idx()
    y[b * 128 + t] = x[b * 128 + t] + x[b * 128 + t]

class Add:
    def __init__(self, blocks):
        self.blocks = blocks

    @cute.jit
    def __call__(self, x: cute.Tensor, y: cute.Tensor, stream):
        add_kernel(x, y, self.blocks).launch(grid=[self.blocks, 1, 1], block=[128, 1, 1], stream=stream)
"""

_SCRIPT = """
import cutlass, cutlass.cute as cute
from kernels import Add

def compile(*sizes):
    for blocks in sizes:
        x = cute.runtime.make_fake_compact_tensor(cutlass.Float32, (128 * blocks,), assumed_align=16)
        stream = cute.runtime.make_fake_stream(use_tvm_ffi_env_stream=True)
        compiled = cute.compile(Add(blocks), x, x, stream, options="--enable-tvm-ffi")
    return compiled

def load(file="add.o"):
    path = os.path.join(sys.argv[1], file)
    compile(4).export_to_c(object_file_path=path, function_name="add")
    cute.runtime.load_module(path, enable_tvm_ffi=True)

in_fork("first", compile, 4, 8)
in_fork("second", compile, 4)
in_fork("exported", load)
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ProcessReport]:
    folder = tmp_path_factory.mktemp("cute")
    (folder / "kernels.py").write_text(_KERNELS)
    return reports(_SCRIPT, folder, CUTE_DSL_ARCH="sm_90a", CUTE_DSL_CACHE_DIR=str(folder / "cache"))


def test_a_kernel_is_compiled_in_each_process_under_the_same_key(seen: dict[str, ProcessReport]) -> None:
    first, other = kernels(seen["first"]).events
    [second] = kernels(seen["second"]).events
    assert (first.outcome, second.outcome) == (KernelOutcome.COMPILED, KernelOutcome.COMPILED)
    assert (first.compiler, first.kernel, first.key) == (Compiler.CUTE_DSL, "Add", second.key)
    assert (first.components, first.cache_folder) == (second.components, None)
    assert "issue 3398" in (first.why_not_cached or "")
    assert other.key != first.key
    different = [name for name in first.components if first.components[name] != other.components[name]]
    assert different == ["attributes", "arguments", "module"]


def test_a_kernel_that_a_library_stored_is_loaded(seen: dict[str, ProcessReport]) -> None:
    compiled, loaded = kernels(seen["exported"]).events
    assert (compiled.outcome, loaded.outcome) == (KernelOutcome.COMPILED, KernelOutcome.LOADED)
    assert (loaded.kernel, loaded.key, Path(loaded.cache_folder or "").name[:4]) == ("add", "add.o", "cute")


def test_this_version_has_all_hooks(seen: dict[str, ProcessReport]) -> None:
    [state] = [each for each in kernels(seen["first"]).compilers if each.compiler is Compiler.CUTE_DSL]
    assert (state.version is not None, state.missing) == (True, [])
