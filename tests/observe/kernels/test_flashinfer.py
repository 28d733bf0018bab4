"""With the real FlashInfer, which is not part of the pinned requirements, and a module of C++ only.

A module links against CUDA and asks nvcc for its version, so that both are stood in for; nothing is compiled by nvcc.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from coldwarm.core.kernels import Compiler, KernelOutcome
from coldwarm.core.record import ProcessReport
from tests.observe.kernels.scripts import only_event, reports

pytestmark = [
    pytest.mark.real,  # takes seconds
    pytest.mark.skipif(find_spec("flashinfer") is None, reason="flashinfer-python is not installed"),
]

_SCRIPT = """
import subprocess

cuda = Path(sys.argv[1], "cuda")
for folder in ("bin", "lib64", "include"):
    (cuda / folder).mkdir(parents=True)
(cuda / "bin" / "nvcc").write_text("#!/bin/sh\\necho Cuda compilation tools, release 13.0, V13.0.48")
(cuda / "bin" / "nvcc").chmod(0o755)
for library in ("cudart", "cuda"):
    subprocess.run(["c++", "-shared", "-o", cuda / "lib64" / f"lib{library}.so", "-x", "c++", os.devnull], check=True)

source = Path(sys.argv[1], "answer.cpp")
source.write_text('extern "C" int answer() { return 42; }')
os.utime(source, (1e9, 1e9))
from flashinfer.jit.core import build_jit_specs, gen_jit_spec

def build(*flags):
    gen_jit_spec("answer", [source], extra_cflags=["-std=c++17", *flags]).build()

def build_together():
    build_jit_specs([gen_jit_spec("answer", [source]), gen_jit_spec("another_answer", [source])])

in_fork("cold", build)
in_fork("warm", build)
in_fork("other flags", build, "-O1")
in_fork("together", build_together)
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ProcessReport]:
    folder = tmp_path_factory.mktemp("flashinfer")
    cuda, architectures = str(folder / "cuda"), "9.0a"
    return reports(
        _SCRIPT,
        folder,
        CUDA_HOME=cuda,
        FLASHINFER_CUDA_ARCH_LIST=architectures,
        FLASHINFER_WORKSPACE_BASE=str(folder / "workspace"),
    )


def test_a_module_is_built_cold_and_loaded_warm(seen: dict[str, ProcessReport]) -> None:
    cold, warm = only_event(seen["cold"]), only_event(seen["warm"])
    assert (cold.outcome, warm.outcome) == (KernelOutcome.COMPILED, KernelOutcome.LOADED)
    assert (cold.compiler, cold.kernel, cold.why_not_cached) == (Compiler.FLASHINFER, "answer", None)
    assert (cold.key, cold.components, cold.cache_folder) == (warm.key, warm.components, warm.cache_folder)
    assert Path(cold.cache_folder or "", "answer.so").is_file()
    assert (cold.where or "").startswith("script.py:")


def test_a_rebuild_with_other_flags_has_another_key_and_says_why(seen: dict[str, ProcessReport]) -> None:
    cold, other = only_event(seen["cold"]), only_event(seen["other flags"])
    assert (other.outcome, other.key != cold.key) == (KernelOutcome.COMPILED, True)
    assert "command line changed for" in (other.why_not_cached or "")
    changed = [name for name in cold.components if cold.components[name] != other.components.get(name)]
    assert changed == ["cflags"]


def test_modules_that_are_built_together_are_seen(seen: dict[str, ProcessReport]) -> None:
    together = only_event(seen["together"])
    assert (together.outcome, together.kernel) == (KernelOutcome.COMPILED, "cached_ops")
    assert Path(together.cache_folder or "", "another_answer", "another_answer.so").is_file()
