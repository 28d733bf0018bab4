"""The environment variables that name the cache folders of programs, and the values that replace them in a start.

The comments name the file that reads each variable. For packages that coldwarm's own environment does not have, it is
a file of their repository (NVIDIA/cutlass, tile-ai/tilelang, flashinfer-ai/flashinfer, deepseek-ai/DeepGEMM,
deepseek-ai/DeepEP, pytorch/helion, ROCm/aiter, ROCm/FlyDSL, ...).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from coldwarm.core.user_paths import folder_of_setting, temporary_folder
from coldwarm.engines.base import names as engines
from coldwarm.engines.base import vocabularies

_ENGINES = [vocabulary.caches for vocabulary in vocabularies()]

ALWAYS = {
    **{name: folder for engine in _ENGINES for name, folder in engine.always.items()},
    "TORCHINDUCTOR_CACHE_DIR": "inductor",  # torch/_inductor/runtime/cache_dir_utils.py
    "TRITON_CACHE_DIR": "triton",  # triton/knobs.py
    "TRITON_HOME": "triton-home",  # triton/knobs.py
    "CUDA_CACHE_PATH": "cuda",  # the CUDA driver's cache of just-in-time compiled kernels
    "FLASHINFER_WORKSPACE_BASE": "flashinfer",  # flashinfer/jit/env.py
    "DG_JIT_CACHE_DIR": "deep-gemm",  # vllm/utils/deep_gemm.py; DeepGEMM's csrc/jit/compiler.hpp
    "TVM_FFI_CACHE_DIR": "tvm-ffi",  # tvm_ffi/cpp/extension.py
    "TORCH_EXTENSIONS_DIR": "torch-extensions",  # torch/utils/cpp_extension.py
    # python/CuTeDSL/cutlass/base_dsl/cache_helpers.py and env_manager.py: otherwise below /tmp, in some versions
    # regardless of TMPDIR.
    "CUTE_DSL_CACHE_DIR": "cute-dsl",
    "MOONCAKE_EP_JIT_CACHE_DIR": "mooncake-ep",  # Mooncake's `JitCache::root_dir`: otherwise /tmp/mooncake_ep
    # Otherwise in the __pycache__ next to the source, in the installed package (numba/core/caching.py,
    # `_InTreeCacheLocator`; vllm/transformers_utils/processors/inkling.py has such functions).
    "NUMBA_CACHE_DIR": "numba",  # numba/core/config.py
    "CCACHE_DIR": "ccache",  # ccache's manual; wins over the `cache_dir` of its configuration files
    "HF_HOME": "huggingface",
    "XDG_CACHE_HOME": "xdg-cache",
    "XDG_CONFIG_HOME": "xdg-config",
    "XDG_DATA_HOME": "xdg-data",
    # Inductor stores precompiled C++ headers below the temporary folder, whatever its cache folder is.
    "TMPDIR": "tmp",
    # The default of all other programs is below the home folder (~/.cache, ~/.triton, ~/.nv).
    "HOME": "home",
}
"""Variables that are set for every start, each with its folder below the folder of the case's caches."""

_IF_SET = {
    **{name: folder for engine in _ENGINES for name, folder in engine.where_set.items()},
    "OUTLINES_CACHE_DIR": "outlines",  # vllm/v1/structured_output/utils.py
    "FLYDSL_RUNTIME_CACHE_DIR": "flydsl",  # vllm/models/deepseek_v41/amd/mono/runner.py
    "FLYDSL_AUTOTUNE_CACHE_DIR": "flydsl-autotune",  # FlyDSL's python/flydsl/utils/env.py
    "TORCH_HOME": "torch-hub",  # torch/hub.py
    "PYTORCH_KERNEL_CACHE_PATH": "torch-kernels",  # aten/src/ATen/native/cuda/jit_utils.cpp
    "QUACK_CACHE_DIR": "quack",  # torch/_vendor/quack/cache/__init__.py
    "TILELANG_CACHE_DIR": "tilelang",  # tilelang/env.py; the autotuner's results are below it
    "TILELANG_TMP_DIR": "tilelang-tmp",  # tilelang/env.py
    "FLASH_ATTENTION_CUTE_DSL_CACHE_DIR": "flash-attention",  # flash_attn/cute/cache_utils.py
    "DG_CACHE_DIR": "deep-gemm-2",  # deep_gemm/jit/compiler.py, before DeepGEMM's JIT was in C++
    "TRTLLM_DG_CACHE_DIR": "trtllm-deep-gemm",  # TensorRT-LLM's deep_gemm/compiler.cuh, which FlashInfer has
    "EP_JIT_CACHE_DIR": "deep-ep",  # DeepEP's csrc/jit/compiler.hpp
    "HELION_CACHE_DIR": "helion",  # helion/autotuner/local_cache.py
    "AITER_JIT_DIR": "aiter",  # aiter/jit/core.py
    "CUPY_CACHE_DIR": "cupy",  # cupy/cuda/compiler.py
    "SCCACHE_DIR": "sccache",  # sccache's docs/Configuration.md
    "HF_HUB_CACHE": "huggingface-hub",  # huggingface_hub/constants.py, as are the next four
    "HUGGINGFACE_HUB_CACHE": "huggingface-hub-2",
    "HF_ASSETS_CACHE": "huggingface-assets",
    "HUGGINGFACE_ASSETS_CACHE": "huggingface-assets-2",
    "HF_XET_CACHE": "huggingface-xet",
    "HF_MODULES_CACHE": "huggingface-modules",  # transformers/utils/hub.py
    "TRANSFORMERS_CACHE": "transformers",  # transformers/utils/hub.py, before 5.0
    "HF_DATASETS_CACHE": "datasets",  # datasets/config.py
    "XDG_STATE_HOME": "xdg-state",
}
"""Variables that are replaced only if the user has set them. If not, the default is below a folder of `ALWAYS`, and a
program that checks whether the variable is set behaves as in the user's own environment."""

