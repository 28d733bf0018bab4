"""With PyTorch's own code, told that it has a device; and with FlashInfer, where it is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.real  # imports torch

# A build for CPUs has no C function that initializes CUDA, so that it gets one that does nothing.
_SCRIPT = """
import json, sys
import torch

class Properties:
    major, minor, name, multi_processor_count = 9, 0, "H100", 132

torch._C._cuda_getDeviceCount = lambda: 1
torch._C._cuda_init = lambda: None
torch.cuda._cudart = object()
torch.cuda._queued_calls.clear()
torch.cuda.is_available = lambda: True
torch.cuda.device_count = lambda: 1
torch.cuda.current_device = lambda: 0
torch.cuda._get_device_properties = lambda device: Properties
torch.version.cuda = "13.0"

from coldwarm.observe.cuda_initialization import CudaInitialization

def capabilities():
    if sys.argv[1] == "no NVML":
        raise OSError("no NVML")
    return {"one": [(9, 0)], "alike": [(9, 0), (9, 0)], "unlike": [(9, 0), (8, 0)]}[sys.argv[1]]

functions = torch.cuda._lazy_init, torch.cuda.get_device_capability
codes = [function.__code__ for function in functions]
with CudaInitialization(capabilities) as cuda:
    import imported
assert functions == (torch.cuda._lazy_init, torch.cuda.get_device_capability)
assert codes == [function.__code__ for function in functions]
print(json.dumps({
    "cause": cuda.cause, "stack": cuda.stack, "initialized": torch.cuda.is_initialized(),
    "answer": getattr(imported, "ANSWER", None), "left": any(each is cuda for each in sys.meta_path),
}))
if hasattr(imported, "ask"):
    assert imported.ask is torch.cuda.get_device_capability
    imported.ask()
    print(json.dumps(torch.cuda.is_initialized()))
"""


def watched(folder: Path, imported: str, devices: str = "one", **environment: str) -> list[Any]:
    """Return what is found while a module with the code `imported` is imported, and what is so later."""
    (folder / "imported.py").write_text(imported)
    (folder / "script.py").write_text(_SCRIPT)
    done = subprocess.run(
        [sys.executable, str(folder / "script.py"), devices],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_capability_of_a_device_is_answered_without_cuda_while_importing_and_with_it_later(tmp_path: Path) -> None:
    code = "from torch.cuda import get_device_capability as ask\nANSWER = [ask(), ask(0), ask('cuda:0'), ask('cuda')]\n"
    [found, initialized_later] = watched(tmp_path, code)
    assert found == {"cause": None, "stack": "", "initialized": False, "answer": [[9, 0]] * 4, "left": False}
    assert initialized_later


@pytest.mark.parametrize(("devices", "device"), [("no NVML", ""), ("unlike", "1"), ("alike", "'cuda:7'")])
def test_if_the_answer_is_not_certain_pytorch_answers_and_the_line_that_asked_is_the_cause(
    tmp_path: Path, devices: str, device: str
) -> None:
    # PyTorch refuses a device that does not exist, after it has initialized CUDA.
    ask = f"try: get_device_capability({device})"
    code = f"from torch.cuda import get_device_capability\n{ask}\nexcept AssertionError: pass\n"
    [found] = watched(tmp_path, code, devices)
    assert found["initialized"]
    assert found["cause"] == f"imported.py:2 (`{ask}`)"
    assert "in get_device_properties" in found["stack"]


def test_the_line_that_needs_cuda_for_something_else_is_the_cause(tmp_path: Path) -> None:
    code = "import torch\n\ndef size():\n    return torch.cuda.get_device_properties(0)\n\nsize()\n"
    [found] = watched(tmp_path, code)
    assert found["cause"] == "imported.py:4 (`return torch.cuda.get_device_properties(0)`)"


def test_native_code_that_initializes_the_driver_is_found_between_two_imports(tmp_path: Path) -> None:
    source, library = tmp_path / "driver.c", tmp_path / "libcuda.so.1"
    source.write_text(
        "static int ready; int cuInit(unsigned flags) { ready = 1; return 0; }\n"
        "int cuCtxGetCurrent(void **context) { return ready ? 0 : 3; }\n"
    )
    subprocess.run(["cc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", library, source], check=True)
    code = (
        f"import ctypes\ndriver = ctypes.CDLL({str(library)!r})\nimport this_is_early\n"
        "driver.cuInit(0)\nimport this_is_late\n"
    )
    for name in ("this_is_early", "this_is_late"):
        (tmp_path / f"{name}.py").touch()
    [found] = watched(tmp_path, code)
    assert found["cause"] == "native code, after the import of this_is_early had begun and before that of this_is_late"


@pytest.mark.skipif(find_spec("flashinfer") is None, reason="flashinfer-python is not installed")
@pytest.mark.parametrize("devices", ["one", "no NVML"])
def test_flashinfer_is_imported_without_cuda_if_nvml_knows_the_device(tmp_path: Path, devices: str) -> None:
    places = {"CUDA_HOME": str(tmp_path), "FLASHINFER_WORKSPACE_BASE": str(tmp_path)}
    [found] = watched(tmp_path, "import flashinfer\n", devices, **places)
    if devices == "one":
        assert (found["cause"], found["initialized"]) == (None, False)
    else:
        assert found["cause"].startswith("flashinfer/compilation_context.py:")
        assert "get_device_capability" in found["cause"]
