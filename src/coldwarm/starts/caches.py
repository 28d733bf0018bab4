"""The caches of one case: every folder that an engine or a compiler keeps anything in between two starts."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from coldwarm.starts.cache_files import FileState, Manifest

# Where each program looks, and the folder (below the case's own) that it is sent to. Found by looking where files
# appear after a start with vLLM 0.32 and torch 2.13, and in the sources named.
_FOLDER_OF_VARIABLE = {
    "VLLM_CACHE_ROOT": "vllm",  # vllm/envs.py: artifacts, AOT-compiled functions, model infos
    "VLLM_CONFIG_ROOT": "vllm-config",  # vllm/envs.py
    "TORCHINDUCTOR_CACHE_DIR": "inductor",  # torch/_inductor/runtime/cache_dir_utils.py
    "TRITON_CACHE_DIR": "triton",  # triton/knobs.py
    "TRITON_HOME": "triton-home",  # triton/knobs.py
    "CUDA_CACHE_PATH": "cuda",  # the CUDA driver's cache of just-in-time compiled kernels
    "FLASHINFER_WORKSPACE_BASE": "flashinfer",  # flashinfer/jit/env.py
    "DG_JIT_CACHE_DIR": "deep-gemm",  # vllm/envs.py: DeepGEMM's just-in-time compiled kernels
    "TVM_FFI_CACHE_DIR": "tvm-ffi",  # tvm_ffi/utils
    "TORCH_EXTENSIONS_DIR": "torch-extensions",  # torch/utils/cpp_extension.py
    "HF_HOME": "huggingface",
    "XDG_CACHE_HOME": "xdg-cache",
    "XDG_CONFIG_HOME": "xdg-config",
    "XDG_DATA_HOME": "xdg-data",
    # Inductor keeps precompiled C++ headers below the temporary folder, whatever its cache folder is.
    "TMPDIR": "tmp",
    # Everything that asks for nothing better goes below the home folder (~/.cache, ~/.triton, ~/.nv).
    "HOME": "home",
}

CACHE_VARIABLES = frozenset(_FOLDER_OF_VARIABLE)
"""The variables that coldwarm sets for a start, whatever the user's environment says."""


class Caches:
    """The caches of one case, below one folder that belongs to nobody else."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def fresh(cls, root: Path) -> Caches:
        """Create empty caches at `root`, which must not exist."""
        root.mkdir(parents=True)
        caches = cls(root)
        for folder in _FOLDER_OF_VARIABLE.values():
            (root / folder).mkdir()
        return caches

    def environment(self) -> dict[str, str]:
        """The variables that send every program to these caches."""
        return {variable: str(self.root / folder) for variable, folder in _FOLDER_OF_VARIABLE.items()}

    def manifest(self) -> Manifest:
        """All files as they are now."""
        return {
            _recordable(file.relative_to(self.root).as_posix()): FileState(status.st_size, self._digest(file, status))
            for file, status in self._files()
        }

    def _digest(self, file: Path, status: os.stat_result) -> str:
        # Precompiled headers, hundreds of MiB, that the compiler checks by itself.
        if file.is_relative_to(self.root / _FOLDER_OF_VARIABLE["TMPDIR"]) or not stat.S_ISREG(status.st_mode):
            return ""
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "blake2b").hexdigest()[:32]

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for folder, _, names in os.walk(self.root):
            for name in names:
                file = Path(folder, name)
                status = file.lstat()
                if not stat.S_ISSOCK(status.st_mode):
                    yield file, status


def _recordable(path: str) -> str:
    """A path as text that JSON can hold, also where it is no UTF-8."""
    return path.encode("utf-8", "backslashreplace").decode()


@contextmanager
def temporary_root() -> Iterator[Path]:
    """A new folder below the user's temporary folder, removed with all it holds at the end."""
    with tempfile.TemporaryDirectory(prefix="coldwarm-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