_FILES_IF_SET = {
    "PYTORCH_TUNABLEOP_FILENAME": "tunable-op",  # torch/cuda/tunable.py: tuned results, read and written
}
"""The same for variables that name a file: the name of the file stays, in a folder of the start."""

REMOTE = frozenset(
    {
        # torch/_inductor/config.py, torch/_functorch/config.py; None, the default, is off outside of Meta
        "TORCHINDUCTOR_FX_GRAPH_REMOTE_CACHE",
        "TORCHINDUCTOR_AUTOGRAD_REMOTE_CACHE",
        "TORCHINDUCTOR_AUTOTUNE_REMOTE_CACHE",
        "TORCHINDUCTOR_BUNDLED_AUTOTUNE_REMOTE_CACHE",
        # torch/_inductor/remote_cache.py
        "TORCHINDUCTOR_REDIS_URL",
        "TORCHINDUCTOR_REDIS_HOST",
        "TORCHINDUCTOR_REDIS_PORT",
        # torch/_dynamo/config.py, torch/compiler/config.py. TORCH_COMPILE_JOB_ID and TORCH_COMPILE_STICKY_PGO_KEY
        # stay: with only these, the profile is below TORCHINDUCTOR_CACHE_DIR (torch/_dynamo/pgo.py).
        "TORCH_DYNAMO_AUTOMATIC_DYNAMIC_REMOTE_PGO",
        "TORCH_COMPILE_STICKY_PGO_READ",
        "TORCH_COMPILE_STICKY_PGO_WRITE",
        # triton/knobs.py: a class that may store kernels anywhere
        "TRITON_CACHE_MANAGER",
        "TRITON_REMOTE_CACHE_BACKEND",
        "TRITON_REDIS_HOST",
        "TRITON_REDIS_PORT",
        "TRITON_REDIS_KEY_FORMAT",
        # ccache's manual, sccache's docs/Configuration.md
        "CCACHE_REMOTE_STORAGE",
        "CCACHE_SECONDARY_STORAGE",
        "SCCACHE_BUCKET",
        "SCCACHE_REDIS",
        "SCCACHE_REDIS_ENDPOINT",
        "SCCACHE_REDIS_CLUSTER_ENDPOINTS",
        "SCCACHE_MEMCACHED",
        "SCCACHE_MEMCACHED_ENDPOINT",
        "SCCACHE_GCS_BUCKET",
        "SCCACHE_AZURE_CONNECTION_STRING",
        "SCCACHE_GHA_ENABLED",
        "SCCACHE_WEBDAV_ENDPOINT",
        "SCCACHE_OSS_BUCKET",
        "SCCACHE_COS_BUCKET",
    }
)
"""Variables that switch on or locate a cache on another machine. They are removed from every start, so that a cold and
a warm start have the same cache keys, which are those of a start without remote caches."""

DOWNLOADS = frozenset(
    {
        *("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_ASSETS_CACHE", "HUGGINGFACE_ASSETS_CACHE"),
        *("HF_XET_CACHE", "TRANSFORMERS_CACHE", "HF_DATASETS_CACHE"),
    }
)
"""Variables of folders with models that were downloaded. They are inputs of a user's command, which keeps them."""

ISOLATED = ALWAYS.keys() | _IF_SET.keys() | _FILES_IF_SET.keys() | REMOTE
"""Variables whose user's value no start sees."""

