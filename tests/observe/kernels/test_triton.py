"""With real Triton, which compiles for a GPU that it need not have."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import pytest

from coldwarm.core.kernels import Compiler, KernelOutcome, KernelSource
from coldwarm.core.record import ProcessReport
from tests.observe.kernels.scripts import kernels, only_event, reports

_KERNELS = """
import triton
import triton.language as tl

@triton.jit
def scale(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i, mask=i < n) * 2.0, mask=i < n)
"""

SCRIPT = '''
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase
from triton.runtime.driver import driver

class Driver(DriverBase):  # only names a GPU
    is_active = available = staticmethod(lambda: True)
    get_current_target = lambda self: GPUTarget("cuda", 90, 32)
    get_current_device = lambda self: 0
    get_current_stream = lambda self, device: 0
    get_active_torch_device = lambda self: None
    map_python_to_cpp_type = lambda self, type: type
    get_benchmarker = lambda self: lambda call, quantiles: [1.0, 1.0, 1.0]

driver.set_active(Driver())
from kernels import scale

# What Triton takes for a tensor's type, without torch.
float32 = type("dtype", (), {"__module__": "torch", "__str__": lambda self: "torch.float32"})()
triton.runtime.cache.triton_key()

def compile(folder, **constants):
    os.environ["TRITON_CACHE_DIR"] = str(Path(sys.argv[1], folder))
    scale.warmup(float32, float32, 16, grid=(1,), **constants)  # here

def compile_c(folder):
    os.environ["TRITON_CACHE_DIR"] = str(Path(sys.argv[1], folder))
    for _ in range(2):
        triton.runtime.build.compile_module_from_src(
            """
            #include <Python.h>
            static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "launcher"};
            PyMODINIT_FUNC PyInit_launcher(void) { return PyModule_Create(&definition); }
            """,
            "launcher",
        )

def compile_in_threads(folder):
    with ThreadPoolExecutor(2) as pool, triton.AsyncCompileMode(pool):
        compile(folder, BLOCK=256)
        compile(folder, BLOCK=512)

class Tensor:
    dtype = "torch.float32"
    data_ptr = lambda self: 0

def tune(folder, hook=None, **options):
    os.environ["TRITON_CACHE_DIR"] = str(Path(sys.argv[1], folder))
    configs = [triton.Config({"BLOCK": size}, pre_hook=hook) for size in (32, 64)]
    tunable = triton.autotune(configs, key=["n"], **options)(scale)
    try:
        tunable[(1,)](Tensor(), Tensor(), 64)
    except AttributeError as error:  # there is no GPU to launch it
        assert "launcher_cls" in str(error), error

def compile_64(folder):
    compile(folder, BLOCK=64)

def twice(folder):
    compile_64(folder)
    compile_64(folder)

in_fork("cold", compile_64, "shared")
in_fork("warm", twice, "shared")
compile("shared", BLOCK=1024)  # which no later fork reports
in_fork("other folder", compile_64, "other")
in_fork("other constant", lambda: compile("shared", BLOCK=128))
in_fork("threads", compile_in_threads, "threads")
os.environ["TRITON_ALWAYS_COMPILE"] = "1"
in_fork("always", lambda: compile("shared", BLOCK=128))
del os.environ["TRITON_ALWAYS_COMPILE"]
in_fork("C", compile_c, "C")
in_fork("tuned", lambda: tune("shared", cache_results=True))
in_fork("tuned warm", lambda: tune("shared", cache_results=True))
in_fork("tuned in memory", lambda: tune("shared"))
in_fork("tuned with a hook", lambda: tune("shared", hook=lambda nargs: None, cache_results=True))
'''


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ProcessReport]:
    folder = tmp_path_factory.mktemp("triton")
    (folder / "kernels.py").write_text(_KERNELS)
    return reports(SCRIPT, folder, TRITON_DEFAULT_FP_FUSION="1", TMPDIR=str(folder))


def test_a_kernel_is_compiled_cold_and_loaded_warm(seen: dict[str, ProcessReport]) -> None:
    cold, warm = only_event(seen["cold"]), only_event(seen["warm"])
    assert (cold.outcome, warm.outcome) == (KernelOutcome.COMPILED, KernelOutcome.LOADED)
    assert (cold.kernel, cold.compiler, cold.source) == ("scale", Compiler.TRITON, KernelSource.HOOK)
    assert (cold.key, cold.components, cold.cache_folder) == (warm.key, warm.components, warm.cache_folder)
    assert cold.cache_folder is not None
    assert Path(cold.cache_folder, "scale.cubin").is_file()
    assert Path(cold.cache_folder).parent.name == "shared"
    assert cold.seconds is not None
    assert warm.seconds is not None
    assert cold.seconds > warm.seconds > 0
    assert (cold.phase, cold.why_not_cached) == ("weights", None)


def test_the_line_that_asks_for_a_kernel_is_reported(seen: dict[str, ProcessReport]) -> None:
    # In threads, Triton compiles where nothing of the program is on the stack.
    events = [only_event(seen["cold"]), *kernels(seen["threads"]).events]
    assert len(events) == 3
    assert len({event.where for event in events}) == 1
    assert re.fullmatch(r"script\.py:\d+", events[0].where or "")


def test_a_changing_constant_is_the_only_component_that_differs(seen: dict[str, ProcessReport]) -> None:
    cold, other = only_event(seen["cold"]), only_event(seen["other constant"])
    assert (other.outcome, other.kernel) == (KernelOutcome.COMPILED, cold.kernel)
    assert other.key != cold.key
    assert cold.components.keys() == other.components.keys()
    assert [name for name in cold.components if cold.components[name] != other.components[name]] == ["constants"]
    assert (cold.components["constants"], cold.components["architecture"]) == ('{"(3,)": "64"}', "cuda:90")


def test_a_kernel_is_recompiled_under_the_same_key_in_another_folder(seen: dict[str, ProcessReport]) -> None:
    cold, other = only_event(seen["cold"]), only_event(seen["other folder"])
    assert (other.outcome, other.key) == (KernelOutcome.COMPILED, cold.key)
    assert Path(other.cache_folder or "").parent.name == "other"


def test_a_kernel_is_recompiled_if_a_setting_asks_for_it(seen: dict[str, ProcessReport]) -> None:
    always = only_event(seen["always"])
    assert (always.outcome, always.why_not_cached) == (KernelOutcome.COMPILED, "TRITON_ALWAYS_COMPILE is set")
    assert always.key == only_event(seen["other constant"]).key


def test_autotuning_is_stored_and_loaded(seen: dict[str, ProcessReport]) -> None:
    [cold], [warm] = (
        [each for each in kernels(seen[name]).events if each.compiler is Compiler.TRITON_AUTOTUNE]
        for name in ("tuned", "tuned warm")
    )
    assert (cold.outcome, warm.outcome) == (KernelOutcome.COMPILED, KernelOutcome.LOADED)
    assert (cold.kernel, cold.key, cold.components) == (warm.kernel, warm.key, warm.components)
    assert (cold.why_not_cached, warm.seconds) == (None, None)
    assert Path(cold.cache_folder or "").name == "shared"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("tuned in memory", "kept in memory only, because TRITON_CACHE_AUTOTUNING is not set"),
        ("tuned with a hook", "kept in memory only, because a configuration has a pre_hook"),
    ],
)
def test_the_reason_is_reported_if_autotuning_is_not_stored(
    seen: dict[str, ProcessReport], name: str, why: str
) -> None:
    [event] = [each for each in kernels(seen[name]).events if each.compiler is Compiler.TRITON_AUTOTUNE]
    assert (event.outcome, event.why_not_cached, event.cache_folder) == (KernelOutcome.COMPILED, why, None)


def test_a_module_in_c_is_reported_if_it_is_compiled(seen: dict[str, ProcessReport]) -> None:
    event = only_event(seen["C"])
    assert (event.compiler, event.kernel, event.outcome) == (Compiler.TRITON, "launcher", KernelOutcome.COMPILED)
    assert (event.source, Path(event.cache_folder or "").name) == (KernelSource.WRAPPED, "C")
    assert (event.where or "").startswith("script.py:")


def test_the_state_of_each_compiler_is_reported(seen: dict[str, ProcessReport]) -> None:
    states = {state.compiler: state for state in kernels(seen["cold"]).compilers}
    assert states.keys() == set(Compiler) - {Compiler.DEEP_GEMM, Compiler.PTX_JIT}
    triton = states[Compiler.TRITON]
    assert (triton.version, triton.missing) == (version("triton"), [])
    assert triton.setup_seconds is not None
    # No probe imports what it observes.
    assert {compiler for compiler, state in states.items() if state.version is not None} == {
        Compiler.TRITON,
        Compiler.TRITON_AUTOTUNE,
    }
