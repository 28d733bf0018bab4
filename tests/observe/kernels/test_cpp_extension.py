"""With real PyTorch, ninja and a compiler; the source includes nothing, so that a build takes a fifth of a second."""

from __future__ import annotations

from pathlib import Path

import pytest

from coldwarm.core.kernels import Compiler, KernelOutcome
from coldwarm.core.record import ProcessReport
from tests.observe.kernels.scripts import only_event, reports

pytestmark = pytest.mark.real  # imports torch

_SCRIPT = """
import time
from torch.utils import cpp_extension

source = Path(sys.argv[1], "answer.cpp")
source.write_text('extern "C" int answer() { return 42; }')
os.utime(source, (1e9, 1e9))
os.environ["TORCH_EXTENSIONS_DIR"] = str(Path(sys.argv[1], "extensions"))

def build(*flags):
    cpp_extension.load("answer", [str(source)], is_python_module=False, extra_cflags=["-O1", *flags])

def build_touched():
    later = time.time() + 10
    os.utime(source, (later, later))
    build()

in_fork("cold", build)
in_fork("warm", build)
in_fork("touched", build_touched)
os.utime(source, (1e9, 1e9))
in_fork("other flags", build, "-g0")
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ProcessReport]:
    return reports(_SCRIPT, tmp_path_factory.mktemp("extension"))


def test_an_extension_is_built_cold_and_loaded_warm(seen: dict[str, ProcessReport]) -> None:
    cold, warm = only_event(seen["cold"]), only_event(seen["warm"])
    assert (cold.outcome, warm.outcome) == (KernelOutcome.COMPILED, KernelOutcome.LOADED)
    assert (cold.compiler, cold.kernel, cold.why_not_cached) == (Compiler.CPP_EXTENSION, "answer", None)
    assert (cold.key, cold.components, cold.cache_folder) == (warm.key, warm.components, warm.cache_folder)
    assert Path(cold.cache_folder or "", "answer.so").is_file()
    assert (cold.where or "").startswith("script.py:")


def test_a_rebuild_because_of_a_files_time_says_so(seen: dict[str, ProcessReport]) -> None:
    cold, touched = only_event(seen["cold"]), only_event(seen["touched"])
    assert (touched.outcome, touched.key) == (KernelOutcome.COMPILED, cold.key)
    assert (touched.why_not_cached or "").startswith("rebuilt: output answer.o older than most recent input")


def test_a_rebuild_with_other_flags_has_another_key(seen: dict[str, ProcessReport]) -> None:
    cold, other = only_event(seen["cold"]), only_event(seen["other flags"])
    assert (other.outcome, other.key != cold.key) == (KernelOutcome.COMPILED, True)
    assert "command line changed for answer.o" in (other.why_not_cached or "")
    changed = [name for name in cold.components if cold.components[name] != other.components.get(name)]
    assert changed == ["cflags"]
