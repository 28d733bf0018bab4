"""The caches of one case: every folder that an engine or a compiler keeps anything in between two starts."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel

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


class CacheContent(BaseModel):
    """What one cache folder holds."""

    files: int
    bytes: int


class FileState(NamedTuple):
    """A file of a cache."""

    bytes: int
    digest: str
    """Of its content; empty in the folder of temporary files, where only the size is compared."""


class FileChange(BaseModel):
    """A file that is not as it was left."""

    path: str
    """Below the caches' folder."""
    how: Literal["missing", "truncated", "altered", "grown", "new"]
    """``altered``: other bytes of the same number."""
    bytes_due: int
    bytes_found: int

    def told(self) -> str:
        """In words."""
        match self.how:
            case "missing":
                return f"is gone ({self.bytes_due} bytes were left)"
            case "truncated":
                return f"is truncated: {self.bytes_found} bytes of {self.bytes_due}"
            case "altered":
                return f"has other bytes than were written ({self.bytes_found} bytes, as before)"
            case "grown":
                return f"has grown: {self.bytes_found} bytes, {self.bytes_due} were left"
        return f"is new ({self.bytes_found} bytes)"


Manifest = dict[str, FileState]
"""The files of all caches, by path below their root."""


def changes(due: Manifest, found: Manifest) -> list[FileChange]:
    """Say how `found` differs from what was `due`, in the order of paths; times do not count."""
    changed = []
    for path in sorted(due.keys() | found.keys()):
        before, after = due.get(path), found.get(path)
        if before == after:
            continue
        size_due, size_found = before.bytes if before else 0, after.bytes if after else 0
        how: Literal["missing", "truncated", "altered", "grown", "new"]
        if after is None:
            how = "missing"
        elif before is None:
            how = "new"
        elif size_found == size_due:
            how = "altered"
        else:
            how = "truncated" if size_found < size_due else "grown"
        changed.append(FileChange(path=path, how=how, bytes_due=size_due, bytes_found=size_found))
    return changed


def content(manifest: Manifest) -> dict[str, CacheContent]:
    """Files and bytes of each cache that holds any, by folder."""
    found: dict[str, CacheContent] = {}
    for path, state in manifest.items():
        known = found.setdefault(path.split("/", 1)[0], CacheContent(files=0, bytes=0))
        known.files += 1
        known.bytes += state.bytes
    return found


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
