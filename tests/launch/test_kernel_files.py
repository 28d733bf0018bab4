from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldwarm.core.kernels import Compiler, KernelOutcome, KernelSource
from coldwarm.core.seen_in_process import LongCall
from coldwarm.launch import kernel_files
from coldwarm.launch.caches import Caches
from coldwarm.launch.kernel_files import kernels_by_files, qualified_name

_SOURCE = """#include <deep_gemm/impls/sm90_fp8_gemm_1d2d.cuh>
static void __instantiate_kernel() {
    auto ptr = reinterpret_cast<void*>(&sm90_fp8_gemm_1d2d_impl<
        0, 7168, 4096,
        128, 128
    >);
};
"""


@pytest.fixture
def caches(tmp_path: Path) -> Caches:
    return Caches.fresh(tmp_path / "caches")


def write(file: Path, content: str, modified: float) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    os.utime(file, (modified, modified))


def deep_gemm_kernel(folder: Path, name: str, key: str, *, begin: float, end: float) -> None:
    write(folder / "cache" / f"kernel.{name}.{key}" / "kernel.cu", _SOURCE, begin)
    write(folder / "cache" / f"kernel.{name}.{key}" / "kernel.cubin", "binary", end)


def test_a_new_folder_of_deep_gemm_is_a_compiled_kernel(caches: Caches) -> None:
    key = "0123456789abcdef" * 2
    before = caches.manifest()
    deep_gemm_kernel(caches.root / "deep-gemm", "sm90_fp8_gemm_1d2d", key, begin=1000.5, end=1004.25)
    [event] = kernels_by_files(caches.root, before, caches.manifest())
    assert (event.compiler, event.source) == (Compiler.DEEP_GEMM, KernelSource.FILES)
    assert (event.kernel, event.key, event.outcome) == ("sm90_fp8_gemm_1d2d", key, KernelOutcome.COMPILED)
    assert (event.begin, event.seconds) == (1000.5, 3.75)
    assert event.components == {"source": "0, 7168, 4096, 128, 128"}
    assert Path(event.cache_folder or "").name == f"kernel.sm90_fp8_gemm_1d2d.{key}"


def test_a_folder_that_was_there_before_is_not(caches: Caches) -> None:
    deep_gemm_kernel(caches.root / "vllm" / "deep_gemm", "gemm", "0" * 32, begin=1, end=2)
    before = caches.manifest()
    deep_gemm_kernel(caches.root / "vllm" / "deep_gemm", "gemm", "1" * 32, begin=3, end=4)
    assert [event.key for event in kernels_by_files(caches.root, before, caches.manifest())] == ["1" * 32]
    assert kernels_by_files(caches.root, caches.manifest(), caches.manifest()) == []


# The beginning of a file that driver 580 wrote for vLLM 0.26's Marlin kernels, shortened.
_MODULE = b"""A\0\0\0\xf6\x3bHOST64sm_90

.version 9.0
.target sm_80
.address_size 64
.extern .shared .align 16 .b8 _ZN16marlin_moe_wna162shE[];
.visible .entry _ZN16marlin_moe_wna166MarlinILl1125899906909960ELi8EEEvPK4int4S3_PS1_bb(
.param .u64 _ZN16marlin_moe_wna166MarlinILl1125899906909960ELi8EEEvPK4int4S3_PS1_bb_param_0
) { ret; }
.visible .entry _ZN16marlin_moe_wna166MarlinILl1125899906909960ELi4EEEvPK4int4S3_PS1_bb(
.visible .entry _Z6repackILi4EEvPKj(
.entry plain_c(
\x7fELF\x02\x01\x01\xff\xfe"""


def test_a_module_has_the_names_of_the_kernels_in_its_ptx(caches: Caches) -> None:
    before = caches.manifest()
    write(caches.root / "cuda" / "4" / "0a1b2c3d", "", 1000.5)
    (caches.root / "cuda" / "4" / "0a1b2c3d").write_bytes(_MODULE)
    [event] = kernels_by_files(caches.root, before, caches.manifest())
    assert event.kernel == "marlin_moe_wna16::Marlin, repack, plain_c"
    assert event.components == {
        "bytes": str(len(_MODULE)),
        "module": "0a1b2c3d",
        "kernels in the module": "4",
        "PTX for": "sm_80",
    }


@given(st.text(alphabet="_ZNE0123456789abI:", max_size=30))
def test_any_symbol_has_a_name(symbol: str) -> None:
    assert qualified_name(symbol) or not symbol


def test_a_file_of_the_drivers_cache_is_a_compiled_module(caches: Caches) -> None:
    before = caches.manifest()
    write(caches.root / "cuda" / "index", "index", 1)
    write(caches.root / "cuda" / "4" / "c" / "0a1b2c3d", "binary", 1000.5)
    [event] = kernels_by_files(caches.root, before, caches.manifest())
    assert (event.compiler, event.kernel, event.key) == (Compiler.PTX_JIT, "module 0a1b2c3d", "0a1b2c3d")
    assert (event.begin, event.seconds, event.components) == (1000.5, None, {"bytes": "6", "module": "0a1b2c3d"})


def test_other_files_are_no_kernels(caches: Caches) -> None:
    before = caches.manifest()
    write(caches.root / "vllm" / "kernel.cubin", "", 1)
    write(caches.root / "triton" / "KEY" / "scale.cubin", "", 1)
    write(caches.root / "deep-gemm" / "tmp" / "kernel.cu", "", 1)
    assert kernels_by_files(caches.root, before, caches.manifest()) == []


def test_times_of_a_file_that_is_gone_are_not_known(caches: Caches) -> None:
    before = caches.manifest()
    deep_gemm_kernel(caches.root / "deep-gemm", "gemm", "0" * 32, begin=1, end=2)
    after = caches.manifest()
    (caches.root / "deep-gemm" / "cache" / f"kernel.gemm.{'0' * 32}" / "kernel.cu").unlink()
    [event] = kernels_by_files(caches.root, before, after)
    assert (event.begin, event.seconds, event.components) == (None, None, {})


def test_at_most_a_number_of_events_are_returned(caches: Caches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_files, "MOST_EVENTS", 2)
    before = caches.manifest()
    for number in range(3):
        write(caches.root / "cuda" / str(number), "binary", 1)
    assert len(kernels_by_files(caches.root, before, caches.manifest())) == 2


def test_the_call_in_which_the_driver_compiled_is_named(caches: Caches) -> None:
    before = caches.manifest()
    for name, end in (("0b", 1030.0), ("0a", 1010.0), ("0c", 1040.0)):
        write(caches.root / "cuda" / "4" / name, "binary", end)
    calls = [
        LongCall(begin=990, seconds=5, where="a.py:1", function="load"),
        LongCall(begin=1000, seconds=29.9, where="ops.py:2", function="moe", operator="_moe_C.marlin_gemm"),
    ]
    events = kernels_by_files(caches.root, before, caches.manifest(), calls)
    assert [(event.key, event.owner, event.where, event.begin, event.seconds) for event in events] == [
        ("0a", "_moe_C.marlin_gemm", "ops.py:2", 1000, 10),
        ("0b", "_moe_C.marlin_gemm", "ops.py:2", 1010, 20),
        ("0c", None, None, 1040, None),
    ]