# Variables with names like that of a cache, which are passed to a start.
_NOT_A_CACHE_OF_A_START = re.compile(
    # Caches of package managers and development tools, which no start runs.
    r"(PIP|PIPENV|PIPX|UV|POETRY|PDM|CONDA|MAMBA|NPM_CONFIG|YARN|PNPM|CARGO|GRADLE|BAZEL|HOMEBREW|COMPOSER|NUGET"
    r"|RUFF|MYPY|BLACK|PYTEST|PRE_COMMIT|CYPRESS|RUNNER_TOOL|ACTIONS|CI|DOCKER|BUILDKITE|GITHUB|GITLAB)_.*|GO(MOD)?CACHE"
    r"|PYTHONPYCACHEPREFIX"  # bytecode; see coldwarm.observe.bytecode
    # Downloads, which an offline start cannot make: FlashInfer's published cubins (flashinfer/jit/env.py), vocabularies
    # (tiktoken/load.py).
    r"|FLASHINFER_CUBIN_DIR|TIKTOKEN_CACHE_DIR|DATA_GYM_CACHE_DIR"
    # triton/knobs.py: the user's kernels that replace compiled ones, and output that nothing reads.
    r"|TRITON_OVERRIDE_DIR|TRITON_DUMP_DIR"
    r"|COLDWARM_.*",
    re.IGNORECASE,
)
_LOOKS_LIKE_A_CACHE = re.compile(r".*CACHE.*(DIR|PATH|ROOT|HOME|FOLDER)|.*_WORKSPACE_BASE|.*JIT.*DIR.*", re.IGNORECASE)


def replacements(root: Path, user: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that make every program use folders below `root`, given the environment `user`."""
    folders = ALWAYS | {name: folder for name, folder in _IF_SET.items() if user.get(name)}
    files = {name: folder for name, folder in _FILES_IF_SET.items() if user.get(name)}
    return {name: str(root / folder) for name, folder in folders.items()} | {
        name: str(root / folder / Path(user[name]).name) for name, folder in files.items()
    }


def replaced_where_set(user: Mapping[str, str]) -> list[str]:
    """Return the names of the variables in `user` that are replaced because they are set, sorted."""
    return sorted(name for name in user if name in ISOLATED and name not in ALWAYS)


def unknown(user: Mapping[str, str]) -> list[str]:
    """Return the names of the variables in `user` that seem to name a cache and are unknown to coldwarm, sorted."""
    return sorted(
        name
        for name, value in user.items()
        if value
        and name not in ISOLATED
        and not _NOT_A_CACHE_OF_A_START.fullmatch(name)
        and not any(name in engine.no_caches for engine in _ENGINES)
        and (_LOOKS_LIKE_A_CACHE.fullmatch(name) or ("CACHE" in name.upper() and _is_folder(value)))
    )


def places(user: Mapping[str, str]) -> list[Path]:
    """Return the folders in which the user's own starts store caches: those that variables name, and the defaults.

    They need not exist. Folders with other contents (the home folder, an installation of Python) are left out, and
    folders of models, which are too large.
    """
    named = [folder_of_setting(user[name]) for name in user if name in _ONLY_CACHES]
    return list(dict.fromkeys([*(path for path in named if path.is_absolute() and is_own(path)), *_defaults(user)]))


def is_own(folder: Path) -> bool:
    """Return whether `folder` can contain only a cache: neither Python, nor imported packages, nor a home folder."""
    # A package in development mode need not be below `sys.path`.
    packages = [spec.origin for name in ("coldwarm", "torch", "triton", *engines()) if (spec := find_spec(name))]
    others = [str(temporary_folder()), sys.prefix, sys.base_prefix, *sys.path, *filter(None, packages)]
    return not any(other.is_relative_to(folder) for other in (Path.home(), Path.cwd(), *map(Path, others)))


_ONLY_CACHES = (ALWAYS.keys() | _IF_SET.keys()) - {
    *("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"),
    *(name for engine in _ENGINES for name in engine.of_more_than_caches),
    *("FLASHINFER_WORKSPACE_BASE", "TRITON_HOME", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"),
    *("TRANSFORMERS_CACHE", "HF_DATASETS_CACHE", "HF_XET_CACHE", "HF_ASSETS_CACHE", "HUGGINGFACE_ASSETS_CACHE"),
    "TORCH_HOME",
}


def _defaults(user: Mapping[str, str]) -> Iterator[Path]:
    home = Path(user.get("HOME") or Path.home())
    cache = Path(user.get("XDG_CACHE_HOME") or home / ".cache")
    own = (engine.default for engine in _ENGINES)
    for folder in (*own, "torch", "torch_extensions", "tvm-ffi", "outlines"):
        yield cache / folder
    for folder in (".nv/ComputeCache", ".tilelang", ".deep_gemm", ".deep_ep", ".tensorrt_llm", ".cupy", ".flydsl"):
        yield home / folder
    yield Path(user.get("TRITON_HOME") or home, ".triton")
    yield Path(user.get("FLASHINFER_WORKSPACE_BASE") or home, ".cache/flashinfer")
    login = user.get("USER") or user.get("LOGNAME") or home.name
    for temporary in dict.fromkeys((Path(user.get("TMPDIR") or "/tmp"), Path("/tmp"))):
        # torch/_inductor/runtime/cache_dir_utils.py, cutlass/base_dsl/cache_helpers.py
        yield temporary / f"torchinductor_{login}"
        yield temporary / login / "cutlass_python_cache"


def _is_folder(value: str) -> bool:
    try:
        path = folder_of_setting(value)
        return path.is_absolute() and path.is_dir()
    except (OSError, ValueError):  # not a path
        return False
